#include "bind/settings.h"

#include <lauxlib.h>
#include <lua.h>

static void push_value(lua_State *L, const struct mm_value *v);

static void push_table(lua_State *L, const struct mm_value *v)
{
	int n = 0;
	lua_newtable(L);
	for (uint32_t i = 0; v->kind == MM_VALUE_TABLE && i < v->table.count; i++) {
		const struct mm_value_entry *entry = &v->table.entries[i];
		if (entry->name == NULL) {
			push_value(L, &entry->value);
			lua_rawseti(L, -2, ++n);
			continue;
		}
		lua_pushlstring(L, entry->name, entry->name_size);
		push_value(L, &entry->value);
		lua_rawset(L, -3);
	}
}

static void push_value(lua_State *L, const struct mm_value *v)
{
	luaL_checkstack(L, 4, "settings");
	switch (v->kind) {
	case MM_VALUE_NIL:     lua_pushnil(L); break;
	case MM_VALUE_BOOLEAN: lua_pushboolean(L, v->boolean); break;
	case MM_VALUE_NUMBER:  lua_pushnumber(L, v->number); break;
	case MM_VALUE_STRING:  lua_pushlstring(L, v->string.bytes, v->string.size); break;
	case MM_VALUE_TABLE:   push_table(L, v); break;
	}
}

void mm_push_settings(lua_State *L, const struct mm_value *settings)
{
	static const struct mm_value empty = { .kind = MM_VALUE_NIL };
	push_table(L, settings != NULL ? settings : &empty);
}
