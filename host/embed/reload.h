/* embed/reload.h -- the reload of a host that is one process: when it begins, and which callbacks hear of its end.
 * pace.h decides how soon it may begin; generations.h does the work. The master reloads a host of several processes
 * instead. mm_host_reload() itself is public. */
#ifndef MM_EMBED_RELOAD_H
#define MM_EMBED_RELOAD_H

#include "base/fault.h"
#include "moonmilter.h"

/* Calls ended after every reload, whether mm_host_reload() or SIGHUP began it. */
void mm_host_on_reload(struct mm_host *, void (*ended)(void *self, bool ok, const struct mm_fault *why), void *self);
/* For SIGHUP: reloads as soon as the pace allows. */
void mm_host_reload_soon(struct mm_host *);
/* A load is over. goes_on: begins the reload that was requested meanwhile. */
void mm_host_end_pace(struct mm_host *, bool goes_on);
/* The host ends: begins no further reload and calls no more callbacks. */
void mm_host_forget_reload(struct mm_host *);

#endif
