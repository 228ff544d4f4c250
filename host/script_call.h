/* script_call.h -- the doorway: every entry into Lua from the host goes through mm_script_call(). */
#ifndef MM_SCRIPT_CALL_H
#define MM_SCRIPT_CALL_H

#include "script_task.h"

/* Runs the task's coroutine. before: [function arg1..argN] or, after a wait, [result1..resultN]; after DONE:
 * [result1..resultM], after WAITING: nothing of ours. FAILED fills why with message and traceback; a coroutine that failed
 * or exited is dropped, the next call gets a new one. */
enum mm_run mm_script_call(struct mm_task *, int argument_count, struct mm_fault *why);

#endif
