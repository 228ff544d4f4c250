#include "story/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SLOT_TRIES  8           /* slots that a writer looks at when others are at them */
#define SWEPT_EACH  512u        /* slots of one sweep */

/* ---- life ---- */

size_t mm_history_ring_at(const struct mm_history_head *h)
{
	return MM_HISTORY_HEAD + (size_t)h->writers * h->open_max * sizeof(struct mm_story);
}

static struct mm_history *give_up(struct mm_history *h, struct mm_fault *why)
{
	mm_fault_set(why, MM_FAULT_RESOURCE, "history: no memory for the last messages: %s; set history to a smaller "
		"number, or to 0 for none", strerror(errno));
	mm_history_free(h);
	return NULL;
}

struct mm_history *mm_history_new(const struct mm_history_options *o, struct mm_fault *why)
{
	struct mm_history *h = calloc(1, sizeof *h);
	struct mm_history_head head = {
		.magic = MM_HISTORY_MAGIC, .story_size = sizeof(struct mm_story), .capacity = o->capacity,
		.writers = o->writers, .open_max = MM_HISTORY_OPEN_MAX, .retention = o->retention,
		.redact = o->redact,
	};
	if (h == NULL)
		return give_up(h, why);
	h->size = mm_history_ring_at(&head) + (size_t)o->capacity * sizeof *h->slots;
	h->fd = memfd_create("moonmilter history", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (h->fd < 0 || ftruncate(h->fd, (off_t)h->size) != 0)
		return give_up(h, why);
	void *memory = mmap(NULL, h->size, PROT_READ | PROT_WRITE, MAP_SHARED, h->fd, 0);
	if (memory == MAP_FAILED)
		return give_up(h, why);
	h->head = memory;
	h->open = (void *)((char *)memory + MM_HISTORY_HEAD);
	h->slots = (void *)((char *)memory + mm_history_ring_at(&head));
	*h->head = head;
	/* An old kernel knows no such seal: only root and our own user get the file. */
	fcntl(h->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
	return h;
}

void mm_history_free(struct mm_history *h)
{
	if (h == NULL)
		return;
	if (h->head != NULL)
		munmap(h->head, h->size);
	if (h->fd >= 0)
		close(h->fd);
	free(h);
}

/* ---- writing ---- */

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Makes the slot the writer's, if no other is at it. */
static bool seize(struct mm_history_slot *slot, uint64_t ticket, unsigned writer)
{
	uint64_t state = load(&slot->state);
	return (state & 0xff) == 0 && __atomic_compare_exchange_n(&slot->state, &state, ticket << 8 | writer, false,
		__ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void release(struct mm_history_slot *slot, uint64_t ticket)
{
	__atomic_store_n(&slot->state, ticket << 8, __ATOMIC_RELEASE);
}

void mm_history_tell(struct mm_history *h, struct mm_story *s, unsigned writer)
{
	for (int i = 0; i < SLOT_TRIES; i++) {
		uint64_t ticket = __atomic_add_fetch(&h->head->tickets, 1, __ATOMIC_RELAXED);
		struct mm_history_slot *slot = &h->slots[ticket % h->head->capacity];
		if (!seize(slot, ticket, writer))
			continue;
		__atomic_store_n(&s->ticket, ticket, __ATOMIC_RELEASE);
		memcpy(&slot->story, s, offsetof(struct mm_story, items) + s->used);
		release(slot, ticket);
		return;
	}
	__atomic_add_fetch(&h->head->untold, 1, __ATOMIC_RELAXED);
}

/* The writer died when it had written the story, and before it gave the place back. */
static bool is_told(const struct mm_history *h, const struct mm_story *s)
{
	uint64_t ticket = load(&s->ticket);
	return ticket != 0 && load(&h->slots[ticket % h->head->capacity].state) == ticket << 8;
}

/* Slots that have been used so far: looking at others would claim their memory. */
static uint32_t used_slots(const struct mm_history *h)
{
	uint64_t tickets = load(&h->head->tickets);
	return tickets < h->head->capacity ? (uint32_t)tickets + 1 : h->head->capacity;
}

void mm_history_recover(struct mm_history *h, unsigned writer, double now)
{
	struct mm_story *open = h->open + (size_t)(writer - 1) * h->head->open_max;
	uint32_t slots = used_slots(h);
	for (uint32_t i = 0; i < slots; i++) {
		uint64_t state = load(&h->slots[i].state);
		if ((state & 0xff) == writer)
			__atomic_store_n(&h->slots[i].state, 0, __ATOMIC_RELEASE);
	}
	for (uint32_t i = 0; writer <= h->head->writers && i < h->head->open_max; i++) {
		struct mm_story *s = &open[i];
		if (s->serial == 0)
			break;          /* places are taken from the first on: no further one was ever in use */
		if (s->owner == 0)
			continue;
		mm_story_mend(s);       /* a worker may have been out of its mind */
		s->ended_at = now;
		double seconds = now - s->began_at;
		s->seconds_us = seconds > 0 && seconds < 4000 ? (uint32_t)(seconds * 1e6) : 0;
		s->is_unfinished = 1;
		if (s->has_message && !is_told(h, s))
			mm_history_tell(h, s, writer);
		s->owner = 0;
	}
}

void mm_history_sweep(struct mm_history *h, unsigned writer, double now)
{
	uint32_t slots = used_slots(h);
	for (unsigned n = 0; n < SWEPT_EACH && n < slots; n++) {
		struct mm_history_slot *slot = &h->slots[h->swept % slots];
		uint64_t state = load(&slot->state);
		h->swept = (h->swept + 1) % slots;
		if (state == 0 || (state & 0xff) != 0 || now - slot->story.ended_at < h->head->retention
		    || !seize(slot, state >> 8, writer))
			continue;
		memset(&slot->story, 0, sizeof slot->story);
		__atomic_store_n(&slot->state, 0, __ATOMIC_RELEASE);
	}
}
