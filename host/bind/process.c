/* bind/process.c -- moonmilter.core: other programs. lua/moonmilter/process.lua is the interface for scripts. */
#include "bind/bind.h"

#include "async/child.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>

struct running {
	struct mm_child *child;         /* borrowed */
	struct mm_task  *task;          /* borrowed */
};

static void undo_run(struct mm_task *t)
{
	struct running *r = t->waits_for;
	mm_child_cancel(r->child);
	free(r);
}

/* [] -> [result] or [nil text code] */
static int push_result(lua_State *L, void *arg)
{
	const struct mm_child_result *r = arg;
	switch (r->end) {
	case MM_CHILD_TIMEOUT:  return mm_push_failure(L, "the program did not end in time and was killed", "timeout");
	case MM_CHILD_LIMIT: return mm_push_failure(L, "the program wrote more than max_output and "
		"was killed", "limit");
	case MM_CHILD_LOST:     return mm_push_failure(L, "something else in the process waited for the program: its "
		"status is lost", "lost");
	default:                break;
	}
	lua_createtable(L, 0, 4);
	lua_pushinteger(L, r->status);
	lua_setfield(L, -2, r->end == MM_CHILD_EXITED ? "status" : "signal");
	lua_pushlstring(L, r->output.size > 0 ? (const char *)r->output.bytes : "", r->output.size);
	lua_setfield(L, -2, "stdout");
	lua_pushlstring(L, r->error.size > 0 ? (const char *)r->error.bytes : "", r->error.size);
	lua_setfield(L, -2, "stderr");
	return 1;
}

static void ended(void *self, struct mm_child_result *result)
{
	struct running *r = self;
	struct mm_task *t = r->task;
	free(r);
	mm_task_ready(t, mm_task_push(t, push_result, result));
}

/* Checks that the list at an index can be passed to a program. */
static void check_strings(lua_State *L, int at, const char *what)
{
	size_t size, count = lua_objlen(L, at);
	for (size_t i = 1; i <= count; i++) {
		lua_rawgeti(L, at, (int)i);
		if (lua_type(L, -1) != LUA_TSTRING)
			mm_raise_at_script(L, "process: %s[%d] is a %s; it must be a string", what, (int)i,
				luaL_typename(L, -1));
		if (strlen(lua_tolstring(L, -1, &size)) != size)
			mm_raise_at_script(L, "process: %s[%d] has a NUL byte, which would cut it off",
				what, (int)i);
		lua_pop(L, 1);
	}
}

static const char *code_of(int error)
{
	switch (error) {
	case ENOENT: return "notfound";
	case EACCES:
	case EPERM:  return "denied";
	case EAGAIN: return "busy";
	default:     return "system";
	}
}

/* core.process_run(argv, env or nil, directory or nil, input or nil, timeout, output_max) ->
 * result, or nil, text, code */
static int core_process_run(lua_State *L)
{
	struct mm_child_order o = {
		.directory = mm_opt_cstring(L, 3, "process: cwd"),
		.timeout = luaL_checknumber(L, 5),
		.output_max = (size_t)luaL_checknumber(L, 6),
	};
	size_t input_size = 0;
	o.input = luaL_optlstring(L, 4, "", &input_size);
	o.input_size = input_size;
	check_strings(L, 1, "argv");
	o.argv = mm_push_strings(L, 1, "process: argv");
	if (lua_istable(L, 2)) {
		check_strings(L, 2, "env");
		o.env = mm_push_strings(L, 2, "process: env");
	}
	struct mm_task *t = mm_task_may_wait(L, "process");
	if (t == NULL)
		return 2;
	struct mm_fault why = { .text = "out of memory" };
	struct running *r = malloc(sizeof *r);
	if (r == NULL)
		return mm_push_failure(L, why.text, "memory");
	r->task = t;
	r->child = mm_child_start(t->generation->settings.children, &o, ended, r, &why);
	if (r->child != NULL)
		return mm_task_wait(L, t, "process", undo_run, r);
	const char *code = code_of(errno);
	free(r);
	return mm_push_failure(L, why.text, code);
}

void mm_bind_process(lua_State *L)
{
	lua_pushcfunction(L, core_process_run);
	lua_setfield(L, -2, "process_run");
	lua_pushnumber(L, MM_PROCESS_TIMEOUT);
	lua_setfield(L, -2, "process_timeout");
	lua_pushnumber(L, MM_PROCESS_OUTPUT_MAX);
	lua_setfield(L, -2, "process_output_max");
}
