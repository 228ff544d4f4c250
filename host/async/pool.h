/* async/pool.h -- connections that rest between uses, by name, and how many a name may have.
 * A slot stands for one connection of a pool, in use or idle; a pool with a limit has only so many, and who comes
 * later queues. An idle connection on which anything happens (the peer closes, or speaks out of turn) is dropped, as is
 * one that has idled too long. The most recently used goes out first: what is not needed grows old and goes.
 * Ownership: pools own the idle streams. Knows no protocol: who gives a connection back says it is at a clean point. */
#ifndef MM_ASYNC_POOL_H
#define MM_ASYNC_POOL_H

#include "async/stream.h"

struct mm_pools;
struct mm_pool;

/* Embedded in what has or wants a connection of a pool. */
struct mm_pool_slot {
	struct mm_pool  *pool;          /* NULL: none */
	struct mm_pool_slot *next, *previous;       /* in the queue */
	bool             is_queued;
	/* From the queue to a slot: stream is TAKEN, or NULL: open one. Called while another
	 * user gives a slot back. */
	void           (*granted)(struct mm_pool_slot *, struct mm_stream *stream, unsigned uses);
};

enum mm_pool_answer {
	MM_POOL_REUSED,         /* a stream is given */
	MM_POOL_OPEN,           /* the slot is yours: open one */
	MM_POOL_QUEUED,         /* granted will be called */
	MM_POOL_NO_MEMORY,
};

struct mm_pools *mm_pools_new(struct mm_clock *);       /* NULL: out of memory */
void mm_pools_free(struct mm_pools *);                  /* after the last slot was left; NULL is fine */

/* limit: connections of this name at most, 0: no limit. uses: how often the stream was used before. */
enum mm_pool_answer mm_pool_take(struct mm_pools *, const char *name, unsigned limit, struct mm_pool_slot *,
	struct mm_stream **stream, unsigned *uses);
/* Gives the slot up, or the turn in the queue; the next in the queue gets it. No slot: nothing happens. */
void mm_pool_slot_leave(struct mm_pool_slot *);
/* TAKES the stream when it returns true: it is idle for seconds at most, one of `keep` (0: no limit) of this name. Its
 * slot, if it has one, stays with it; the name is that of the slot then. False: it is not fit to be reused. */
bool mm_pool_give(struct mm_pools *, const char *name, struct mm_pool_slot *, struct mm_stream *stream, unsigned uses,
	double seconds, unsigned keep);

#endif
