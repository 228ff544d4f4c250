#include "script_call.h"

#include "budget.h"
#include "script_memory.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>
#include <stdlib.h>

/* Traceback of a dead coroutine: its stack is still there. Runs protected: making strings may raise. */
static int describe_error(lua_State *L)
{
	lua_State *co = lua_touserdata(L, 1);
	struct mm_fault *why = lua_touserdata(L, 2);
	const char *message = lua_tostring(co, -1);
	if (message == NULL && luaL_callmeta(co, -1, "__tostring"))
		message = lua_tostring(co, -1);
	char shape[64];
	if (message == NULL) {
		snprintf(shape, sizeof shape, "(error object is a %s value)", luaL_typename(co, -1));
		message = shape;
	}
	message = mm_push_blame(L, co, message);
	luaL_traceback(L, co, NULL, 0);
	bool no_memory = strcmp(message, "not enough memory") == 0;
	mm_fault_set(why, MM_FAULT_SCRIPT, "%s%s\n%s", message, no_memory ? ": Lua has all that memory_hard gives this worker" : "",
		lua_tostring(L, -1));
	return 0;
}

static void explain(struct mm_task *t, int status, struct mm_fault *why)
{
	lua_State *L = t->script->L;
	int top = lua_gettop(L);
	mm_fault_set(why, MM_FAULT_SCRIPT, "%s", status == LUA_ERRMEM ? "out of memory" : "the handler failed");
	lua_pushcfunction(L, describe_error);
	lua_pushlightuserdata(L, t->co);
	lua_pushlightuserdata(L, why);
	struct mm_task *ran = mm_budget_begin(t);       /* __tostring is the script's, too */
	lua_pcall(L, 2, 0, 0);          /* when even this fails, the sentence above has to do */
	mm_budget_end(ran);
	lua_settop(L, top);
}

enum mm_run mm_script_call(struct mm_task *t, int argument_count, struct mm_fault *why)
{
	struct mm_script *s = t->script;
	struct mm_task *before = s->current;
	s->current = t;
	struct mm_task *ran = mm_budget_begin(t);
	bool enforced = mm_memory_begin(s);
	int status = lua_resume(t->co, argument_count);
	mm_memory_end(s, enforced);
	mm_budget_end(ran);
	s->current = before;

	if (status != LUA_YIELD)
		mm_task_forget_wait(t);
	if (status == 0)
		return MM_RUN_DONE;
	if (status == LUA_YIELD) {
		lua_settop(t->co, 0);           /* the token */
		if (t->is_waiting)
			return MM_RUN_WAITING;
		if (t->session != NULL && t == &t->session->task && t->session->has_verdict) {
			mm_task_release(t);
			return MM_RUN_EXITED;
		}
		mm_fault_set(why, MM_FAULT_SCRIPT, "coroutine.yield outside of a coroutine of the script's own; "
			"to wait, use milter.sleep and its kin");
		mm_task_release(t);
		return MM_RUN_FAILED;
	}
	explain(t, status, why);
	mm_task_release(t);
	return MM_RUN_FAILED;
}

/* ---- the end of a wait ---- */

static void wait_is_over(struct mm_task *t)
{
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
	wait_is_over(t);
}

void mm_task_go_on(struct mm_task *t, int count)
{
	struct mm_fault why;
	wait_is_over(t);
	t->resumed(t, mm_script_call(t, count, &why), &why);
}

void mm_task_run_ready(struct mm_script *s)
{
	struct mm_task *t = s->ready_first;
	mm_task_unready(t);
	mm_task_go_on(t, t->ready_count);
}

void mm_task_cancel(struct mm_task *t, enum mm_cancel why)
{
	if (!t->is_waiting)
		return;
	t->undo(t);
	wait_is_over(t);
	t->is_cancelled = true;
	t->why = why;
	lua_checkstack(t->co, 4);
	mm_task_push_cancel(t, t->co);
	struct mm_fault ignored;        /* the cancellation itself coming back out */
	mm_script_call(t, 2, &ignored);
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
		return;                 /* has its answer: the next wait raises */
	t->undo(t);
	lua_checkstack(t->co, 4);
	mm_limit_push(t, t->co);
	mm_task_go_on(t, 2);
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
	mm_timer_init(&limit->timer, t->script->settings.clock, limit_passed);
	mm_timer_start(&limit->timer, seconds);
	return limit->depth;
}
