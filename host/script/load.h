/* script/load.h -- loading: runs the files of a generation (lua/moonmilter/runtime/loader.lua) and takes over the plan
 * that comes back: handlers, what each of them sees, what to ask of the MTA. on_unload belongs here, too.
 * Knows no sessions. */
#ifndef MM_SCRIPT_LOAD_H
#define MM_SCRIPT_LOAD_H

#include "script/files.h"
#include "task/task.h"

/* Notes what will be loaded; the list is borrowed for the call. */
bool mm_load_keep_paths(struct mm_generation *, const struct mm_script_files *, struct mm_fault *why);
/* Starts loading, once. done is called from inside the call or later; after ok == false only the end is left. */
void mm_load_start(struct mm_generation *, void (*done)(void *self, bool ok, const struct mm_fault *why), void *self);
/* Ends a load that waits; done is not called. */
void mm_load_stop(struct mm_generation *);
/* Runs each on_unload of a generation that is loaded. They cannot wait: the state closes right after them. */
void mm_load_run_unloaders(struct mm_generation *);
/* Frees what was taken over; the Lua state is gone already, or closes without it. */
void mm_load_free(struct mm_generation *);

#endif
