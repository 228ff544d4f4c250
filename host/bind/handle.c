#include "bind/handle.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdlib.h>
#include <string.h>

/* Not in the userdata itself: a script that takes its metatable away also takes its __gc, and the holder's list would
 * then lead through memory that is gone. */
struct mm_handle {
	const struct mm_handle_class *class;
	void                         *thing;    /* owned; NULL: closed */
	struct mm_holding             holding;
};

static const char kind;         /* of the userdata of all classes */

struct box {
	struct mm_tag     tag;
	struct mm_handle *handle;       /* owned; NULL: collected */
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

struct mm_handle *mm_handle_new(lua_State *L, const struct mm_handle_class *class)
{
	struct box *box = mm_tagged_new(L, &kind, sizeof *box);
	lua_pushvalue(L, -1);
	mm_vault_push(mm_generation_of(L), L, mm_generation_of(L)->handle_metatables);
	lua_rawgeti(L, -1, class->number);
	lua_setmetatable(L, -3);
	lua_pop(L, 2);
	box->handle = calloc(1, sizeof *box->handle);
	if (box->handle == NULL)
		luaL_error(L, "out of memory for a handle");
	box->handle->class = class;
	return box->handle;
}

void mm_handle_open(struct mm_handle *h, void *thing, struct mm_generation *g)
{
	mm_handle_open_in(h, thing, mm_task_holder(g));
}

void mm_handle_open_in(struct mm_handle *h, void *thing, struct mm_holder *holder)
{
	h->thing = thing;
	mm_holder_add(holder, &h->holding, drop);
}

static struct mm_handle *check_handle(lua_State *L, const struct mm_handle_class *class)
{
	const struct box *box = mm_tagged(L, 1, &kind);
	if (box == NULL || box->handle == NULL || box->handle->class != class)
		luaL_error(L, class->complaint, luaL_typename(L, 1));
	return box->handle;
}

void *mm_handle_check(lua_State *L, const struct mm_handle_class *class)
{
	return check_handle(L, class)->thing;
}

/* [handle], with the class's noun and number as upvalues: a script may change those, so they are no pointers. */
static int close_handle(lua_State *L)
{
	const struct box *box = mm_tagged(L, 1, &kind);
	const char *noun = lua_tostring(L, lua_upvalueindex(1));
	if (box == NULL || box->handle == NULL
	    || (lua_Number)box->handle->class->number != lua_tonumber(L, lua_upvalueindex(2)))
		return luaL_error(L, "close: %s is expected, not a %s", noun != NULL ? noun : "?",
			luaL_typename(L, 1));
	mm_handle_close(box->handle);
	return 0;
}

static int collect_handle(lua_State *L)
{
	struct box *box = mm_tagged(L, 1, &kind);
	if (box == NULL || box->handle == NULL)
		return 0;
	mm_handle_close(box->handle);
	free(box->handle);
	box->handle = NULL;
	return 0;
}

/* [] -> [metatables by number of the class] */
static void push_metatables(lua_State *L, struct mm_generation *g)
{
	if (g->handle_metatables == MM_NO_REF) {
		lua_newtable(L);
		g->handle_metatables = mm_vault_put(L);
	}
	mm_vault_push(g, L, g->handle_metatables);
}

/* [functions] -> [functions metatable] */
void mm_handle_push_class(lua_State *L, const struct mm_handle_class *class)
{
	lua_pushlstring(L, class->complaint, (size_t)(strstr(class->complaint, " is expected") - class->complaint));
	lua_pushinteger(L, (lua_Integer)class->number);
	lua_pushcclosure(L, close_handle, 2);
	lua_setfield(L, -2, "close");
	push_metatables(L, mm_generation_of(L));
	lua_newtable(L);                /* [functions metatables metatable] */
	lua_pushcfunction(L, collect_handle);
	lua_setfield(L, -2, "__gc");
	lua_pushvalue(L, -1);
	lua_rawseti(L, -3, class->number);
	lua_remove(L, -2);
}
