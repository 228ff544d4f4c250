#include "bind/ctx.h"

#include "base/suggest.h"
#include "bind/bind.h"

#include <lauxlib.h>
#include <lua.h>

#define META    lua_upvalueindex(1)
#define MEMBERS lua_upvalueindex(2)
#define MEMBERS_SHOWN 96         /* more than ctx has */

/* ---- ctx itself ---- */

struct mm_script_session *mm_ctx_check(lua_State *L, const char *what)
{
	struct mm_script_session **box = lua_touserdata(L, 1);
	bool is_ctx = false;
	if (box != NULL && lua_getmetatable(L, 1)) {
		is_ctx = lua_rawequal(L, -1, META);
		lua_pop(L, 1);
	}
	if (!is_ctx) {
		luaL_error(L, "%s: call it on ctx with a colon: ctx:%s(...)", what, what);
		return NULL;
	}
	if (*box == NULL)
		luaL_error(L, "%s: the session has ended; do not keep a ctx beyond on_close", what);
	return *box;
}

/* [ctx key …] with the member table as upvalue: raises an error that names the member that was probably meant. */
static int refuse_member(lua_State *L)
{
	const char *words[MEMBERS_SHOWN + 1], *wanted = lua_tostring(L, 2);
	int count = 0;
	if (wanted == NULL)
		return luaL_error(L, "ctx has no member that is a %s", luaL_typename(L, 2));
	for (lua_pushnil(L); count < MEMBERS_SHOWN && lua_next(L, MEMBERS) != 0; lua_pop(L, 1))
		if (lua_type(L, -2) == LUA_TSTRING && lua_tostring(L, -2)[0] != '_')
			words[count++] = lua_tostring(L, -2);
	words[count] = NULL;
	const char *meant = mm_suggest(wanted, words);
	if (meant != NULL)
		return luaL_error(L, "ctx has no member \"%s\"; did you mean \"%s\"?", wanted, meant);
	return luaL_error(L, "ctx has no member \"%s\"; facts and methods are listed in the scripting reference, "
		"your own values belong in ctx.session or ctx.message", wanted);
}

/* [ctx key] -> [value] */
static int ctx_index(lua_State *L)
{
	struct mm_script_session **box = lua_touserdata(L, 1);
	lua_pushvalue(L, 2);
	lua_rawget(L, MEMBERS);
	if (lua_isuserdata(L, -1)) {            /* the row of a fact */
		const struct mm_ctx_fact *fact = lua_touserdata(L, -1);
		if (*box == NULL)
			return luaL_error(L, "ctx.%s: the session has ended; a ctx is not to be kept beyond "
				"on_close", fact->name);
		return fact->get(L, *box);
	}
	if (!lua_isnil(L, -1))
		return 1;
	return refuse_member(L);
}

static int ctx_newindex(lua_State *L)
{
	return luaL_error(L, "ctx.%s: ctx is read only; keep your own values in ctx.session (the connection) "
		"or ctx.message (this message)", lua_tostring(L, 2));
}

static int ctx_tostring(lua_State *L)
{
	struct mm_script_session **box = lua_touserdata(L, 1);
	lua_pushfstring(L, "ctx %s", *box != NULL ? (*box)->facts->id : "(ended)");
	return 1;
}

void mm_ctx_push(lua_State *L, struct mm_script_session *ss)
{
	if (ss->ctx != MM_NO_REF) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, ss->ctx);
		return;
	}
	struct mm_script_session **box = lua_newuserdata(L, sizeof *box);
	*box = NULL;
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->generation->ctx_metatable);
	lua_setmetatable(L, -2);
	*box = ss;
	lua_pushvalue(L, -1);
	ss->ctx = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* ---- ctx.session and ctx.message ----
 * Each is in a table by ctx, where lua/moonmilter/runtime/members.lua finds it without a call into the host. */

/* [ctx ...] -> [... table] */
static int push_kept(lua_State *L, struct mm_script_session *ss, enum mm_kept which)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->generation->kept_tables[which]);
	if (ss->has_kept[which]) {
		lua_pushvalue(L, 1);
		lua_rawget(L, -2);
		return 1;
	}
	lua_newtable(L);
	luaL_getmetatable(L, MM_KEPT_CLASS);
	lua_setmetatable(L, -2);
	lua_pushvalue(L, 1);
	lua_pushvalue(L, -2);
	lua_rawset(L, -4);
	ss->has_kept[which] = true;
	return 1;
}

static int get_session(lua_State *L, struct mm_script_session *ss)
{
	return push_kept(L, ss, MM_KEPT_SESSION);
}

static int get_message(lua_State *L, struct mm_script_session *ss)
{
	if (!ss->has_kept[MM_KEPT_MESSAGE] && ss->facts->message == NULL)
		return luaL_error(L, "ctx.message: no message is open at %s; keep what belongs to the connection in "
			"ctx.session; ctx.in_message says whether a message is open", ss->has_event
			? mm_stage_name(ss->event.stage) : "this point");
	return push_kept(L, ss, MM_KEPT_MESSAGE);
}

static void drop_kept(struct mm_script_session *ss, enum mm_kept which)
{
	lua_State *L = ss->generation->L;
	if (!ss->has_kept[which])
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->generation->kept_tables[which]);
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->ctx);
	lua_pushnil(L);
	lua_rawset(L, -3);
	lua_pop(L, 1);
	ss->has_kept[which] = false;
}

void mm_ctx_end_message(struct mm_script_session *ss)
{
	lua_State *L = ss->generation->L;
	drop_kept(ss, MM_KEPT_MESSAGE);
	mm_unref(L, &ss->recipients_table);
	mm_unref(L, &ss->headers_table);
	ss->recipients_synced = 0;
}

void mm_ctx_end(struct mm_script_session *ss)
{
	lua_State *L = ss->generation->L;
	if (ss->ctx == MM_NO_REF)
		return;
	mm_ctx_end_message(ss);
	drop_kept(ss, MM_KEPT_SESSION);
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->ctx);
	struct mm_script_session **box = lua_touserdata(L, -1);
	*box = NULL;
	lua_pop(L, 1);
	mm_unref(L, &ss->ctx);
	mm_unref(L, &ss->client_table);
}

void mm_ctx_add_facts(lua_State *L, const struct mm_ctx_fact *row)
{
	for (; row->name != NULL; row++) {
		lua_pushlightuserdata(L, (void *)(uintptr_t)row);
		lua_setfield(L, -2, row->name);
	}
}

void mm_ctx_add_methods(lua_State *L, const luaL_Reg *rows)
{
	lua_pushvalue(L, -2);
	luaL_setfuncs(L, rows, 1);
}

static const struct mm_ctx_fact kept_facts[] = {
	{ "session", get_session }, { "message", get_message }, { NULL, NULL },
};

void mm_bind_ctx(lua_State *L)
{
	/* [metatable members]: built by script/generation.c */
	static const luaL_Reg meta[] = {
		{ "__index", ctx_index }, { "__newindex", ctx_newindex }, { "__tostring", ctx_tostring },
			{ NULL, NULL },
	};
	mm_ctx_add_facts(L, kept_facts);
	lua_pushvalue(L, -2);           /* [metatable members metatable] */
	lua_pushvalue(L, -1);
	lua_pushvalue(L, -3);
	luaL_setfuncs(L, meta, 2);      /* into the metatable, upvalues metatable and members */
	lua_pushliteral(L, "moonmilter.ctx");
	lua_setfield(L, -2, "__name");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}
