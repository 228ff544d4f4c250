#include "bind/handle.h"

#include <lauxlib.h>
#include <lua.h>

struct mm_handle {
	const struct mm_handle_class *class;
	void                         *thing;    /* owned; NULL: closed */
	struct mm_holding             holding;
};

void mm_handle_close(struct mm_handle *h)
{
	void *thing = h->thing;
	if (thing == NULL)
		return;
	h->thing = NULL;
	mm_holding_leave(&h->holding);
	h->class->end(thing);
}

static void drop(struct mm_holding *holding)
{
	mm_handle_close(MM_OWNER_OF(holding, struct mm_handle, holding));
}

static void push_metatable(lua_State *L, const struct mm_handle_class *class)
{
	lua_pushlightuserdata(L, (void *)(uintptr_t)class);
	lua_rawget(L, LUA_REGISTRYINDEX);
}

struct mm_handle *mm_handle_new(lua_State *L, const struct mm_handle_class *class)
{
	struct mm_handle *h = lua_newuserdata(L, sizeof *h);
	*h = (struct mm_handle){ .class = class };
	push_metatable(L, class);
	lua_setmetatable(L, -2);
	return h;
}

void mm_handle_open(struct mm_handle *h, void *thing, struct mm_generation *g)
{
	h->thing = thing;
	mm_holder_add(mm_task_holder(g), &h->holding, drop);
}

static bool is_handle(lua_State *L, const struct mm_handle_class *class)
{
	if (lua_touserdata(L, 1) == NULL || !lua_getmetatable(L, 1))
		return false;
	push_metatable(L, class);
	bool is_ours = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return is_ours;
}

static struct mm_handle *check_handle(lua_State *L, const struct mm_handle_class *class)
{
	if (!is_handle(L, class))
		luaL_error(L, class->complaint, luaL_typename(L, 1));
	return lua_touserdata(L, 1);
}

void *mm_handle_check(lua_State *L, const struct mm_handle_class *class)
{
	return check_handle(L, class)->thing;
}

/* [handle]; its class is the upvalue, so that a script cannot end a thing of another class with it. */
static int close_handle(lua_State *L)
{
	mm_handle_close(check_handle(L, lua_touserdata(L, lua_upvalueindex(1))));
	return 0;
}

/* [functions] -> [functions metatable] */
void mm_handle_push_class(lua_State *L, const struct mm_handle_class *class)
{
	lua_pushlightuserdata(L, (void *)(uintptr_t)class);
	lua_pushcclosure(L, close_handle, 1);
	lua_newtable(L);
	lua_pushvalue(L, -2);
	lua_setfield(L, -2, "__gc");    /* [functions close metatable] */
	lua_insert(L, -2);
	lua_setfield(L, -3, "close");
	lua_pushlightuserdata(L, (void *)(uintptr_t)class);
	lua_pushvalue(L, -2);
	lua_rawset(L, LUA_REGISTRYINDEX);
}
