/* task/task.h -- coroutines that are parked between events: where they come from, how they wait, how a wait ends.
 * A task waits for at most one thing at a time and knows how to undo that wait: the session may be gone when the answer
 * comes, so the code that ends the session calls undo, and then no answer comes. Knows no limits (budget.h, memory.h)
 * and enters no Lua: that is call.h. */
#ifndef MM_TASK_TASK_H
#define MM_TASK_TASK_H

#include "task/blame.h"
#include "task/vault.h"

/* ---- sessions at work ---- */

/* No event: what a session has between two. */
extern const struct mm_event mm_event_none;
/* Gives the session what its handlers need, its task above all. False: out of memory. */
bool mm_work_begin(struct mm_script_session *, void (*resumed)(struct mm_task *, enum mm_run, struct mm_fault *));
static inline struct mm_at_work *mm_work_of(const struct mm_script_session *ss)
{
	return MM_OWNER_OF(ss->task, struct mm_at_work, task);
}
/* Does a handler of it wait? */
static inline bool mm_work_waits(const struct mm_script_session *ss)
{
	return ss->task != NULL && ss->task->is_waiting;
}
/* Takes it back, with the task's coroutine. The session has none: nothing happens. */
void mm_work_end(struct mm_script_session *);
/* Frees the pool. */
void mm_work_free(struct mm_generation *);

/* ---- coroutines ---- */

void mm_task_init(struct mm_task *, struct mm_generation *, struct mm_script_session *,
	void (*resumed)(struct mm_task *, enum mm_run, struct mm_fault *));
/* Makes sure the task has a coroutine; from the pool, or new. NULL: out of memory. */
struct lua_State *mm_task_coroutine(struct mm_task *);
/* Gives the coroutine up: back to the pool when it is at rest, else to the garbage collector. */
void mm_task_release(struct mm_task *);
/* The task that runs now, found from any Lua state of the generation. NULL: none. */
struct mm_task *mm_task_current(struct lua_State *);
/* Makes, in advance, the strings that are pushed when memory runs out: those of a cancellation, and of a wait whose
 * answer found no room. Once, when the state is made; may raise. */
void mm_task_keep_words(struct lua_State *, struct mm_generation *);
/* Notes whose handler or task runs, and whether it has a message, for lua/moonmilter/runtime/members.lua. Never raises.
 * NULL: no session's. */
void mm_task_show(struct mm_generation *, struct mm_script_session *);
void mm_task_show_message(struct mm_generation *, bool is_open);
static inline bool mm_task_has_message(const struct mm_script_session *ss)
{
	return ss != NULL && ss->facts->message != NULL;
}
static inline bool mm_task_is_shown(const struct mm_generation *g, const struct mm_script_session *ss)
{
	return g->shown == ss && g->shows_message == mm_task_has_message(ss);
}
/* The holder of anything opened now: the message or the client of the current task, or the generation. */
struct mm_holder *mm_task_holder(struct mm_generation *);
/* The account of what it makes us hold: the current task's session's, or the generation's. */
struct mm_account *mm_task_account(struct mm_generation *);

/* ---- waiting ----
 * A primitive checks its arguments (it may raise, task/blame.h), calls mm_task_may_wait(), starts its operation, then
 * returns mm_task_wait(): nothing may be acquired before the checks and nothing may raise after. */

/* The current task, ready to wait. Raises when Lua cannot yield here and says why; when the task is cancelled it pushes
 * token and reason and returns NULL: the primitive then returns 2. */
struct mm_task *mm_task_may_wait(struct lua_State *, const char *name);
int mm_task_wait(struct lua_State *, struct mm_task *, const char *name, void (*undo)(struct mm_task *),
	void *waits_for);
/* As mm_task_go_on (task/call.h), but soon, from the loop, after the tasks that are already ready: for completions that
 * come several at once or from inside a library that must not be entered again. Also starts a coroutine whose function
 * and count arguments have been pushed. */
void mm_task_ready(struct mm_task *, int count);
/* Takes the task out of the run queue; it no longer waits. */
void mm_task_unready(struct mm_task *);
/* Runs build(L, arg) protected from running out of memory, to push the results of a wait on task->co. Returns their
 * number: that of build, or 3 for nil, text and code when memory ran out. */
int mm_task_push(struct mm_task *, int (*build)(struct lua_State *, void *arg), void *arg);
/* Undoes the wait at once and raises the cancellation later, from the run queue: for calls from inside Lua. resumed is
 * called as usual. Running task: its next wait raises. */
void mm_task_cancel_soon(struct mm_task *, enum mm_cancel why);
/* Pushes the values that a cancelled wait returns to its wrapper: token and reason. */
void mm_task_push_cancel(struct mm_task *, struct lua_State *);
/* Undoes a wait that never reached the host, because C code was in between (a user coroutine that waits inside
 * table.sort). Only while the task runs. */
void mm_task_forget_wait(struct mm_task *);
/* The wait has its answer or was undone: the task no longer waits for anything. */
void mm_task_wait_is_over(struct mm_task *);
const char *mm_cancel_name(enum mm_cancel);     /* "abort". Static. */

/* ---- time limits ---- */

/* The outermost limit that is over: the calls that opened limits inside it must be left, too. NULL: none. */
const struct mm_limit *mm_limit_over(const struct mm_task *);
/* Pushes the values that a wait then returns to its wrapper: token and depth. */
void mm_limit_push(struct mm_task *, struct lua_State *);
/* Closes this limit and all inside it. True: it was over. */
bool mm_limit_close(struct mm_task *, unsigned depth);

#endif
