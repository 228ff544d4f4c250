/* script_memory.h -- how much memory Lua may take, over all Lua states of a worker.
 * Above the soft limit: a full collection between two events. At the hard limit: the running handler gets "not enough
 * memory", which fails its message, and a full collection follows; a handler that eats memory fails alone. Only what Lua
 * itself allocates is counted, not what C modules do.
 *
 * The limit holds while a handler runs and at no other time: the host's own work on a state never fails of it. */
#ifndef MM_SCRIPT_MEMORY_H
#define MM_SCRIPT_MEMORY_H

#include "script_task.h"

/* Makes the state count; limits of the settings. Before anything is in it. */
void mm_memory_watch(struct mm_script *);
/* Before lua_close. */
void mm_memory_unwatch(struct mm_script *);

/* Around a resume; they may nest. */
bool mm_memory_begin(struct mm_script *);               /* gives what end wants */
void mm_memory_end(struct mm_script *, bool before);
/* After it, when the coroutine has been let go of if it failed: until then all that it had is still reachable. */
void mm_memory_settle(struct mm_task *);

#endif
