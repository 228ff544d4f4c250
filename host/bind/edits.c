/* bind/edits.c -- the edits of a message that scripts ask for, by methods of ctx. Everything is checked here, at the
 * call, so that an error names the script's line. Edits are only queued: they are sent in one burst with the final
 * reply, or not at all. */
#include "base/text.h"
#include "bind/bind.h"
#include "bind/ctx.h"
#include "bind/whole.h"
#include "task/told.h"

#include <lauxlib.h>
#include <lua.h>

/* An edit must come from a handler of this session, while it may still ask for edits. */
static void check_session(lua_State *L, struct mm_script_session *ss, const char *name)
{
	struct mm_task *t = mm_task_current(L);
	ss->error_reason = MM_REASON_IS_TOO_LATE;
	if (t == NULL || t->session != ss)
		luaL_error(L, "%s: this ctx belongs to another session; a handler may only use its own", name);
	if (t->is_cancelled)
		luaL_error(L, "%s: too late, the handler has been cancelled (%s)", name, mm_cancel_name(t->why));
}

static struct mm_message *check_message(lua_State *L, struct mm_script_session *ss, const char *name)
{
	check_session(L, ss, name);
	ss->error_reason = MM_REASON_IS_WRONG_STAGE;
	if (ss->facts->message == NULL)
		luaL_error(L, "%s: no message is open at %s; edits can be asked for from on_mail to on_eom", name,
			ss->has_event ? mm_stage_name(ss->stage) : "this point");
	if (ss->has_event && !(MM_STAGES_OF_MESSAGE & 1u << ss->stage)
	    && ss->stage != MM_STAGE_unknown)
		luaL_error(L, "%s: %s at %s; edits can be asked for from on_mail to on_eom", name,
			ss->stage == MM_STAGE_macros ? "not possible" : "the message is over",
			mm_stage_name(ss->stage));
	ss->error_reason = MM_REASON_IS_BAD_VALUE;      /* unless the call succeeds */
	return ss->facts->message;
}

/* One call of a method. */
struct edit {
	const char               *name;         /* of the method */
	struct mm_script_session *ss;
	struct mm_message        *message;
	const struct mm_grants   *grants;
	struct mm_fault           why;          /* set when the edit is refused */
};

/* Raises when edits are not allowed here. */
static void begin_edit(lua_State *L, struct edit *e, const char *name)
{
	e->name = name;
	e->ss = mm_ctx_check(L, name);
	e->message = check_message(L, e->ss, name);
	e->grants = &e->ss->facts->grants;
}

static int end_edit(lua_State *L, const struct edit *e, bool ok)
{
	e->ss->error_reason = (uint8_t)(ok ? MM_REASON_IS_NONE : e->why.reason);
	if (!ok)
		return luaL_error(L, "%s: %s", e->name, e->why.text);
	mm_told_edit(L, e->ss, e->name);
	return 0;
}

/* Checks the argument that counts fields of one name. */
static int64_t check_field_number(lua_State *L, int at, const char *name)
{
	lua_Number n = luaL_checknumber(L, at);
	if (!(n >= -1e6 && n <= 1e6))
		luaL_error(L, "%s: n is %f; count the fields of the name from 1, or from the end with -1", name, n);
	return (int64_t)n;
}

/* ctx:add_header(name, value) after the last field (protocol 3.7). */
static int ctx_add_header(lua_State *L)
{
	struct edit e;
	begin_edit(L, &e, "add_header");
	struct mm_text name = mm_check_text(L, 2), value = mm_check_text(L, 3);
	return end_edit(L, &e, mm_edit_add_header(e.message, e.grants, name, value, &e.why));
}

/* ctx:insert_header(position, name, value) 0 is above everything, 1 just below the MTA's own Received. */
static int ctx_insert_header(lua_State *L)
{
	struct edit e;
	begin_edit(L, &e, "insert_header");
	lua_Number position = luaL_checknumber(L, 2);
	struct mm_text name = mm_check_text(L, 3), value = mm_check_text(L, 4);
	if (!(position >= 0))
		return luaL_error(L, "insert_header: position %f; 0 is the top, large numbers the end", position);
	position = position > 1e9 ? 1e9 : position;
	return end_edit(L, &e, mm_edit_insert_header(e.message, e.grants, (int64_t)position, name, value,
		&e.why));
}

/* ctx:change_header(name, n, value) the n-th of its name, from 1, negative from the end; nil or "" deletes. */
static int ctx_change_header(lua_State *L)
{
	struct edit e;
	begin_edit(L, &e, "change_header");
	struct mm_text name = mm_check_text(L, 2);
	int64_t n = check_field_number(L, 3, e.name);
	struct mm_text value = lua_isnoneornil(L, 4) ? mm_text_of("") : mm_check_text(L, 4);
	mm_check_whole(L, e.ss, MM_PART_HEADER, e.name);
	return end_edit(L, &e, mm_edit_change_header(e.message, e.grants, name, n, value, &e.why));
}

/* ctx:delete_header(name[, n]) without n: all fields of the name. */
static int ctx_delete_header(lua_State *L)
{
	struct edit e;
	begin_edit(L, &e, "delete_header");
	struct mm_text name = mm_check_text(L, 2);
	mm_check_whole(L, e.ss, MM_PART_HEADER, e.name);
	if (lua_isnoneornil(L, 3))
		return end_edit(L, &e, mm_edit_delete_headers(e.message, e.grants, name, &e.why));
	int64_t n = check_field_number(L, 3, e.name);
	return end_edit(L, &e, mm_edit_delete_header(e.message, e.grants, name, n, &e.why));
}

/* [key value] -> [key value param]; false: it is not a parameter, and nothing is pushed. */
static bool push_param(lua_State *L, int at)
{
	int key = lua_type(L, -2), value = lua_type(L, -1);
	if (key == LUA_TNUMBER && value == LUA_TSTRING) {
		lua_pushvalue(L, -1);
		return true;
	}
	if (key == LUA_TSTRING && value == LUA_TBOOLEAN && lua_toboolean(L, -1)) {
		lua_pushvalue(L, -2);
		return true;
	}
	if (key != LUA_TSTRING || (value != LUA_TSTRING && value != LUA_TNUMBER))
		luaL_argerror(L, at, "parameters are { KEY = \"value\", KEY = true, \"KEY=value\" }");
	if (strcmp(lua_tostring(L, -2), "raw") == 0)
		return false;
	lua_pushvalue(L, -2);
	lua_pushliteral(L, "=");
	lua_pushvalue(L, -3);
	lua_concat(L, 3);
	return true;
}

/* [] -> ["KEY=value KEY"] of the table at an index */
static void push_joined_params(lua_State *L, int at)
{
	luaL_checkstack(L, 8, "parameters");
	lua_newtable(L);
	int list = lua_gettop(L), n = 0;
	for (lua_pushnil(L); lua_next(L, at) != 0; lua_pop(L, 1))
		if (push_param(L, at))
			lua_rawseti(L, list, ++n);
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	for (int i = 1; i <= n; i++) {
		if (i > 1)
			luaL_addchar(&b, ' ');
		lua_rawgeti(L, list, i);
		luaL_addvalue(&b);
	}
	luaL_pushresult(&b);
}

/* Pushes "KEY=value KEY" for a string, or a table of strings and of keys with values; "" for nothing. */
static struct mm_text push_param_text(lua_State *L, int at)
{
	if (lua_isnoneornil(L, at))
		lua_pushliteral(L, "");
	else if (lua_type(L, at) == LUA_TTABLE)
		push_joined_params(L, at);
	else
		lua_pushvalue(L, at);
	return mm_check_text(L, -1);
}

/* ctx:change_from(address[, params]) "" or "<>" is the null sender; params RET= ENVID= ... (RFC 3461 4). */
static int ctx_change_from(lua_State *L)
{
	struct edit e;
	begin_edit(L, &e, "change_from");
	struct mm_text address = mm_check_text(L, 2), params = push_param_text(L, 3);
	return end_edit(L, &e, mm_edit_change_from(e.message, e.grants, address, params, &e.why));
}

/* ctx:add_recipient(address[, params]) params NOTIFY= ORCPT= (RFC 3461 4). */
static int ctx_add_recipient(lua_State *L)
{
	struct edit e;
	begin_edit(L, &e, "add_recipient");
	struct mm_text address = mm_check_text(L, 2), params = push_param_text(L, 3);
	return end_edit(L, &e, mm_edit_add_recipient(e.message, e.grants, address, params, &e.why));
}

/* ctx:delete_recipient(address) */
static int ctx_delete_recipient(lua_State *L)
{
	struct edit e;
	begin_edit(L, &e, "delete_recipient");
	struct mm_text address = mm_check_text(L, 2);
	mm_check_whole(L, e.ss, MM_PART_RECIPIENTS, e.name);
	return end_edit(L, &e, mm_edit_delete_recipient(e.message, e.grants, address, &e.why));
}

/* ctx:_replace_body_piece(string) -> error text or nothing; ctx:replace_body is in lua/moonmilter/runtime/edits.lua. */
static int ctx_replace_body_piece(lua_State *L)
{
	struct edit e;
	begin_edit(L, &e, "replace_body");
	struct mm_script_session *ss = e.ss;
	/* a second script's body replaces that of the first and is not appended to it */
	if (e.message->edits.replaces_body && ss->body_replaced_by != ss->script_at)
		mm_edit_restart_body(e.message, ss->mark);
	ss->body_replaced_by = (uint8_t)ss->script_at;
	if (mm_edit_replace_body(e.message, e.grants, mm_check_text(L, 2), ss->generation->settings.body_max, &e.why)) {
		ss->error_reason = MM_REASON_IS_NONE;
		return 0;
	}
	ss->error_reason = (uint8_t)e.why.reason;
	lua_pushstring(L, e.why.text);
	return 1;
}

/* ctx:quarantine(reason) the MTA holds the message for a person to check; this is not a verdict, the message still
 * needs one (protocol 3.13). */
static int ctx_quarantine(lua_State *L)
{
	struct edit e;
	begin_edit(L, &e, "quarantine");
	struct mm_text reason = mm_check_text(L, 2);
	return end_edit(L, &e, mm_edit_quarantine(e.message, e.grants, reason, &e.why));
}

/* ctx:progress() tells the MTA at once that work goes on; while a handler waits, the host does this by itself. */
static int ctx_progress(lua_State *L)
{
	struct mm_script_session *ss = mm_ctx_check(L, "progress");
	check_session(L, ss, "progress");
	if (!mm_engine_progress(ss->engine))
		return luaL_error(L, "progress: only at end of message; Sendmail drops a filter that sends "
			"it elsewhere (protocol 3.5)");
	return 0;
}

void mm_bind_edits(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "add_header", ctx_add_header }, { "insert_header", ctx_insert_header },
		{ "change_header", ctx_change_header }, { "delete_header", ctx_delete_header },
		{ "change_from", ctx_change_from }, { "add_recipient", ctx_add_recipient },
		{ "delete_recipient", ctx_delete_recipient }, { "_replace_body_piece", ctx_replace_body_piece },
		{ "quarantine", ctx_quarantine }, { "progress", ctx_progress }, { NULL, NULL },
	};
	mm_ctx_add_methods(L, methods);
}
