/* page/inquiry.h -- what the page knows of the host: answers of the control socket, each at most a second or so old,
 * and
 * the memory of the history. A thread of its own asks, so a host that is busy, stopped or gone holds up no reader; it
 * asks only what has been wanted during the last seconds. Whoever shows the page calls the functions below from one
 * other thread. Sends requests that change nothing (process/control.c), and no others.
 *
 * Ownership: an answer is BORROWED until the next call with the same kind. */
#ifndef MM_PAGE_INQUIRY_H
#define MM_PAGE_INQUIRY_H

#include "ctl/answer_json.h"
#include "ctl/profile_report.h"
#include "story/reader.h"

enum mm_inquiry_kind {
	MM_INQUIRY_STATUS, MM_INQUIRY_SESSIONS, MM_INQUIRY_GENERATIONS, MM_INQUIRY_MAPS, MM_INQUIRY_METRICS,
	MM_INQUIRY_PROFILE, MM_INQUIRY_HISTORY, MM_INQUIRY_STORES, MM_INQUIRY_LIMITS,
	MM_INQUIRY_NAMED,
	MM_INQUIRY_COUNT
};

struct mm_inquiry_answer {
	struct mm_answer_lines    lines;        /* owned; what it says as lines */
	struct mm_profile_report *profile;      /* owned; of MM_INQUIRY_PROFILE; NULL: none */
	char                     *json;         /* owned: as `ctl --json` prints it; NULL: it cannot */
	char                     *error;        /* owned: why there is none, or not a whole one; NULL: it is whole */
	int                       status;       /* of sysexits.h */
	int                       fd;           /* owned: of MM_INQUIRY_HISTORY; -1: none */
	double                    asked_at;     /* mm_clock_real() */
	double                    wall;         /* seconds since 1970 */
};

struct mm_inquiry;

/* path: of the control socket. NULL: out of memory or threads. */
struct mm_inquiry *mm_inquiry_new(const char *path);
/* What the host has said last; waits a moment when there is nothing fresh. NULL: nothing yet. */
const struct mm_inquiry_answer *mm_inquiry_get(struct mm_inquiry *, enum mm_inquiry_kind);
/* The same for a limit or a store by name: "limit top\tNAME". */
const struct mm_inquiry_answer *mm_inquiry_get_named(struct mm_inquiry *, const char *request);
/* Why the host cannot be shown as it is now: it has ended, does not answer, or refuses us. NULL: it answers. BORROWED
 * until the next call. */
const char *mm_inquiry_trouble(struct mm_inquiry *);
/* The history, also that of a host that has ended meanwhile; NULL: there is none. BORROWED until the next call. */
const struct mm_story_reader *mm_inquiry_history(struct mm_inquiry *);

enum mm_inquiry_rate { MM_INQUIRY_MESSAGES, MM_INQUIRY_BEGUN, MM_INQUIRY_ERRORS, MM_INQUIRY_RATES };

/* A second, over the last ten seconds or so, of one worker or of all (pid 0). Below 0: not known yet. */
double mm_inquiry_rate(const struct mm_inquiry *, int pid, enum mm_inquiry_rate);

#endif
