/* script/state.h -- making the Lua state of a generation: libraries, search path, the runtime's own modules, the class
 * of ctx, the limits of memory and time. Nothing of a script runs here.
 * Ownership: the generation owns the state and every reference made here; they go with it. */
#ifndef MM_SCRIPT_STATE_H
#define MM_SCRIPT_STATE_H

#include "base/value.h"
#include "moonmilter.h"
#include "script/files.h"
#include "task/task.h"

/* Makes g->L and what the generation keeps in its vault. Everything is borrowed for the call: the files determine
 * where modules are searched, modules (ended by name NULL) may be NULL, settings become host.settings (NULL: an empty
 * table), redis core.redis (NULL or nil: nothing). False: the caller closes the state. */
bool mm_state_open(struct mm_generation *, const struct mm_script_files *, const struct mm_module *modules,
	const struct mm_value *settings, const struct mm_value *redis, struct mm_fault *why);
/* Runs finalizers. A NULL state is fine. */
void mm_state_close(struct mm_generation *);

/* The scripts are loaded: notes what is in Lua's registry. */
void mm_state_note_registry(struct mm_generation *);
/* At the end of a message: puts back what a script has taken out of it, and says so once. */
void mm_state_check_registry(struct mm_generation *);

#endif
