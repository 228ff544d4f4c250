/* bind/store.c -- core.store, on which moonmilter.store and others are built. Nothing here waits. Failures are
 * nil, text, code; "there is none" is nil alone. */
#include "bind/bind.h"

#include "bind/packed.h"
#include "state/key.h"
#include "state/stores.h"

#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <sys/random.h>
#include <unistd.h>

struct use {
	struct mm_stores *all;          /* borrowed */
	struct mm_store  *store;        /* borrowed */
	struct mm_text    key;          /* borrowed from the stack */
	double            now;
	char              short_key[MM_STORE_KEY_MAX];  /* of a key that is longer: its beginning and its SHA-256 */
};

/* The store at index 1 and the key at index 2. */
static void check_use(lua_State *L, struct use *u)
{
	struct mm_stores *all = mm_generation_of(L)->settings.stores;
	u->all = all;
	u->store = mm_stores_get(all, luaL_checknumber(L, 1));
	u->now = mm_clock_wall();
	if (u->store == NULL)
		luaL_error(L, "store: no such store");
	u->key = lua_gettop(L) >= 2 ? mm_key_shorten(mm_check_text(L, 2), MM_STORE_KEY_MAX, u->short_key)
		: mm_text_of("");
}

/* ORDER STORE_RESULT */
static int fail(lua_State *L, const struct use *u, enum mm_store_result r)
{
	static const struct { const char *code; bool is_logged; } words[] = {
		[MM_STORE_DONE] = { "done", false }, [MM_STORE_NONE] = { "none", false },
		[MM_STORE_BUSY] = { "busy", true }, [MM_STORE_FULL] = { "full", true },
		[MM_STORE_KEY] = { "key", false }, [MM_STORE_BROKEN] = { "io", true },
	};
	if (r == MM_STORE_NONE)
		return 0;
	const char *text = mm_store_result_text(u->store, r);
	if (words[r].is_logged)
		mm_stores_complain(u->all, u->store, text);
	return mm_push_failure(L, text, words[r].code);
}

/* store.open(name, size_max, evicts, durable) -> number | nil, text, code */
static int store_open(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	struct mm_store_options o = {
		.size_max = (uint64_t)luaL_checknumber(L, 2),
		.when_full = lua_toboolean(L, 3) ? MM_FULL_EVICT : MM_FULL_REFUSE,
		.is_mirrored = lua_toboolean(L, 4),
	};
	const char *name = mm_check_cstring(L, 1, "store: name");
	struct mm_fault why = { .text = "this host keeps no stores" };
	unsigned number = g->settings.stores == NULL ? 0
		: mm_stores_open(g->settings.stores, g->settings.milter_name, name, &o, &why);
	if (number == 0)
		return mm_push_failure(L, why.text, why.class == MM_FAULT_CONFIG ? "config" : "io");
	lua_pushnumber(L, number);
	return 1;
}

/* store.directory() -> path of state_dir | nothing when there is none | nil, text, code */
static int store_directory(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	struct mm_fault why = { .text = "" };
	const char *path = g->settings.stores == NULL ? NULL : mm_stores_disk(g->settings.stores, &why);
	if (path == NULL)
		return why.text[0] == '\0' ? 0 : mm_push_failure(L, why.text, "io");
	lua_pushstring(L, path);
	return 1;
}

static void push_life(lua_State *L, const struct mm_record *r, double now)
{
	if (r->ends_at != 0)
		lua_pushnumber(L, r->ends_at - now);
	else
		lua_pushnil(L);
}

/* store.get(number, key) -> value, seconds that are left of its life or nil */
static int store_get(lua_State *L)
{
	struct use u;
	check_use(L, &u);
	struct mm_record r;
	enum mm_store_result result = mm_store_get(u.store, u.key, u.now, &r);
	if (result != MM_STORE_DONE)
		return fail(L, &u, result);
	mm_packed_push(L, r.bytes);
	push_life(L, &r, u.now);
	return 2;
}

/* store.packed(number, key) -> bytes, for swap() */
static int store_packed(lua_State *L)
{
	struct use u;
	check_use(L, &u);
	struct mm_record r;
	enum mm_store_result result = mm_store_get(u.store, u.key, u.now, &r);
	if (result != MM_STORE_DONE)
		return fail(L, &u, result);
	mm_push_text(L, r.bytes);
	return 1;
}

/* store.unpack(bytes) -> value */
static int store_unpack(lua_State *L)
{
	mm_packed_push(L, mm_check_text(L, 1));
	return 1;
}

/* ---- set, add, swap ---- */

struct setting {
	struct mm_record to;            /* what to write; bytes NULL: delete */
	const struct mm_text *from;     /* only when the record is this; NULL: whatever it is */
	bool             is_new_only;   /* only when there is none */
	bool             keeps_end;     /* an existing record lives as long as before */
	bool             is_done;       /* found: it was as expected */
};

static bool is_as_expected(const struct setting *s, const struct mm_record *old)
{
	if (s->is_new_only)
		return old == NULL;
	if (s->from == NULL)
		return true;
	return old != NULL && old->bytes.size == s->from->size
		&& memcmp(old->bytes.bytes, s->from->bytes, s->from->size) == 0;
}

static enum mm_change decide_setting(void *self, const struct mm_record *old, struct mm_record *next)
{
	struct setting *s = self;
	s->is_done = is_as_expected(s, old);
	if (!s->is_done)
		return MM_CHANGE_NOTHING;
	*next = s->to;
	if (old != NULL && s->keeps_end)
		next->ends_at = old->ends_at;
	return s->to.bytes.bytes != NULL ? MM_CHANGE_PUT : MM_CHANGE_DELETE;
}

/* seconds at an index, or nil for a life without end */
static double check_end(lua_State *L, int at, double now)
{
	if (lua_isnoneornil(L, at))
		return 0;
	double ttl = luaL_checknumber(L, at);
	return isfinite(ttl) ? now + ttl : 0;
}

/* Writes the value at an index; nil stays no bytes. */
static struct mm_text check_value(lua_State *L, int at, const struct use *u)
{
	if (lua_isnil(L, at))
		return (struct mm_text){ NULL, 0 };
	struct mm_buffer *b = mm_stores_scratch(u->all);
	const char *wrong = mm_packed_write(L, at, b);
	if (wrong != NULL)
		mm_raise_at_script(L, "store: %s cannot be kept; give a string, a number, a boolean, or a table of "
			"those", wrong);
	if (b->failed)
		mm_raise_at_script(L, "store: out of memory");
	return (struct mm_text){ (const char *)b->bytes, b->size };
}

static int change(lua_State *L, const struct use *u, struct setting *s)
{
	enum mm_store_result r = mm_store_change(u->store, u->key, u->now, decide_setting, s);
	if (r != MM_STORE_DONE)
		return fail(L, u, r);
	lua_pushboolean(L, s->is_done);
	return 1;
}

/* store.set(number, key, value, ttl or nil, is_new_only) -> boolean: written */
static int store_set(lua_State *L)
{
	struct use u;
	check_use(L, &u);
	struct setting s = { .is_new_only = lua_toboolean(L, 5) };
	s.to = (struct mm_record){ check_value(L, 3, &u), check_end(L, 4, u.now) };
	return change(L, &u, &s);
}

/* store.swap(number, key, packed or nil, value or nil, ttl or nil, keeps_end) -> boolean: it was what packed says */
static int store_swap(lua_State *L)
{
	struct use u;
	check_use(L, &u);
	struct mm_text from = { NULL, 0 };
	struct setting s = { .is_new_only = lua_isnil(L, 3), .from = &from, .keeps_end = lua_toboolean(L, 6) };
	if (!s.is_new_only)
		from = mm_check_text(L, 3);
	s.to = (struct mm_record){ check_value(L, 4, &u), check_end(L, 5, u.now) };
	return change(L, &u, &s);
}

/* store.delete(number, key) -> boolean: it was there */
static int store_delete(lua_State *L)
{
	struct use u;
	check_use(L, &u);
	enum mm_store_result r = mm_store_delete(u.store, u.key, u.now);
	if (r != MM_STORE_DONE && r != MM_STORE_NONE)
		return fail(L, &u, r);
	lua_pushboolean(L, r == MM_STORE_DONE);
	return 1;
}

/* ---- incr ---- */

struct counting {
	double by, ends_at, sum;
	bool   is_number;
	char   packed[MM_PACKED_NUMBER_SIZE];
};

static enum mm_change decide_count(void *self, const struct mm_record *old, struct mm_record *next)
{
	struct counting *c = self;
	double had = 0;
	c->is_number = old == NULL || mm_packed_read_number(old->bytes, &had);
	if (!c->is_number)
		return MM_CHANGE_NOTHING;
	c->sum = had + c->by;
	mm_packed_write_number(c->sum, c->packed);
	*next = (struct mm_record){ { c->packed, sizeof c->packed }, old != NULL ? old->ends_at : c->ends_at };
	return MM_CHANGE_PUT;
}

/* store.incr(number, key, by, ttl or nil) -> number; the life of a counter begins with its first count */
static int store_incr(lua_State *L)
{
	struct use u;
	check_use(L, &u);
	struct counting c = { .by = luaL_checknumber(L, 3), .ends_at = check_end(L, 4, u.now) };
	enum mm_store_result r = mm_store_change(u.store, u.key, u.now, decide_count, &c);
	if (r != MM_STORE_DONE)
		return fail(L, &u, r);
	if (!c.is_number)
		return mm_push_failure(L, "the value is not a number", "type");
	lua_pushnumber(L, c.sum);
	return 1;
}

/* ---- many keys ---- */

/* store.next(number, after or "", prefix) -> key, value, life; nothing after the last */
static int store_next(lua_State *L)
{
	struct use u;
	check_use(L, &u);
	struct mm_text prefix = mm_check_text(L, 3), key;
	struct mm_record r;
	enum mm_store_result result = mm_store_next(u.store, u.key, prefix, u.now, &key, &r);
	if (result != MM_STORE_DONE)
		return fail(L, &u, result);
	mm_push_text(L, key);
	mm_packed_push(L, r.bytes);
	push_life(L, &r, u.now);
	return 3;
}

/* store.remove_some(number, prefix, count) -> boolean: some are left */
static int store_remove_some(lua_State *L)
{
	struct use u;
	check_use(L, &u);
	bool left;
	enum mm_store_result r = mm_store_remove_some(u.store, u.key, (unsigned)luaL_checkinteger(L, 3), &left);
	if (r != MM_STORE_DONE)
		return fail(L, &u, r);
	lua_pushboolean(L, left);
	return 1;
}

/* store.figures(number) -> { count, size, size_max, changes, refused, evicted, ended } */
static int store_figures(lua_State *L)
{
	struct use u;
	check_use(L, &u);
	struct mm_store_figures f;
	enum mm_store_result r = mm_store_measure(u.store, &f);
	if (r != MM_STORE_DONE)
		return fail(L, &u, r);
	const struct { const char *name; uint64_t value; } rows[] = {
		{ "count", f.count }, { "size", f.size }, { "size_max", f.size_max }, { "changes", f.changes },
		{ "refused", f.refused }, { "evicted", f.evicted }, { "ended", f.ended },
	};
	lua_createtable(L, 0, sizeof rows / sizeof *rows);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		lua_pushnumber(L, (lua_Number)rows[i].value);
		lua_setfield(L, -2, rows[i].name);
	}
	return 1;
}

/* store.unique() -> a name that nobody else has, on this host or another */
static int store_unique(lua_State *L)
{
	uint64_t random = 0;            /* without it, processes of one host still differ */
	if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
		random = (uint64_t)(mm_clock_wall() * 1e6);
	lua_pushfstring(L, "%d.%d.%f", (int)getpid(), (int)mm_generation_of(L)->settings.number,
		(double)(random >> 11));
	return 1;
}

/* store.digest(text) -> 16 letters, digits, "-" and "_": 96 bits of its SHA-256 */
static int store_digest(lua_State *L)
{
	char digest[MM_KEY_DIGEST_SIZE];
	mm_key_digest(mm_check_text(L, 1), digest);
	lua_pushlstring(L, digest, sizeof digest);
	return 1;
}

void mm_bind_store(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "open", store_open }, { "get", store_get }, { "packed", store_packed }, { "unpack", store_unpack },
		{ "set", store_set }, { "swap", store_swap }, { "delete", store_delete }, { "incr", store_incr },
		{ "next", store_next }, { "remove_some", store_remove_some }, { "figures", store_figures },
		{ "unique", store_unique }, { "digest", store_digest }, { "directory", store_directory },
		{ NULL, NULL },
	};
	lua_newtable(L);
	for (const luaL_Reg *f = functions; f->name != NULL; f++) {
		lua_pushcfunction(L, f->func);
		lua_setfield(L, -2, f->name);
	}
	lua_setfield(L, -2, "store");
}
