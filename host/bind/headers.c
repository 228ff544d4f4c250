/* bind/headers.c -- ctx.headers and ESMTP parameters.
 * ctx.headers is a plain list of plain tables, made when a script asks for it and again when edits have changed it, so
 * that ipairs, # and indexing work; lua/moonmilter/mail/fields.lua gives list and fields their methods. */
#include "base/text.h"
#include "bind/bind.h"

#include <lauxlib.h>
#include <lua.h>

/* [list] -> [list], one more element; the metatables come from the factory at index `factory` */
static void push_field(lua_State *L, struct mm_script_session *ss, const struct mm_field *f, int at, int factory)
{
	const struct mm_message *m = ss->facts->message;
	lua_createtable(L, 0, 5);
	mm_push_text(L, mm_message_text(m, f->name));
	lua_setfield(L, -2, "name");
	mm_push_text(L, mm_message_text(m, f->value));
	lua_setfield(L, -2, "value");
	lua_pushnumber(L, f->id);
	lua_setfield(L, -2, "id");
	if (f->is_received && !f->has_space) {
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "space");
	}
	mm_ctx_push(L, ss);
	lua_setfield(L, -2, "ctx");
	lua_getfield(L, factory, "field_metatable");
	lua_setmetatable(L, -2);
	lua_rawseti(L, -2, at);
}

static int get_headers(lua_State *L, struct mm_script_session *ss)
{
	struct mm_message *m = ss->facts->message;
	if (m != NULL && !m->knows_fields)
		return luaL_error(L, "ctx.headers: the MTA was not asked for the header, because no script seemed to "
			"need it; add options = { facts = { \"headers\" } } to this script");
	uint32_t stamp = m != NULL ? m->fields_changed : 0;
	if (ss->headers_table != MM_NO_REF && ss->headers_stamp == stamp) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, ss->headers_table);
		return 1;
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->generation->field_factory);
	int factory = lua_gettop(L);
	lua_newtable(L);
	int n = 0;
	for (uint32_t i = 0; m != NULL && i < m->field_count; i++)
		if (!m->fields[i].is_deleted)
			push_field(L, ss, &m->fields[i], ++n, factory);
	lua_getfield(L, factory, "list_metatable");
	lua_setmetatable(L, -2);
	mm_unref(L, &ss->headers_table);
	lua_pushvalue(L, -1);
	ss->headers_table = luaL_ref(L, LUA_REGISTRYINDEX);
	ss->headers_stamp = stamp;
	return 1;
}

/* ---- edits through a field: [ctx id ...]; what a field's own methods call ---- */

static uint32_t check_field(lua_State *L, struct mm_script_session *ss, const char *what)
{
	struct mm_message *m = ss->facts->message;
	int64_t index = m != NULL ? mm_message_field_of_id(m, (uint32_t)luaL_checknumber(L, 2)) : -1;
	if (index < 0)
		luaL_error(L, "%s: the field is gone, deleted or of another message", what);
	return (uint32_t)index;
}

/* Errors come back as a string, so that fields.lua can raise them at the script's line. */
static int report(lua_State *L, bool ok, const struct mm_fault *why)
{
	if (ok)
		return 0;
	lua_pushstring(L, why->text);
	return 1;
}

static int field_set(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "set");
	uint32_t index = check_field(L, ss, "set");
	struct mm_text value;
	value.bytes = luaL_checklstring(L, 3, &value.size);
	return report(L, mm_edit_field(ss->facts->message, &ss->facts->grants, index, value, value.size == 0, &why),
		&why);
}

static int field_delete(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "delete");
	uint32_t index = check_field(L, ss, "delete");
	return report(L, mm_edit_field(ss->facts->message, &ss->facts->grants, index, mm_text_of(""), true, &why),
		&why);
}

static int field_insert_before(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "insert_before");
	uint32_t index = check_field(L, ss, "insert_before");
	struct mm_text name, value;
	name.bytes = luaL_checklstring(L, 3, &name.size);
	value.bytes = luaL_checklstring(L, 4, &value.size);
	return report(L, mm_edit_insert_before(ss->facts->message, &ss->facts->grants, index, name, value, &why), &why);
}

/* ---- ctx:body{...} ----
 * A body that is kept belongs to the script that asked for it; lua/moonmilter/runtime/edits.lua has the rest. */

static void check_handler_task(lua_State *L, struct mm_script_session *ss)
{
	if (mm_task_current(L) != &ss->task || !ss->has_event)
		luaL_error(L, "body: ask for it in the handler itself, not in a task it has started; hand the "
			"task the result");
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

/* ctx:_new_body() -> what an earlier script's replace_body has made of the body, or nil */
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

/* Protected: [session]. Runs no script code: a body is a plain table, its file one of the io library. */
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
	if (lua_cpcall(L, close_bodies, ss) != 0)       /* out of memory: the collector closes the files then */
		lua_pop(L, 1);
	mm_unref(L, &ss->kept_bodies);
	ss->keeps_body = ss->skips_body = 0;
}

void mm_bind_headers(lua_State *L)
{
	static const struct mm_ctx_fact facts[] = { { "headers", get_headers }, { NULL, NULL } };
	static const luaL_Reg methods[] = {
		{ "_field_set", field_set }, { "_field_delete", field_delete },
			{ "_field_insert_before", field_insert_before },
		{ "_kept_body", kept_body }, { "_new_body", new_body }, { "_keep_body", keep_body },
		{ NULL, NULL },
	};
	mm_bind_facts(L, facts);
	lua_pushvalue(L, -2);
	luaL_setfuncs(L, methods, 1);
}
