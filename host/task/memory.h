/* task/memory.h -- how much memory Lua may use, over all Lua states of a worker.
 * Above the soft limit: a full collection between two events. At the hard limit: the running handler gets "not enough
 * memory", which fails its message, and a full collection follows; a handler that eats memory fails alone. Only what
 * Lua itself allocates is counted, not what C modules do.
 *
 * The limit holds only while a handler runs: the host's own work on a state never fails because of it. */
#ifndef MM_TASK_MEMORY_H
#define MM_TASK_MEMORY_H

#include "task/task.h"

/* Counts the state's memory, with the limits of the settings, and lets mm_generation_of() find the generation. Call it
 * before anything is in the state. */
void mm_memory_watch(struct mm_generation *);
/* Newer versions of LuaJIT (since 2023) do not pass on the error of a finalizer (__gc), but report it as the event
 * "errfin": logs it. Older ones ignore the call, and collections log the error that they pass on. May raise. */
void mm_memory_hear_finalizers(struct lua_State *);
/* Before lua_close. */
void mm_memory_unwatch(struct mm_generation *);

/* ---- garbage ----
 * LuaJIT collects a little at each allocation, however large the allocation is, and the session being served pays for
 * the whole cycle. So a cycle begins earlier, while the loop has nothing else to do, and large
 * strings pay for themselves. */

/* Could there be enough garbage to be worth collecting in idle time? Costs next to nothing. */
bool mm_memory_wants_rest(const struct mm_generation *);
/* Collects for about that long, seconds. True: the cycle is complete. Scripts' finalizers may run. */
bool mm_memory_rest(struct mm_generation *, double seconds);
/* Pays for a string of this many bytes that has just been made; small ones need no call. */
void mm_memory_pay(struct mm_generation *, size_t bytes);

/* Around a resume; they may nest. */
bool mm_memory_begin(struct mm_generation *);               /* returns the argument for end */
void mm_memory_end(struct mm_generation *, bool before);
/* After mm_memory_end(), when a failed coroutine has been released: until then everything that it
 * had is still reachable. */
void mm_memory_settle(struct mm_task *);
/* Has it nothing to do? */
static inline bool mm_memory_is_settled(const struct mm_generation *g)
{
	const struct mm_memory *m = &g->memory;
	return m->allocate == NULL
		|| (!m->was_refused && (m->worker->used <= m->soft || m->worker->used <= m->collect_at));
}

#endif
