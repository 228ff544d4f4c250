/* bind/headers.c -- ctx.headers, and edits through its fields.
 * ctx.headers is a plain list of plain tables, made when a script asks for it and again when edits have changed it, so
 * that ipairs, # and indexing work; lua/moonmilter/runtime/headers.lua gives list and fields their methods. */
#include "base/text.h"
#include "bind/bind.h"
#include "bind/ctx.h"
#include "bind/whole.h"

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
	mm_check_whole(L, ss, MM_PART_HEADER, "ctx.headers");
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
	if (m != NULL && m->is_header_cut) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "truncated");
	}
	lua_getfield(L, factory, "list_metatable");
	lua_setmetatable(L, -2);
	mm_unref(L, &ss->headers_table);
	lua_pushvalue(L, -1);
	ss->headers_table = luaL_ref(L, LUA_REGISTRYINDEX);
	ss->headers_stamp = stamp;
	return 1;
}

/* ---- edits through a field: [ctx id ...]; for a field's own methods ---- */

static uint32_t check_field(lua_State *L, struct mm_script_session *ss, const char *what)
{
	struct mm_message *m = ss->facts->message;
	int64_t index = m != NULL ? mm_message_field_of_id(m, (uint32_t)luaL_checknumber(L, 2)) : -1;
	if (index < 0)
		luaL_error(L, "%s: the field is gone: deleted, or part of another message", what);
	return (uint32_t)index;
}

/* Errors are returned as a string, so that headers.lua can raise them at the script's line. */
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
	struct mm_text value = mm_check_text(L, 3);
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
	struct mm_text name = mm_check_text(L, 3), value = mm_check_text(L, 4);
	return report(L, mm_edit_insert_before(ss->facts->message, &ss->facts->grants, index, name, value, &why), &why);
}

void mm_bind_headers(lua_State *L)
{
	static const struct mm_ctx_fact facts[] = { { "headers", get_headers }, { NULL, NULL } };
	static const luaL_Reg methods[] = {
		{ "_field_set", field_set }, { "_field_delete", field_delete },
		{ "_field_insert_before", field_insert_before }, { NULL, NULL },
	};
	mm_ctx_add_facts(L, facts);
	mm_ctx_add_methods(L, methods);
}
