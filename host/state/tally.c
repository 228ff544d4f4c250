#include "state/tally.h"

#include "state/lock.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define WAYS       8u                   /* places that a key may have */

struct slot {
	uint64_t hash;                  /* 0: free. Written after the rest, so that a slot is whole or free */
	double   full_at;               /* seconds since 1970: the server's answer and what passed here since */
	double   interval, capacity;
	double   count;                 /* not told yet */
	uint8_t  key_size;
	bool     is_listed;             /* in the list of those to be told */
	bool     is_refused;            /* since the last exchange */
	bool     is_first;              /* the server said so, and no refusal here has reported it */
	bool     is_down;
	char     key[MM_TALLY_KEY_MAX];
};

_Static_assert(MM_TALLY_KEY_MAX <= UINT8_MAX, "the size of a key");

/* What the lock guards. Written by any process; a number that makes no sense is a damaged file's. */
struct table {
	int64_t     flusher;            /* process id; 0: none */
	double      flusher_until;      /* monotonic */
	double      untold_since;       /* monotonic; 0: all is told */
	bool        is_down;
	uint32_t    first, listed;      /* of the list, a ring: slots that have something to tell */
	uint32_t    list[MM_TALLY_MAX];
	struct slot slots[MM_TALLY_MAX];
};

struct mm_tally {
	struct mm_lock *lock;           /* owned */
	struct table   *table;          /* borrowed from it */
};

struct mm_tally *mm_tally_open(const char *directory, const char *name, struct mm_fault *why)
{
	char path[4096];
	struct mm_tally *t = calloc(1, sizeof *t);
	if (t == NULL || snprintf(path, sizeof path, "%s/%s.tally", directory, name) >= (int)sizeof path) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "tally %s: out of memory, or the path is too long", name);
		free(t);
		return NULL;
	}
	t->lock = mm_lock_open(path, sizeof(struct table), why);
	if (t->lock != NULL) {
		t->table = mm_lock_guarded(t->lock);
		return t;
	}
	free(t);
	return NULL;
}

void mm_tally_close(struct mm_tally *t)
{
	if (t == NULL)
		return;
	mm_lock_close(t->lock);
	free(t);
}

/* ---- slots: sets of WAYS, chosen by the hash of the key ---- */

/* What is forgotten first: nothing, then what is told, then what is full first. */
static bool goes_before(const struct slot *a, const struct slot *b)
{
	if (a->hash == 0 || b->hash == 0)
		return a->hash == 0 && b->hash != 0;
	return a->is_listed != b->is_listed ? b->is_listed : a->full_at < b->full_at;
}

/* The slot of a key; else NULL, and *room is the one that it may have. */
static struct slot *find(struct table *t, uint64_t hash, struct mm_text key, struct slot **room)
{
	struct slot *set = &t->slots[hash % (MM_TALLY_MAX / WAYS) * WAYS];
	*room = set;
	for (struct slot *s = set; s < set + WAYS; s++) {
		if (s->hash == hash && s->key_size == key.size && memcmp(s->key, key.bytes, key.size) == 0)
			return s;
		if (goes_before(s, *room))
			*room = s;
	}
	return NULL;
}

/* A slot that is in the list stays there, for another key. */
static struct slot *make(struct slot *s, uint64_t hash, struct mm_text key)
{
	bool is_listed = s->is_listed;
	s->hash = 0;
	atomic_signal_fence(memory_order_seq_cst);      /* a process that is killed here leaves a free slot */
	*s = (struct slot){ .key_size = (uint8_t)key.size, .is_listed = is_listed };
	memcpy(s->key, key.bytes, key.size);
	atomic_signal_fence(memory_order_seq_cst);
	s->hash = hash;
	return s;
}

static void list(struct table *t, struct slot *s)
{
	if (s->is_listed || t->listed >= MM_TALLY_MAX)
		return;
	t->list[(t->first + t->listed) % MM_TALLY_MAX] = (uint32_t)(s - t->slots);
	atomic_signal_fence(memory_order_seq_cst);      /* killed here: listed twice, which does no harm */
	t->listed++;
	s->is_listed = true;
}

/* ---- taking ---- */

static void note(struct table *t, struct slot *s, const struct mm_bucket *b, double time)
{
	s->interval = b->interval;
	s->capacity = b->capacity;
	if (b->ok)
		s->count += b->count;
	else
		s->is_refused = true;
	if (!b->ok)
		s->is_first = false;
	list(t, s);
	if (t->untold_since == 0)
		t->untold_since = time;
}

static bool is_stalled(const struct table *t, double time, double patience)
{
	return t->untold_since != 0 && (time - t->untold_since > patience || time < t->untold_since);
}

static enum mm_tally_result take(struct table *t, struct mm_text key, struct mm_bucket *b, double time, double patience)
{
	uint64_t hash = mm_text_hash_mixed(key);
	struct slot *room, *s = find(t, hash, key, &room);
	if (t->is_down || is_stalled(t, time, patience) || (s != NULL && s->is_down))
		return MM_TALLY_DOWN;
	double full_at = s != NULL ? s->full_at : 0;
	bool crossed = false, is_first = s != NULL && s->is_first;
	mm_bucket_take(b, &full_at, &crossed);
	b->crossed = !b->ok && is_first;
	if (b->looks)
		return MM_TALLY_DONE;
	s = s != NULL ? s : make(room, hash, key);
	s->full_at = full_at;
	note(t, s, b, time);
	return MM_TALLY_DONE;
}

enum mm_tally_result mm_tally_take(struct mm_tally *t, struct mm_text key, struct mm_bucket *b, double time,
	double patience)
{
	if (!mm_lock_take(t->lock))
		return MM_TALLY_BUSY;
	enum mm_tally_result result = take(t->table, key, b, time, patience);
	mm_lock_give(t->lock);
	return result;
}

bool mm_tally_forget(struct mm_tally *t, struct mm_text key)
{
	struct slot *room;
	if (!mm_lock_take(t->lock))
		return false;
	struct slot *s = find(t->table, mm_text_hash_mixed(key), key, &room);
	if (s != NULL)
		s->hash = 0;
	mm_lock_give(t->lock);
	return true;
}

/* ---- the flusher ---- */

static bool is_free(const struct table *t, double time, double seconds)
{
	return t->flusher == getpid() || t->flusher <= 0 || time > t->flusher_until
		|| t->flusher_until > time + seconds            /* from before the system was started */
		|| (kill((pid_t)t->flusher, 0) != 0 && errno == ESRCH);
}

bool mm_tally_lead(struct mm_tally *t, double time, double seconds)
{
	if (!mm_lock_take(t->lock))
		return false;
	bool leads = is_free(t->table, time, seconds);
	if (leads) {
		t->table->flusher = getpid();
		t->table->flusher_until = time + seconds;
	}
	mm_lock_give(t->lock);
	return leads;
}

static struct mm_tally_count count_of(const struct slot *s)
{
	struct mm_tally_count c = {
		.key_size = s->key_size <= MM_TALLY_KEY_MAX ? s->key_size : 0, .interval = s->interval,
		.capacity = s->capacity, .count = s->count, .is_refused = s->is_refused,
	};
	memcpy(c.key, s->key, c.key_size);
	return c;
}

/* The first slot of the list, which has one. */
static struct slot *next_listed(struct table *t)
{
	struct slot *s = &t->slots[t->list[t->first % MM_TALLY_MAX] % MM_TALLY_MAX];
	t->first = (t->first + 1) % MM_TALLY_MAX;
	t->listed--;
	return s;
}

unsigned mm_tally_drain(struct mm_tally *t, struct mm_tally_count *to, unsigned most)
{
	unsigned count = 0;
	if (!mm_lock_take(t->lock))
		return 0;
	if (t->table->listed > MM_TALLY_MAX)
		t->table->listed = 0;
	while (t->table->listed > 0 && count < most) {
		struct slot *s = next_listed(t->table);
		if (s->hash != 0 && s->is_listed)
			to[count++] = count_of(s);
		s->count = 0;
		s->is_refused = s->is_listed = false;
	}
	mm_lock_give(t->lock);
	return count;
}

void mm_tally_settle(struct mm_tally *t, struct mm_text key, double now, double missing, bool is_first)
{
	struct slot *room, *s;
	if (!mm_lock_take(t->lock))
		return;
	s = find(t->table, mm_text_hash_mixed(key), key, &room);
	if (s != NULL) {
		s->full_at = now + fmax(missing + s->count * s->interval, 0);
		s->is_first = s->is_first || is_first;
		s->is_down = false;
	}
	mm_lock_give(t->lock);
}

void mm_tally_restore(struct mm_tally *t, const struct mm_tally_count *c)
{
	struct slot *room, *s;
	struct mm_text key = { c->key, c->key_size };
	if (!mm_lock_take(t->lock))
		return;
	s = find(t->table, mm_text_hash_mixed(key), key, &room);
	if (s != NULL) {
		s->count += c->count;
		s->is_refused = s->is_refused || c->is_refused;
		s->is_down = true;
		list(t->table, s);
	}
	mm_lock_give(t->lock);
}

void mm_tally_end_round(struct mm_tally *t, double time, bool is_down)
{
	if (!mm_lock_take(t->lock))
		return;
	t->table->is_down = is_down;
	t->table->untold_since = t->table->listed > 0 ? time : 0;
	mm_lock_give(t->lock);
}

bool mm_tally_is_waiting(struct mm_tally *t)
{
	return __atomic_load_n(&t->table->listed, __ATOMIC_RELAXED) > 0;
}
