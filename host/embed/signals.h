/* embed/signals.h -- what signals ask of a host: SIGTERM and SIGINT to stop, SIGHUP to reload, SIGUSR1 to open its log
 * anew. One host of a process watches them; a worker leaves SIGHUP and SIGINT to its master. */
#ifndef MM_EMBED_SIGNALS_H
#define MM_EMBED_SIGNALS_H

#include "moonmilter.h"

/* Ignores SIGPIPE, too. The watchers alone keep no loop running. False: out of memory. */
bool mm_host_watch_signals(struct mm_host *);
void mm_host_ignore_signals(struct mm_host *);          /* not watched: nothing happens */

#endif
