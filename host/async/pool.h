/* async/pool.h -- connections that rest between uses, by name, and the limit for each name.
 * A slot is one connection of a pool, in use or idle; a pool with a limit has only so many slots, and further users
 * queue. An idle connection is dropped when anything happens on it (the peer closes, or sends something unasked) or
 * when it has been idle too long. The most recently used one is handed out first, so spare ones grow old.
 * Ownership: pools own the idle streams. Knows no protocol: a user who gives a connection back vouches that
 * it is at a clean point. */
#ifndef MM_ASYNC_POOL_H
#define MM_ASYNC_POOL_H

#include "async/stream.h"

struct mm_pools;
struct mm_pool;

/* Embedded in the user that has or wants a connection of a pool. */
struct mm_pool_slot {
	struct mm_pool  *pool;          /* NULL: none */
	struct mm_pool_slot *next, *previous;       /* in the queue */
	bool             is_queued;
	/* A queued user gets a slot: stream is TAKEN, or NULL: open one. Called while another
	 * user gives a slot back. */
	void           (*granted)(struct mm_pool_slot *, struct mm_stream *stream, unsigned uses);
};

enum mm_pool_answer {
	MM_POOL_REUSED,         /* a stream comes with it */
	MM_POOL_OPEN,           /* the slot is yours: open one */
	MM_POOL_QUEUED,         /* granted will be called */
	MM_POOL_NO_MEMORY,
};

struct mm_pools *mm_pools_new(struct mm_clock *);       /* NULL: out of memory */
void mm_pools_free(struct mm_pools *);                  /* after the last slot has been left; NULL is fine */

/* limit: the most connections of this name, 0: no limit. uses: how often the stream was used before. */
enum mm_pool_answer mm_pool_take(struct mm_pools *, const char *name, unsigned limit, struct mm_pool_slot *,
	struct mm_stream **stream, unsigned *uses);
/* Gives up the slot or the place in the queue; the next in the queue gets the slot. No slot: nothing happens. */
void mm_pool_slot_leave(struct mm_pool_slot *);
/* TAKES the stream when it returns true: the stream stays idle for at most `seconds`, one of at most `keep` (0: no
 * limit) of this name. Its slot, if it has one, stays with it; the name is then that of the slot. False: the stream
 * is not fit for reuse. */
bool mm_pool_give(struct mm_pools *, const char *name, struct mm_pool_slot *, struct mm_stream *stream, unsigned uses,
	double seconds, unsigned keep);

#endif
