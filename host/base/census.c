#include "base/census.h"

#include <string.h>
#include <sys/mman.h>

bool mm_census_make(struct mm_census *c, unsigned row_count)
{
	void *rows = mmap(NULL, row_count * sizeof *c->rows, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (rows == MAP_FAILED)
		return false;
	c->rows = rows;
	c->row_count = row_count;
	c->poison = mm_poison_new();
	return c->poison != NULL;
}

void mm_census_free(struct mm_census *c)
{
	if (c->rows != NULL)
		munmap(c->rows, c->row_count * sizeof *c->rows);
	mm_poison_free(c->poison);
	*c = (struct mm_census){ 0 };
}

struct mm_census_row *mm_census_take(struct mm_census *c, unsigned slot)
{
	struct mm_census_row *row = &c->rows[slot];
	memset(row, 0, sizeof *row);
	mm_census_set(row->state, MM_CENSUS_LOADING);
	return row;
}

void mm_census_give_back(struct mm_census_row *row)
{
	mm_census_set(row->state, MM_CENSUS_FREE);
}

struct mm_whereabouts mm_whereabouts_read(const struct mm_census_row *row)
{
	struct mm_whereabouts at = row->whereabouts;
	at.session[sizeof at.session - 1] = '\0';
	at.queue_id[sizeof at.queue_id - 1] = '\0';
	at.handler[sizeof at.handler - 1] = '\0';
	at.script[sizeof at.script - 1] = '\0';
	at.sender[sizeof at.sender - 1] = '\0';
	if (at.is_set == 0)
		at = (struct mm_whereabouts){ 0 };
	return at;
}

const char *mm_census_state_name(enum mm_census_state state)
{
	static const char *const names[] = { "free", "loading", "serving", "draining" };        /* ORDER CENSUS_STATE */
	return state <= MM_CENSUS_DRAINING ? names[state] : "?";
}

/* The mean, rounded up, and an eighth more: with few sessions no worker gets two ahead of the others; with many, a
 * worker need not stop and resume listening at every connection. The worker with the fewest may always accept, so every
 * connection is taken unless that worker hangs; listener.c handles that case. */
bool mm_census_is_my_turn(const struct mm_census *c, const struct mm_census_row *mine)
{
	uint64_t total = 0, count = 0;
	for (unsigned i = 0; i < c->row_count; i++) {
		const struct mm_census_row *row = &c->rows[i];
		if (mm_census_get(row->state) != MM_CENSUS_SERVING)
			continue;
		total += mm_census_get(row->sessions);
		count++;
	}
	if (count < 2)
		return true;
	return mm_census_get(mine->sessions) < (total + count) / count + total / (8 * count);
}
