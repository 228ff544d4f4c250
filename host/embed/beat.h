/* embed/beat.h -- this process's row of the census: shows that its loop turns, and what it is doing. The readers of the
 * census, the master and `moonmilter ctl`, draw the conclusions. */
#ifndef MM_EMBED_BEAT_H
#define MM_EMBED_BEAT_H

#include "base/census.h"
#include "moonmilter.h"

/* The host has a worker. The beat alone keeps no loop running. False: out of memory. */
bool mm_host_begin_beating(struct mm_host *);
void mm_host_end_beating(struct mm_host *);             /* does nothing when not begun */
/* Shows this state, and the generation that serves. */
void mm_host_show_state(const struct mm_host *, enum mm_census_state state);

#endif
