#include "bind/kept_body.h"

#include "bind/bind.h"
#include "bind/ctx.h"

#include <lauxlib.h>
#include <lua.h>

static void check_handler_task(lua_State *L, struct mm_script_session *ss)
{
	if (mm_task_current(L) != &ss->task || !ss->has_event)
		luaL_error(L, "body: ask for it in the handler itself, not in a task it has started; pass the result "
			"to the task");
}

/* ctx:_kept_body() -> the body kept for the running script, or nil */
static int kept_body(lua_State *L)
{
	struct mm_script_session *ss = mm_ctx_check(L, "body");
	check_handler_task(L, ss);
	if (!(ss->keeps_body & UINT64_C(1) << ss->script_at))
		return 0;
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->kept_bodies);
	lua_rawgeti(L, -1, (int)ss->script_at + 1);
	return 1;
}

/* ctx:_new_body() -> the body that an earlier script has set with replace_body, or nil */
static int new_body(lua_State *L)
{
	struct mm_script_session *ss = mm_ctx_check(L, "body");
	const struct mm_message *m = ss->facts->message;
	if (m == NULL || !m->edits.replaces_body)
		return 0;
	luaL_Buffer whole;
	luaL_buffinit(L, &whole);
	struct mm_text piece;
	for (size_t at = 0; mm_new_body_next(&m->new_body, &at, &piece);)
		luaL_addlstring(&whole, piece.bytes, piece.size);
	luaL_pushresult(&whole);
	return 1;
}

/* ctx:_keep_body(body) -> text of an error, or nothing */
static int keep_body(lua_State *L)
{
	struct mm_script_session *ss = mm_ctx_check(L, "body");
	check_handler_task(L, ss);
	const char *at = mm_stage_name(ss->event.stage);
	if (ss->facts->message == NULL || ss->event.stage >= MM_STAGE_body) {
		lua_pushfstring(L, "too early or too late at %s; ask for it in on_mail, on_rcpt, on_data, on_header "
			"or on_eoh", at);
		return 1;
	}
	if (!(ss->generation->wanted.stages & MM_STAGE_BIT(body))) {
		lua_pushliteral(L, "the MTA was not asked for the body, because no script seemed to need it; add "
			"options = { facts = { \"body\" } } to this script");
		return 1;
	}
	if (ss->kept_bodies == MM_NO_REF) {
		lua_newtable(L);
		ss->kept_bodies = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->kept_bodies);
	lua_pushvalue(L, 2);
	lua_rawseti(L, -2, (int)ss->script_at + 1);
	ss->keeps_body |= UINT64_C(1) << ss->script_at;
	return 0;
}

/* [session], protected. Runs no script code: a body is a plain table, its file is one of the io library. */
static int close_bodies(lua_State *L)
{
	struct mm_script_session *ss = lua_touserdata(L, 1);
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->kept_bodies);
	for (lua_pushnil(L); lua_next(L, 2) != 0; lua_settop(L, 3)) {
		lua_getfield(L, 4, "file");
		lua_pushboolean(L, 1);
		lua_setfield(L, 4, "is_closed");
		static const char *const contents[] = { "file", "memory", "pieces", NULL };
		for (const char *const *key = contents; *key != NULL; key++) {
			lua_pushnil(L);
			lua_setfield(L, 4, *key);
		}
		if (lua_isuserdata(L, 5)) {
			lua_getfield(L, 5, "close");
			lua_pushvalue(L, 5);
			lua_call(L, 1, 0);
		}
	}
	return 0;
}

void mm_kept_bodies_close(struct mm_script_session *ss)
{
	lua_State *L = ss->generation->L;
	if (ss->kept_bodies == MM_NO_REF)
		return;
	if (lua_cpcall(L, close_bodies, ss) != 0)       /* out of memory: the collector will close the files */
		lua_pop(L, 1);
	mm_unref(L, &ss->kept_bodies);
	ss->keeps_body = ss->skips_body = 0;
}

void mm_bind_kept_body(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "_kept_body", kept_body }, { "_new_body", new_body }, { "_keep_body", keep_body }, { NULL, NULL },
	};
	mm_ctx_add_methods(L, methods);
}
