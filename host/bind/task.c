/* bind/task.c -- moonmilter.core: tasks, time limits, deferred functions.
 * lua/moonmilter/runtime/tasks.lua is the interface for scripts. */
#include "bind/bind.h"

#include "task/call.h"
#include "task/whose.h"
#include "task/group.h"

#include <lauxlib.h>
#include <lua.h>

#define WAIT_MAX 64             /* tasks that one wait may name */

static const char kind;         /* of the userdata of tasks */

struct box {
	struct mm_tag      tag;
	struct mm_spawned *task;        /* holds a reference; NULL: collected */
};

/* ---- check ---- */

static struct mm_spawned *check_task(lua_State *L, int at)
{
	struct box *box = mm_tagged(L, at, &kind);
	if (box == NULL || box->task == NULL)
		luaL_argerror(L, at, "a task is expected; write task:method(...)");
	return box->task;
}

/* An owner must be running: a task, a handler, a load. Otherwise raises with the name of the called function; when the
 * owner is cancelled, pushes token and reason and returns NULL. */
static struct mm_task *check_owner(lua_State *L, const char *name)
{
	struct mm_task *t = mm_task_current(L);
	if (t == NULL)
		luaL_error(L, "%s: has no owner here; call it from a handler, a script's top level or on_load", name);
	if (!t->is_cancelled)
		return t;
	mm_vault_push(t->generation, L, t->generation->cancel_token);
	lua_pushstring(L, mm_cancel_name(t->why));
	return NULL;
}

static void check_room(lua_State *L, const struct mm_task_group *group, const char *name)
{
	if (group->is_closed)
		luaL_error(L, "%s: too late, its owner has ended", name);
	if (group->count >= MM_TASKS_MAX)
		luaL_error(L, "%s: %d are already under way; wait for some of them first", name, (int)MM_TASKS_MAX);
}

/* ---- new ---- */

/* [owner fn arg...] -> [task]. owner "timer": the generation, until the next one takes over; "generation";
 * otherwise the caller's owner. */
static int core_spawn(lua_State *L)
{
	const char *owner = mm_check_cstring(L, 1, "task: owner");
	luaL_checktype(L, 2, LUA_TFUNCTION);
	struct mm_task *t = check_owner(L, "spawn");
	if (t == NULL)
		return 2;
	bool is_timer = strcmp(owner, "timer") == 0;
	bool is_detached = is_timer || strcmp(owner, "generation") == 0;
	struct mm_task_group *group = is_timer ? &t->generation->timers : is_detached ? &t->generation->tasks
		: mm_task_group_of(t);
	check_room(L, group, is_timer ? "timer" : "spawn");
	int count = lua_gettop(L) - 2;

	struct box *box = mm_tagged_new(L, &kind, sizeof *box);
	mm_vault_push(t->generation, L, t->generation->task_metatable);
	lua_setmetatable(L, -2);
	lua_insert(L, 1);               /* [task owner fn arg...] */
	struct mm_spawned *sp = mm_spawned_new(t->generation, is_detached ? NULL : t->session, group, &box->task);
	if (sp == NULL || !lua_checkstack(sp->task.co, count + 8))
		return luaL_error(L, "spawn: out of memory");
	struct mm_whose whose = mm_whose_of(t);
	sp->task.script = whose.script;
	sp->task.path = whose.path;
	lua_xmove(L, sp->task.co, count + 1);
	mm_spawned_start(sp, count);
	lua_settop(L, 1);
	return 1;
}

/* ---- methods ---- */

static void undo_wait(struct mm_task *t)
{
	mm_timer_stop(&t->timers->wait);
	mm_waiting_free(t->waits_for);
}

static void wait_timed_out(struct mm_timer *timer)
{
	struct mm_task *t = MM_OWNER_OF(timer, struct mm_task_timers, wait)->task;
	undo_wait(t);
	mm_task_go_on_in_turn(t, 0);
}

static void check_reach(lua_State *L, const struct mm_task *t, const struct mm_spawned *sp)
{
	if (&sp->task == t)
		luaL_error(L, "wait: a task cannot wait for itself");
	if (sp->task.session != NULL && sp->task.session != t->session)
		luaL_error(L, "wait: the task belongs to another session");
}

/* core.task_wait(timeout or nil, task...): waits until one of them has ended, or the time is over. */
static int core_task_wait(lua_State *L)
{
	struct mm_spawned *tasks[WAIT_MAX];
	int count = lua_gettop(L) - 1;
	lua_Number timeout = luaL_optnumber(L, 1, -1);
	if (!lua_isnoneornil(L, 1) && !(timeout >= 0 && timeout <= 1e9))
		return mm_raise_at_script(L, "wait: %f seconds; give 0 or more", timeout);
	if (count < 1 || count > WAIT_MAX)
		return luaL_error(L, "wait: give 1 to %d tasks, not %d", WAIT_MAX, count);
	for (int i = 0; i < count; i++)
		tasks[i] = check_task(L, i + 2);
	struct mm_task *t = mm_task_may_wait(L, "wait");
	if (t == NULL)
		return 2;
	for (int i = 0; i < count; i++) {
		check_reach(L, t, tasks[i]);
		if (mm_spawned_is_over(tasks[i]))
			return 0;
	}
	struct mm_waiting *w = mm_waiting_new(t, tasks, (unsigned)count);
	if (w == NULL)
		return luaL_error(L, "wait: out of memory");
	mm_timer_init(&t->timers->wait, t->generation->settings.clock, wait_timed_out);
	if (timeout >= 0)
		mm_timer_start(&t->timers->wait, timeout);
	return mm_task_wait(L, t, "wait", undo_wait, w);
}

/* core.task_result(task) -> state, then what its function returned ("ended") or why the host ended it ("failed"). */
static int core_task_result(lua_State *L)
{
	static const char *const names[] = { "queued", "running", "ended", "failed", "cancelled" };
	struct mm_spawned *sp = check_task(L, 1);
	lua_pushstring(L, names[sp->state]);
	if (sp->state == MM_SPAWNED_FAILED) {
		lua_pushstring(L, sp->failure);
		return 2;
	}
	if (sp->state != MM_SPAWNED_ENDED)
		return 1;
	lua_State *co = sp->task.co;
	int count = lua_gettop(co);
	luaL_checkstack(L, count + 1, "results of a task");
	for (int i = 1; i <= count; i++) {
		lua_pushvalue(co, i);
		lua_xmove(co, L, 1);
	}
	return 1 + count;
}

/* core.task_cancel(task) -> boolean: it was still running. */
static int core_task_cancel(lua_State *L)
{
	lua_pushboolean(L, mm_spawned_cancel(check_task(L, 1)));
	return 1;
}

static int task_gc(lua_State *L)
{
	struct box *box = mm_tagged(L, 1, &kind);
	if (box != NULL && box->task != NULL) {
		mm_spawned_release(box->task);
		box->task = NULL;
	}
	return 0;
}

/* core.at_end(fn): runs fn when the caller's owner ends. */
static int core_at_end(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	struct mm_task *t = check_owner(L, "at_end");
	if (t == NULL)
		return 2;
	struct mm_task_group *group = mm_task_group_of(t);
	check_room(L, group, "at_end");
	lua_settop(L, 1);
	int ref = mm_vault_put(L);
	if (mm_task_group_defer(group, ref, t))
		return 0;
	mm_vault_drop(L, &ref);
	return luaL_error(L, "at_end: out of memory");
}

/* core.limit_open(seconds) -> depth, or nil inside a script's own coroutine: one that is left and never ended would
 * never close its limit. */
static int core_limit_open(lua_State *L)
{
	lua_Number seconds = luaL_checknumber(L, 1);
	if (!(seconds >= 0 && seconds <= 1e9))
		return luaL_error(L, "timeout: %f seconds; give 0 or more", seconds);
	struct mm_task *t = check_owner(L, "timeout");
	if (t == NULL)
		return 2;
	if (L != t->co)
		return 0;
	unsigned depth = mm_limit_open(t, seconds);
	if (depth == 0)
		return luaL_error(L, "timeout: out of memory");
	lua_pushinteger(L, (lua_Integer)depth);
	return 1;
}

/* core.limit_close(depth) -> boolean: its time was over. */
static int core_limit_close(lua_State *L)
{
	struct mm_task *t = mm_task_current(L);
	lua_pushboolean(L, t != NULL && mm_limit_close(t, (unsigned)luaL_checkinteger(L, 1)));
	return 1;
}

/* ---- register ---- */

void mm_bind_task(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "spawn", core_spawn }, { "task_wait", core_task_wait }, { "task_result", core_task_result },
		{ "task_cancel", core_task_cancel }, { "at_end", core_at_end }, { "limit_open", core_limit_open },
		{ "limit_close", core_limit_close }, { NULL, NULL },
	};
	luaL_setfuncs(L, functions, 0);
	lua_pushinteger(L, (lua_Integer)mm_generation_of(L)->settings.worker_index);
	lua_setfield(L, -2, "worker_index");
	lua_newtable(L);
	lua_pushcfunction(L, task_gc);
	lua_setfield(L, -2, "__gc");
	lua_newtable(L);                        /* filled by lua/moonmilter/runtime/tasks.lua */
	lua_pushvalue(L, -1);
	lua_setfield(L, -3, "__index");
	lua_setfield(L, -3, "task_methods");
	lua_pushliteral(L, "task");
	lua_setfield(L, -2, "__metatable");
	mm_generation_of(L)->task_metatable = mm_vault_put(L);
}
