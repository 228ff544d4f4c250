#include "bind/ctx.h"

#include "base/suggest.h"
#include "bind/bind.h"

#include <lauxlib.h>
#include <lua.h>

#include <pthread.h>

#define MEMBERS_SHOWN 96         /* more than ctx has */
#define FACT_LISTS    4          /* files that add facts */

static const char kind;          /* of the userdata of ctx */

struct box {
	struct mm_tag             tag;
	struct mm_script_session *session;      /* borrowed; NULL: it has ended */
};

/* ---- ctx itself ---- */

/* Only the session's own handlers and tasks may use its ctx: any other would take its facts for those of the message
 * at hand. Returns the session. */
static struct mm_script_session *check_owner(lua_State *L, const struct box *box, const char *prefix, const char *what)
{
	struct mm_script_session *ss = box->session;
	if (ss == NULL) {
		luaL_error(L, "%s%s: the session has ended; do not keep a ctx beyond on_close", prefix, what);
		return NULL;
	}
	const struct mm_task *t = ss->generation->current;
	if (t != NULL && t->session == NULL)
		luaL_error(L, "%s%s: a timer has no session; copy what it needs from ctx before it starts", prefix,
			what);
	if (t == NULL || t->session != ss)
		luaL_error(L, "%s%s: this ctx belongs to another session; a handler may only use its own", prefix,
			what);
	return ss;
}

struct mm_script_session *mm_ctx_own(lua_State *L)
{
	const struct box *box = mm_tagged(L, 1, &kind);
	struct mm_script_session *ss = box != NULL ? box->session : NULL;
	const struct mm_task *t = ss != NULL ? ss->generation->current : NULL;
	return t != NULL && t->session == ss ? ss : NULL;
}

struct mm_script_session *mm_ctx_check(lua_State *L, const char *what)
{
	const struct box *box = mm_tagged(L, 1, &kind);
	if (box == NULL) {
		luaL_error(L, "%s: call it on ctx with a colon: ctx:%s(...)", what, what);
		return NULL;
	}
	return check_owner(L, box, "", what);
}

/* [ctx key … members]: raises an error that names the member that was probably meant. */
static int refuse_member(lua_State *L)
{
	const char *words[MEMBERS_SHOWN + 1], *wanted = lua_tostring(L, 2);
	int count = 0;
	if (wanted == NULL)
		return luaL_error(L, "ctx has no member that is a %s", luaL_typename(L, 2));
	for (lua_pushnil(L); count < MEMBERS_SHOWN && lua_next(L, -2) != 0; lua_pop(L, 1))
		if (lua_type(L, -2) == LUA_TSTRING && lua_tostring(L, -2)[0] != '_')
			words[count++] = lua_tostring(L, -2);
	words[count] = NULL;
	const char *meant = mm_suggest(wanted, words);
	if (meant != NULL)
		return luaL_error(L, "ctx has no member \"%s\"; did you mean \"%s\"?", wanted, meant);
	return luaL_error(L, "ctx has no member \"%s\"; facts and methods are listed in the scripting reference, "
		"your own values belong in ctx.session or ctx.message", wanted);
}

/* The rows of facts that the files of bind/ and script/ have added, the same for every state. */
static struct fact_list {
	const struct mm_ctx_fact *rows, *end;
} fact_lists[FACT_LISTS];

/* A row that a script has put into the table of members itself is none. */
static const struct mm_ctx_fact *fact_at(lua_State *L, int at)
{
	uintptr_t row = lua_type(L, at) == LUA_TLIGHTUSERDATA ? (uintptr_t)lua_touserdata(L, at) : 0;
	for (const struct fact_list *list = fact_lists; row != 0 && list < fact_lists + FACT_LISTS; list++) {
		uintptr_t first = (uintptr_t)list->rows;
		if (row >= first && row < (uintptr_t)list->end && (row - first) % sizeof *list->rows == 0)
			return (const struct mm_ctx_fact *)row;
	}
	return NULL;
}

/* [ctx key] -> [value] */
static int ctx_index(lua_State *L)
{
	const struct box *box = mm_tagged(L, 1, &kind);
	if (box == NULL)
		return luaL_error(L, "a ctx is expected, not a %s", luaL_typename(L, 1));
	lua_settop(L, 2);
	mm_vault_push(mm_generation_of(L), L, mm_generation_of(L)->ctx_members);
	if (!lua_istable(L, 3))                         /* the scripts are being unloaded */
		return luaL_error(L, "ctx: the session has ended; do not keep a ctx beyond on_close");
	lua_pushvalue(L, 2);
	lua_rawget(L, 3);
	const struct mm_ctx_fact *fact = fact_at(L, -1);
	if (fact != NULL) {
		lua_settop(L, 3);
		return fact->get(L, check_owner(L, box, "ctx.", fact->name));
	}
	if (!lua_isnil(L, -1))
		return 1;
	lua_settop(L, 3);
	return refuse_member(L);
}

static int ctx_newindex(lua_State *L)
{
	return luaL_error(L, "ctx.%s: ctx is read only; keep your own values in ctx.session (the connection) "
		"or ctx.message (this message)", lua_tostring(L, 2));
}

static int ctx_tostring(lua_State *L)
{
	const struct box *box = mm_tagged(L, 1, &kind);
	lua_pushfstring(L, "ctx %s", box != NULL && box->session != NULL ? box->session->facts->id : "(ended)");
	return 1;
}

void mm_ctx_push(lua_State *L, struct mm_script_session *ss)
{
	if (ss->ctx != MM_NO_REF) {
		mm_vault_push(ss->generation, L, ss->ctx);
		return;
	}
	struct box *box = mm_tagged_new(L, &kind, sizeof *box);
	mm_vault_push(ss->generation, L, ss->generation->ctx_metatable);
	lua_setmetatable(L, -2);
	lua_pushvalue(L, -1);
	ss->ctx = mm_vault_put(L);
	box->session = ss;
	mm_task_show(ss->generation, ss);
}

/* ---- ctx.session and ctx.message ----
 * Each is in a table by the number that ctx has in the vault, where lua/moonmilter/runtime/members.lua finds it without
 * a call into the host. */

/* [...] -> [... table]; false: there is none yet, and nothing is pushed. */
static bool push_made(lua_State *L, const struct mm_script_session *ss, enum mm_kept which)
{
	mm_vault_push_standing(ss->generation, L, ss->generation->kept_tables[which]);
	lua_rawgeti(L, -1, ss->ctx);
	lua_remove(L, -2);
	bool is_made = !lua_isnil(L, -1);
	if (!is_made)
		lua_pop(L, 1);
	return is_made;
}

/* [...] -> [... table] */
static int push_kept(lua_State *L, struct mm_script_session *ss, enum mm_kept which)
{
	const struct mm_generation *g = ss->generation;
	if (push_made(L, ss, which))
		return 1;
	lua_newtable(L);
	mm_vault_push(g, L, g->kept_metatable);
	lua_setmetatable(L, -2);
	mm_vault_push_standing(g, L, g->kept_tables[which]);
	lua_pushvalue(L, -2);
	lua_rawseti(L, -2, ss->ctx);
	lua_pop(L, 1);
	return 1;
}

static int get_session(lua_State *L, struct mm_script_session *ss)
{
	return push_kept(L, ss, MM_KEPT_SESSION);
}

static int get_message(lua_State *L, struct mm_script_session *ss)
{
	if (ss->facts->message == NULL)
		return luaL_error(L, "ctx.message: no message is open at %s; keep what belongs to the connection in "
			"ctx.session; ctx.in_message says whether a message is open", ss->has_event
			? mm_stage_name(ss->stage) : "this point");
	return push_kept(L, ss, MM_KEPT_MESSAGE);
}

void mm_ctx_end_message(struct mm_script_session *ss)
{
	struct mm_generation *g = ss->generation;
	lua_State *L = g->L;
	if (ss->ctx == MM_NO_REF)
		return;
	mm_vault_forget(g, g->kept_tables[MM_KEPT_MESSAGE], ss->ctx);
	if (g->shown == ss)
		mm_task_show_message(g, false);         /* else a finalizer might make a new one */
	if (ss->recipients_table != MM_NO_REF)
		mm_vault_drop(L, &ss->recipients_table);
	if (ss->headers_table != MM_NO_REF)
		mm_vault_drop(L, &ss->headers_table);
	ss->recipients_synced = 0;
}

void mm_ctx_end(struct mm_script_session *ss)
{
	lua_State *L = ss->generation->L;
	if (ss->ctx == MM_NO_REF)
		return;
	mm_ctx_end_message(ss);
	mm_vault_forget(ss->generation, ss->generation->kept_tables[MM_KEPT_SESSION], ss->ctx);
	mm_vault_push(ss->generation, L, ss->ctx);
	struct box *box = mm_tagged(L, -1, &kind);
	box->session = NULL;            /* the vault holds it: it is there */
	lua_pop(L, 1);
	mm_task_show(ss->generation, NULL);
	mm_vault_drop(L, &ss->ctx);
	mm_vault_drop(L, &ss->client_table);
}

/* Hosts on several threads may make their first states at once; later ones find every row, and change nothing. */
static void note_facts(const struct mm_ctx_fact *rows, const struct mm_ctx_fact *end)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	struct fact_list *list = fact_lists;
	pthread_mutex_lock(&mutex);
	while (list->rows != NULL && list->rows != rows)
		list++;
	if (list->rows == NULL)
		*list = (struct fact_list){ rows, end };
	pthread_mutex_unlock(&mutex);
}

void mm_ctx_add_facts(lua_State *L, const struct mm_ctx_fact *rows)
{
	const struct mm_ctx_fact *row = rows;
	for (; row->name != NULL; row++) {
		lua_pushlightuserdata(L, (void *)(uintptr_t)row);
		lua_setfield(L, -2, row->name);
	}
	note_facts(rows, row);
}

void mm_ctx_add_methods(lua_State *L, const luaL_Reg *rows)
{
	luaL_setfuncs(L, rows, 0);
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
	lua_pushvalue(L, -1);
	mm_generation_of(L)->ctx_members = mm_vault_put(L);
	lua_pushvalue(L, -2);           /* [metatable members metatable] */
	luaL_setfuncs(L, meta, 0);
	lua_pushliteral(L, "moonmilter.ctx");
	lua_setfield(L, -2, "__name");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}
