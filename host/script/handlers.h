/* script/handlers.h -- the handlers of one event: which run, in which order, and how their verdicts become one.
 * One event may have handlers in several scripts. They run one after another on the session's coroutine, in file-name
 * order; the first reject, tempfail or discard decides, accept ends that script's part and the others go on.
 * When one waits, the session's event, script_at and coroutine hold the place.
 * Knows no engine: session.c begins events, and reports what comes of them. */
#ifndef MM_SCRIPT_HANDLERS_H
#define MM_SCRIPT_HANDLERS_H

#include "task/task.h"

/* Runs handlers from script_at on. MM_DECIDED: the event is over and out is its verdict. */
enum mm_outcome mm_handlers_run(struct mm_script_session *, struct mm_verdict *out);
/* The handler that waited has run on: takes what came of it, then as mm_handlers_run() for the others. */
enum mm_outcome mm_handlers_go_on(struct mm_script_session *, enum mm_run, struct mm_fault *why,
	struct mm_verdict *out);
/* The verdict when no handler has decided: accept when no script is left that wants to see more, skip when none wants
 * more of this kind, else continue. */
void mm_handlers_conclude(struct mm_script_session *, struct mm_verdict *out);
/* Cancels the handler that waits and forgets what it has said. */
void mm_handlers_give_up(struct mm_script_session *, enum mm_cancel why);
/* Ends the event: gives its coroutine back, and stops its alarm. */
void mm_handlers_end(struct mm_script_session *);

#endif
