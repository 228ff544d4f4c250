/* bind/headers.c -- ctx.headers, and edits through its fields.
 * ctx.headers is a plain list of plain tables, made when a script asks for it and again when edits have changed it, so
 * that ipairs, # and indexing work; lua/moonmilter/runtime/headers.lua gives list and fields their methods. */
#include "base/text.h"
#include "bind/bind.h"
#include "bind/ctx.h"
#include "bind/whole.h"

#include <lauxlib.h>
#include <lua.h>

/* What all fields of a list have in common, at these indexes of the stack. */
struct common {
	int ctx, metatable, queue_id;
};

static void set_common(lua_State *L, const char *key, int at)
{
	lua_pushvalue(L, at);
	lua_setfield(L, -2, key);
}

/* [list] -> [list], one more element */
static void push_field(lua_State *L, const struct mm_message *m, const struct mm_field *f, int at,
	const struct common *common)
{
	lua_createtable(L, 0, 7);
	mm_push_text(L, mm_message_text(m, f->name));
	lua_setfield(L, -2, "name");
	mm_push_text(L, mm_message_text(m, f->value));
	lua_setfield(L, -2, "value");
	lua_pushnumber(L, f->id);
	lua_setfield(L, -2, "id");
	lua_pushnumber(L, (lua_Number)m->number);
	lua_setfield(L, -2, "message");
	if (f->is_received && !f->has_space) {
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "space");
	}
	set_common(L, "queue_id", common->queue_id);
	set_common(L, "ctx", common->ctx);
	lua_pushvalue(L, common->metatable);
	lua_setmetatable(L, -2);
	lua_rawseti(L, -2, at);
}

/* [factory] -> [factory list]: the fields of the message, NULL: none */
static void push_list(lua_State *L, struct mm_script_session *ss, const struct mm_message *m)
{
	int factory = lua_gettop(L), n = 0;
	struct common common = { factory + 1, factory + 2, factory + 3 };
	struct mm_text queue_id = mm_session_macro(ss->facts, "i");
	mm_ctx_push(L, ss);
	lua_getfield(L, factory, "field_metatable");
	if (queue_id.size > 0)
		mm_push_text(L, queue_id);
	else
		lua_pushnil(L);
	lua_newtable(L);
	for (uint32_t i = 0; m != NULL && i < m->field_count; i++)
		if (!m->fields[i].is_deleted)
			push_field(L, m, &m->fields[i], ++n, &common);
	if (m != NULL && m->is_header_cut) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "truncated");
	}
	lua_getfield(L, factory, "list_metatable");
	lua_setmetatable(L, -2);
	lua_insert(L, factory + 1);
	lua_settop(L, factory + 1);
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
		mm_vault_push(ss->generation, L, ss->headers_table);
		return 1;
	}
	mm_vault_push(ss->generation, L, ss->generation->field_factory);
	push_list(L, ss, m);
	mm_vault_drop(L, &ss->headers_table);
	lua_pushvalue(L, -1);
	ss->headers_table = mm_vault_put(L);
	ss->headers_stamp = stamp;
	return 1;
}

/* ---- edits through a field: [ctx field ...]; for a field's own methods ---- */

/* A field of the table at index 2, read raw: a script may have changed it. */
static lua_Number number_of_field(lua_State *L, const char *key)
{
	lua_pushstring(L, key);
	lua_rawget(L, 2);
	lua_Number n = lua_tonumber(L, -1);
	lua_pop(L, 1);
	return n;
}

static void push_string_of_field(lua_State *L, const char *key)
{
	lua_pushstring(L, key);
	lua_rawget(L, 2);
	if (lua_type(L, -1) != LUA_TSTRING) {
		lua_pop(L, 1);
		lua_pushliteral(L, "");
	}
}

/* Errors are pushed as a string, so that headers.lua can raise them at the script's line. Both return false. */

/* A script has kept a field beyond its message. */
static bool refuse_stale(lua_State *L, bool is_own_session)
{
	push_string_of_field(L, "name");
	push_string_of_field(L, "queue_id");
	const char *name = lua_tostring(L, -2), *queue_id = lua_tostring(L, -1);
	lua_pushfstring(L, queue_id[0] != '\0' ? " (queue id %s)" : "", queue_id);
	lua_pushfstring(L, "this field \"%s\" belongs to message %d of %s session%s, which is over; keep the field's "
		"value and not the field, and get the field of the present message with ctx.headers:field(name)",
		name, (int)number_of_field(L, "message"), is_own_session ? "this" : "another", lua_tostring(L, -1));
	return false;
}

struct field_edit {
	struct mm_script_session *ss;
	struct mm_message        *message;
	uint32_t                  index;        /* of the field in the message */
	struct mm_fault           why;
};

static bool begin_edit(lua_State *L, struct field_edit *e)
{
	luaL_checktype(L, 2, LUA_TTABLE);
	e->ss = mm_ctx_own(L);
	e->message = e->ss != NULL ? e->ss->facts->message : NULL;
	if (e->message == NULL || (lua_Number)e->message->number != number_of_field(L, "message"))
		return refuse_stale(L, e->ss != NULL);
	lua_Number id = number_of_field(L, "id");
	int64_t index = id >= 0 && id <= UINT32_MAX ? mm_message_field_of_id(e->message, (uint32_t)id) : -1;
	if (index >= 0) {
		e->index = (uint32_t)index;
		return true;
	}
	lua_pushliteral(L, "the field is gone: it has been deleted");
	return false;
}

static int end_edit(lua_State *L, bool ok, const struct field_edit *e)
{
	if (ok)
		return 0;
	e->ss->error_reason = (uint8_t)e->why.reason;
	lua_pushstring(L, e->why.text);
	return 1;
}

static int field_set(lua_State *L)
{
	struct field_edit e;
	struct mm_text value = mm_check_text(L, 3);
	if (!begin_edit(L, &e))
		return 1;
	return end_edit(L, mm_edit_field(e.message, &e.ss->facts->grants, e.index, value, value.size == 0, &e.why),
		&e);
}

static int field_delete(lua_State *L)
{
	struct field_edit e;
	if (!begin_edit(L, &e))
		return 1;
	return end_edit(L, mm_edit_field(e.message, &e.ss->facts->grants, e.index, mm_text_of(""), true, &e.why), &e);
}

static int field_insert_before(lua_State *L)
{
	struct field_edit e;
	struct mm_text name = mm_check_text(L, 3), value = mm_check_text(L, 4);
	if (!begin_edit(L, &e))
		return 1;
	return end_edit(L, mm_edit_insert_before(e.message, &e.ss->facts->grants, e.index, name, value, &e.why), &e);
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
