/* bind/verdicts.c -- the answers of handlers, by methods of ctx, and reasons. A verdict ends the handler at once.
 * Everything is checked here, at the call, so that an error names the script's line. */
#include "base/text.h"
#include "base/utf8.h"
#include "bind/bind.h"
#include "bind/ctx.h"
#include "task/told.h"

#include <lauxlib.h>
#include <lua.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "10-auth.lua:12", for the log line of the message. `return ctx:reject()` would be a tail call, whose line is gone:
 * runtime/lint.lua makes it none. */
static void note_place(lua_State *L, const struct mm_script_session *ss, struct mm_verdict *v)
{
	lua_Debug where;
	if (!lua_getstack(L, 1, &where) || !lua_getinfo(L, "Sl", &where) || where.currentline < 0) {
		snprintf(v->decided_by, sizeof v->decided_by, "%.30s %s", ss->generation->scripts[ss->script_at].name,
			mm_stage_handler(ss->stage));
		return;
	}
	const char *slash = strrchr(where.short_src, '/');
	snprintf(v->decided_by, sizeof v->decided_by, "%.30s:%d", slash != NULL ? slash + 1 : where.short_src,
		where.currentline);
}

/* Ends the handler: a yield crosses every pcall, so nothing between here and the host can swallow it. Where Lua cannot
 * yield, an error is raised instead; the verdict stands even if the error is caught. */
static int leave_handler(lua_State *L, struct mm_script_session *ss)
{
	ss->has_verdict = true;
	ss->error_reason = MM_REASON_IS_NONE;
	note_place(L, ss, ss->verdict);
	mm_task_forget_wait(ss->task);
	lua_settop(L, 0);
	mm_vault_push(ss->generation, L, ss->generation->host_token);
	return lua_isyieldable(L) ? lua_yield(L, 1) : lua_error(L);
}

static struct mm_script_session *check_verdict(lua_State *L, const char *name, enum mm_verdict_kind kind)
{
	struct mm_script_session *ss = mm_ctx_check(L, name);
	struct mm_task *t = mm_task_current(L);
	ss->error_reason = MM_REASON_IS_TOO_LATE;
	if (t != ss->task)
		luaL_error(L, "%s: a verdict is given by the handler itself, not by a task it has started; let "
			"the task return its finding and decide there", name);
	if (t->is_cancelled)
		luaL_error(L, "%s: too late, the handler has been cancelled (%s)", name, mm_cancel_name(t->why));
	ss->error_reason = MM_REASON_IS_WRONG_STAGE;
	if (!ss->has_event || !(mm_verdict_stages(kind) & 1u << ss->stage))
		luaL_error(L, "%s: not possible at %s", name, ss->has_event ? mm_stage_name(ss->stage)
			: "this point");
	if (ss->verdict == NULL && (ss->verdict = calloc(1, sizeof *ss->verdict)) == NULL)
		luaL_error(L, "%s: out of memory", name);
	ss->error_reason = MM_REASON_IS_BAD_VALUE;      /* unless the call succeeds */
	return ss;
}

/* Code and enhanced status may be omitted: numbers and "5.7.1"-like strings are recognised by their form. A string of
 * digits at the end is the text: a value that a script looked up must not become a code. */
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

/* Refuses "550 5.7.1 text" in one string, as in an access table of Postfix: the codes would be sent twice. A script
 * that quotes another server's reply passes its own status before it. */
static void refuse_codes_in_text(lua_State *L, const char *name, bool takes_code, struct mm_text line)
{
	if (line.size < 4 || strspn(line.bytes, "0123456789") != 3 || (line.bytes[3] != ' ' && line.bytes[3] != '-'))
		return;
	struct mm_text status = { line.bytes + 4, strcspn(line.bytes + 4, " ") };       /* Lua's strings end with NUL */
	if (!mm_enhanced_is_good(status) || status.bytes[0] != line.bytes[0])
		return;
	lua_pushlstring(L, line.bytes, 3);
	lua_pushlstring(L, status.bytes, status.size);
	luaL_error(L, "%s: the text begins with codes, which would be sent twice; write %s(%s%s\"%s\", "
		"\"text\")", name, name, takes_code ? lua_tostring(L, -2) : "", takes_code ? ", " : "",
		lua_tostring(L, -1));
}

/* Does a string at the place of the enhanced status try to be one? "5.7", "5.7.1.2", "5.7.x", 5.71. An IPv4 address is
 * a text, unless its first part could be a class and a code comes before it. */
static bool resembles_status(lua_State *L, int at, bool has_code)
{
	unsigned char ignored[4];
	struct mm_text t = mm_check_text(L, at);
	bool has_more = has_code || at < lua_gettop(L);
	while (t.size > 0 && t.bytes[t.size - 1] == ' ')
		t.size--;
	size_t digits = strspn(t.bytes, "0123456789");
	if (digits == 0 || digits >= t.size || t.bytes[digits] != '.')
		return false;
	if (strspn(t.bytes, "0123456789.") >= t.size)
		return inet_pton(AF_INET, lua_tostring(L, at), ignored) != 1 || (has_code && digits == 1);
	for (size_t i = 0; i < t.size; i++)
		if (t.bytes[i] != '.' && !isalnum((unsigned char)t.bytes[i]))
			return false;
	return has_more && digits == 1;
}

/* Takes the enhanced status at an index; false: the string there is a text. */
static bool take_status(lua_State *L, const char *name, int at, bool has_code, struct mm_text *enhanced)
{
	if (!lua_isstring(L, at))
		return false;
	struct mm_text text = mm_check_text(L, at);
	if (mm_enhanced_is_good(text)) {
		*enhanced = text;
		return true;
	}
	if (resembles_status(L, at, has_code))
		luaL_error(L, "%s: enhanced status \"%s\" is not of the form %c.x.y (RFC 3463 2)", name,
			lua_tostring(L, at), strcmp(name, "reject") == 0 ? '5' : '4');
	return false;
}

/* Did the client say SMTPUTF8 at MAIL? Only then may a reply hold UTF-8 (RFC 6531 3.5). */
static bool takes_utf8(const struct mm_script_session *ss)
{
	const struct mm_message *m = ss->facts->message;
	struct mm_text params = m != NULL ? mm_message_text(m, m->sender_params) : mm_text_of("");
	for (size_t at = 0, size; at < params.size; at += size + 1) {
		size = strnlen(params.bytes + at, params.size - at);
		if (mm_text_equal_blind((struct mm_text){ params.bytes + at, size }, mm_text_of("SMTPUTF8")))
			return true;
	}
	return false;
}

static bool is_ascii(struct mm_text line)
{
	size_t i = 0;
	while (i < line.size && (unsigned char)line.bytes[i] < 0x80)
		i++;
	return i == line.size;
}

/* Writes "?" for each character that the client cannot take. The result is pushed. */
static struct mm_text push_readable(lua_State *L, struct mm_text line, bool utf8)
{
	luaL_Buffer b;
	luaL_checkstack(L, 4, "lines of a reply");
	luaL_buffinit(L, &b);
	for (size_t i = 0, size; i < line.size; i += size) {
		struct mm_text rest = { line.bytes + i, line.size - i };
		size = mm_utf8_size(rest);
		if (size == 1 || (size > 1 && utf8))
			luaL_addlstring(&b, rest.bytes, size);
		else
			luaL_addchar(&b, '?');
		size += size == 0;
	}
	luaL_pushresult(&b);
	return mm_check_text(L, -1);
}

static int worded_verdict(lua_State *L, const char *name, enum mm_verdict_kind kind, unsigned code,
	struct mm_text enhanced, int at)
{
	struct mm_script_session *ss = check_verdict(L, name, kind);
	int top = lua_gettop(L);
	bool is_worded = at <= top || code == 421;
	bool has_code = code != 421 && at <= top && is_code(L, at, &code);
	at += has_code;
	bool has_status = at <= top && take_status(L, name, at, has_code, &enhanced);
	at += has_status;
	struct mm_text lines[MM_REPLY_LINES_MAX + 1];
	size_t count = 0;
	for (; at <= top && count <= MM_REPLY_LINES_MAX; at++, count++)
		lines[count] = mm_check_text(L, at);
	if (count > 0 && !has_status)
		refuse_codes_in_text(L, name, code != 421, lines[0]);
	bool utf8 = takes_utf8(ss);
	for (size_t i = 0; i < count && i < MM_REPLY_LINES_MAX; i++)
		if (!is_ascii(lines[i]))
			lines[i] = push_readable(L, lines[i], utf8);
	if (!is_worded) {
		mm_verdict_plain(ss->verdict, kind);
		return leave_handler(L, ss);
	}
	struct mm_fault why;
	if (!mm_verdict_worded(ss->verdict, kind, code, enhanced, lines, count, &why)) {
		ss->error_reason = (uint8_t)why.reason;
		return luaL_error(L, "%s: %s", name, why.text);
	}
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
	mm_verdict_plain(ss->verdict, kind);
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

/* ctx:note(text): a reason, for the history (docs/operating.md). */
static int ctx_note(lua_State *L)
{
	struct mm_script_session *ss = mm_ctx_check(L, "note");
	mm_told_note(L, ss, mm_check_text(L, 2));
	return 0;
}

static int ctx_continue(lua_State *L)
{
	return plain_verdict(L, "continue", MM_VERDICT_continue);
}

void mm_bind_verdicts(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "reject", ctx_reject }, { "tempfail", ctx_tempfail }, { "disconnect", ctx_disconnect },
		{ "accept", ctx_accept }, { "discard", ctx_discard }, { "skip", ctx_skip },
		{ "continue", ctx_continue }, { "note", ctx_note }, { NULL, NULL },
	};
	mm_ctx_add_methods(L, methods);
}
