/* io/outcome.h -- counts and log lines about milter connections: the end of a message, any other verdict, a fault; and
 * the same facts for the history (story/).
 * The same lines for connections with a socket and without one (embed/feeder.c). */
#ifndef MM_IO_OUTCOME_H
#define MM_IO_OUTCOME_H

#include "base/log.h"
#include "milter/engine.h"
#include "story/desk.h"
#include "task/profile.h"

/* Counts a message that ended, in the row of this worker and for the metrics. */
void mm_count_outcome(struct mm_census_row *, const struct mm_outcome_report *);
/* Writes the line of a message that ended. */
void mm_log_outcome(struct mm_log *, const struct mm_profile *, const struct mm_outcome_report *);
/* Writes the line of a verdict that does not decide a message. */
void mm_log_aside(struct mm_log *, const struct mm_outcome_report *);
/* A message has ended: completes its story and tells it. desk NULL: nothing happens. */
void mm_tell_outcome(struct mm_desk *, struct mm_session *, const struct mm_outcome_report *);
/* A verdict that does not decide a message: it is told with the message, or, when it refuses the client before any
 * message, at once. */
void mm_tell_aside(struct mm_desk *, struct mm_session *, const struct mm_outcome_report *);
/* Writes the line about a connection that we close because of the bytes that came over it. */
void mm_log_fault(struct mm_log *, const struct mm_session *, const struct mm_fault *);
/* What the session's MTA does differently, or cannot do. */
void mm_log_mta(struct mm_log *, const struct mm_session *, const char *text);

#endif
