/* embed/wake.h -- how other threads and signal handlers reach the loop of a host, and how another loop waits for it:
 * mm_host_wake(), mm_host_fd() and mm_host_timeout() of moonmilter.h. */
#ifndef MM_EMBED_WAKE_H
#define MM_EMBED_WAKE_H

#include "moonmilter.h"

/* The watcher alone keeps no loop running. False: out of descriptors. */
bool mm_host_listen_for_wakes(struct mm_host *);
void mm_host_end_wakes(struct mm_host *);               /* does nothing when not listening */

#endif
