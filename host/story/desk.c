#include "story/desk.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RATE_AFTER 0.001        /* seconds of measuring that a rate of ticks needs */

struct mm_desk {
	struct mm_history *history;             /* borrowed */
	unsigned           writer;
	uint32_t           serial, pid;
	struct mm_story   *places;              /* borrowed: open_max of them */
	double             began_at;            /* mm_clock_real() */
	uint64_t           began_ticks;
	double             us_per_tick;
	uint32_t           free_count;
	uint16_t           free[MM_HISTORY_OPEN_MAX];   /* the last one is taken next: its memory is at hand */
};

struct mm_desk *mm_desk_new(struct mm_history *history, unsigned writer)
{
	if (writer < 1 || writer > history->head->writers)
		return NULL;
	struct mm_desk *d = calloc(1, sizeof *d);
	if (d == NULL)
		return NULL;
	d->history = history;
	d->writer = writer;
	d->pid = (uint32_t)getpid();
	d->places = history->open + (size_t)(writer - 1) * history->head->open_max;
	d->began_at = mm_clock_real();
	d->began_ticks = mm_clock_ticks();
	d->us_per_tick = 1e-3;
	while (d->free_count < MM_HISTORY_OPEN_MAX) {
		d->free[d->free_count] = (uint16_t)(MM_HISTORY_OPEN_MAX - 1 - d->free_count);
		d->free_count++;
	}
	return d;
}

void mm_desk_free(struct mm_desk *d)
{
	free(d);
}

static void measure_ticks(struct mm_desk *d)
{
	double seconds = mm_clock_real() - d->began_at;
	uint64_t ticks = mm_clock_ticks() - d->began_ticks;
	if (seconds > RATE_AFTER && ticks > 0)
		d->us_per_tick = seconds * 1e6 / (double)ticks;
}

struct mm_story *mm_desk_take(struct mm_desk *d)
{
	if (d->free_count == 0) {
		__atomic_add_fetch(&d->history->head->untold, 1, __ATOMIC_RELAXED);
		return NULL;
	}
	if (d->serial % 256 == 0)               /* more rarely than messages come, and soon after the start */
		measure_ticks(d);
	struct mm_story *s = &d->places[d->free[--d->free_count]];
	memset(s, 0, offsetof(struct mm_story, items));
	s->serial = ++d->serial;
	s->pid = d->pid;
	s->redact = (uint8_t)d->history->head->redact;
	s->joined = MM_STORY_TASK;
	s->us_per_tick = d->us_per_tick;
	s->began_at = mm_clock_wall();
	s->began_ticks = mm_clock_ticks();
	__atomic_store_n(&s->owner, d->writer, __ATOMIC_RELEASE);
	return s;
}

void mm_desk_drop(struct mm_desk *d, struct mm_story *s)
{
	__atomic_store_n(&s->owner, 0, __ATOMIC_RELEASE);
	d->free[d->free_count++] = (uint16_t)(s - d->places);
}

void mm_desk_tell(struct mm_desk *d, struct mm_story *s)
{
	/* so much cheaper than asking a clock again */
	s->ended_at = s->began_at + (double)(mm_clock_ticks() - s->began_ticks) * s->us_per_tick / 1e6;
	mm_history_tell(d->history, s, d->writer);
	mm_desk_drop(d, s);
}
