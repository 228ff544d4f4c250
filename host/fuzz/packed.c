/* fuzz/packed.c -- records of stores: any bytes are a value or nil, and are described within the bounds of the text.
 * What is a value keeps it when it is written and read again. Tokens lie within the bytes, and their tables close. */
#include "bind/packed.h"
#include "state/describe.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#define TEXT_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __lsan_is_turned_off(void);

/* The leak checker does not look into LuaJIT's own memory. */
int __lsan_is_turned_off(void)
{
	return 1;
}

/* Two tables may give their pairs in another order, so that only their sizes can be compared: a key cannot get lost. */
static void write_again(lua_State *L, struct mm_buffer *to)
{
	if (mm_packed_write(L, -1, to) != NULL || to->failed)
		abort();
}

static void check_round_trip(lua_State *L)
{
	struct mm_buffer first = { 0 }, second = { 0 };
	int type = lua_type(L, -1);
	write_again(L, &first);
	mm_packed_push(L, (struct mm_text){ (const char *)first.bytes, first.size });
	if (lua_type(L, -1) != type)
		abort();
	write_again(L, &second);
	if (first.size != second.size || (type != LUA_TTABLE && memcmp(first.bytes, second.bytes, first.size) != 0))
		abort();
	lua_pop(L, 1);
	mm_buffer_free(&first);
	mm_buffer_free(&second);
}

static void check_text(struct mm_text record, size_t size)
{
	char *to = malloc(size);
	if (to == NULL)
		abort();
	if (strlen(mm_describe_value(record, to, size)) >= size || strlen(mm_describe_text(record, to, size)) >= size)
		abort();
	free(to);
}

/* Whether the bytes are one value. */
static bool check_tokens(struct mm_text record)
{
	struct mm_packed p = mm_packed_of(record);
	unsigned depth = 0;
	for (enum mm_packed_token t; (t = mm_packed_next(&p)) != MM_PACKED_NONE;) {
		const char *end = record.bytes + record.size;
		depth += (t == MM_PACKED_OPEN) - (t == MM_PACKED_CLOSE);
		if (p.at > end || depth != p.depth || depth > MM_PACKED_DEPTH_MAX)
			abort();
		if (t == MM_PACKED_STRING && (p.string.bytes < record.bytes || p.string.bytes + p.string.size > end))
			abort();
	}
	if (mm_packed_next(&p) != MM_PACKED_NONE || (mm_packed_is_whole(&p) && depth != 0))
		abort();
	return mm_packed_is_whole(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static lua_State *L;
	if (L == NULL && (L = luaL_newstate()) == NULL)
		abort();
	struct mm_text record = { (const char *)data, size };
	mm_packed_push(L, record);
	if (lua_gettop(L) != 1)
		abort();
	if (lua_isnil(L, -1) == check_tokens(record))
		abort();
	if (!lua_isnil(L, -1))
		check_round_trip(L);
	lua_settop(L, 0);
	for (size_t n = 1; n <= TEXT_MAX; n += 7)
		check_text(record, n);
	check_text(record, 4096);
	return 0;
}
