/* task/memory.h -- how much memory Lua may take, over all Lua states of a worker.
 * Above the soft limit: a full collection between two events. At the hard limit: the running handler gets "not enough
 * memory", which fails its message, and a full collection follows; a handler that eats memory fails alone. Only what
 * Lua itself allocates is counted, not what C modules do.
 *
 * The limit holds while a handler runs and at no other time: the host's own work on a state never fails of it. */
#ifndef MM_TASK_MEMORY_H
#define MM_TASK_MEMORY_H

#include "task/task.h"

/* Makes the state count; limits of the settings. Before anything is in it. */
void mm_memory_watch(struct mm_generation *);
/* Before lua_close. */
void mm_memory_unwatch(struct mm_generation *);

/* ---- garbage ----
 * LuaJIT collects a little at each allocation, however large it is, and a whole cycle falls to whoever is being served
 * then. So a cycle is begun earlier, while the loop has nothing else to do, and large strings pay for themselves. */

/* Has enough become garbage, perhaps, that a look is worth it when there is time? Costs next to nothing. */
bool mm_memory_wants_rest(const struct mm_generation *);
/* Collects for about that long, seconds. True: the cycle is complete. Scripts' finalizers may run. */
bool mm_memory_rest(struct mm_generation *, double seconds);
/* A string of so many bytes has just been made; small ones need not be told. */
void mm_memory_pay(struct mm_generation *, size_t bytes);

/* Around a resume; they may nest. */
bool mm_memory_begin(struct mm_generation *);               /* gives what end wants */
void mm_memory_end(struct mm_generation *, bool before);
/* After it, when the coroutine has been let go of if it failed: until then all that it had is still reachable. */
void mm_memory_settle(struct mm_task *);

#endif
