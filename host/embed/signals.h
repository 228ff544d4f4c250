/* embed/signals.h -- what signals ask of a host: SIGTERM and SIGINT to stop, SIGHUP to reload, SIGUSR1 to reopen its
 * log. One host of a process watches them; a worker leaves SIGHUP and SIGINT to its master. */
#ifndef MM_EMBED_SIGNALS_H
#define MM_EMBED_SIGNALS_H

#include "base/fault.h"
#include "moonmilter.h"

/* On a loop that was handed in, another copy of libev delivers the signals that ours catches, and knows nothing of our
 * watchers (each copy has a table of its own). There our own handlers take them and wake the loop (embed/wake.h).
 * Also ignores SIGPIPE. The watchers alone keep no loop running. False: another host of the process has
 * the signals, or out of memory. */
bool mm_host_watch_signals(struct mm_host *, struct mm_fault *why);
void mm_host_ignore_signals(struct mm_host *);          /* does nothing when not watching */

#endif
