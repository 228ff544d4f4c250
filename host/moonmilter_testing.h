/* moonmilter_testing.h -- what tests of filters need beside moonmilter.h: a host whose time stands still, and an MTA's
 * ear. lua/moonmilter/testing/ is built on it. Not for programs that serve mail. */
#ifndef MOONMILTER_TESTING_H
#define MOONMILTER_TESTING_H

#include "moonmilter.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As mm_host_new(), with a clock that stands at `now`, seconds since 1970. It moves only where a loop waits for time to
 * pass, and then jumps: mm_host_turn(host, 60) lets 60 seconds go by at once. The clock is the calling thread's. Fails
 * with a loop of the embedder's, and where libev is not the one that the shared library carries. */
MM_API struct mm_host *mm_testing_host_new(const struct mm_host_options *, double now, struct mm_error *);

/* ---- an MTA's ear ----
 * Judges what a filter says as Postfix and Sendmail would, by the stricter of both where they differ, and does to a
 * message what the edits say, as the one of its kind would. */

struct mm_ear;

/* kind: "postfix" or "sendmail"; version, actions, steps: what it offers, as milter bits. NULL: error says why. */
MM_API struct mm_ear *mm_ear_open(const char *kind, unsigned version, unsigned actions, unsigned steps,
	struct mm_error *);
/* One packet of the filter, in answer to the command of that letter. False: an MTA would not take it. */
MM_API bool mm_ear_hear(struct mm_ear *, char command, char letter, const void *data, size_t size, struct mm_error *);
/* The message that edits are done to from now on, as a file. False: it is none. */
MM_API bool mm_ear_message(struct mm_ear *, const void *bytes, size_t size, struct mm_error *);
/* Does what an edit says. */
MM_API bool mm_ear_edit(struct mm_ear *, char letter, const void *data, size_t size, struct mm_error *);
/* The message as it is now: BORROWED until the next call. NULL: there is none. */
MM_API const void *mm_ear_result(struct mm_ear *, size_t *size);
MM_API void mm_ear_close(struct mm_ear *);

#ifdef __cplusplus
}
#endif

#endif
