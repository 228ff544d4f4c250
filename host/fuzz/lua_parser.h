/* fuzz/lua_parser.h -- a fuzz target for a parser in Lua, run by LuaJIT in the target's process.
 *
 * The target is a Lua chunk that returns a function(choice, text); an error that it raises is a crash, so its laws are
 * asserts. The input's first bytes say which function of the parser is tried, and how a text is made of the rest: a
 * head, then a piece repeated, then a tail. So a few bytes make a text of 16 KB on which a pattern that goes back takes
 * more than the time that watch.c allows. */
#ifndef MM_FUZZ_LUA_PARSER_H
#define MM_FUZZ_LUA_PARSER_H

#include "fuzz/watch.h"
#include "script/sources.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

#define TEXT_MAX   16384u
#define PIECE_MAX  32u
#define DOUBLE_MAX 15u          /* a piece is repeated up to 2^14 times */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __lsan_is_turned_off(void);
int luaopen_moonmilter_codec(lua_State *L);
int luaopen_moonmilter_seal(lua_State *L);

/* The leak checker does not look into LuaJIT's own memory, where the only pointers to some blocks are. */
int __lsan_is_turned_off(void)
{
	return 1;
}

#ifdef MM_FUZZER
/* The fuzzer does not see which lines of Lua an input reaches: a hook counts them for it. */
#define LINES 8192u
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t lines_seen[LINES];

static void on_line(lua_State *L, lua_Debug *at)
{
	lua_getinfo(L, "S", at);
	uint32_t hash = (uint32_t)at->currentline * 2654435761u;
	for (const char *c = at->source; *c != '\0'; c++)
		hash = hash * 31 + (uint8_t)*c;
	uint8_t *seen = &lines_seen[hash % LINES];
	*seen += *seen < 255;
}

/* Compiled code calls no hook, so the interpreter runs all. */
static void watch_lines(lua_State *L)
{
	luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
	lua_sethook(L, mm_fuzz_is_timed() ? NULL : on_line, LUA_MASKLINE, 0);
}
#else
static void watch_lines(lua_State *L)
{
	(void)L;
}
#endif

static void fail(lua_State *L)
{
	fprintf(stderr, "%s\n", lua_tostring(L, -1));
	abort();
}

/* Every module of the library can be required. after: [] */
static void preload_modules(lua_State *L)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "preload");
	for (const struct mm_lua_source *source = mm_lua_sources; source->name != NULL; source++) {
		if (luaL_loadbuffer(L, (const char *)source->bytes, source->size, source->name) != 0)
			fail(L);
		lua_setfield(L, -2, source->name);
	}
	lua_pushcfunction(L, luaopen_moonmilter_codec);
	lua_setfield(L, -2, "moonmilter.codec");
	lua_pushcfunction(L, luaopen_moonmilter_seal);
	lua_setfield(L, -2, "moonmilter.seal");
	lua_pop(L, 2);
}

/* A state with the target's function at index 1. It lives as long as the process. */
static lua_State *new_state(const char *source)
{
	lua_State *L = luaL_newstate();
	if (L == NULL)
		exit(2);
	luaL_openlibs(L);
	preload_modules(L);
	if (luaL_loadbuffer(L, source, strlen(source), "=target") != 0 || lua_pcall(L, 0, 1, 0) != 0)
		fail(L);
	return L;
}

struct text {
	char   bytes[TEXT_MAX + 4096];  /* the tail always has room */
	size_t size;
};

static void append(struct text *t, const uint8_t *bytes, size_t n)
{
	if (n > sizeof t->bytes - t->size)
		n = sizeof t->bytes - t->size;
	memcpy(t->bytes + t->size, bytes, n);
	t->size += n;
}

/* data: size of the head, size of the piece, how often it is doubled and with what the text ends, then head, piece and
 * tail. Patterns go back when they fail, and at these ends most do. */
static void make_text(struct text *t, const uint8_t *data, size_t size)
{
	const uint8_t *at = data + 3;
	size_t left = size - 3;
	size_t head = data[0] > left ? left : data[0];
	size_t piece = data[1] % PIECE_MAX > left - head ? left - head : data[1] % PIECE_MAX;
	t->size = 0;
	append(t, at, head);
	for (unsigned i = 0; i < 1u << data[2] % DOUBLE_MAX && t->size < TEXT_MAX; i++)
		append(t, at + head, piece);
	append(t, at + head + piece, left - head - piece);
	static const char *const ends[] = { "", " x", "_=x", "!", ">" };
	const char *end = ends[data[2] / DOUBLE_MAX % (sizeof ends / sizeof *ends)];
	append(t, (const uint8_t *)end, strlen(end));
}

static int run_lua_parser(const char *source, const uint8_t *data, size_t size)
{
	static lua_State *L;
	static struct text text;
	if (L == NULL)
		L = new_state(source);
	if (size < 4)
		return 0;
	make_text(&text, data + 1, size - 1);
	mm_fuzz_made(text.size);
	watch_lines(L);
	lua_pushvalue(L, 1);
	lua_pushinteger(L, data[0]);
	lua_pushlstring(L, text.bytes, text.size);
	if (lua_pcall(L, 2, 0, 0) != 0)
		fail(L);
	return 0;
}

#endif
