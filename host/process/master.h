/* process/master.h -- a process that keeps worker processes: starts them, reloads them together, replaces those that
 * die or hang, stops them. It reads no byte from an MTA and runs no script; workers and `moonmilter ctl` send it notes
 * of one size (channel.h). Owns the listening sockets' files. */
#ifndef MM_PROCESS_MASTER_H
#define MM_PROCESS_MASTER_H

#include "base/say.h"
#include "embed/host.h"
#include "process/detach.h"

/* Serves with the configured number of workers until SIGTERM, SIGINT or `ctl stop`; returns the exit status. The host
 * is bound and not raised, and TAKEN. say gets lines for people about the start, "ready" last; then
 * the command that waits for a daemon is told. */
int mm_master_serve(struct mm_host *, struct mm_say say, struct mm_detached *);

#endif
