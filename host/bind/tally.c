/* bind/tally.c -- core.tally, on which limits of several hosts in their mode "soon" are built. Nothing here waits.
 * Buckets have keys LIMIT:KEY. */
#include "bind/bind.h"

#include "state/key.h"
#include "state/stores.h"
#include "state/tally.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#define DRAIN_MAX 200u          /* ORDER DRAIN: BATCH in moonmilter/state/flusher.lua */

static struct mm_tally *check_tally(lua_State *L)
{
	struct mm_tally *t = mm_stores_tally(mm_generation_of(L)->settings.stores, luaL_checknumber(L, 1));
	if (t == NULL)
		luaL_error(L, "limit: no such tally");
	return t;
}

static struct mm_text check_key(lua_State *L, char *short_key)
{
	return mm_key_shorten(mm_check_text(L, 2), MM_TALLY_KEY_MAX, short_key);
}

/* tally.open(server) -> number | nil, text, code */
static int tally_open(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	struct mm_fault why = { .text = "this host keeps no limits" };
	unsigned number = g->settings.stores == NULL ? 0
		: mm_stores_open_tally(g->settings.stores, g->settings.milter_name, mm_check_text(L, 1), &why);
	if (number == 0)
		return mm_push_failure(L, why.text, "io");
	lua_pushnumber(L, number);
	return 1;
}

/* tally.take(number, key, count, interval, capacity, patience, looks)
 * -> ok, remaining, retry_after, crossed | nil, text, code */
static int tally_take(lua_State *L)
{
	char short_key[MM_TALLY_KEY_MAX];
	struct mm_tally *t = check_tally(L);
	struct mm_text key = check_key(L, short_key);
	struct mm_bucket b = {
		.count = luaL_checknumber(L, 3), .interval = luaL_checknumber(L, 4),
		.capacity = luaL_checknumber(L, 5), .looks = lua_toboolean(L, 7), .now = mm_clock_wall(),
	};
	enum mm_tally_result r = mm_tally_take(t, key, &b, mm_clock_now(), luaL_checknumber(L, 6));
	if (r == MM_TALLY_DOWN)
		return mm_push_failure(L, "the server fails, or has not been told in time", "down");
	if (r == MM_TALLY_BUSY)
		return mm_push_failure(L, "another process holds the limits and does not run", "busy");
	lua_pushboolean(L, b.ok);
	lua_pushnumber(L, b.remaining);
	lua_pushnumber(L, b.retry_after);
	lua_pushboolean(L, b.crossed);
	return 4;
}

/* tally.forget(number, key) -> the key as the server knows it */
static int tally_forget(lua_State *L)
{
	char short_key[MM_TALLY_KEY_MAX];
	struct mm_tally *t = check_tally(L);
	struct mm_text key = check_key(L, short_key);
	mm_tally_forget(t, key);        /* busy: the next exchange tells what the server has */
	mm_push_text(L, key);
	return 1;
}

/* tally.lead(number, seconds) -> boolean: this process is the flusher */
static int tally_lead(lua_State *L)
{
	lua_pushboolean(L, mm_tally_lead(check_tally(L), mm_clock_now(), luaL_checknumber(L, 2)));
	return 1;
}

static void push_count(lua_State *L, const struct mm_tally_count *c)
{
	lua_createtable(L, 0, 5);
	lua_pushlstring(L, c->key, c->key_size);
	lua_setfield(L, -2, "key");
	lua_pushnumber(L, c->interval);
	lua_setfield(L, -2, "interval");
	lua_pushnumber(L, c->capacity);
	lua_setfield(L, -2, "capacity");
	lua_pushnumber(L, c->count);
	lua_setfield(L, -2, "count");
	lua_pushboolean(L, c->is_refused);
	lua_setfield(L, -2, "is_refused");
}

/* tally.drain(number) -> list of { key =, interval =, capacity =, count =, is_refused = } */
static int tally_drain(lua_State *L)
{
	struct mm_tally_count counts[DRAIN_MAX];
	unsigned count = mm_tally_drain(check_tally(L), counts, DRAIN_MAX);
	lua_createtable(L, (int)count, 0);
	for (unsigned i = 0; i < count; i++) {
		push_count(L, &counts[i]);
		lua_rawseti(L, -2, (int)i + 1);
	}
	return 1;
}

/* tally.settle(number, key, missing, is_first) */
static int tally_settle(lua_State *L)
{
	char short_key[MM_TALLY_KEY_MAX];
	struct mm_tally *t = check_tally(L);
	mm_tally_settle(t, check_key(L, short_key), mm_clock_wall(), luaL_checknumber(L, 3), lua_toboolean(L, 4));
	return 0;
}

/* tally.restore(number, key, count, is_refused) */
static int tally_restore(lua_State *L)
{
	char short_key[MM_TALLY_KEY_MAX];
	struct mm_tally *t = check_tally(L);
	struct mm_text key = check_key(L, short_key);
	struct mm_tally_count c = { .key_size = key.size, .count = luaL_checknumber(L, 3),
		.is_refused = lua_toboolean(L, 4) };
	memcpy(c.key, key.bytes, key.size);
	mm_tally_restore(t, &c);
	return 0;
}

/* tally.is_waiting(number) -> boolean: there is something to tell */
static int tally_is_waiting(lua_State *L)
{
	lua_pushboolean(L, mm_tally_is_waiting(check_tally(L)));
	return 1;
}

/* tally.end_round(number, is_down) */
static int tally_end_round(lua_State *L)
{
	mm_tally_end_round(check_tally(L), mm_clock_now(), lua_toboolean(L, 2));
	return 0;
}

void mm_bind_tally(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "open", tally_open }, { "take", tally_take }, { "forget", tally_forget }, { "lead", tally_lead },
		{ "drain", tally_drain }, { "settle", tally_settle }, { "restore", tally_restore },
		{ "is_waiting", tally_is_waiting }, { "end_round", tally_end_round }, { NULL, NULL },
	};
	lua_newtable(L);
	for (const luaL_Reg *f = functions; f->name != NULL; f++) {
		lua_pushcfunction(L, f->func);
		lua_setfield(L, -2, f->name);
	}
	lua_setfield(L, -2, "tally");
}
