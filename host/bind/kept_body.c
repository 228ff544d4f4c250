#include "bind/kept_body.h"

#include "bind/bind.h"
#include "bind/ctx.h"

#include <lauxlib.h>
#include <lua.h>

static void check_handler_task(lua_State *L, struct mm_script_session *ss)
{
	if (mm_task_current(L) != ss->task || !ss->has_event)
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
	mm_vault_push(ss->generation, L, ss->kept_bodies);
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
	luaL_checktype(L, 2, LUA_TTABLE);
	check_handler_task(L, ss);
	const char *at = mm_stage_name(ss->stage);
	if (ss->facts->message == NULL || ss->stage >= MM_STAGE_body) {
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
		ss->kept_bodies = mm_vault_put(L);
	}
	mm_vault_push(ss->generation, L, ss->kept_bodies);
	lua_pushvalue(L, 2);
	lua_rawseti(L, -2, (int)ss->script_at + 1);
	ss->keeps_body |= UINT64_C(1) << ss->script_at;
	return 0;
}

/* [bodies body] -> the same. Everything is read raw, and the file is closed by the function that Lua itself has for it
 * and that refuses anything else: a script may have put what it likes into a body, and nothing of a script may run
 * here, where no limit of time holds. */
static void close_body(lua_State *L, struct mm_generation *g)
{
	static const char *const contents[] = { "memory", "pieces", "file", NULL };
	int body = lua_gettop(L);
	lua_pushliteral(L, "is_closed");
	lua_pushboolean(L, 1);
	lua_rawset(L, body);
	mm_vault_push(g, L, g->close_file);
	lua_pushliteral(L, "file");
	lua_rawget(L, body);
	bool has_file = lua_isuserdata(L, -1);
	for (const char *const *key = contents; *key != NULL; key++) {
		lua_pushstring(L, *key);
		lua_pushnil(L);
		lua_rawset(L, body);
	}
	if (has_file)
		lua_pcall(L, 1, 0, 0);  /* an error: it was no open file */
	lua_settop(L, body);
}

/* [session], protected */
static int close_bodies(lua_State *L)
{
	struct mm_script_session *ss = lua_touserdata(L, 1);
	mm_vault_push(ss->generation, L, ss->kept_bodies);
	for (lua_pushnil(L); lua_next(L, 2) != 0; lua_settop(L, 3))
		close_body(L, ss->generation);
	return 0;
}

void mm_kept_bodies_close(struct mm_script_session *ss)
{
	lua_State *L = ss->generation->L;
	if (ss->kept_bodies == MM_NO_REF)
		return;
	if (mm_protected(L, close_bodies, ss) != 0)       /* out of memory: the collector will close the files */
		lua_pop(L, 1);
	mm_vault_drop(L, &ss->kept_bodies);
	ss->keeps_body = ss->skips_body = 0;
}

void mm_bind_kept_body(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "_kept_body", kept_body }, { "_new_body", new_body }, { "_keep_body", keep_body }, { NULL, NULL },
	};
	mm_ctx_add_methods(L, methods);
}
