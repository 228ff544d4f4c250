/* process/measure.h -- a profile of this process as a client has asked for it: begun now, written to a listing
 * (channel.h) when its time is over. One at a time; the caller sees to that. */
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

/* done is called once a begin that is not dropped; the listing is BORROWED, -1: none could be had. */
void mm_measure_init(struct mm_measure *, struct mm_host *, void (*done)(void *self, int listing_fd), void *self);
/* Takes the place of one that runs. */
void mm_measure_begin(struct mm_measure *, const struct mm_profile_request *);
/* Nothing of it remains. Not running: nothing happens. */
void mm_measure_drop(struct mm_measure *);

#endif
