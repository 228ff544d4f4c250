/* script/handlers.h -- the handlers of one event: which of them run, in which order, and how their verdicts become one.
 * One event may have handlers in several scripts. They run one after another on the session's coroutine, in file-name
 * order; the first reject, tempfail or discard decides, accept ends that script's part and the others go on.
 * When a handler waits, the session's event, script_at and coroutine remember where to go on.
 * Knows no engine: session.c begins events and reports their results. */
#ifndef MM_SCRIPT_HANDLERS_H
#define MM_SCRIPT_HANDLERS_H

#include "task/task.h"

/* Begins the event: the host's own part, then the handlers. */
enum mm_outcome mm_handlers_begin(struct mm_script_session *, struct mm_verdict *out);
/* Runs handlers from script_at on. MM_DECIDED: the event is over and out is its verdict. */
enum mm_outcome mm_handlers_run(struct mm_script_session *, struct mm_verdict *out);
/* Has the host itself something to do at this event: begin the checks of moonmilter.auth, or seal? */
bool mm_handlers_have_identity(const struct mm_script_session *);
/* The handler that waited has run on: takes its result, then runs the others as mm_handlers_run() does. */
enum mm_outcome mm_handlers_go_on(struct mm_script_session *, enum mm_run, struct mm_fault *why,
	struct mm_verdict *out);
/* For the function below. */
void mm_handlers_conclude_what_was_said(struct mm_script_session *, struct mm_verdict *out);
/* The verdict when no handler has decided: accept when no script wants to see more, skip when no script wants more of
 * this kind, else continue; nearly always none has said anything. */
static inline void mm_handlers_conclude(struct mm_script_session *ss, struct mm_verdict *out)
{
	bool was_said = (ss->accepted_client | ss->accepted_message | ss->skipped) != 0 || ss->over_due != 0;
	if (was_said || ss->stage == MM_STAGE_body)
		mm_handlers_conclude_what_was_said(ss, out);
	else
		mm_verdict_reset(out);
}
/* Cancels the handler that waits and drops its verdict. */
void mm_handlers_give_up(struct mm_script_session *, enum mm_cancel why);
/* Drops the verdict that a method has set. */
void mm_handlers_forget_verdict(struct mm_script_session *);
/* Ends the event: gives its coroutine back, and stops its alarm. */
void mm_handlers_end(struct mm_script_session *);

#endif
