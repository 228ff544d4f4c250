/* bind/limit.c -- core.limit, on which moonmilter.limit is built: takes from buckets that all workers share, and the
 * units that a message gives back. Nothing here waits. Failures are nil, text, code.
 *
 * A take stands in front of every message. So it is one call without a table, and what a message has to give back is a
 * record of its session, not a function: to make, keep and run one cost more than the take. */
#include "bind/limit.h"

#include "bind/bind.h"
#include "state/bucket.h"
#include "state/key.h"
#include "state/stores.h"
#include "task/group.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdlib.h>

#define LOOKED_AT 8u            /* records of a message that may be of the same key */

/* What take() does beside taking. ORDER HOW: moonmilter/limit.lua */
enum how { HOW_TAKE, HOW_LOOK, HOW_OF_MESSAGE };

/* ---- rules: what the functions of one limit know ---- */

static const char kind;

struct rule {
	struct mm_tag      tag;
	struct mm_buckets *buckets;     /* borrowed from the stores, which live longer */
	double             interval, capacity;
	size_t             prefix_size;
	char               prefix[];    /* of its keys */
};

static struct mm_buckets *open_buckets(lua_State *L, struct mm_fault *why)
{
	struct mm_generation *g = mm_generation_of(L);
	*why = (struct mm_fault){ .text = "this host keeps no limits" };
	return g->settings.stores == NULL ? NULL
		: mm_stores_buckets(g->settings.stores, g->settings.milter_name, why);
}

static const struct rule *check_rule(lua_State *L)
{
	const struct rule *r = mm_tagged(L, lua_upvalueindex(1), &kind);
	if (r == NULL)
		luaL_error(L, "limit: its rule is gone");
	return r;
}

/* The prefix and the key at index 1; BORROWED from `to`. */
static struct mm_text check_key(lua_State *L, const struct rule *r, char to[MM_BUCKET_KEY_MAX])
{
	struct mm_text key = mm_check_text(L, 1);
	if (key.size > MM_BUCKET_KEY_MAX - r->prefix_size) {
		lua_pushlstring(L, r->prefix, r->prefix_size);
		lua_pushvalue(L, 1);
		lua_concat(L, 2);
		return mm_key_shorten(mm_check_text(L, -1), MM_BUCKET_KEY_MAX, to);
	}
	memcpy(to, r->prefix, r->prefix_size);
	memcpy(to + r->prefix_size, key.bytes, key.size);
	return (struct mm_text){ to, r->prefix_size + key.size };
}

static int fail_busy(lua_State *L)
{
	return mm_push_failure(L, "another process holds the limits and does not run", "busy");
}

/* ---- what a message gives back ---- */

struct mm_taken {
	struct mm_taken   *next;        /* owned */
	struct mm_buckets *buckets;     /* borrowed from the stores */
	double             interval, capacity, count;
	unsigned           number;      /* of the message's records, from 1 */
	uint16_t           key_size;
	char               key[];
};

/* A message takes from the same bucket for each recipient: one record is enough. */
static struct mm_taken *find_taken(struct mm_taken *first, const struct rule *r, struct mm_text key)
{
	for (unsigned i = 0; first != NULL && i < LOOKED_AT; first = first->next, i++)
		if (first->key_size == key.size && memcmp(first->key, key.bytes, key.size) == 0
		    && first->interval == r->interval && first->capacity == r->capacity)
			return first;
	return NULL;
}

/* False: there is no message that could give them back, or no room. */
static bool note_taken(lua_State *L, const struct rule *r, struct mm_text key, double count)
{
	struct mm_task *by = mm_task_current(L);
	if (by == NULL || by->session == NULL || by->is_cancelled)
		return false;
	struct mm_script_session *ss = by->session;
	if (mm_task_group_of(by) != &ss->message_tasks || ss->message_tasks.is_closed)
		return false;
	struct mm_taken *t = find_taken(ss->taken, r, key);
	if (t != NULL) {
		t->count += count;
		return true;
	}
	unsigned number = ss->taken != NULL ? ss->taken->number + 1 : 1;
	t = number <= MM_TASKS_MAX ? malloc(sizeof *t + key.size) : NULL;
	if (t == NULL)
		return false;
	*t = (struct mm_taken){ ss->taken, r->buckets, r->interval, r->capacity, count, number, (uint16_t)key.size };
	memcpy(t->key, key.bytes, key.size);
	ss->taken = t;
	return true;
}

void mm_limit_settle(struct mm_script_session *ss)
{
	while (ss->taken != NULL) {
		struct mm_taken *t = ss->taken;
		ss->taken = t->next;
		if (!ss->has_passed) {
			struct mm_bucket b = { .interval = t->interval, .capacity = t->capacity, .count = -t->count,
				.now = mm_clock_wall() };
			mm_buckets_take(t->buckets, (struct mm_text){ t->key, t->key_size }, &b);
		}
		free(t);
	}
}

/* ---- functions ---- */

/* take(key, count, how) -> ok, remaining, retry_after, crossed, is_left | nil, text, code. is_left: it was to be of the
 * message, but there is none here that gives back: that is left to the caller. */
static int limit_take(lua_State *L)
{
	char to[MM_BUCKET_KEY_MAX];
	const struct rule *r = check_rule(L);
	struct mm_text key = check_key(L, r, to);
	enum how how = (enum how)lua_tointeger(L, 3);
	struct mm_bucket b = {
		.count = luaL_checknumber(L, 2), .interval = r->interval, .capacity = r->capacity,
		.looks = how == HOW_LOOK, .now = mm_clock_wall(),
	};
	if (!mm_buckets_take(r->buckets, key, &b))
		return fail_busy(L);
	lua_pushboolean(L, b.ok);
	lua_pushnumber(L, b.remaining);
	lua_pushnumber(L, b.retry_after);
	lua_pushboolean(L, b.crossed);
	if (how != HOW_OF_MESSAGE || !b.ok)
		return 4;
	lua_pushboolean(L, !note_taken(L, r, key, b.count));
	return 5;
}

/* fill(key) -> boolean: it was not full | nil, text, code */
static int limit_fill(lua_State *L)
{
	char to[MM_BUCKET_KEY_MAX];
	bool was_there;
	const struct rule *r = check_rule(L);
	if (!mm_buckets_fill(r->buckets, check_key(L, r, to), mm_clock_wall(), &was_there))
		return fail_busy(L);
	lua_pushboolean(L, was_there);
	return 1;
}

/* core.limit.open(): makes the table of this milter's buckets -> true | nil, text, code */
static int limit_open(lua_State *L)
{
	struct mm_fault why;
	if (open_buckets(L, &why) == NULL)
		return mm_push_failure(L, why.text, "io");
	lua_pushboolean(L, 1);
	return 1;
}

/* core.limit.new(prefix, interval, capacity) -> take, fill. prefix: of the keys; interval: seconds until a unit is
 * back; capacity: units. Raises when the table cannot be opened. */
static int limit_new(lua_State *L)
{
	struct mm_text prefix = mm_check_text(L, 1);
	double interval = luaL_checknumber(L, 2), capacity = luaL_checknumber(L, 3);
	struct mm_fault why;
	struct mm_buckets *buckets = open_buckets(L, &why);
	if (buckets == NULL)
		return luaL_error(L, "limit: %s", why.text);
	luaL_argcheck(L, prefix.size < MM_BUCKET_KEY_MAX - MM_KEY_HASH_SIZE, 1, "too long");
	struct rule *r = mm_tagged_new(L, &kind, sizeof *r + prefix.size);
	r->buckets = buckets;
	r->interval = interval;
	r->capacity = capacity;
	r->prefix_size = prefix.size;
	memcpy(r->prefix, prefix.bytes, prefix.size);
	lua_pushvalue(L, -1);
	lua_pushcclosure(L, limit_take, 1);
	lua_insert(L, -2);
	lua_pushcclosure(L, limit_fill, 1);
	return 2;
}

void mm_bind_limit(lua_State *L)
{
	static const luaL_Reg functions[] = { { "open", limit_open }, { "new", limit_new }, { NULL, NULL } };
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	lua_setfield(L, -2, "limit");
}
