/* bind/core.c -- moonmilter.core, on which lua/moonmilter/ is built. Scripts use the modules above it, not this one. */
#include "base/suggest.h"
#include "bind/bind.h"
#include "bind/ctx.h"
#include "story/tracer.h"
#include "task/told.h"
#include "task/whose.h"

#include <lauxlib.h>
#include <lua.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* ---- sleep ---- */

static void undo_sleep(struct mm_task *t)
{
	mm_timer_stop(&t->timers->wait);
}

static void wake(struct mm_timer *timer)
{
	mm_task_go_on_in_turn(MM_OWNER_OF(timer, struct mm_task_timers, wait)->task, 0);
}

static int sleep_for(lua_State *L, struct mm_task *t, lua_Number seconds, const char *name)
{
	mm_timer_init(&t->timers->wait, t->generation->settings.clock, wake);
	mm_timer_start(&t->timers->wait, seconds);
	return mm_task_wait(L, t, name, undo_sleep, NULL);
}

/* core.sleep(seconds) waits; a cancelled wait returns the cancel token and its reason. */
static int core_sleep(lua_State *L)
{
	lua_Number seconds = luaL_checknumber(L, 1);
	if (!(seconds >= 0 && seconds <= 1e9))
		return mm_raise_at_script(L, "sleep: %f seconds; give 0 or more", seconds);
	struct mm_task *t = mm_task_may_wait(L, "sleep");
	if (t == NULL)
		return 2;
	return sleep_for(L, t, seconds, "sleep");
}

/* core.pause(): lets everything else of the loop have a turn, if one can wait here; else nothing. For long work that
 * has to go on where sleep would raise. */
static int core_pause(lua_State *L)
{
	struct mm_task *t = mm_task_current(L);
	if (t == NULL || t->is_cancelled || mm_limit_over(t) != NULL || !lua_isyieldable(L))
		return 0;
	t = mm_task_may_wait(L, "pause");
	return t != NULL ? sleep_for(L, t, 0, "pause") : 2;
}

/* core.timer_sleep(seconds): as sleep, but ends when the next generation takes over. */
static int core_timer_sleep(lua_State *L)
{
	lua_Number seconds = luaL_checknumber(L, 1);
	struct mm_task *t = mm_task_may_wait(L, "timer");
	if (t == NULL)
		return 2;
	if (t->generation->timers.is_closed) {
		mm_task_cancel_soon(t, MM_CANCEL_SHUTDOWN);
		return mm_task_may_wait(L, "timer") == NULL ? 2 : 0;
	}
	return sleep_for(L, t, seconds, "timer");
}

/* core.now() seconds since 1970 with fractions. */
static int core_now(lua_State *L)
{
	lua_pushnumber(L, mm_clock_wall());
	return 1;
}

/* core.random() -> 0 <= number < 1. For pauses: math.random begins with the same numbers in each worker of each host,
 * so all would ask a server again in the same moment. */
static int core_random(lua_State *L)
{
	uint64_t random;
	if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
		random = (uint64_t)(mm_clock_wall() * 1e6) * 0x9e3779b97f4a7c15u;
	lua_pushnumber(L, (double)(random >> 11) / 9007199254740992.0);
	return 1;
}

/* ---- log ---- */

static const struct mm_session *session_at_work(const struct mm_generation *g)
{
	return g->current != NULL && g->current->session != NULL ? g->current->session->facts : NULL;
}

/* Of a session that somebody traces, lines of every level are. */
static bool is_wanted(const struct mm_generation *g, enum mm_level level)
{
	const struct mm_session *before = mm_tracer_about(g->settings.tracer, session_at_work(g));
	bool wants = mm_log_wants(g->settings.log, level);
	mm_tracer_about(g->settings.tracer, before);
	return wants;
}

/* core.log(level, text): one line, with the script, session, queue id and stage it comes from. */
static int core_log(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	enum mm_level level;
	size_t size;
	const char *name = mm_check_cstring(L, 1, "log: level");
	const char *text = luaL_checklstring(L, 2, &size);
	if (!mm_log_level_of_name(name, &level))
		return luaL_error(L, "log: level \"%s\" is not a level; use debug, info, warn or error", name);
	if (!is_wanted(g, level))
		return 0;
	struct mm_log_line line;
	const struct mm_session *before = mm_tracer_about(g->settings.tracer, session_at_work(g));
	mm_log_begin(&line, g->settings.log, level, "script");
	struct mm_whose whose = { g, NULL, NULL, NULL, MM_WHOSE_TASK };
	if (g->current != NULL)
		whose = mm_whose_of(g->current);
	mm_whose_log(&whose, &line);
	struct mm_text script = mm_whose_name(&whose);
	if (script.size > 0)
		mm_log_text(&line, "script", script);
	if (whose.work == MM_WHOSE_HANDLER)
		mm_log_string(&line, "stage", mm_stage_name(whose.session->stage));
	mm_log_text(&line, "text", (struct mm_text){ text, size });
	mm_log_alike(&line, text, size);
	mm_log_end(&line);
	mm_tracer_about(g->settings.tracer, before);
	return 0;
}

/* The message whose line gets the fields. */
static struct mm_message *message_now(lua_State *L)
{
	struct mm_task *t = mm_task_current(L);
	struct mm_message *m = t != NULL && t->session != NULL ? t->session->facts->message : NULL;
	if (m == NULL)
		mm_raise_at_script(L, "log.fields: no message is open here; call it in on_mail or later, and keep what "
			"is known before in ctx.session");
	return m;
}

/* [… name value] */
static void check_field(lua_State *L)
{
	int type = lua_type(L, -1);
	if (lua_type(L, -2) != LUA_TSTRING)
		mm_raise_at_script(L, "log.fields: a field has no name; write log.fields{ name = value }");
	struct mm_text name = mm_check_text(L, -2);
	if (!mm_pairs_is_name(name))
		mm_raise_at_script(L, "log.fields: the name \"%s\" is not 1 to %d of a-z, 0-9 and \"_\", a letter "
			"first", lua_tostring(L, -2), MM_PAIR_NAME_MAX);
	if (mm_pairs_is_reserved(name))
		mm_raise_at_script(L, "log.fields: the name \"%s\" is the host's own; take another", name.bytes);
	if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN)
		mm_raise_at_script(L, "log.fields: %s is a %s; give a string, a number or a boolean", name.bytes,
			lua_typename(L, type));
}

/* [… name value] -> the value as text; number has room for it. is_bare: JSON has it without quotes. */
static struct mm_text field_text(lua_State *L, char *number, size_t size, bool *is_bare)
{
	struct mm_text text = { number, 0 };
	*is_bare = lua_type(L, -1) != LUA_TSTRING;
	if (!*is_bare) {
		text.bytes = lua_tolstring(L, -1, &text.size);
	} else if (lua_type(L, -1) == LUA_TBOOLEAN) {
		text = mm_text_of(lua_toboolean(L, -1) ? "true" : "false");
	} else {
		lua_Number n = lua_tonumber(L, -1);
		*is_bare = isfinite(n);         /* JSON has no other numbers */
		text.size = (size_t)snprintf(number, size, "%.14g", n);
	}
	return text;
}

/* core.log_fields{ name = value, … }: fields of the message's line. All are checked before the first is set. */
static int core_log_fields(lua_State *L)
{
	char number[32], said[200] = "log.fields";
	size_t used = strlen(said);
	if (lua_type(L, 1) != LUA_TTABLE)
		return mm_raise_at_script(L, "log.fields: expected a table of fields, got a %s", luaL_typename(L, 1));
	struct mm_message *m = message_now(L);
	for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1))
		check_field(L);
	for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
		bool is_bare;
		struct mm_text value = field_text(L, number, sizeof number, &is_bare), name = mm_check_text(L, -2);
		if (!mm_message_log_field(m, name, value, is_bare))
			return luaL_error(L, "log.fields: out of memory");
		if (used < sizeof said)
			used += (size_t)snprintf(said + used, sizeof said - used, " %s=%.*s", name.bytes,
				(int)(value.size < 80 ? value.size : 80), value.bytes);
	}
	mm_told_note(L, mm_task_current(L)->session, (struct mm_text){ said, strlen(said) });
	return 0;
}

/* core.log_wants(level) -> boolean: saves formatting lines that the log would drop. */
static int core_log_wants(lua_State *L)
{
	enum mm_level level;
	bool known = mm_log_level_of_name(mm_check_cstring(L, 1, "log: level"), &level);
	lua_pushboolean(L, known && is_wanted(mm_generation_of(L), level));
	return 1;
}

/* core.blame(error) -> error: an error of a primitive under pcall, with the script's line and
 * the name that it called. */
static int core_blame(lua_State *L)
{
	lua_settop(L, 1);
	if (lua_type(L, 1) == LUA_TSTRING)
		mm_blame_caller(L, lua_tostring(L, 1));
	return 1;
}

/* core.in_handler() -> boolean: a session's handler runs, not a load. */
static int core_in_handler(lua_State *L)
{
	struct mm_task *t = mm_task_current(L);
	lua_pushboolean(L, t != NULL && t->session != NULL);
	return 1;
}

/* core.has_passed() -> boolean: for functions of at_end: the message that ends here got continue or accept. */
static int core_has_passed(lua_State *L)
{
	struct mm_task *t = mm_task_current(L);
	lua_pushboolean(L, t != NULL && t->session != NULL && t->session->has_passed);
	return 1;
}

/* core.is_own(ctx) -> boolean: a handler or task of this very ctx's session runs. */
static int core_is_own(lua_State *L)
{
	lua_pushboolean(L, mm_ctx_own(L) != NULL);
	return 1;
}

/* core.task() -> a value that identifies the running task, nil outside of any. */
static int core_task(lua_State *L)
{
	struct mm_task *t = mm_task_current(L);
	if (t == NULL)
		return 0;
	lua_pushlightuserdata(L, t);
	return 1;
}

/* core.loading(n): the n-th file is being loaded; recorded in case it never returns. */
static int core_loading(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	const char *path = g->load_paths;
	for (int n = (int)luaL_checkinteger(L, 1); n > 1 && *path != '\0'; n--)
		path += strlen(path) + 1;
	g->loading = path;
	return 0;
}

static int by_letters(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* core.suggest(word, words) -> '; did you mean "x"?' or "": the nearest of the strings that are keys of words. The keys
 * are sorted, because a table has no order and the first of equals wins. */
static int core_suggest(lua_State *L)
{
	size_t count = 0, n = 0;
	const char *word = mm_clean_cstring(L, 1);
	luaL_checktype(L, 2, LUA_TTABLE);
	for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1))
		count++;
	const char **names = lua_newuserdata(L, (count + 1) * sizeof *names);
	for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1))
		if (lua_type(L, -2) == LUA_TSTRING)
			names[n++] = lua_tostring(L, -2);       /* borrowed: the table holds it */
	qsort(names, n, sizeof *names, by_letters);
	names[n] = NULL;
	const char *meant = word != NULL ? mm_suggest(word, names) : NULL;
	if (meant != NULL)
		lua_pushfstring(L, "; did you mean \"%s\"?", meant);
	else
		lua_pushliteral(L, "");
	return 1;
}

/* [] -> [{ name of a stage = true }] */
static void push_stages(lua_State *L, uint32_t stages)
{
	lua_newtable(L);
	for (int stage = 0; stage < MM_STAGE_COUNT; stage++) {
		if (!(stages & 1u << stage))
			continue;
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, mm_stage_name((enum mm_stage)stage));
	}
}

/* [] -> [{ name of a verdict = its stages }] */
static void push_verdicts(lua_State *L)
{
	lua_newtable(L);
	for (int kind = 0; kind < MM_VERDICT_COUNT; kind++) {
		push_stages(L, mm_verdict_stages((enum mm_verdict_kind)kind));
		lua_setfield(L, -2, mm_verdict_name((enum mm_verdict_kind)kind));
	}
}

int mm_bind_core(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "sleep", core_sleep }, { "pause", core_pause }, { "timer_sleep", core_timer_sleep },
		{ "now", core_now },
		{ "random", core_random }, { "log", core_log }, { "log_fields", core_log_fields },
		{ "log_wants", core_log_wants }, { "in_handler", core_in_handler }, { "task", core_task },
		{ "is_own", core_is_own },
		{ "has_passed", core_has_passed },
		{ "blame", core_blame }, { "loading", core_loading }, { "suggest", core_suggest }, { NULL, NULL },
	};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	lua_newtable(L);                        /* core.handlers: stage by handler name */
	for (int stage = 0; stage < MM_STAGE_COUNT; stage++) {
		lua_pushstring(L, mm_stage_name((enum mm_stage)stage));
		lua_setfield(L, -2, mm_stage_handler((enum mm_stage)stage));
	}
	lua_setfield(L, -2, "handlers");
	push_verdicts(L);
	lua_setfield(L, -2, "verdicts");
	lua_pushboolean(L, mm_generation_of(L)->settings.shadow_row > 0);
	lua_setfield(L, -2, "shadow");
	push_stages(L, MM_STAGES_OF_MESSAGE | MM_STAGE_BIT(unknown));   /* as bind/edits.c allows them */
	lua_setfield(L, -2, "edit_stages");
	mm_vault_push(mm_generation_of(L), L, mm_generation_of(L)->cancel_token);
	lua_setfield(L, -2, "cancel_token");
	mm_vault_push(mm_generation_of(L), L, mm_generation_of(L)->host_token);
	lua_setfield(L, -2, "host_token");
	return 1;
}
