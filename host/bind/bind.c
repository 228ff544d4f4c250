#include "bind/bind.h"

#include <ctype.h>
#include <lauxlib.h>
#include <lua.h>

#include <string.h>

struct mm_text mm_check_text(lua_State *L, int at)
{
	struct mm_text t;
	t.bytes = luaL_checklstring(L, at, &t.size);
	return t;
}

static const char *refuse_nul(lua_State *L, struct mm_text t, const char *what)
{
	if (strlen(t.bytes) != t.size)
		mm_raise_at_script(L, "%s has a NUL byte, which would cut it off", what);
	return t.bytes;
}

const char *mm_check_cstring(lua_State *L, int at, const char *what)
{
	return refuse_nul(L, mm_check_text(L, at), what);
}

const char *mm_opt_cstring(lua_State *L, int at, const char *what)
{
	return lua_isnoneornil(L, at) ? NULL : mm_check_cstring(L, at, what);
}

const char *mm_clean_cstring(lua_State *L, int at)
{
	struct mm_text t = mm_check_text(L, at);
	return strlen(t.bytes) == t.size ? t.bytes : NULL;
}

const char *const *mm_push_strings(lua_State *L, int at, const char *what)
{
	size_t count = lua_objlen(L, at);
	const char **list = lua_newuserdata(L, (count + 1) * sizeof *list);
	for (size_t i = 0; i < count; i++) {
		lua_rawgeti(L, at, (int)i + 1);
		list[i] = mm_check_cstring(L, -1, what);
		lua_pop(L, 1);
	}
	list[count] = NULL;
	return list;
}

int mm_push_failure(lua_State *L, const char *text, const char *code)
{
	lua_pushnil(L);
	lua_pushstring(L, text);
	lua_pushstring(L, code);
	return 3;
}

void mm_push_text(lua_State *L, struct mm_text t)
{
	lua_pushlstring(L, t.bytes, t.size);
}

void mm_set_text(lua_State *L, const char *key, struct mm_text t)
{
	mm_push_text(L, t);
	lua_setfield(L, -2, key);
}

void mm_push_params(lua_State *L, struct mm_text strings, struct mm_text raw)
{
	lua_newtable(L);
	struct mm_cursor c = mm_cursor_over(strings.bytes, strings.size);
	for (int n = 1; c.left > 0; n++) {
		struct mm_text param = mm_cursor_text(&c);
		if (c.failed)
			break;
		mm_push_text(L, param);
		lua_rawseti(L, -2, n);
		const char *equals = memchr(param.bytes, '=', param.size);
		size_t key_size = equals != NULL ? (size_t)(equals - param.bytes) : param.size;
		char key[64];
		if (key_size == 0 || key_size > sizeof key)
			continue;
		for (size_t i = 0; i < key_size; i++)
			key[i] = (char)toupper((unsigned char)param.bytes[i]);
		lua_pushlstring(L, key, key_size);
		if (equals != NULL)
			lua_pushlstring(L, equals + 1, param.size - key_size - 1);
		else
			lua_pushboolean(L, 1);
		lua_rawset(L, -3);
	}
	if (raw.bytes != NULL) {
		mm_push_text(L, raw);
		lua_setfield(L, -2, "raw");
	}
}
