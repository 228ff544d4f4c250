/* base/watch.h -- is this descriptor ready? Opaque over libev, as clock.h is for time.
 * A watch is embedded in its owner and must be stopped before the owner is freed and BEFORE the descriptor is closed:
 * the kernel may reuse the number at once. One watch per descriptor is usual; two (one reading, one writing) work as
 * well. Knows no sockets: pipes and pidfds are watched in the same way. */
#ifndef MM_BASE_WATCH_H
#define MM_BASE_WATCH_H

#include "base/clock.h"

enum mm_readiness {
	MM_READABLE = 1,
	MM_WRITABLE = 2,
};

struct mm_watch {
	union {
		void  *align;
		double align_double;
		char   space[48];       /* an ev_io; watch.c checks the size */
	} watcher;
	struct mm_clock *clock;         /* borrowed: names the loop */
	/* ready: mm_readiness bits. A hang-up or an error on the descriptor sets all bits that are watched. */
	void           (*fire)(struct mm_watch *, int ready);
};

void mm_watch_init(struct mm_watch *, struct mm_clock *, void (*fire)(struct mm_watch *, int ready));
/* Fires at every turn of the loop in which the descriptor is ready, until stopped. Changes a running watch; setting the
 * same readiness again costs nothing. readiness 0 stops it. */
void mm_watch_start(struct mm_watch *, int descriptor, int readiness);
void mm_watch_stop(struct mm_watch *);                  /* not running: nothing happens */

#endif
