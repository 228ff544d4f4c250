#include "script_task.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdlib.h>

const char *mm_cancel_name(enum mm_cancel why)
{
	static const char *const names[] = { "abort", "disconnect", "deadline", "shutdown" };   /* ORDER CANCEL */
	return names[why];
}

static char script_key;         /* its address is the registry key of the generation */

struct mm_script *mm_script_of(lua_State *L)
{
	lua_pushlightuserdata(L, &script_key);
	lua_rawget(L, LUA_REGISTRYINDEX);
	struct mm_script *s = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return s;
}

void mm_script_mark(lua_State *L, struct mm_script *s)
{
	lua_pushlightuserdata(L, &script_key);
	lua_pushlightuserdata(L, s);
	lua_rawset(L, LUA_REGISTRYINDEX);
}

struct mm_task *mm_task_current(lua_State *L)
{
	return mm_script_of(L)->current;
}

void mm_task_init(struct mm_task *t, struct mm_script *s, struct mm_script_session *session,
	void (*resumed)(struct mm_task *, enum mm_run, struct mm_fault *))
{
	*t = (struct mm_task){ .script = s, .session = session, .anchor = MM_NO_REF, .resumed = resumed };
}

lua_State *mm_task_coroutine(struct mm_task *t)
{
	if (t->co != NULL)
		return t->co;
	struct mm_script *s = t->script;
	if (s->pool_count > 0) {
		struct mm_parked *p = &s->pool[--s->pool_count];
		t->co = p->co;
		t->anchor = p->anchor;
		return t->co;
	}
	t->co = lua_newthread(s->L);
	t->anchor = luaL_ref(s->L, LUA_REGISTRYINDEX);
	return t->co;
}

static bool park(struct mm_script *s, lua_State *co, int anchor)
{
	if (s->pool_count == s->pool_capacity) {
		unsigned wanted = s->pool_capacity ? s->pool_capacity * 2 : 16;
		if (wanted > MM_COROUTINE_POOL_MAX)
			return false;
		struct mm_parked *grown = realloc(s->pool, wanted * sizeof *grown);
		if (grown == NULL)
			return false;
		s->pool = grown;
		s->pool_capacity = wanted;
	}
	s->pool[s->pool_count++] = (struct mm_parked){ co, anchor };
	return true;
}

void mm_task_release(struct mm_task *t)
{
	if (t->co == NULL)
		return;
	/* LuaJIT cannot resume a coroutine that has failed, nor one that still hangs in a yield. */
	bool is_at_rest = lua_status(t->co) == 0;
	if (is_at_rest)
		lua_settop(t->co, 0);
	if (!is_at_rest || !park(t->script, t->co, t->anchor))
		luaL_unref(t->script->L, LUA_REGISTRYINDEX, t->anchor);
	t->co = NULL;
	t->anchor = MM_NO_REF;
}

/* ---- waiting ---- */

void mm_task_push_cancel(struct mm_task *t, lua_State *L)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, t->script->cancel_token);
	lua_pushstring(L, mm_cancel_name(t->why));
}

struct mm_task *mm_task_may_wait(lua_State *L, const char *name)
{
	struct mm_task *t = mm_task_current(L);
	if (t == NULL || t->is_waiting) {
		luaL_error(L, "%s: nobody to wait for: call it from a handler, a script's top level or on_load", name);
		return NULL;
	}
	if (t->is_cancelled) {
		mm_task_push_cancel(t, L);
		return NULL;
	}
	if (!lua_isyieldable(L)) {
		luaL_error(L, "%s: cannot wait inside a function that C code calls back (table.sort comparator, string.gsub "
			"replacement, __gc, load reader); collect the inputs there and wait afterwards", name);
		return NULL;
	}
	return t;
}

int mm_task_wait(lua_State *L, struct mm_task *t, const char *name, void (*undo)(struct mm_task *), void *waits_for)
{
	t->is_waiting = true;
	t->undo = undo;
	t->waits_for = waits_for;
	t->wait_name = name;
	lua_settop(L, 0);
	/* user coroutines between here and the host recognise the token and pass it outward (lua/moonmilter/coroutines.lua) */
	lua_rawgeti(L, LUA_REGISTRYINDEX, t->script->host_token);
	return lua_yield(L, 1);
}
