/* process/measure.h -- a profile of this process that a client asked for: begins now, and is written to a listing
 * (channel.h) when its time is over. The caller begins only one at a time. */
#ifndef MM_PROCESS_MEASURE_H
#define MM_PROCESS_MEASURE_H

#include "process/control.h"
#include "embed/host.h"

struct mm_measure {
	struct mm_host        *host;            /* borrowed */
	struct mm_timer        timer;
	struct mm_profile_request request;
	bool                   is_running;
	void                 (*done)(void *self, int listing_fd);
	void                  *self;
};

/* done is called once for each profile that is not dropped. The listing is BORROWED; -1: it could not be created. */
void mm_measure_init(struct mm_measure *, struct mm_host *, void (*done)(void *self, int listing_fd), void *self);
/* Replaces a profile that runs. */
void mm_measure_begin(struct mm_measure *, const struct mm_profile_request *);
/* Drops the profile. Does nothing when none runs. */
void mm_measure_drop(struct mm_measure *);

#endif
