/* state/event_queue.h -- the events of a sink (bind/event.c) as whoever reports them sees their store: how many wait,
 * since when, and what went wrong last. Keys are "q:ID" of an event that waits, "f:ID" of one that its receiver does
 * not take, and "error". An id begins with the time of its event: 14 hex digits of microseconds since 1970. */
#ifndef MM_STATE_EVENT_QUEUE_H
#define MM_STATE_EVENT_QUEUE_H

#include "state/store.h"

#define MM_EVENT_STORE "event."         /* what the name of such a store begins with; then the name of the sink */

struct mm_event_queue {
	uint64_t       waiting, aside;
	uint64_t       bytes;           /* of the whole table */
	double         oldest;          /* seconds since 1970, of the first that waits; 0: none does */
	struct mm_text error;           /* a packed value (packed.h), BORROWED until the next call; size 0: none */
};

enum mm_store_result mm_event_queue_read(struct mm_store *, double now, struct mm_event_queue *);

#endif
