/* bind/sessions.c -- host.sessions() and host.statistics(): what a worker serves and has counted, as plain tables. They
 * hold copies, so that a script can neither change a session nor keep one. */
#include "bind/bind.h"
#include "task/task.h"
#include "task/whose.h"

#include <lauxlib.h>
#include <lua.h>

#define SESSIONS_MAX 1000       /* that are listed */

static void set_string(lua_State *L, const char *key, const char *value)
{
	if (value == NULL)
		return;
	lua_pushstring(L, value);
	lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, double value)
{
	lua_pushnumber(L, value);
	lua_setfield(L, -2, key);
}

static void push_session(lua_State *L, const struct mm_script_session *ss)
{
	const struct mm_session *s = ss->facts;
	const struct mm_message *m = s->message;
	struct mm_text queue_id = mm_session_macro(s, "i");
	lua_createtable(L, 0, 16);
	set_string(L, "id", s->id);
	set_string(L, "milter", ss->generation->settings.milter_name);
	set_number(L, "generation", (double)ss->generation->settings.number);
	set_string(L, "mta", s->peer);
	set_string(L, "client", s->client_host);
	set_string(L, "address", s->client_address);
	set_string(L, "helo", s->helo);
	if (queue_id.size > 0)
		mm_set_text(L, "queue_id", queue_id);
	if (m != NULL) {
		mm_set_text(L, "sender", mm_address_bare(mm_message_text(m, m->sender)));
		set_number(L, "recipients", m->recipient_count);
	}
	set_number(L, "messages", (double)s->message_count);
	set_string(L, "stage", mm_whose_stage(ss));
	set_string(L, "waits_for", mm_work_waits(ss) ? ss->task->wait_name : NULL);
	set_number(L, "age", mm_clock_now() - s->began_at);
	set_number(L, "held", (double)s->account.held);
}

/* core.sessions() -> list, count of all: those of the scripts of this worker, older generations included. */
static int core_sessions(lua_State *L)
{
	const struct mm_generation *mine = mm_generation_of(L);
	const struct mm_generation *g = mine->settings.all != NULL ? *mine->settings.all : mine;
	int count = 0;
	lua_newtable(L);
	for (; g != NULL; g = g->next)
		for (const struct mm_script_session *ss = g->sessions; ss != NULL; ss = ss->next) {
			if (++count > SESSIONS_MAX)
				continue;
			push_session(L, ss);
			lua_rawseti(L, -2, count);
		}
	lua_pushinteger(L, count);
	return 2;
}

/* core.statistics() -> { messages, verdicts = { reject = n, … }, … } of this worker */
static int core_statistics(lua_State *L)
{
	const struct mm_generation *g = mm_generation_of(L);
	const struct mm_census_row *row = g->settings.row;
	int sessions = 0;
	for (const struct mm_generation *any = g->settings.all != NULL ? *g->settings.all : g; any != NULL;
	    any = any->next)
		for (const struct mm_script_session *ss = any->sessions; ss != NULL; ss = ss->next)
			sessions++;
	lua_createtable(L, 0, 8);
	set_number(L, "sessions", sessions);
	set_number(L, "sessions_begun", (double)mm_census_get(row->sessions_begun));
	set_number(L, "messages", (double)mm_census_get(row->messages));
	set_number(L, "script_errors", (double)mm_census_get(row->script_errors));
	set_number(L, "held_bytes", g->settings.held != NULL ? (double)g->settings.held->held : 0);
	set_number(L, "aborted", (double)mm_census_get(row->ended[MM_CENSUS_ABORTED]));
	lua_createtable(L, 0, MM_CENSUS_ABORTED);
	for (int end = 0; end < MM_CENSUS_ABORTED; end++)
		set_number(L, mm_census_end_name((enum mm_census_end)end), (double)mm_census_get(row->ended[end]));
	lua_setfield(L, -2, "verdicts");
	return 1;
}

void mm_bind_sessions(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "sessions", core_sessions }, { "statistics", core_statistics }, { NULL, NULL },
	};
	luaL_setfuncs(L, functions, 0);
}
