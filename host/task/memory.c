/* task/memory.c -- see task/memory.h.
 *
 * (a) LuaJIT gives up at the first failed allocation, without a collection: garbage counts. So there is a collection
 *     after every failure, and the soft limit is well below the hard one.
 * (b) LuaJIT 2.1.0-beta3 crashes now and then when an allocation fails in compiled code (a string that is doubled in a
 *     loop, in the fourth coroutine). So an allocation over the limit is granted, and the slice is ended like an
 *     endless loop (budget.h), at the next instruction. Only twice the limit is refused, which no sensible script
 *     needs.
 * (c) Its own allocator is wrapped, not replaced: realloc() in its place costs up to 40 % on allocation-heavy code. */
#include "task/memory.h"

#include "task/budget.h"

#include <lauxlib.h>
#include <lua.h>

#define GROWTH_TO_COLLECT 1.25          /* times what a full collection left, until the soft limit causes the next */
#define GROWTH_TO_REST    1.5           /* the same, until a cycle runs in idle time; LuaJIT itself begins one at 2 */
#define REST_FLOOR        256           /* KiB of growth below which no cycle is worth it */
#define STEP_SIZE         10            /* KiB of LUA_GCSTEP: some 15 us */
#define PAY_FROM          (16u << 10)   /* bytes of a string that pays for itself */

static const char over_text[] = "not enough memory: Lua has all that memory_hard gives this worker";

/* False: the allocation is refused. */
static bool is_given(struct mm_memory *m, size_t more)
{
	size_t wanted = m->worker->used + more;
	if (wanted <= m->hard)
		return true;
	m->was_refused = true;
	return wanted <= 2 * m->hard && mm_budget_strike(over_text);
}

static void *allocate(void *self, void *block, size_t old_size, size_t new_size)
{
	struct mm_memory *m = &((struct mm_generation *)self)->memory;
	struct mm_worker_memory *w = m->worker;
	if (new_size > old_size && m->is_enforced && !is_given(m, new_size - old_size))
		return NULL;
	void *fresh = m->allocate(m->allocate_self, block, old_size, new_size);
	if (fresh != NULL || new_size == 0) {
		w->used += new_size - old_size;
		m->used += new_size - old_size;
	}
	return fresh;
}

void mm_memory_watch(struct mm_generation *g)
{
	struct mm_memory *m = &g->memory;
	const struct mm_generation_settings *settings = &g->settings;
	m->worker = settings->memory != NULL ? settings->memory : &m->alone;
	m->hard = settings->memory_hard != 0 ? settings->memory_hard : SIZE_MAX / 4;
	m->soft = settings->memory_soft != 0 ? settings->memory_soft : m->hard / 2;
	m->allocate = lua_getallocf(g->L, &m->allocate_self);
	m->used = (size_t)lua_gc(g->L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(g->L, LUA_GCCOUNTB, 0);
	m->worker->used += m->used;
	lua_setallocf(g->L, allocate, g);
}

void mm_memory_unwatch(struct mm_generation *g)
{
	if (g->memory.allocate == NULL)
		return;
	lua_setallocf(g->L, g->memory.allocate, g->memory.allocate_self);       /* it frees its whole arena at once */
	g->memory.worker->used -= g->memory.used;
	g->memory.allocate = NULL;
}

bool mm_memory_begin(struct mm_generation *g)
{
	bool before = g->memory.is_enforced;
	g->memory.is_enforced = g->memory.allocate != NULL;
	return before;
}

/* Records the longest time that a collection has kept the loop from its work, for `moonmilter ctl status`. */
static void note_pause(const struct mm_generation *g, double seconds)
{
	struct mm_census_row *row = g->settings.row;
	uint32_t us = (uint32_t)(seconds * 1e6);
	if (row != NULL && us > mm_census_get(row->longest_collection_us))
		mm_census_set(row->longest_collection_us, us);
}

static void say_finalizer_failed(const struct mm_generation *g, lua_State *L, int index)
{
	mm_log_say(g->settings.log, MM_LEVEL_ERROR, "script_error", "a finalizer (__gc) failed: %s",
		lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "(no text)");
}

static int on_failed_finalizer(lua_State *L)
{
	say_finalizer_failed(mm_generation_of(L), L, 1);
	return 0;
}

void mm_memory_hear_finalizers(lua_State *L)
{
	lua_getglobal(L, "jit");
	lua_getfield(L, -1, "attach");
	lua_pushcfunction(L, on_failed_finalizer);
	lua_pushliteral(L, "errfin");
	lua_call(L, 2, 0);
	lua_pop(L, 1);
}

/* Collects in a protected call: finalizers are the script's, and the collector passes on their errors. */
static void collect_with(struct mm_generation *g, lua_CFunction how, void *self)
{
	if (mm_protected(g->L, how, self) == 0)
		return;
	say_finalizer_failed(g, g->L, -1);
	lua_pop(g->L, 1);
}

static int collect_all(lua_State *L)
{
	lua_gc(L, LUA_GCCOLLECT, 0);
	return 0;
}

/* All states of the worker share the limit, each collects when it has just run. */
static void collect(struct mm_generation *g)
{
	struct mm_memory *m = &g->memory;
	size_t before = m->worker->used;
	bool was_refused = m->was_refused;
	m->was_refused = false;
	double began = mm_clock_now();
	collect_with(g, collect_all, NULL);
	m->collect_at = (size_t)((double)m->worker->used * GROWTH_TO_COLLECT);
	m->worker->strikes = m->worker->used > m->soft ? m->worker->strikes + 1 : 0;
	struct mm_log_line line;
	mm_log_begin(&line, g->settings.log, was_refused ? MM_LEVEL_ERROR : MM_LEVEL_WARN, "memory");
	mm_log_string(&line, "limit", was_refused ? "memory_hard" : "memory_soft");
	mm_log_number(&line, "bytes_before", (long long)before);
	mm_log_number(&line, "bytes", (long long)m->worker->used);
	mm_log_seconds(&line, "seconds", mm_clock_now() - began);
	mm_log_end(&line);
	note_pause(g, mm_clock_now() - began);
}

void mm_memory_end(struct mm_generation *g, bool before)
{
	g->memory.is_enforced = before;
}

void mm_memory_settle(struct mm_task *t)
{
	if (mm_memory_is_settled(t->generation) || t->generation->memory.is_enforced)
		return;
	struct mm_task *ran = mm_budget_begin(t);       /* finalizers are the script's */
	collect(t->generation);
	mm_budget_end(ran);
}

/* ---- garbage ---- */

static bool has_grown(const struct mm_generation *g)
{
	return g->is_loaded && lua_gc(g->L, LUA_GCCOUNT, 0) > REST_FLOOR + (int)(g->memory.left * GROWTH_TO_REST);
}

bool mm_memory_wants_rest(const struct mm_generation *g)
{
	return g->memory.is_resting || has_grown(g);
}

struct step {
	double until;           /* mm_clock_now(); 0: one step */
	int    size;
	bool   is_complete;
};

static int run_steps(lua_State *L)
{
	struct step *step = lua_touserdata(L, 1);
	do
		step->is_complete = lua_gc(L, LUA_GCSTEP, step->size) != 0;
	while (!step->is_complete && mm_clock_now() < step->until);
	return 0;
}

static bool collect_some(struct mm_generation *g, struct step step)
{
	struct mm_task *before = mm_budget_begin(&g->load_task);        /* finalizers are the script's, too */
	collect_with(g, run_steps, &step);
	mm_budget_end(before);
	int now = lua_gc(g->L, LUA_GCCOUNT, 0);
	if (step.is_complete || now < g->memory.left)
		g->memory.left = now;
	return step.is_complete;
}

bool mm_memory_rest(struct mm_generation *g, double seconds)
{
	double began = mm_clock_now();
	bool is_complete = collect_some(g, (struct step){ began + seconds, STEP_SIZE, false });
	g->memory.is_resting = !is_complete;
	note_pause(g, mm_clock_now() - began);
	return is_complete;
}

void mm_memory_pay(struct mm_generation *g, size_t bytes)
{
	if (bytes >= PAY_FROM && has_grown(g))
		collect_some(g, (struct step){ 0, (int)(bytes >> 9), false });
}
