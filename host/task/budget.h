/* task/budget.h -- how long Lua may compute: CPU time per slice (from a resume to the next wait) and CPU time per
 * message. It measures and ends the script from outside, because a script cannot be trusted to end itself.
 *
 * Process-wide: it takes SIGVTALRM, SIGPROF, SIGRTMIN + 1 and the signals of a crash, and a timer aimed at the thread
 * that opens it. So only the program's serving processes open it, and embedders that ask for it; where it is not open,
 * nothing is enforced.
 *
 * A slice over budget gets an error at the next instruction, and at every one after that, until the coroutine is dead:
 * no pcall swallows it. This cannot end a running C function (a pattern match, a blocking call); the process that
 * watches the beats (census.h) then ends the worker, and the whereabouts in the census say what ran. */
#ifndef MM_TASK_BUDGET_H
#define MM_TASK_BUDGET_H

#include "task/task.h"

struct mm_budget_limits {
	double slice;           /* seconds of CPU time */
	double session;         /* seconds of CPU time for all handlers of a message and of the connection before it */
};

/* False: the system has no timer for us. row and log are borrowed until close. */
bool mm_budget_open(const struct mm_budget_limits *, struct mm_census_row *, struct mm_log *, struct mm_fault *why);
/* For a crash outside of Lua: *working is the session whose bytes are at work, or NULL. Borrowed until close. */
void mm_budget_watch(const struct mm_session *const *working);
void mm_budget_set(const struct mm_budget_limits *);
void mm_budget_close(void);
bool mm_budget_is_open(void);

/* ---- for the script row ----
 * Compiled code never checks for hooks, but it does check for LuaJIT's profiler when it was compiled with one, and that
 * profiler serves only one Lua state per process. So one state runs with the JIT compiler, and all
 * others are interpreted. */

/* Adds a new state: it is interpreted until it is preferred. */
void mm_budget_admit(struct lua_State *);
/* Gives the compiler to this state; the state that had it loses it. */
void mm_budget_prefer(struct lua_State *);
void mm_budget_dismiss(struct lua_State *);             /* it will be closed */

/* Ends the running slice as if it had computed too long; text is static. May be called from inside Lua's allocator,
 * too. False: the budget is not open. */
bool mm_budget_strike(const char *text);

/* ---- samples, for sampler.c: LuaJIT has one profiler, and it is taken here ----
 * take is called from inside Lua, about a thousand times per second of Lua's computing time; count is the number of
 * samples that fell on this place. It may look at the stack and must not raise. state: 'N' compiled code, 'I'
 * interpreted, 'C' a C function, 'G' collecting garbage, 'J' compiling. A state without the
 * compiler reports only 'I'. */
typedef void (*mm_budget_sampler)(struct lua_State *, const struct mm_task *, unsigned count, char state);

struct mm_budget_looks {
	unsigned long all;
	unsigned long in_lua;           /* those of them while Lua ran */
};

bool mm_budget_sample(mm_budget_sampler take, struct mm_fault *why);
void mm_budget_sample_no_more(void);                    /* when none are taken, nothing happens */
struct mm_budget_looks mm_budget_looks(void);           /* since mm_budget_sample() */

/* Around every resume; they may nest. */
struct mm_task *mm_budget_begin(struct mm_task *);      /* returns the task that ran until now, for end */
void mm_budget_end(struct mm_task *before);
/* Another slice of the running task, which goes on without leaving Lua. False: none may begin, because this one has
 * been struck or noted. */
bool mm_budget_next(const struct mm_task *);
/* The slice is one of another event of the session, which has another digest. */
void mm_budget_next_event(const struct mm_task *);

#endif
