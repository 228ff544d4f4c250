/* task/budget.h -- how long Lua may compute: CPU time a slice (from a resume to the next wait) and CPU time a message,
 * measured and ended from outside, because a script cannot be asked to.
 *
 * Process-wide: it takes SIGVTALRM, SIGPROF, SIGRTMIN + 1 and the signals of a crash, and a timer aimed at the thread
 * that opens it. So it is opened by the program's serving processes and by embedders who ask for it; where it is not
 * open nothing is enforced.
 *
 * A slice over budget gets an error at the next instruction, and at every one after that, until the coroutine is dead:
 * no pcall swallows it. What runs inside a C function (a pattern match, a blocking call) cannot be ended so; whoever
 * watches the beats (census.h) ends the process then, and the place in the census says what it was. */
#ifndef MM_TASK_BUDGET_H
#define MM_TASK_BUDGET_H

#include "task/task.h"

struct mm_budget_limits {
	double slice;           /* seconds of CPU time */
	double session;         /* seconds of CPU time, all handlers of a message and of the connection before it */
};

/* False: the system has no timer for us. row and log are borrowed until close. */
bool mm_budget_open(const struct mm_budget_limits *, struct mm_census_row *, struct mm_log *, struct mm_fault *why);
void mm_budget_set(const struct mm_budget_limits *);
void mm_budget_close(void);
bool mm_budget_is_open(void);

/* ---- for the script row ----
 * Compiled code never looks for hooks, but it looks for LuaJIT's profiler where it was compiled with one, and that
 * profiler serves one Lua state of a process. So one state runs with the JIT compiler, and all others without it,
 * interpreted. */

/* A new state: interpreted as long as it is not preferred. */
void mm_budget_admit(struct lua_State *);
/* This state gets the compiler, the one that had it loses it. */
void mm_budget_prefer(struct lua_State *);
void mm_budget_dismiss(struct lua_State *);             /* it will be closed */

/* Ends the slice that runs, as if it had computed too long; text is static. From inside Lua's allocator, too. False:
 * nobody watches. */
bool mm_budget_strike(const char *text);

/* ---- samples, for sampler.c: LuaJIT has one profiler, and it is taken here ----
 * take is called from inside Lua, about a thousand times a second of what it computes: count looks have found it where
 * it is. It may look at the stack and must not raise. state: 'N' compiled code, 'I' interpreted, 'C' a C function, 'G'
 * collecting garbage, 'J' compiling. A state without the compiler tells only 'I'. */
typedef void (*mm_budget_sampler)(struct lua_State *, const struct mm_task *, unsigned count, char state);

struct mm_budget_looks {
	unsigned long all;
	unsigned long in_lua;           /* of these: while Lua ran */
};

bool mm_budget_sample(mm_budget_sampler take, struct mm_fault *why);
void mm_budget_sample_no_more(void);                    /* none are taken: nothing happens */
struct mm_budget_looks mm_budget_looks(void);           /* since mm_budget_sample() */

/* Around every resume; they may nest. */
struct mm_task *mm_budget_begin(struct mm_task *);      /* gives the task that ran until now, for end */
void mm_budget_end(struct mm_task *before);

#endif
