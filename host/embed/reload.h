/* embed/reload.h -- a reload of a host that is one process: when it begins, and who is called at its end.
 * How soon it may begin is pace.h's; what it does is generations.h's. A host of several processes is reloaded by its
 * master instead. mm_host_reload() itself is public. */
#ifndef MM_EMBED_RELOAD_H
#define MM_EMBED_RELOAD_H

#include "base/fault.h"
#include "moonmilter.h"

/* ended is called at the end of every reload, by mm_host_reload() or SIGHUP. */
void mm_host_on_reload(struct mm_host *, void (*ended)(void *self, bool ok, const struct mm_fault *why), void *self);
/* SIGHUP: as soon as the pace allows. */
void mm_host_reload_soon(struct mm_host *);
/* A load is over. goes_on: what was asked for meanwhile begins. */
void mm_host_end_pace(struct mm_host *, bool goes_on);
/* The host ends: no further reload begins, and no callback of one is called. */
void mm_host_forget_reload(struct mm_host *);

#endif
