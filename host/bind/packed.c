#include "bind/packed.h"

#include "bind/bind.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>

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
	char number[MM_PACKED_NUMBER_SIZE];
	switch (lua_type(L, at)) {
	case LUA_TSTRING:
		return write_string(L, at, to, depth);
	case LUA_TNUMBER:
		mm_packed_write_number(lua_tonumber(L, at), number);
		mm_buffer_append(to, number, sizeof number);
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

/* ---- read ---- */

/* A table stays on the stack while it is read, and so does a key until its value has come. */
#define STACK_MAX (2 * MM_PACKED_DEPTH_MAX + 2)

static void push_token(lua_State *L, enum mm_packed_token t, const struct mm_packed *p)
{
	switch (t) {
	case MM_PACKED_STRING:  mm_push_text(L, p->string); break;
	case MM_PACKED_NUMBER:  lua_pushnumber(L, p->number); break;
	case MM_PACKED_BOOLEAN: lua_pushboolean(L, p->boolean); break;
	case MM_PACKED_OPEN:    lua_newtable(L); break;
	case MM_PACKED_CLOSE:           /* the table is there */
	case MM_PACKED_NONE:    break;
	}
}

void mm_packed_push(lua_State *L, struct mm_text text)
{
	struct mm_packed p = mm_packed_of(text);
	int top = lua_gettop(L);
	luaL_checkstack(L, STACK_MAX, "no room for a value");
	for (enum mm_packed_token t; (t = mm_packed_next(&p)) != MM_PACKED_NONE;) {
		push_token(L, t, &p);
		if (t != MM_PACKED_OPEN && p.depth > 0 && !p.is_key)
			lua_rawset(L, -3);
	}
	if (mm_packed_is_whole(&p))
		return;
	lua_settop(L, top);
	lua_pushnil(L);
}
