#include "base/census.h"

#include <string.h>
#include <sys/mman.h>

static size_t size_of(unsigned row_count)
{
	return sizeof(struct mm_census_past) + row_count * sizeof(struct mm_census_row);
}

bool mm_census_make(struct mm_census *c, unsigned row_count)
{
	void *shared = mmap(NULL, size_of(row_count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return false;
	c->past = shared;
	c->rows = (void *)(c->past + 1);
	c->row_count = row_count;
	c->poison = mm_poison_new();
	return c->poison != NULL;
}

void mm_census_free(struct mm_census *c)
{
	if (c->rows != NULL)
		munmap(c->past, size_of(c->row_count));
	mm_poison_free(c->poison);
	*c = (struct mm_census){ 0 };
}

void mm_census_protect(const struct mm_census *c)
{
	mprotect(c->past, size_of(c->row_count), PROT_READ);
}

/* ---- counts that outlive their worker ---- */

/* ORDER CENSUS_COUNTS: fields of struct mm_census_row, mm_census_past and mm_census_totals. */
#define COUNTS(X) X(sessions_begun) X(messages) X(script_errors) X(log_lost) X(refused_unseen)

/* Moves the counts of a row that will be cleared. */
static void keep_counts(struct mm_census_past *past, struct mm_census_row *row)
{
	__atomic_fetch_add(&past->turn, 1, __ATOMIC_SEQ_CST);
#define X(field) mm_census_add(past->field, mm_census_get(row->field));
	COUNTS(X)
#undef X
	for (int end = 0; end < MM_CENSUS_END_COUNT; end++)
		mm_census_add(past->ended[end], mm_census_get(row->ended[end]));
	memset(row, 0, sizeof *row);
	__atomic_fetch_add(&past->turn, 1, __ATOMIC_SEQ_CST);
}

static void add_up(const struct mm_census *c, struct mm_census_totals *t)
{
#define X(field) t->field = mm_census_get(c->past->field);
	COUNTS(X)
#undef X
	for (int end = 0; end < MM_CENSUS_END_COUNT; end++)
		t->ended[end] = mm_census_get(c->past->ended[end]);
	for (unsigned i = 0; i < c->row_count; i++) {
		const struct mm_census_row *row = &c->rows[i];
		uint32_t state = mm_census_get(row->state), generation = mm_census_get(row->generation);
#define X(field) t->field += mm_census_get(row->field);
		COUNTS(X)
		for (int end = 0; end < MM_CENSUS_END_COUNT; end++)
			t->ended[end] += mm_census_get(row->ended[end]);
		if (state != MM_CENSUS_SERVING && state != MM_CENSUS_DRAINING)
			continue;
		X(sessions) X(older_sessions) X(lua_bytes) X(held_bytes)
#undef X
		t->workers++;
		t->generation = generation > t->generation ? generation : t->generation;
	}
}

void mm_census_add_up(const struct mm_census *c, struct mm_census_totals *t)
{
	for (int tries = 0; tries < 1000; tries++) {    /* the master moves counts in less than a microsecond */
		uint32_t turn = __atomic_load_n(&c->past->turn, __ATOMIC_SEQ_CST);
		*t = (struct mm_census_totals){ 0 };
		add_up(c, t);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (turn % 2 == 0 && turn == __atomic_load_n(&c->past->turn, __ATOMIC_SEQ_CST))
			return;
	}
}

/* ---- rows ---- */

struct mm_census_row *mm_census_take(struct mm_census *c, unsigned slot)
{
	struct mm_census_row *row = &c->rows[slot];
	keep_counts(c->past, row);
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

const char *mm_census_end_name(enum mm_census_end end)
{
	static const char *const names[] = { "continue", "accept", "reject", "tempfail", "discard", "aborted" };
	return names[end];
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
