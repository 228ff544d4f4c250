/* embed/beat.h -- what this process shows of itself in its row of the census: that its loop turns, and what it is at.
 * Whoever reads the census, the master or `moonmilter ctl`, draws the conclusions. */
#ifndef MM_EMBED_BEAT_H
#define MM_EMBED_BEAT_H

#include "base/census.h"
#include "moonmilter.h"

/* The host has a worker. The beat alone keeps no loop running. False: out of memory. */
bool mm_host_begin_beating(struct mm_host *);
void mm_host_end_beating(struct mm_host *);             /* not begun: nothing happens */
/* Shows this state, and the generation that serves. */
void mm_host_show_state(const struct mm_host *, enum mm_census_state state);

#endif
