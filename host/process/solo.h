/* process/solo.h -- a host in one process, with what a service needs around it: control socket,
 * service manager, file watch. */
#ifndef MM_PROCESS_SOLO_H
#define MM_PROCESS_SOLO_H

#include "base/say.h"
#include "embed/host.h"
#include "process/detach.h"

/* Serves until SIGTERM, SIGINT or `ctl stop`; returns the exit status. The host is bound and not raised, and TAKEN. say
 * gets lines for people about the start, "ready" last; then
 * the command that waits for a daemon is told. */
int mm_solo_serve(struct mm_host *, struct mm_say say, struct mm_detached *);

#endif
