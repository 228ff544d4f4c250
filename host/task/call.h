/* task/call.h -- the doorway: every entry into Lua from the host goes through mm_call_function() or mm_call_resume(),
 * and so do the two ways in which a wait ends. */
#ifndef MM_TASK_CALL_H
#define MM_TASK_CALL_H

#include "task/task.h"
#include "task/whose.h"

/* Runs the task's coroutine. before: [function arg1..argN] or, after a wait, [result1..resultN]; after DONE:
 * [result1..resultM], after WAITING: nothing of ours. FAILED fills why with message and traceback; a coroutine that
 * failed or exited is dropped, and the next call gets a new one. */
enum mm_run mm_call_resume(struct mm_task *, int argument_count, struct mm_fault *why);
/* Counts a failed call in the profile, which the doorway keeps (profile.h). */
void mm_call_count_error(const struct mm_whose *);

/* Calls the function of a reference with the arguments that push(co, self) leaves: [arg1..argN]; push NULL: no
 * arguments. push may raise: memory may run out, and a push may run the collector and, through it, a finalizer that
 * fails. The result is then FAILED, and nothing was called. */
int mm_call_push(struct lua_State *);         /* its lua_CFunction, for script->entry */
enum mm_run mm_call_function(struct mm_task *, int called, void (*push)(struct lua_State *co, void *self), void *self,
	struct mm_fault *why);
/* The same for a function of a session that gets nothing but its ctx, which exists: nothing is asked for. */
enum mm_run mm_call_with_ctx(struct mm_task *, int called, struct mm_fault *why);

/* The same for a session's handlers of several events: the first is called with its ctx, which exists, and with the
 * values that push leaves, two at most; then further(self, next) says whether there is another call, and fills next.
 * Each is a slice of its own. After DONE, when further() was the last to be called, there is no result. further() must
 * not enter Lua: compiled code calls it. */
enum mm_run mm_call_walk(struct mm_task *t, int called, void (*push)(struct lua_State *co, void *self),
	bool (*further)(void *self, struct mm_walked *next), void *self, struct mm_fault *why);
/* For moonmilter.runtime.entry: the way from the end of one call of a walk to the next, with the next call in walked;
 * and the same as a lua_CFunction, which returns what is in there. */
int mm_call_further(struct mm_generation *);
int mm_call_further_pushing(struct lua_State *);

/* The wait is over and count results have been pushed on task->co: resumes the coroutine and calls resumed. Never call
 * it from inside the primitive that started the wait, nor from inside any handler. */
void mm_task_go_on(struct mm_task *, int count);
/* The same for a timer, which may fire together with thousands of others: when this turn of the loop has already worked
 * for a while, the task becomes ready instead (mm_task_ready()). */
void mm_task_go_on_in_turn(struct mm_task *, int count);
/* Undoes the wait, raises the cancellation inside the coroutine so that its cleanup runs, and drops it. resumed is not
 * called. Not waiting: nothing happens. */
void mm_task_cancel(struct mm_task *, enum mm_cancel why);

/* Takes the first task of the run queue and resumes it. The queue must not be empty. */
void mm_task_run_ready(struct mm_generation *);
/* Opens a time limit for the task; when the limit is over, waits of the task raise. Returns its
 * depth; 0: out of memory. */
unsigned mm_limit_open(struct mm_task *, double seconds);

#endif
