#include "async/pool.h"

#include "base/list.h"

#include <stdlib.h>

struct idle {
	struct idle      *next, *previous;      /* the most recently used first */
	struct mm_pool   *pool;
	struct mm_stream *stream;               /* owned */
	unsigned          uses;
};

struct mm_pool {
	struct mm_pools *pools;
	struct mm_pool  *next, *previous;
	struct idle     *idle;                  /* owned list */
	unsigned         idle_count;
	unsigned         used_count;            /* places in use */
	unsigned         limit;                 /* 0: none */
	struct mm_pool_slot *queue, *queue_end;
	char             name[];
};

struct mm_pools {
	struct mm_clock *clock;                 /* borrowed */
	struct mm_pool  *first;                 /* owned list */
};

struct mm_pools *mm_pools_new(struct mm_clock *clock)
{
	struct mm_pools *pools = calloc(1, sizeof *pools);
	if (pools != NULL)
		pools->clock = clock;
	return pools;
}

static struct mm_pool *find(struct mm_pools *pools, const char *name)
{
	struct mm_pool *pool = pools->first;
	while (pool != NULL && strcmp(pool->name, name) != 0)
		pool = pool->next;
	return pool;
}

static struct mm_pool *find_or_make(struct mm_pools *pools, const char *name)
{
	struct mm_pool *pool = find(pools, name);
	if (pool != NULL)
		return pool;
	pool = calloc(1, sizeof *pool + strlen(name) + 1);
	if (pool == NULL)
		return NULL;
	strcpy(pool->name, name);
	pool->pools = pools;
	MM_LIST_PUSH(pools->first, pool);
	return pool;
}

/* Frees a pool without slots, idle connections and queue. */
static void forget_if_empty(struct mm_pool *pool)
{
	if (pool->idle != NULL || pool->used_count > 0 || pool->queue != NULL)
		return;
	MM_LIST_REMOVE(pool->pools->first, pool);
	free(pool);
}

/* ---- idle connections ---- */

static struct mm_stream *wake(struct idle *idle)
{
	struct mm_pool *pool = idle->pool;
	struct mm_stream *stream = idle->stream;
	MM_LIST_REMOVE(pool->idle, idle);
	pool->idle_count--;
	mm_stream_stop_reading(stream);
	free(idle);
	return stream;
}

/* The peer has sent something or closed, or the time is over. */
static void on_idle_ended(void *self, enum mm_stream_end end)
{
	struct idle *idle = self;
	struct mm_pool *pool = idle->pool;
	(void)end;
	mm_stream_free(wake(idle));
	forget_if_empty(pool);
}

void mm_pools_free(struct mm_pools *pools)
{
	if (pools == NULL)
		return;
	while (pools->first != NULL) {
		struct mm_pool *pool = pools->first;
		pools->first = pool->next;
		while (pool->idle != NULL)
			mm_stream_free(wake(pool->idle));
		free(pool);
	}
	free(pools);
}

static struct mm_stream *take_idle(struct mm_pool *pool, unsigned *uses)
{
	while (pool->idle != NULL) {
		*uses = pool->idle->uses;
		struct mm_stream *stream = wake(pool->idle);
		if (mm_stream_is_quiet(stream))
			return stream;
		mm_stream_free(stream);
	}
	return NULL;
}

/* ---- places ---- */

static void enqueue(struct mm_pool *pool, struct mm_pool_slot *slot)
{
	slot->is_queued = true;
	slot->next = NULL;
	slot->previous = pool->queue_end;
	if (pool->queue_end != NULL)
		pool->queue_end->next = slot;
	else
		pool->queue = slot;
	pool->queue_end = slot;
}

static void dequeue(struct mm_pool_slot *slot)
{
	struct mm_pool *pool = slot->pool;
	if (slot->next == NULL)
		pool->queue_end = slot->previous;
	MM_LIST_REMOVE(pool->queue, slot);
	slot->next = slot->previous = NULL;
	slot->is_queued = false;
}

static bool has_room(const struct mm_pool *pool)
{
	return pool->limit == 0 || pool->used_count + pool->idle_count < pool->limit;
}

/* Gives free connections and slots to the queue. */
static void serve_queue(struct mm_pool *pool)
{
	while (pool->queue != NULL) {
		unsigned uses = 0;
		struct mm_stream *stream = take_idle(pool, &uses);
		if (stream == NULL && !has_room(pool))
			return;
		struct mm_pool_slot *slot = pool->queue;
		dequeue(slot);
		pool->used_count++;
		slot->granted(slot, stream, uses);
	}
}

enum mm_pool_answer mm_pool_take(struct mm_pools *pools, const char *name, unsigned limit, struct mm_pool_slot *slot,
	struct mm_stream **stream, unsigned *uses)
{
	struct mm_pool *pool = find_or_make(pools, name);
	*stream = NULL;
	*uses = 0;
	if (pool == NULL)
		return MM_POOL_NO_MEMORY;
	pool->limit = limit;
	slot->pool = pool;
	if (pool->queue == NULL)
		*stream = take_idle(pool, uses);
	if (*stream == NULL && (pool->queue != NULL || !has_room(pool))) {
		enqueue(pool, slot);
		return MM_POOL_QUEUED;
	}
	pool->used_count++;
	return *stream != NULL ? MM_POOL_REUSED : MM_POOL_OPEN;
}

void mm_pool_slot_leave(struct mm_pool_slot *slot)
{
	struct mm_pool *pool = slot->pool;
	if (pool == NULL)
		return;
	if (slot->is_queued)
		dequeue(slot);
	else
		pool->used_count--;
	slot->pool = NULL;
	serve_queue(pool);
	forget_if_empty(pool);
}

bool mm_pool_give(struct mm_pools *pools, const char *name, struct mm_pool_slot *slot, struct mm_stream *stream,
	unsigned uses, double seconds, unsigned keep)
{
	struct mm_pool *pool = slot->pool != NULL ? slot->pool : find_or_make(pools, name);
	struct idle *idle = calloc(1, sizeof *idle);
	struct mm_stream_waiter waiter = { on_idle_ended, idle };
	struct mm_stream_times times = { -1, seconds };
	bool fits = pool != NULL && idle != NULL && mm_stream_is_quiet(stream)
		&& (keep == 0 || pool->idle_count < keep);
	if (!fits || mm_stream_await_readable(stream, times, waiter) != MM_STREAM_WAITING) {
		free(idle);
		if (pool != NULL)
			forget_if_empty(pool);
		return false;
	}
	idle->pool = pool;
	idle->stream = stream;
	idle->uses = uses + 1;
	MM_LIST_PUSH(pool->idle, idle);
	pool->idle_count++;
	mm_pool_slot_leave(slot);          /* its slot now belongs to the idle connection */
	return true;
}
