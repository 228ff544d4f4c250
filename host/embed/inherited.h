/* embed/inherited.h -- what the program got from whoever started it and did not ask for: open files, capabilities,
 * ignored or blocked signals, running timers, a wide umask, a terminal to read from. It gives them up, so that neither
 * workers nor scripts nor the programs they start have them. Only for the program: an embedding process keeps its own.
 * What stays on purpose: environment (PATH, LUA_PATH, TZ …), directory, resource limits, priority. */
#ifndef MM_EMBED_INHERITED_H
#define MM_EMBED_INHERITED_H

#include "base/fault.h"
#include "config/config.h"

/* First of all: signals, timers, umask. */
void mm_inherited_reset(void);
/* Closes all descriptors above 2 but those that listeners name (fd:N) or systemd passes to them. Standard input becomes
 * /dev/null, unless a listener is there. Nothing of our own may be open yet. */
void mm_inherited_close_files(const struct mm_config *);
/* No process below us can regain any capability. Needs root; without it, nothing happens. */
void mm_inherited_bound_capabilities(void);
/* When sockets are bound and the user is changed. False: some are left. */
bool mm_inherited_drop_capabilities(struct mm_fault *why);
/* In a worker: the service manager's variables are the master's alone. */
void mm_inherited_forget_manager(void);

#endif
