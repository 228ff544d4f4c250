#include "bind.h"

#include <lauxlib.h>
#include <lua.h>

bool mm_handle_is(lua_State *L, const char *class_key)
{
	if (lua_touserdata(L, 1) == NULL || !lua_getmetatable(L, 1))
		return false;
	lua_pushlightuserdata(L, (void *)(uintptr_t)class_key);
	lua_rawget(L, LUA_REGISTRYINDEX);
	bool is_ours = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return is_ours;
}

int mm_push_failure(lua_State *L, const char *text, const char *code)
{
	lua_pushnil(L);
	lua_pushstring(L, text);
	lua_pushstring(L, code);
	return 3;
}
