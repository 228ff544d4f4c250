#include "task/task.h"

#include "base/figures.h"
#include "task/told.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdlib.h>

#define WORK_KEPT 64u           /* that no session needs now */

const char *mm_cancel_name(enum mm_cancel why)
{
	static const char *const names[] = {    /* ORDER CANCEL */
		"abort", "disconnect", "deadline", "shutdown", "ended", "cancelled", "timeout",
	};
	return names[why];
}

struct mm_task *mm_task_current(lua_State *L)
{
	return mm_generation_of(L)->current;
}

/* On the vault's own stack, and into fields that exist: allocates nothing. */
void mm_task_show(struct mm_generation *g, struct mm_script_session *ss)
{
	g->shown = ss;
	if (g->vault == NULL)
		return;
	if (ss != NULL && ss->ctx != MM_NO_REF) {
		lua_pushinteger(g->vault, ss->ctx);
		lua_rawseti(g->vault, g->ctx_now, 3);
		lua_rawgeti(g->vault, 1, ss->ctx);
	} else {
		lua_pushboolean(g->vault, 0);
	}
	lua_rawseti(g->vault, g->ctx_now, 1);
	mm_task_show_message(g, mm_task_has_message(ss));
}

void mm_task_show_message(struct mm_generation *g, bool is_open)
{
	if (g->shows_message == is_open || g->vault == NULL)
		return;
	g->shows_message = is_open;
	lua_pushboolean(g->vault, is_open);
	lua_rawseti(g->vault, g->ctx_now, 2);
}

struct mm_account *mm_task_account(struct mm_generation *g)
{
	const struct mm_task *t = g->current;
	return t != NULL && t->session != NULL ? &t->session->facts->account : &g->account;
}

struct mm_holder *mm_task_holder(struct mm_generation *g)
{
	const struct mm_task *t = g->current;
	struct mm_script_session *ss = t != NULL ? t->session : NULL;
	if (ss == NULL)
		return &g->holder;
	if (t->group != NULL)           /* things opened by a spawned task end with the task's owner */
		return t->group == &ss->message_tasks ? &ss->message_holder : &ss->client_holder;
	return ss->facts->message != NULL ? &ss->message_holder : &ss->client_holder;
}

void mm_task_init(struct mm_task *t, struct mm_generation *g, struct mm_script_session *session,
	void (*resumed)(struct mm_task *, enum mm_run, struct mm_fault *))
{
	*t = (struct mm_task){ .generation = g, .session = session, .anchor = MM_NO_REF, .resumed = resumed };
}

/* Runs protected: memory may run out, and a script's finalizer that fails during a collection raises here. */
static int make_coroutine(lua_State *L)
{
	struct mm_task *t = lua_touserdata(L, 1);
	lua_State *co = lua_newthread(L);
	t->anchor = mm_vault_put(L);
	t->co = co;
	return 0;
}

lua_State *mm_task_coroutine(struct mm_task *t)
{
	if (t->co != NULL)
		return t->co;
	struct mm_generation *g = t->generation;
	if (g->pool_count > 0) {
		struct mm_parked *p = &g->pool[--g->pool_count];
		t->co = p->co;
		t->anchor = p->anchor;
		return t->co;
	}
	if (mm_protected(g->L, make_coroutine, t) != 0)
		lua_pop(g->L, 1);
	return t->co;
}

static bool park(struct mm_generation *g, lua_State *co, int anchor)
{
	if (g->pool_count == g->pool_capacity) {
		unsigned wanted = g->pool_capacity ? g->pool_capacity * 2 : 16;
		if (wanted > MM_COROUTINE_POOL_MAX)
			return false;
		struct mm_parked *grown = realloc(g->pool, wanted * sizeof *grown);
		if (grown == NULL)
			return false;
		g->pool = grown;
		g->pool_capacity = wanted;
	}
	g->pool[g->pool_count++] = (struct mm_parked){ co, anchor };
	return true;
}

static void drop_timers(struct mm_task *t)
{
	mm_timer_stop(&t->timers->wait);
	mm_timer_stop(&t->timers->alarm);
	free(t->timers);
	t->timers = NULL;
}

void mm_task_release(struct mm_task *t)
{
	mm_limit_close(t, 1);
	if (t->timers != NULL)
		drop_timers(t);
	if (t->co == NULL)
		return;
	/* LuaJIT cannot restart a coroutine that has failed, nor one that is still suspended in a yield. */
	bool is_at_rest = lua_status(t->co) == 0;
	if (is_at_rest)
		lua_settop(t->co, 0);
	if (!is_at_rest || !park(t->generation, t->co, t->anchor))
		mm_vault_drop(t->generation->L, &t->anchor);
	t->co = NULL;
	t->anchor = MM_NO_REF;
}

/* ---- sessions at work ---- */

const struct mm_event mm_event_none = { .stage = 0 };

bool mm_work_begin(struct mm_script_session *ss, void (*resumed)(struct mm_task *, enum mm_run, struct mm_fault *))
{
	struct mm_generation *g = ss->generation;
	struct mm_at_work *w = g->resting;
	if (w != NULL) {
		g->resting = w->next_free;
		g->resting_count--;
	} else if ((w = malloc(sizeof *w)) == NULL) {
		return false;
	}
	mm_task_init(&w->task, g, ss, resumed);
	w->deadline_at = w->progress_at = 0;
	ss->task = &w->task;
	return true;
}

void mm_work_end(struct mm_script_session *ss)
{
	struct mm_generation *g = ss->generation;
	if (ss->task == NULL)
		return;
	struct mm_at_work *w = mm_work_of(ss);
	mm_task_release(ss->task);
	ss->task = NULL;
	if (g->resting_count >= WORK_KEPT) {
		free(w);
		return;
	}
	w->next_free = g->resting;
	g->resting = w;
	g->resting_count++;
}

void mm_work_free(struct mm_generation *g)
{
	for (struct mm_at_work *w; (w = g->resting) != NULL;) {
		g->resting = w->next_free;
		free(w);
	}
	g->resting_count = 0;
}

/* ---- waiting ---- */

void mm_task_keep_words(lua_State *L, struct mm_generation *g)
{
	static const char *const words[] = { "out of memory for the answer", "memory" };
	for (int why = 0; why < MM_CANCEL_COUNT; why++) {
		lua_pushstring(L, mm_cancel_name((enum mm_cancel)why));
		g->cancel_names[why] = mm_vault_put(L);
	}
	for (int i = 0; i < 2; i++) {
		lua_pushstring(L, words[i]);
		g->memory_words[i] = mm_vault_put(L);
	}
}

void mm_task_push_cancel(struct mm_task *t, lua_State *L)
{
	mm_vault_push(t->generation, L, t->generation->cancel_token);
	mm_vault_push(t->generation, L, t->generation->cancel_names[t->why]);
}

const struct mm_limit *mm_limit_over(const struct mm_task *t)
{
	const struct mm_limit *found = NULL;
	for (const struct mm_limit *limit = t->limits; limit != NULL; limit = limit->outer)
		if (limit->is_over)
			found = limit;
	return found;
}

/* The reason is the limit's depth: only the milter.timeout that opened it handles the error as its own. */
void mm_limit_push(struct mm_task *t, lua_State *L)
{
	mm_vault_push(t->generation, L, t->generation->cancel_token);
	lua_pushinteger(L, (lua_Integer)mm_limit_over(t)->depth);
}

void mm_task_wait_is_over(struct mm_task *t)
{
	if (t->wait_began_at != 0)
		mm_figures_wait(t->generation->settings.figures, t->wait_name, mm_clock_ticks() - t->wait_began_at);
	t->wait_began_at = 0;
	t->is_waiting = false;
	t->undo = NULL;
	t->waits_for = NULL;
	t->wait_name = NULL;
}

void mm_task_forget_wait(struct mm_task *t)
{
	if (!t->is_waiting)
		return;
	t->undo(t);
	mm_task_wait_is_over(t);
}

static bool make_timers(struct mm_task *t)
{
	t->timers = calloc(1, sizeof *t->timers);
	if (t->timers != NULL)
		t->timers->task = t;
	return t->timers != NULL;
}

struct mm_task *mm_task_may_wait(lua_State *L, const char *name)
{
	struct mm_task *t = mm_task_current(L);
	if (t == NULL) {
		mm_raise_at_script(L, "%s: cannot wait here; call it from a handler, a script's top level "
			"or on_load", name);
		return NULL;
	}
	mm_task_forget_wait(t);
	if (t->is_cancelled) {
		mm_task_push_cancel(t, L);
		return NULL;
	}
	if (mm_limit_over(t) != NULL) {
		mm_limit_push(t, L);
		return NULL;
	}
	if (!lua_isyieldable(L)) {
		mm_raise_at_script(L, "%s: cannot wait inside a function that C code calls back (table.sort "
			"comparator, string.gsub replacement, __gc, load reader); collect the inputs there and wait "
			"afterwards", name);
		return NULL;
	}
	if (t->timers == NULL && !make_timers(t))
		luaL_error(L, "%s: out of memory", name);
	return t;
}

int mm_task_wait(lua_State *L, struct mm_task *t, const char *name, void (*undo)(struct mm_task *), void *waits_for)
{
	t->is_waiting = true;
	t->undo = undo;
	t->waits_for = waits_for;
	t->wait_name = name;
	mm_told_wait(L, t, name);
	t->wait_began_at = mm_clock_ticks();
	lua_settop(L, 0);
	/* user coroutines between here and the host recognise the token and pass it outward
	 * (lua/moonmilter/runtime/coroutines.lua) */
	mm_vault_push(t->generation, L, t->generation->host_token);
	return lua_yield(L, 1);
}

/* ---- the run queue ---- */

void mm_task_unready(struct mm_task *t)
{
	struct mm_generation *g = t->generation;
	if (t->previous_ready != NULL)
		t->previous_ready->next_ready = t->next_ready;
	else
		g->ready_first = t->next_ready;
	if (t->next_ready != NULL)
		t->next_ready->previous_ready = t->previous_ready;
	else
		g->ready_last = t->previous_ready;
	t->next_ready = t->previous_ready = NULL;
	t->is_ready = false;
	g->ready_count--;
}

static void undo_ready(struct mm_task *t)
{
	mm_task_unready(t);
	lua_settop(t->co, 0);
}

void mm_task_ready(struct mm_task *t, int count)
{
	struct mm_generation *g = t->generation;
	t->is_waiting = true;
	t->undo = undo_ready;
	t->waits_for = NULL;
	t->is_ready = true;
	t->ready_count = count;
	t->previous_ready = g->ready_last;
	if (g->ready_last != NULL)
		g->ready_last->next_ready = t;
	else
		g->ready_first = t;
	g->ready_last = t;
	g->ready_count++;
	if (!mm_timer_is_running(&g->runner))
		mm_timer_soon(&g->runner);
}

void mm_task_cancel_soon(struct mm_task *t, enum mm_cancel why)
{
	if (t->is_cancelled)
		return;
	t->is_cancelled = true;
	t->why = why;
	if (!t->is_waiting)
		return;
	t->undo(t);
	mm_task_push_cancel(t, t->co);
	mm_task_ready(t, 2);
}

struct pushing {
	int        (*build)(lua_State *, void *);
	void        *arg;
	lua_State   *co;
	int          count;
};

static int push_protected(lua_State *L)
{
	struct pushing *p = lua_touserdata(L, 1);
	lua_settop(L, 0);
	luaL_checkstack(L, 32, "results of a wait");
	int count = p->build(L, p->arg);
	if (!lua_checkstack(p->co, count))
		return luaL_error(L, "no room");
	lua_xmove(L, p->co, count);
	p->count = count;
	return 0;
}

int mm_task_push(struct mm_task *t, int (*build)(lua_State *, void *), void *arg)
{
	struct pushing p = { build, arg, t->co, 0 };
	if (mm_protected(t->generation->L, push_protected, &p) == 0)
		return p.count;
	lua_pop(t->generation->L, 1);
	lua_pushnil(t->co);
	for (int i = 0; i < 2; i++)
		mm_vault_push(t->generation, t->co, t->generation->memory_words[i]);
	return 3;
}

/* ---- time limits ---- */

bool mm_limit_close(struct mm_task *t, unsigned depth)
{
	bool was_over = false;
	while (t->limits != NULL && t->limits->depth >= depth) {
		struct mm_limit *limit = t->limits;
		t->limits = limit->outer;
		was_over = limit->is_over && limit->depth == depth;
		mm_timer_stop(&limit->timer);
		free(limit);
	}
	return was_over;
}
