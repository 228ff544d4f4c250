#include "state/bucket.h"

#include "state/lock.h"

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Seconds since 1970 in a double are exact to a quarter of a microsecond: rounding must not refuse the last unit. */
#define ROUNDING   1e-6
#define WAYS       8u                   /* places that a key may have */
#define EACH_TURN  4096u                /* slots that are looked at with the lock held */

/* ---- one bucket ---- */

/* The time that is missing to a full bucket. A clock that was put back must not lock anybody out: a bucket is never
 * emptier than empty. */
static double missing_of(const struct mm_bucket *b, double full_at)
{
	return fmin(fmax(full_at - b->now, 0), b->capacity * b->interval);
}

void mm_bucket_take(struct mm_bucket *b, double *full_at, bool *was_crossed)
{
	double whole = b->capacity * b->interval, missing = missing_of(b, *full_at);
	double wanted = missing + b->count * b->interval;
	/* half full again: what comes now is another crossing */
	*was_crossed = *was_crossed && missing > whole / 2;
	b->ok = wanted <= whole + ROUNDING;
	b->crossed = !b->ok && !*was_crossed;
	b->retry_after = b->ok ? 0 : b->count > b->capacity ? INFINITY : wanted - whole;
	double left = b->ok && !b->looks ? fmax(wanted, 0) : missing;
	b->remaining = floor((whole - left + ROUNDING) / b->interval);
	if (b->looks)
		return;
	*full_at = b->now + left;
	*was_crossed = *was_crossed || b->crossed;
}

/* ---- the table: sets of WAYS slots, chosen by the hash of the key ---- */

struct slot {
	uint64_t hash;                  /* 0: free. Written after the rest, so that a slot is whole or free */
	double   full_at;
	uint16_t key_size;
	uint8_t  crossed;
	char     key[MM_BUCKET_KEY_MAX];
};

struct mm_buckets {
	struct mm_lock *lock;           /* owned */
	struct slot    *slots;          /* borrowed from it */
};

struct mm_buckets *mm_buckets_open(const char *directory, const char *name, struct mm_fault *why)
{
	char path[4096];
	struct mm_buckets *all = calloc(1, sizeof *all);
	if (all == NULL || snprintf(path, sizeof path, "%s/%s.buckets", directory, name) >= (int)sizeof path) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "buckets %s: out of memory, or the path is too long", name);
		free(all);
		return NULL;
	}
	all->lock = mm_lock_open(path, MM_BUCKETS_MAX * sizeof(struct slot), why);
	if (all->lock != NULL) {
		all->slots = mm_lock_guarded(all->lock);
		return all;
	}
	free(all);
	return NULL;
}

void mm_buckets_close(struct mm_buckets *all)
{
	if (all == NULL)
		return;
	mm_lock_close(all->lock);
	free(all);
}

static bool is_of(const struct slot *s, uint64_t hash, struct mm_text key)
{
	return s->hash == hash && s->key_size == key.size && memcmp(s->key, key.bytes, key.size) == 0;
}

static struct slot *set_of(const struct mm_buckets *all, uint64_t hash)
{
	return &all->slots[hash % (MM_BUCKETS_MAX / WAYS) * WAYS];
}

/* The slot of a key; else NULL, and *room is a free one, or that of the bucket that is full first. */
static struct slot *find(const struct mm_buckets *all, uint64_t hash, struct mm_text key, double now,
	struct slot **room)
{
	struct slot *set = set_of(all, hash);
	*room = NULL;
	for (struct slot *s = set; s < set + WAYS; s++) {
		if (is_of(s, hash, key))
			return s;
		bool is_free = s->hash == 0 || s->full_at <= now;
		if (*room == NULL || (is_free && (*room)->hash != 0 && (*room)->full_at > now)
		    || (!is_free && (*room)->hash != 0 && (*room)->full_at > s->full_at))
			*room = s;
	}
	return NULL;
}

static void make(struct slot *s, uint64_t hash, struct mm_text key, double full_at, bool crossed)
{
	s->hash = 0;
	atomic_signal_fence(memory_order_seq_cst);      /* a process that is killed here leaves a free slot */
	s->full_at = full_at;
	s->crossed = crossed;
	s->key_size = (uint16_t)key.size;
	memcpy(s->key, key.bytes, key.size);
	atomic_signal_fence(memory_order_seq_cst);
	s->hash = hash;
}

bool mm_buckets_take(struct mm_buckets *all, struct mm_text key, struct mm_bucket *b)
{
	struct slot *room;
	uint64_t hash = mm_text_hash_mixed(key);
	if (!mm_lock_take(all->lock))
		return false;
	struct slot *s = find(all, hash, key, b->now, &room);
	double full_at = s != NULL ? s->full_at : 0;
	bool crossed = s != NULL && s->crossed;
	mm_bucket_take(b, &full_at, &crossed);
	if (s != NULL) {
		s->crossed = crossed;
		s->full_at = full_at;
	} else if (full_at > b->now) {
		make(room, hash, key, full_at, crossed);
	}
	mm_lock_give(all->lock);
	return true;
}

bool mm_buckets_fill(struct mm_buckets *all, struct mm_text key, double now, bool *was_there)
{
	struct slot *room;
	uint64_t hash = mm_text_hash_mixed(key);
	if (!mm_lock_take(all->lock))
		return false;
	struct slot *s = find(all, hash, key, now, &room);
	*was_there = s != NULL && s->full_at > now;
	if (s != NULL)
		s->hash = 0;
	mm_lock_give(all->lock);
	return true;
}

/* A size that is too large is a damaged file's. */
static bool begins_with(const struct slot *s, struct mm_text prefix)
{
	return s->key_size <= sizeof s->key && s->key_size >= prefix.size
		&& memcmp(s->key, prefix.bytes, prefix.size) == 0;
}

bool mm_buckets_each(struct mm_buckets *all, struct mm_text prefix, double now,
	void (*each)(void *self, struct mm_text key, double full_at, bool crossed), void *self)
{
	for (unsigned at = 0; at < MM_BUCKETS_MAX; at += EACH_TURN) {
		if (!mm_lock_take(all->lock))
			return false;
		for (struct slot *s = all->slots + at; s < all->slots + at + EACH_TURN; s++)
			if (s->hash != 0 && s->full_at > now && begins_with(s, prefix))
				each(self, (struct mm_text){ s->key, s->key_size }, s->full_at, s->crossed);
		mm_lock_give(all->lock);
	}
	return true;
}
