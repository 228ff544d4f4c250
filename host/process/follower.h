/* process/follower.h -- the life of a worker process: a host that does what its master's notes say (channel.h). When
 * the master is gone, it only lets its sessions finish. */
#ifndef MM_PROCESS_FOLLOWER_H
#define MM_PROCESS_FOLLOWER_H

#include "embed/host.h"

/* Called in the child, right after the fork. The host is bound and not raised; link is the worker's end of the channel,
 * TAKEN. master is the process that we must not outlive. Returns the exit status at the end. */
int mm_follow(struct mm_host *, struct mm_census *, struct mm_census_row *, int channel, int master);

#endif
