#include "bind/packed.h"

#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* ---- write ---- */

static const char *write_value(lua_State *L, int at, struct mm_buffer *to, unsigned depth);

static const char *write_string(lua_State *L, int at, struct mm_buffer *to, unsigned depth)
{
	size_t size;
	const char *bytes = lua_tolstring(L, at, &size);
	uint32_t count = (uint32_t)size;
	if (size > MM_PACKED_SIZE_MAX)
		return "a value of more than 1 MiB";
	mm_buffer_append_u8(to, 's');
	if (depth > 0)
		mm_buffer_append(to, &count, sizeof count);
	mm_buffer_append(to, bytes, size);
	return NULL;
}

/* at: absolute */
static const char *write_table(lua_State *L, int at, struct mm_buffer *to, unsigned depth)
{
	if (depth >= MM_PACKED_DEPTH_MAX || !lua_checkstack(L, 4))
		return "a table nested deeper than 16 levels, or one that contains itself";
	mm_buffer_append_u8(to, '{');
	for (lua_pushnil(L); lua_next(L, at) != 0; lua_pop(L, 1)) {
		int top = lua_gettop(L);
		const char *wrong = lua_istable(L, top - 1) ? "a table as a key"
			: write_value(L, top - 1, to, depth + 1);
		if (wrong == NULL)
			wrong = write_value(L, top, to, depth + 1);
		if (wrong == NULL && to->size > MM_PACKED_SIZE_MAX)
			wrong = "a value of more than 1 MiB";
		if (wrong != NULL) {
			lua_pop(L, 2);
			return wrong;
		}
	}
	mm_buffer_append_u8(to, '}');
	return NULL;
}

static const char *write_value(lua_State *L, int at, struct mm_buffer *to, unsigned depth)
{
	double n;
	switch (lua_type(L, at)) {
	case LUA_TSTRING:
		return write_string(L, at, to, depth);
	case LUA_TNUMBER:
		n = lua_tonumber(L, at);
		mm_buffer_append_u8(to, 'n');
		mm_buffer_append(to, &n, sizeof n);
		return NULL;
	case LUA_TBOOLEAN:
		mm_buffer_append_u8(to, lua_toboolean(L, at) ? 't' : 'f');
		return NULL;
	case LUA_TTABLE:    return write_table(L, at, to, depth);
	case LUA_TNIL:      return "nil";
	case LUA_TFUNCTION: return "a function";
	case LUA_TTHREAD:   return "a coroutine";
	default:            return "a userdata or cdata";
	}
}

const char *mm_packed_write(lua_State *L, int at, struct mm_buffer *to)
{
	return write_value(L, at < 0 ? lua_gettop(L) + at + 1 : at, to, 0);
}

/* ---- read: pushes one value, or returns false and leaves the stack as it was ---- */

struct reader {
	const char *at, *end;
};

static bool take(struct reader *r, void *to, size_t size)
{
	if ((size_t)(r->end - r->at) < size)
		return false;
	memcpy(to, r->at, size);
	r->at += size;
	return true;
}

static bool read_value(lua_State *L, struct reader *r, unsigned depth);

static bool read_string(lua_State *L, struct reader *r, unsigned depth)
{
	uint32_t size = (uint32_t)(r->end - r->at);
	if (depth > 0 && (!take(r, &size, sizeof size) || (size_t)(r->end - r->at) < size))
		return false;
	lua_pushlstring(L, r->at, size);
	r->at += size;
	return true;
}

static bool read_number(lua_State *L, struct reader *r)
{
	double n;
	if (!take(r, &n, sizeof n))
		return false;
	lua_pushnumber(L, n);
	return true;
}

/* A NaN cannot be a key; it cannot have been written as one either. */
static bool is_key(lua_State *L, int at)
{
	return lua_type(L, at) != LUA_TTABLE && !(lua_type(L, at) == LUA_TNUMBER && isnan(lua_tonumber(L, at)));
}

static bool read_table(lua_State *L, struct reader *r, unsigned depth)
{
	if (depth >= MM_PACKED_DEPTH_MAX || !lua_checkstack(L, 4))
		return false;
	int top = lua_gettop(L);
	lua_newtable(L);
	while (r->at < r->end && *r->at != '}') {
		if (!read_value(L, r, depth + 1) || !is_key(L, -1) || !read_value(L, r, depth + 1)) {
			lua_settop(L, top);
			return false;
		}
		lua_rawset(L, -3);
	}
	if (r->at < r->end) {
		r->at++;
		return true;
	}
	lua_settop(L, top);
	return false;
}

static bool read_value(lua_State *L, struct reader *r, unsigned depth)
{
	char letter;
	if (!take(r, &letter, 1))
		return false;
	switch (letter) {
	case 's': return read_string(L, r, depth);
	case 'n': return read_number(L, r);
	case 't':
	case 'f':
		lua_pushboolean(L, letter == 't');
		return true;
	case '{': return read_table(L, r, depth);
	default:  return false;
	}
}

void mm_packed_push(lua_State *L, struct mm_text t)
{
	struct reader r = { t.bytes, t.bytes + t.size };
	int top = lua_gettop(L);
	if (read_value(L, &r, 0) && r.at == r.end)
		return;
	lua_settop(L, top);
	lua_pushnil(L);
}
