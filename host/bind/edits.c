/* bind/edits.c -- what scripts ask for: verdicts and edits. Everything is checked here, at the call, so that an error
 * names the script's line. Edits are only queued: they leave in one burst with the final reply, or not at all. */
#include "base/text.h"
#include "bind/bind.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>

/* ---- verdicts ---- */

/* "10-auth.lua:12", for the log line of the message. After `return ctx:reject()`, a tail call, the line is gone. */
static void note_place(lua_State *L, const struct mm_script_session *ss, struct mm_verdict *v)
{
	lua_Debug where;
	if (!lua_getstack(L, 1, &where) || !lua_getinfo(L, "Sl", &where) || where.currentline < 0) {
		snprintf(v->decided_by, sizeof v->decided_by, "%.30s %s", ss->generation->scripts[ss->script_at].name,
			mm_stage_handler(ss->event.stage));
		return;
	}
	const char *slash = strrchr(where.short_src, '/');
	snprintf(v->decided_by, sizeof v->decided_by, "%.30s:%d", slash != NULL ? slash + 1 : where.short_src,
		where.currentline);
}

/* Ends the handler: a yield crosses every pcall, so nothing between here and the host can swallow it. Where Lua cannot
 * yield an error has to do; the verdict stands even if that one is caught. */
static int leave_handler(lua_State *L, struct mm_script_session *ss)
{
	ss->has_verdict = true;
	note_place(L, ss, &ss->verdict);
	mm_task_forget_wait(&ss->task);
	lua_settop(L, 0);
	lua_rawgeti(L, LUA_REGISTRYINDEX, ss->generation->host_token);
	return lua_isyieldable(L) ? lua_yield(L, 1) : lua_error(L);
}

static struct mm_script_session *check_verdict(lua_State *L, const char *name, enum mm_verdict_kind kind)
{
	struct mm_script_session *ss = mm_ctx_check(L, name);
	struct mm_task *t = mm_task_current(L);
	if (t != &ss->task)
		luaL_error(L, "%s: a verdict is given by the handler itself, not by a task it has started; let "
			"the task return its finding and decide there", name);
	if (t->is_cancelled)
		luaL_error(L, "%s: too late, the handler has been cancelled (%s)", name, mm_cancel_name(t->why));
	if (!ss->has_event || !(mm_verdict_stages(kind) & 1u << ss->event.stage))
		luaL_error(L, "%s: not possible at %s", name, ss->has_event ? mm_stage_name(ss->event.stage)
			: "this point");
	return ss;
}

/* Code and enhanced status may be left out: numbers and "5.7.1"-like strings are recognised by their form. A string of
 * digits at the end is the text: what a script looked up and hands on must not become a code. */
static bool is_code(lua_State *L, int at, unsigned *code)
{
	size_t size;
	if (lua_type(L, at) == LUA_TNUMBER) {
		lua_Number n = lua_tonumber(L, at);
		*code = n >= 0 && n < 1000 ? (unsigned)n : 0;
		return true;
	}
	if (lua_type(L, at) != LUA_TSTRING)
		return false;
	const char *s = lua_tolstring(L, at, &size);
	if (size != 3 || strspn(s, "0123456789") != 3 || at == lua_gettop(L))
		return false;
	*code = (unsigned)(s[0] - '0') * 100 + (unsigned)(s[1] - '0') * 10 + (unsigned)(s[2] - '0');
	return true;
}

/* "550 5.7.1 text" in one string, as an access table of Postfix has it: the codes would be sent twice. Whoever quotes
 * somebody else's reply gives a status of his own before it. */
static void refuse_codes_in_text(lua_State *L, const char *name, bool takes_code, struct mm_text line)
{
	if (line.size < 4 || strspn(line.bytes, "0123456789") != 3 || (line.bytes[3] != ' ' && line.bytes[3] != '-'))
		return;
	struct mm_text status = { line.bytes + 4, strcspn(line.bytes + 4, " ") };       /* Lua's strings end with NUL */
	if (!mm_enhanced_is_good(status) || status.bytes[0] != line.bytes[0])
		return;
	lua_pushlstring(L, line.bytes, 3);
	lua_pushlstring(L, status.bytes, status.size);
	luaL_error(L, "%s: the text begins with codes, which would be sent twice; say %s(%s%s\"%s\", "
		"\"text\")", name, name, takes_code ? lua_tostring(L, -2) : "", takes_code ? ", " : "",
		lua_tostring(L, -1));
}

static int worded_verdict(lua_State *L, const char *name, enum mm_verdict_kind kind, unsigned code,
	struct mm_text enhanced, int at)
{
	struct mm_script_session *ss = check_verdict(L, name, kind);
	int top = lua_gettop(L);
	bool is_worded = at <= top || code == 421, has_status = false;
	if (code != 421 && at <= top && is_code(L, at, &code))
		at++;
	if (at <= top && lua_type(L, at) == LUA_TSTRING) {
		struct mm_text text;
		text.bytes = lua_tolstring(L, at, &text.size);
		if (mm_enhanced_is_good(text)) {
			enhanced = text;
			has_status = true;
			at++;
		}
	}
	struct mm_text lines[MM_REPLY_LINES_MAX + 1];
	size_t count = 0;
	for (; at <= top && count <= MM_REPLY_LINES_MAX; at++, count++)
		lines[count].bytes = luaL_checklstring(L, at, &lines[count].size);
	if (count > 0 && !has_status)
		refuse_codes_in_text(L, name, code != 421, lines[0]);
	if (!is_worded) {
		mm_verdict_plain(&ss->verdict, kind);
		return leave_handler(L, ss);
	}
	struct mm_fault why;
	if (!mm_verdict_worded(&ss->verdict, kind, code, enhanced, lines, count, &why))
		return luaL_error(L, "%s: %s", name, why.text);
	return leave_handler(L, ss);
}

/* ctx:reject([code,] [enhanced,] text...) code 500..599, default 550; enhanced "5.x.y", default 5.7.1 (RFC 3463). */
static int ctx_reject(lua_State *L)
{
	return worded_verdict(L, "reject", MM_VERDICT_reject, 550, mm_text_of("5.7.1"), 2);
}

/* ctx:tempfail([code,] [enhanced,] text...) code 400..499, default 451; enhanced "4.x.y", default 4.7.1. */
static int ctx_tempfail(lua_State *L)
{
	return worded_verdict(L, "tempfail", MM_VERDICT_tempfail, 451, mm_text_of("4.7.1"), 2);
}

/* ctx:disconnect(text) 421: the MTA ends the SMTP session (RFC 5321 3.8). */
static int ctx_disconnect(lua_State *L)
{
	return worded_verdict(L, "disconnect", MM_VERDICT_tempfail, 421, mm_text_of("4.7.0"), 2);
}

static int plain_verdict(lua_State *L, const char *name, enum mm_verdict_kind kind)
{
	struct mm_script_session *ss = check_verdict(L, name, kind);
	mm_verdict_plain(&ss->verdict, kind);
	return leave_handler(L, ss);
}

static int ctx_accept(lua_State *L)
{
	return plain_verdict(L, "accept", MM_VERDICT_accept);
}

static int ctx_discard(lua_State *L)
{
	return plain_verdict(L, "discard", MM_VERDICT_discard);
}

static int ctx_skip(lua_State *L)
{
	return plain_verdict(L, "skip", MM_VERDICT_skip);
}

static int ctx_continue(lua_State *L)
{
	return plain_verdict(L, "continue", MM_VERDICT_continue);
}

/* ---- edits ---- */

/* What is asked for must come from a handler of this very session, and while it may still ask. */
static void check_session(lua_State *L, struct mm_script_session *ss, const char *name)
{
	struct mm_task *t = mm_task_current(L);
	if (t == NULL || t->session != ss)
		luaL_error(L, "%s: this ctx is of another session; a handler may only use its own", name);
	if (t->is_cancelled)
		luaL_error(L, "%s: too late, the handler has been cancelled (%s)", name, mm_cancel_name(t->why));
}

static struct mm_message *check_message(lua_State *L, struct mm_script_session *ss, const char *name)
{
	check_session(L, ss, name);
	if (ss->facts->message == NULL)
		luaL_error(L, "%s: no message is open at %s; edits can be asked for from on_mail to on_eom", name,
			ss->has_event ? mm_stage_name(ss->event.stage) : "this point");
	if (ss->has_event && !(MM_STAGES_OF_MESSAGE & 1u << ss->event.stage)
	    && ss->event.stage != MM_STAGE_unknown)
		luaL_error(L, "%s: the message is over at %s; edits can be asked for from on_mail to on_eom", name,
			mm_stage_name(ss->event.stage));
	return ss->facts->message;
}

static struct mm_text check_text(lua_State *L, int at)
{
	struct mm_text t;
	t.bytes = luaL_checklstring(L, at, &t.size);
	return t;
}

static int done(lua_State *L, const char *name, bool ok, const struct mm_fault *why)
{
	return ok ? 0 : luaL_error(L, "%s: %s", name, why->text);
}

/* ctx:add_header(name, value) behind the last field (protocol 3.7). */
static int ctx_add_header(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "add_header");
	struct mm_message *m = check_message(L, ss, "add_header");
	struct mm_text name = check_text(L, 2), value = check_text(L, 3);
	return done(L, "add_header", mm_edit_add_header(m, &ss->facts->grants, name, value, &why), &why);
}

/* ctx:insert_header(position, name, value) 0 is above everything, 1 just below the MTA's own Received. */
static int ctx_insert_header(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "insert_header");
	struct mm_message *m = check_message(L, ss, "insert_header");
	lua_Number position = luaL_checknumber(L, 2);
	struct mm_text name = check_text(L, 3), value = check_text(L, 4);
	if (!(position >= 0))
		return luaL_error(L, "insert_header: position %f; 0 is the top, large numbers the end", position);
	position = position > 1e9 ? 1e9 : position;
	return done(L, "insert_header", mm_edit_insert_header(m, &ss->facts->grants, (int64_t)position, name,
		value, &why), &why);
}

/* ctx:change_header(name, n, value) the n-th of its name, from 1, negative from the end; nil or "" deletes. */
static int ctx_change_header(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "change_header");
	struct mm_message *m = check_message(L, ss, "change_header");
	struct mm_text name = check_text(L, 2);
	lua_Number n = luaL_checknumber(L, 3);
	if (!(n >= -1e6 && n <= 1e6))
		return luaL_error(L, "change_header: n is %f; count the fields of the name from 1, or from the "
			"end with -1", n);
	struct mm_text value = lua_isnoneornil(L, 4) ? mm_text_of("") : check_text(L, 4);
	return done(L, "change_header", mm_edit_change_header(m, &ss->facts->grants, name, (int64_t)n, value, &why),
		&why);
}

/* ctx:delete_header(name[, n]) without n: all of the name. */
static int ctx_delete_header(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "delete_header");
	struct mm_message *m = check_message(L, ss, "delete_header");
	struct mm_text name = check_text(L, 2);
	if (lua_isnoneornil(L, 3))
		return done(L, "delete_header", mm_edit_delete_headers(m, &ss->facts->grants, name, &why), &why);
	lua_Number n = luaL_checknumber(L, 3);
	if (!(n >= -1e6 && n <= 1e6))
		return luaL_error(L, "delete_header: n is %f; count the fields of the name from 1, or from the "
			"end with -1", n);
	return done(L, "delete_header", mm_edit_delete_header(m, &ss->facts->grants, name, (int64_t)n, &why), &why);
}

/* Pushes "KEY=value KEY" for a string, or a table of strings and of keys with values; "" for nothing. */
static struct mm_text push_param_text(lua_State *L, int at)
{
	if (lua_isnoneornil(L, at)) {
		lua_pushliteral(L, "");
	} else if (lua_type(L, at) == LUA_TTABLE) {
		luaL_checkstack(L, 8, "parameters");
		lua_newtable(L);
		int list = lua_gettop(L), n = 0;
		for (lua_pushnil(L); lua_next(L, at) != 0; lua_pop(L, 1)) {
			if (lua_type(L, -2) == LUA_TNUMBER && lua_type(L, -1) == LUA_TSTRING) {
				lua_pushvalue(L, -1);
			} else if (lua_type(L, -2) == LUA_TSTRING && lua_isboolean(L, -1) && lua_toboolean(L, -1)) {
				lua_pushvalue(L, -2);
			} else if (lua_type(L, -2) == LUA_TSTRING
			    && (lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER)) {
				if (strcmp(lua_tostring(L, -2), "raw") == 0)
					continue;
				lua_pushvalue(L, -2);
				lua_pushliteral(L, "=");
				lua_pushvalue(L, -3);
				lua_concat(L, 3);
			} else {
				luaL_argerror(L, at, "parameters are { KEY = \"value\", KEY = true, \"KEY=value\" }");
			}
			lua_rawseti(L, list, ++n);
		}
		luaL_Buffer b;
		luaL_buffinit(L, &b);
		for (int i = 1; i <= n; i++) {
			if (i > 1)
				luaL_addchar(&b, ' ');
			lua_rawgeti(L, list, i);
			luaL_addvalue(&b);
		}
		luaL_pushresult(&b);
	} else {
		lua_pushvalue(L, at);
	}
	return check_text(L, -1);
}

/* ctx:change_from(address[, params]) "" or "<>" is the null sender; params RET= ENVID= ... (RFC 3461 4). */
static int ctx_change_from(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "change_from");
	struct mm_message *m = check_message(L, ss, "change_from");
	struct mm_text address = check_text(L, 2), params = push_param_text(L, 3);
	return done(L, "change_from", mm_edit_change_from(m, &ss->facts->grants, address, params, &why), &why);
}

/* ctx:add_recipient(address[, params]) params NOTIFY= ORCPT= (RFC 3461 4). */
static int ctx_add_recipient(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "add_recipient");
	struct mm_message *m = check_message(L, ss, "add_recipient");
	struct mm_text address = check_text(L, 2), params = push_param_text(L, 3);
	return done(L, "add_recipient", mm_edit_add_recipient(m, &ss->facts->grants, address, params, &why), &why);
}

/* ctx:delete_recipient(address) */
static int ctx_delete_recipient(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "delete_recipient");
	struct mm_message *m = check_message(L, ss, "delete_recipient");
	struct mm_text address = check_text(L, 2);
	return done(L, "delete_recipient", mm_edit_delete_recipient(m, &ss->facts->grants, address, &why), &why);
}

/* ctx:_replace_body_piece(string) -> error text or nothing; ctx:replace_body is in lua/moonmilter/runtime/edits.lua. */
static int ctx_replace_body_piece(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "replace_body");
	struct mm_message *m = check_message(L, ss, "replace_body");
	if (m->edits.replaces_body && ss->body_replaced_by != ss->script_at)
		mm_edit_restart_body(m, ss->mark);      /* a whole body behind another script's whole
		                                         * body is nobody's wish */
	ss->body_replaced_by = (uint8_t)ss->script_at;
	if (mm_edit_replace_body(m, &ss->facts->grants, check_text(L, 2), ss->generation->settings.body_max, &why))
		return 0;
	lua_pushstring(L, why.text);
	return 1;
}

/* ctx:quarantine(reason) held for a person to look at; no verdict, the message still needs one (protocol 3.13). */
static int ctx_quarantine(lua_State *L)
{
	struct mm_fault why;
	struct mm_script_session *ss = mm_ctx_check(L, "quarantine");
	struct mm_message *m = check_message(L, ss, "quarantine");
	struct mm_text reason = check_text(L, 2);
	return done(L, "quarantine", mm_edit_quarantine(m, &ss->facts->grants, reason, &why), &why);
}

/* ctx:progress() tells the MTA now that work goes on; the host does it by itself while a handler waits. */
static int ctx_progress(lua_State *L)
{
	struct mm_script_session *ss = mm_ctx_check(L, "progress");
	check_session(L, ss, "progress");
	if (!mm_engine_progress(ss->engine))
		return luaL_error(L, "progress: only at end of message; Sendmail drops a filter that says it elsewhere "
			"(protocol 3.5)");
	return 0;
}

void mm_bind_edits(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "reject", ctx_reject }, { "tempfail", ctx_tempfail }, { "disconnect", ctx_disconnect },
			{ "accept", ctx_accept },
		{ "discard", ctx_discard }, { "skip", ctx_skip }, { "continue", ctx_continue },
		{ "add_header", ctx_add_header }, { "insert_header", ctx_insert_header },
		{ "change_header", ctx_change_header },
		{ "delete_header", ctx_delete_header }, { "change_from", ctx_change_from },
		{ "add_recipient", ctx_add_recipient },
		{ "delete_recipient", ctx_delete_recipient }, { "_replace_body_piece", ctx_replace_body_piece },
		{ "quarantine", ctx_quarantine }, { "progress", ctx_progress }, { NULL, NULL },
	};
	lua_pushvalue(L, -2);
	luaL_setfuncs(L, methods, 1);
}
