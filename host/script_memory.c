/* script_memory.c -- see script_memory.h.
 *
 * (a) LuaJIT gives up at the first allocation that fails, without a collection: garbage counts. Therefore the collection
 *     after every failure, and the soft limit well below the hard one.
 * (b) LuaJIT 2.1.0-beta3 crashes now and then when an allocation fails in compiled code (a string that is doubled in a loop,
 *     in the fourth coroutine). So the allocation that passes the limit is granted, and the slice is ended the way an
 *     endless loop is (budget.h), at the next instruction. Only what no script can mean is refused: twice the limit.
 * (c) Its own allocator is wrapped, not replaced: realloc() in its place costs up to 40 % on allocation-heavy code. */
#include "script_memory.h"

#include "budget.h"

#include <lauxlib.h>
#include <lua.h>

#define GROWTH_TO_COLLECT 1.25          /* of what a full collection left, until the soft limit brings the next */

static const char over_text[] = "not enough memory: Lua has all that memory_hard gives this worker";

/* False: it is not given. */
static bool is_given(struct mm_script_memory *m, size_t more)
{
	size_t wanted = m->worker->used + more;
	if (wanted <= m->hard)
		return true;
	m->was_refused = true;
	return wanted <= 2 * m->hard && mm_budget_strike(over_text);
}

static void *allocate(void *self, void *block, size_t old_size, size_t new_size)
{
	struct mm_script_memory *m = self;
	struct mm_memory_of_worker *w = m->worker;
	if (new_size > old_size && m->is_enforced && !is_given(m, new_size - old_size))
		return NULL;
	void *fresh = m->allocate(m->allocate_self, block, old_size, new_size);
	if (fresh != NULL || new_size == 0) {
		w->used += new_size - old_size;
		m->used += new_size - old_size;
	}
	return fresh;
}

void mm_memory_watch(struct mm_script *s)
{
	struct mm_script_memory *m = &s->memory;
	const struct mm_script_settings *settings = &s->settings;
	if (settings->memory == NULL || (settings->memory_soft == 0 && settings->memory_hard == 0))
		return;
	m->worker = settings->memory;
	m->hard = settings->memory_hard != 0 ? settings->memory_hard : SIZE_MAX / 2;
	m->soft = settings->memory_soft != 0 ? settings->memory_soft : settings->memory_hard / 2;
	m->allocate = lua_getallocf(s->L, &m->allocate_self);
	m->used = (size_t)lua_gc(s->L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(s->L, LUA_GCCOUNTB, 0);
	m->worker->used += m->used;
	lua_setallocf(s->L, allocate, m);
}

void mm_memory_unwatch(struct mm_script *s)
{
	if (s->memory.allocate == NULL)
		return;
	lua_setallocf(s->L, s->memory.allocate, s->memory.allocate_self);       /* it frees its arena at once */
	s->memory.worker->used -= s->memory.used;
	s->memory.allocate = NULL;
}

bool mm_memory_begin(struct mm_script *s)
{
	bool before = s->memory.is_enforced;
	s->memory.is_enforced = s->memory.allocate != NULL;
	return before;
}

/* Protected: finalizers are the script's, and the collector hands on what they raise. */
static int collect_all(lua_State *L)
{
	lua_gc(L, LUA_GCCOLLECT, 0);
	return 0;
}

/* All states of the worker share the limit, each collects when it has just run. */
static void collect(struct mm_script *s)
{
	struct mm_script_memory *m = &s->memory;
	size_t before = m->worker->used;
	bool was_refused = m->was_refused;
	m->was_refused = false;
	double began = mm_clock_now();
	if (lua_cpcall(s->L, collect_all, NULL) != 0) {
		mm_log_say(s->settings.log, MM_LOG_ERROR, "script_error", "__gc: %s",
			lua_type(s->L, -1) == LUA_TSTRING ? lua_tostring(s->L, -1) : "(no text)");
		lua_pop(s->L, 1);
	}
	m->collect_at = (size_t)((double)m->worker->used * GROWTH_TO_COLLECT);
	m->worker->strikes = m->worker->used > m->soft ? m->worker->strikes + 1 : 0;
	struct mm_log_line line;
	mm_log_begin(&line, s->settings.log, was_refused ? MM_LOG_ERROR : MM_LOG_WARN, "memory");
	mm_log_string(&line, "limit", was_refused ? "memory_hard" : "memory_soft");
	mm_log_number(&line, "bytes_before", (long long)before);
	mm_log_number(&line, "bytes", (long long)m->worker->used);
	mm_log_seconds(&line, "seconds", mm_clock_now() - began);
	mm_log_end(&line);
}

void mm_memory_end(struct mm_script *s, bool before)
{
	struct mm_script_memory *m = &s->memory;
	m->is_enforced = before;
	if (m->allocate == NULL || before)
		return;
	if (m->was_refused || (m->worker->used > m->soft && m->worker->used > m->collect_at))
		collect(s);
}
