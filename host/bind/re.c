/* bind/re.c -- core.re: regular expressions and sets of them. lua/moonmilter/re.lua is the interface for scripts: it
 * checks what they give and makes tables of what comes back. Nothing here waits. */
#include "bind/bind.h"

#include "map/pattern_set.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

/* ---- userdata ----
 * Recognised by what is written in it, because the debug library can give its metatable to any other; that is upvalue 1
 * of every function here. */

enum kind { PATTERN, SET };

struct object {
	const void *kind;               /* one of kinds */
	const void *self;               /* its own address */
	union {
		struct mm_pattern     *pattern; /* owned */
		struct mm_pattern_set *set;     /* owned */
		void                  *thing;
	};
};

static const char kinds[SET + 1];

static struct object *object_new(lua_State *L, enum kind kind)
{
	struct object *o = lua_newuserdata(L, sizeof *o);
	memset(o, 0, sizeof *o);
	o->kind = &kinds[kind];
	o->self = o;
	if (lua_istable(L, lua_upvalueindex(1))) {      /* a script may have put something else there */
		lua_pushvalue(L, lua_upvalueindex(1));
		lua_setmetatable(L, -2);
	}
	return o;
}

static struct object *object_at(lua_State *L, int at)
{
	struct object *o = lua_type(L, at) == LUA_TUSERDATA ? lua_touserdata(L, at) : NULL;
	if (o == NULL || lua_objlen(L, at) != sizeof *o || o->self != o)
		return NULL;
	return o;
}

static struct object *check_object(lua_State *L, enum kind kind)
{
	struct object *o = object_at(L, 1);
	if (o == NULL || o->kind != &kinds[kind] || o->thing == NULL)
		luaL_error(L, "re: a %s is expected, not a %s", kind == PATTERN ? "pattern" : "set",
			luaL_typename(L, 1));
	return o;
}

static int re_gc(lua_State *L)
{
	struct object *o = object_at(L, 1);
	if (o == NULL || o->thing == NULL)
		return 0;
	if (o->kind == &kinds[PATTERN])
		mm_pattern_free(o->pattern);
	else if (o->kind == &kinds[SET])
		mm_pattern_set_free(o->set);
	o->thing = NULL;
	return 0;
}

/* ---- one ---- */

/* The letters of flags at an index, and the steps after them. */
static struct mm_pattern_options options_at(lua_State *L, int at)
{
	const char *flags = mm_check_cstring(L, at, "re: flags");
	return (struct mm_pattern_options){
		.ignore_case = strchr(flags, 'i') != NULL, .multiline = strchr(flags, 'm') != NULL,
		.dotall = strchr(flags, 's') != NULL, .extended = strchr(flags, 'x') != NULL,
		.utf = strchr(flags, 'u') != NULL, .steps = (uint32_t)luaL_checknumber(L, at + 1),
	};
}

/* re.new(expression, flags, steps) -> pattern | nil, text */
static int re_new(lua_State *L)
{
	struct mm_text text = mm_check_text(L, 1);
	struct mm_pattern_options options = options_at(L, 2);
	struct mm_fault why;
	struct object *o = object_new(L, PATTERN);
	o->pattern = mm_pattern_new(text.bytes, text.size, &options, &why);
	if (o->pattern != NULL)
		return 1;
	lua_pushnil(L);
	lua_pushstring(L, why.text);
	return 2;
}

/* re.groups(pattern) -> how many, { name = number } */
static int re_groups(lua_State *L)
{
	const struct mm_pattern *p = check_object(L, PATTERN)->pattern;
	const char *name;
	unsigned group = 0;
	lua_pushinteger(L, (lua_Integer)mm_pattern_groups(p));
	lua_newtable(L);
	for (unsigned i = 0; (name = mm_pattern_group_name(p, i, &group)) != NULL; i++) {
		lua_pushinteger(L, (lua_Integer)group);
		lua_setfield(L, -2, name);
	}
	return 2;
}

static int push_span(lua_State *L, const size_t *span)
{
	bool takes_part = span[0] != SIZE_MAX;
	lua_pushinteger(L, takes_part ? (lua_Integer)span[0] + 1 : 0);
	lua_pushinteger(L, takes_part ? (lua_Integer)span[1] : -1);
	return 2;
}

/* re.search(pattern, text, from, is_after_empty, seconds) -> first and last byte of the match and of each group, 0 and
 * -1 of one that took no part | nothing | nil, text, code. from: 1 to the size of the text + 1 */
static int re_search(lua_State *L)
{
	struct mm_pattern *p = check_object(L, PATTERN)->pattern;
	struct mm_text text = mm_check_text(L, 2);
	lua_Number from = luaL_checknumber(L, 3);
	double seconds = luaL_checknumber(L, 5);
	if (!(from >= 1 && from <= (lua_Number)text.size + 1))
		return 0;
	switch (mm_pattern_search(p, text.bytes, text.size, (size_t)from - 1, lua_toboolean(L, 4), &seconds)) {
	case MM_PATTERN_NONE:
		return 0;
	case MM_PATTERN_LIMIT:
		return mm_push_failure(L, "the pattern takes too long on this text", "limit");
	case MM_PATTERN_BROKEN:
		return mm_push_failure(L, "PCRE2 failed", "internal");
	case MM_PATTERN_FOUND:
		break;
	}
	const size_t *spans = mm_pattern_spans(p);
	int count = (int)mm_pattern_groups(p) + 1;
	luaL_checkstack(L, 2 * count, "re: groups");
	for (int i = 0; i < count; i++)
		push_span(L, &spans[2 * i]);
	return 2 * count;
}

/* ---- many ---- */

/* re.set(expressions, flags, steps) -> set | nil, text, number of the wrong one */
static int re_set(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	unsigned count = (unsigned)lua_objlen(L, 1), wrong;
	struct mm_pattern_options options = options_at(L, 2);
	struct mm_fault why;
	struct object *o = object_new(L, SET);
	struct mm_text *expressions = lua_newuserdata(L, (count + 1) * sizeof *expressions);
	for (unsigned i = 0; i < count; i++) {
		lua_rawgeti(L, 1, (int)i + 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			return luaL_error(L, "re: expression %d is a %s", (int)i + 1, luaL_typename(L, -1));
		expressions[i].bytes = lua_tolstring(L, -1, &expressions[i].size);
		lua_pop(L, 1);          /* the list keeps it */
	}
	o->set = mm_pattern_set_new(expressions, count, &options, &wrong, &why);
	lua_pop(L, 1);
	if (o->set != NULL)
		return 1;
	lua_pushnil(L);
	lua_pushstring(L, why.text);
	lua_pushinteger(L, (lua_Integer)wrong + 1);
	return 3;
}

/* re.scan(set, text, seconds) -> { numbers that match }, { numbers that hit a limit } */
static int re_scan(lua_State *L)
{
	struct mm_pattern_set *s = check_object(L, SET)->set;
	struct mm_text text = mm_check_text(L, 2);
	const enum mm_pattern_result *results = mm_pattern_set_scan(s, text.bytes, text.size, luaL_checknumber(L, 3));
	int found = 0, failed = 0;
	lua_newtable(L);
	lua_newtable(L);
	for (unsigned i = 0; i < mm_pattern_set_count(s); i++) {
		if (results[i] == MM_PATTERN_NONE)
			continue;
		bool is_found = results[i] == MM_PATTERN_FOUND;
		lua_pushinteger(L, (lua_Integer)i + 1);
		lua_rawseti(L, is_found ? -3 : -2, is_found ? ++found : ++failed);
	}
	return 2;
}

/* re.cpu() -> CPU time, seconds: for searches that are several to us and one to the script */
static int re_cpu(lua_State *L)
{
	lua_pushnumber(L, mm_pattern_clock());
	return 1;
}

/* ---- register ---- */

void mm_bind_re(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "new", re_new }, { "groups", re_groups }, { "search", re_search }, { "set", re_set },
		{ "scan", re_scan }, { "cpu", re_cpu }, { NULL, NULL },
	};
	lua_newtable(L);
	lua_newtable(L);                /* [… core functions metatable] */
	lua_pushcfunction(L, re_gc);
	lua_setfield(L, -2, "__gc");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	for (const luaL_Reg *f = functions; f->name != NULL; f++) {
		lua_pushvalue(L, -1);
		lua_pushcclosure(L, f->func, 1);
		lua_setfield(L, -3, f->name);
	}
	lua_pop(L, 1);
	lua_pushnumber(L, MM_PATTERN_STEPS);
	lua_setfield(L, -2, "steps");
	lua_pushnumber(L, MM_PATTERN_SECONDS);
	lua_setfield(L, -2, "seconds");
	lua_setfield(L, -2, "re");
}
