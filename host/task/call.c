#include "task/call.h"

#include "task/blame.h"
#include "task/budget.h"
#include "task/memory.h"
#include "task/profile.h"
#include "task/told.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>
#include <stdlib.h>

/* ---- the text of an error ---- */

struct describing {
	struct mm_task  *task;
	struct mm_fault *why;
};

/* Runs protected. A load's error is only the text, so the text must include the location. */
static int describe_error(lua_State *L)
{
	const struct describing *d = lua_touserdata(L, 1);
	const struct mm_task *t = d->task;
	mm_blame_describe(L, t->co, t == &t->generation->load_task, d->why);
	return 0;
}

static void explain(struct mm_task *t, int status, struct mm_fault *why)
{
	lua_State *L = t->generation->L;
	int top = lua_gettop(L);
	struct describing d = { t, why };
	mm_fault_set(why, MM_FAULT_SCRIPT, "%s", status == LUA_ERRMEM ? "out of memory" : "the handler failed");
	struct mm_task *ran = mm_budget_begin(t);       /* __tostring is the script's, too */
	mm_protected(L, describe_error, &d);              /* when even this fails, the sentence above remains */
	mm_budget_end(ran);
	lua_settop(L, top);
	mm_blame_hide_runtime(why->text);
}

/* ---- what it costs ---- */

/* The row in which they are counted. NULL: none. */
static inline struct mm_profile_row *row_of_whose(const struct mm_whose *whose)
{
	if (whose->script == NULL || whose->script->profile == NULL)
		return NULL;
	return &whose->script->profile->rows[whose->work != MM_WHOSE_HANDLER ? MM_PROFILE_TASK
		: whose->session->feeds_body ? MM_PROFILE_KEPT_BODY : (int)whose->session->stage];
}

static struct mm_profile_row *row_of(const struct mm_task *t)
{
	struct mm_whose whose = mm_whose_of(t);
	return row_of_whose(&whose);
}

static void name_call(const struct mm_task *t, struct mm_profile_row *row, uint64_t ticks, uint64_t busy)
{
	struct mm_profile_call call = { .ticks = ticks, .busy = busy, .at = mm_clock_wall() };
	struct mm_whose whose = mm_whose_of(t);
	if (whose.session != NULL) {
		struct mm_text queue_id = mm_whose_queue_id(&whose);
		snprintf(call.session, sizeof call.session, "%s", whose.session->facts->id);
		snprintf(call.queue_id, sizeof call.queue_id, "%.*s", (int)queue_id.size, queue_id.bytes);
	}
	mm_profile_name(t->generation->settings.profile, row, &call);
}

/* Most calls are one slice; only calls that wait store anything in the task. */
static void count_wait(struct mm_task *t, struct mm_profile_row *row, bool waits, uint64_t began, uint64_t ended)
{
	bool had_waited = t->began_at != 0;
	uint64_t busy = ended - began + (uint64_t)(had_waited ? t->busy : 0);
	if (had_waited)
		began = t->began_at;
	row->waiting += waits - had_waited;
	t->began_at = waits ? began : 0;
	t->busy = (float)busy;
	uint64_t ticks = ended > began + busy ? ended - began : busy;
	if (!waits && mm_profile_ended(t->generation->settings.profile, row, ticks, busy))
		name_call(t, row, ticks, busy);
}

/* For the line about a turn of the loop that has taken long. */
static void note_longest(const struct mm_task *t, struct mm_profile *p, const struct mm_profile_row *row,
	uint64_t ticks)
{
	struct mm_whose whose = mm_whose_of(t);
	p->look.longest = ticks;
	p->look.script = whose.script->profile;
	p->look.row = (int)(row - whose.script->profile->rows);
	snprintf(p->look.session, sizeof p->look.session, "%s",
		whose.session != NULL ? whose.session->facts->id : "");
}

/* cpu: the thread's CPU time at its beginning; 0: not measured. */
static void count_slice(struct mm_task *t, struct mm_profile_row *row, bool waits, double cpu, uint64_t began,
	uint64_t ended)
{
	struct mm_profile *p = t->generation->settings.profile;
	if (ended < began)              /* another processor's counter */
		ended = began;
	if (t->session != NULL && t->session->facts->message != NULL)
		t->session->facts->message->busy += ended - began;
	mm_profile_ran(p, row, ended - began);
	if (mm_profile_is_longest(p, ended - began))
		note_longest(t, p, row, ended - began);
	if (cpu != 0)
		mm_profile_measured(p, row, ended - began, mm_clock_cpu() - cpu);
	if (waits || t->began_at != 0)
		count_wait(t, row, waits, began, ended);
	else if (mm_profile_ended(p, row, ended - began, ended - began))
		name_call(t, row, ended - began, ended - began);
}

void mm_call_count_error(const struct mm_whose *whose)
{
	struct mm_profile_row *row = row_of_whose(whose);
	if (row != NULL)
		mm_profile_failed(whose->generation->settings.profile, row);
}

/* ---- the doorway ---- */

static enum mm_run outcome(struct mm_task *t, int status, struct mm_fault *why)
{
	if (status != LUA_YIELD)
		mm_task_forget_wait(t);
	if (status == 0)
		return MM_RUN_DONE;
	if (status == LUA_YIELD) {
		lua_settop(t->co, 0);           /* the token */
		if (t->is_waiting)
			return MM_RUN_WAITING;
		if (t->session != NULL && t == t->session->task && t->session->has_verdict) {
			mm_task_release(t);
			return MM_RUN_EXITED;
		}
		mm_fault_set(why, MM_FAULT_SCRIPT, "coroutine.yield outside a coroutine of the script's own; "
			"to wait, use milter.sleep or another function that waits");
		mm_task_release(t);
		return MM_RUN_FAILED;
	}
	explain(t, status, why);
	mm_task_release(t);
	return MM_RUN_FAILED;
}

/* What runs between two looks at the clock. */
struct slice {
	struct mm_profile_row *row;     /* NULL: not counted */
	double                 cpu;     /* the thread's CPU time when it began; 0: not measured */
	uint64_t               began;   /* ticks */
};

static struct slice begin_slice(struct mm_profile_row *row)
{
	return (struct slice){ row, row != NULL && row->measures > 0 ? mm_clock_cpu() : 0, mm_clock_ticks() };
}

/* A short call without a wait, in a message that nobody watches: most are. False: nothing is told yet. */
static inline bool tell_plain_slice(const struct mm_task *t, const struct slice *s, uint64_t ended)
{
	const struct mm_session *facts = t->session != NULL ? t->session->facts : NULL;
	if (facts == NULL || facts->message == NULL || facts->traced != 0 || s->row == NULL || s->cpu != 0
	    || t->began_at != 0 || ended < s->began
	    || !mm_profile_ran_shortly(t->generation->settings.profile, s->row, ended - s->began))
		return false;
	facts->message->busy += ended - s->began;
	if (facts->story != NULL)
		mm_told_slice(t, s->began, ended);
	return true;
}

static void tell_slice(struct mm_task *t, const struct slice *s, bool waits, uint64_t ended)
{
	if (s->row != NULL)
		count_slice(t, s->row, waits, s->cpu, s->began, ended);
	if (t->session != NULL && t->session->facts->story != NULL)
		mm_told_slice(t, s->began, ended);
	if (t->session != NULL && t->session->facts->traced != 0)
		mm_told_traced_slice(t, s->began, ended, waits);
}

struct mm_pushing {
	void       (*push)(lua_State *, void *);
	void        *self;
	bool       (*further)(void *, struct mm_walked *);      /* NULL: there is one event */
	struct slice slice;
	bool         is_told;                   /* of it */
};

/* p NULL: no call begins, so there is nothing to push. */
static enum mm_run resume(struct mm_task *t, int argument_count, struct mm_pushing *p, struct mm_fault *why)
{
	struct mm_generation *g = t->generation;
	struct mm_task *before = g->current;
	struct mm_pushing *walking = g->walking, alone;
	if (p == NULL) {
		alone = (struct mm_pushing){ .further = NULL };         /* a call that has waited goes no further */
		p = &alone;
	}
	g->current = t;
	g->walking = p;
	if (!mm_task_is_shown(g, t->session))
		mm_task_show(g, t->session);
	struct mm_task *ran = mm_budget_begin(t);
	bool enforced = mm_memory_begin(g);
	p->slice = begin_slice(row_of(t));
	int status = lua_resume(t->co, argument_count);
	uint64_t ended = mm_clock_ticks();
	mm_memory_end(g, enforced);
	mm_budget_end(ran);
	g->current = before;
	g->walking = walking;
	if (before != NULL && g->shown != before->session)
		mm_task_show(g, before->session);
	enum mm_run run = outcome(t, status, why);
	if (!p->is_told && (run == MM_RUN_WAITING || !tell_plain_slice(t, &p->slice, ended)))
		tell_slice(t, &p->slice, run == MM_RUN_WAITING, ended);
	mm_memory_settle(t);
	return run;
}

enum mm_run mm_call_resume(struct mm_task *t, int argument_count, struct mm_fault *why)
{
	return resume(t, argument_count, NULL, why);
}

int mm_call_push(lua_State *co)
{
	struct mm_generation *g = mm_generation_of(co);
	const struct mm_pushing *p = g->pushing;
	lua_settop(co, 0);
	if (p == NULL)
		return luaL_error(co, "only the host calls this");
	g->pushing = NULL;
	if (p->push != NULL)
		p->push(co, p->self);
	return lua_gettop(co);
}

/* Whatever the call has left behind is settled outside of Lua. */
static bool may_walk_on(const struct mm_task *t)
{
	return !t->is_waiting && !t->is_cancelled && t->limits == NULL && t->began_at == 0
		&& mm_memory_is_settled(t->generation) && mm_budget_next(t);
}

/* A script that has found one of these functions may call it in a handler: that cuts its own call short. */
static bool goes_further(struct mm_generation *g)
{
	struct mm_pushing *p = g->walking;
	struct mm_task *t = g->current;
	if (p == NULL || p->further == NULL || p->is_told || t == NULL)
		return false;
	uint64_t ended = mm_clock_ticks();
	if (!tell_plain_slice(t, &p->slice, ended))
		tell_slice(t, &p->slice, false, ended);
	p->is_told = true;
	unsigned script_at = t->session->script_at;
	if (!may_walk_on(t) || !p->further(p->self, &g->walked))
		return false;
	if (t->session->facts->seed != 0)
		mm_budget_next_event(t);
	p->is_told = false;
	p->slice = begin_slice(t->session->script_at == script_at ? p->slice.row : row_of(t));
	return true;
}

/* Interpreted, ffi takes some 5000 instructions for a call of a handler; compiled, it saves a few hundred. So few
 * misses outweigh many hits. There are always some until LuaJIT has compiled a loop. */
#define MISS_COUNTS 16u
#define MISSES_MAX  (MISS_COUNTS * 1000u)

int mm_call_further(struct mm_generation *g)
{
	const void *from = __builtin_return_address(0);         /* the interpreter has one place from where it calls */
	if (g->walking == NULL)
		g->interpreter = from;
	else if (from == g->interpreter)
		g->walk_misses += MISS_COUNTS;
	else if (g->walk_misses > 0)
		g->walk_misses--;
	return goes_further(g);
}

static void push_text(lua_State *co, const char *text, int32_t size)
{
	if (size >= 0)
		lua_pushlstring(co, text, (size_t)size);
	else
		lua_pushnil(co);
}

int mm_call_further_pushing(lua_State *co)
{
	struct mm_generation *g = mm_generation_of(co);
	const struct mm_walked *w = &g->walked;
	lua_settop(co, 0);
	if (g->current == NULL || g->current->co != co || !goes_further(g))
		return 0;
	lua_pushinteger(co, w->called);
	push_text(co, w->first, w->first_size);
	push_text(co, w->second, w->second_size);
	return 3;
}

/* p: of a function of moonmilter.runtime.entry, which asks for the arguments by mm_call_push(). */
static enum mm_run call(struct mm_task *t, const int *refs, int count, struct mm_pushing *p, struct mm_fault *why)
{
	lua_State *co = mm_task_coroutine(t);
	if (co == NULL) {
		mm_fault_set(why, MM_FAULT_SCRIPT, "out of memory for a coroutine");
		return MM_RUN_FAILED;
	}
	/* At rest a coroutine's stack has room for these; a new closure would cost an allocation each time. */
	mm_vault_push_all(t->generation, co, refs, count);
	t->generation->pushing = p;
	enum mm_run run = resume(t, count - 1, p, why);
	t->generation->pushing = NULL;
	return run;
}

enum mm_run mm_call_function(struct mm_task *t, int called, void (*push)(lua_State *, void *), void *self,
	struct mm_fault *why)
{
	struct mm_pushing p = { .push = push, .self = self };
	return call(t, (int[]){ t->generation->entry, called }, 2, &p, why);
}

enum mm_run mm_call_with_ctx(struct mm_task *t, int called, struct mm_fault *why)
{
	return call(t, (int[]){ called, t->session->ctx }, 2, NULL, why);
}

enum mm_run mm_call_walk(struct mm_task *t, int called, void (*push)(lua_State *, void *),
	bool (*further)(void *, struct mm_walked *), void *self, struct mm_fault *why)
{
	struct mm_pushing p = { .push = push, .self = self, .further = further };
	struct mm_generation *g = t->generation;
	g->walked.called = called;
	int walk = g->walk_misses < MISSES_MAX ? g->walk : g->walk_plainly;
	return call(t, (int[]){ walk, called, t->session->ctx }, 3, &p, why);
}

/* ---- the end of a wait ---- */

void mm_task_go_on(struct mm_task *t, int count)
{
	struct mm_fault why;
	mm_task_wait_is_over(t);
	if (t->told_at != 0)
		mm_told_answer(t, count);
	t->resumed(t, mm_call_resume(t, count, &why), &why);
}

void mm_task_go_on_in_turn(struct mm_task *t, int count)
{
	const struct mm_profile *p = t->generation->settings.profile;
	if (p != NULL && mm_profile_is_late(p))
		mm_task_ready(t, count);
	else
		mm_task_go_on(t, count);
}

void mm_task_run_ready(struct mm_generation *g)
{
	struct mm_task *t = g->ready_first;
	mm_task_unready(t);
	mm_task_go_on(t, t->ready_count);
}

void mm_task_cancel(struct mm_task *t, enum mm_cancel why)
{
	if (!t->is_waiting)
		return;
	t->undo(t);
	mm_task_wait_is_over(t);
	mm_told_cancel(t, mm_cancel_name(why));
	t->is_cancelled = true;
	t->why = why;
	mm_task_push_cancel(t, t->co);
	struct mm_fault ignored;        /* the cancellation itself, coming back */
	mm_call_resume(t, 2, &ignored);
	mm_task_release(t);
	t->is_cancelled = false;
}

/* ---- time limits ---- */

static void limit_passed(struct mm_timer *timer)
{
	struct mm_limit *limit = MM_OWNER_OF(timer, struct mm_limit, timer);
	struct mm_task *t = limit->task;
	limit->is_over = true;
	if (!t->is_waiting || t->is_ready)
		return;                 /* it has its answer: the next wait raises */
	t->undo(t);
	mm_told_cancel(t, mm_cancel_name(MM_CANCEL_TIMEOUT));
	mm_limit_push(t, t->co);
	mm_task_go_on_in_turn(t, 2);
}

unsigned mm_limit_open(struct mm_task *t, double seconds)
{
	struct mm_limit *limit = calloc(1, sizeof *limit);
	if (limit == NULL)
		return 0;
	limit->task = t;
	limit->outer = t->limits;
	limit->depth = t->limits != NULL ? t->limits->depth + 1 : 1;
	t->limits = limit;
	mm_timer_init(&limit->timer, t->generation->settings.clock, limit_passed);
	mm_timer_start(&limit->timer, seconds);
	return limit->depth;
}
