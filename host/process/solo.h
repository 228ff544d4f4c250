/* process/solo.h -- a host in one process, with what a service needs around it: control socket,
 * service manager, file watch. */
#ifndef MM_PROCESS_SOLO_H
#define MM_PROCESS_SOLO_H

#include "embed/host.h"

/* Serves until SIGTERM, SIGINT or `ctl stop`; returns the exit status. The host is bound and not raised, and TAKEN. say
 * gets lines for people about the start, "ready" last. */
int mm_solo_serve(struct mm_host *, void (*say)(void *self, const char *line), void *self);

#endif
