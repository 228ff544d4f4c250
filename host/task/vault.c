#include "task/vault.h"

#include "base/local.h"

#include <lauxlib.h>
#include <lua.h>

#include <string.h>

static char vault_key;                  /* its address is the registry key while the vault is being made */
/* borrowed: its state is in lua_close. Hosts of other threads close theirs at the same time */
static _Thread_local struct mm_generation *closing MM_FAST_LOCAL;

struct mm_generation *mm_generation_of(lua_State *L)
{
	void *self;
	lua_getallocf(L, &self);
	return closing != NULL ? closing : self;
}

void mm_generation_closes(struct mm_generation *g)
{
	closing = g;
	if (g != NULL)
		g->vault = NULL;        /* a finalizer may collect it */
}

/* ---- the vault ---- */

void mm_vault_make(lua_State *L)
{
	lua_pushlightuserdata(L, &vault_key);
	lua_State *vault = lua_newthread(L);
	lua_rawset(L, LUA_REGISTRYINDEX);
	lua_newtable(L);
	lua_xmove(L, vault, 1);
	mm_generation_of(L)->vault = vault;
}

/* From the registry to the bottom of the state's own stack, which belongs to no function that a script could look into.
 * Neither step allocates. */
void mm_vault_fix(struct mm_generation *g)
{
	lua_State *L = g->L;
	lua_pushlightuserdata(L, &vault_key);
	lua_rawget(L, LUA_REGISTRYINDEX);
	lua_pushlightuserdata(L, &vault_key);
	lua_pushnil(L);
	lua_rawset(L, LUA_REGISTRYINDEX);
}

int mm_vault_put(lua_State *L)
{
	lua_State *vault = mm_generation_of(L)->vault;
	if (vault == NULL)
		return luaL_error(L, "too late: the scripts are being unloaded");
	luaL_checkstack(L, 2, "a value to keep");
	lua_pushvalue(vault, 1);
	lua_xmove(vault, L, 1);
	lua_insert(L, -2);              /* [table value] */
	int ref = luaL_ref(L, -2);      /* in L, whose errors are caught; nothing ever runs in the vault's coroutine */
	lua_pop(L, 1);
	return ref;
}

void mm_vault_push(const struct mm_generation *g, lua_State *L, int ref)
{
	if (g->vault == NULL) {
		lua_pushnil(L);
		return;
	}
	lua_rawgeti(g->vault, 1, ref);
	lua_xmove(g->vault, L, 1);
}

void mm_vault_push_all(const struct mm_generation *g, lua_State *L, const int *refs, int count)
{
	if (g->vault == NULL) {
		lua_settop(L, lua_gettop(L) + count);
		return;
	}
	for (int i = 0; i < count; i++)
		lua_rawgeti(g->vault, 1, refs[i]);
	lua_xmove(g->vault, L, count);
}

int mm_vault_stand(lua_State *L)
{
	lua_State *vault = mm_generation_of(L)->vault;
	lua_xmove(L, vault, 1);
	return lua_gettop(vault);
}

void mm_vault_push_standing(const struct mm_generation *g, lua_State *L, int place)
{
	if (g->vault == NULL) {
		lua_pushnil(L);
		return;
	}
	lua_pushvalue(g->vault, place);
	lua_xmove(g->vault, L, 1);
}

void mm_vault_forget(const struct mm_generation *g, int place, int key)
{
	lua_State *vault = g->vault;
	if (vault == NULL)
		return;
	lua_rawgeti(vault, place, key);
	bool is_there = !lua_isnil(vault, -1);
	lua_pop(vault, 1);
	if (!is_there)
		return;
	lua_pushnil(vault);
	lua_rawseti(vault, place, key);         /* of a field that exists: allocates nothing */
}

void mm_vault_drop(lua_State *L, int *ref)
{
	lua_State *vault = mm_generation_of(L)->vault;
	if (vault != NULL)
		luaL_unref(vault, 1, *ref);     /* only sets fields that exist: allocates nothing */
	*ref = MM_NO_REF;
}

/* ---- protected calls ---- */

static _Thread_local struct {
	lua_CFunction run;              /* NULL: nothing is to be called */
	void         *self;
} protected MM_FAST_LOCAL;

/* A script that has found this function and calls it finds nothing to be called. */
static int run_protected(lua_State *L)
{
	lua_CFunction run = protected.run;
	protected.run = NULL;
	lua_settop(L, 0);
	if (run == NULL)
		return luaL_error(L, "only the host calls this");
	lua_pushlightuserdata(L, protected.self);
	return run(L);
}

int mm_protected(lua_State *L, lua_CFunction run, void *self)
{
	protected.run = run;
	protected.self = self;
	int status = lua_cpcall(L, run_protected, NULL);
	protected.run = NULL;
	return status;
}

/* ---- userdata ---- */

void *mm_tagged_new(lua_State *L, const void *kind, size_t size)
{
	struct mm_tag *tag = lua_newuserdata(L, size);
	memset(tag, 0, size);
	*tag = (struct mm_tag){ kind, tag };
	return tag;
}

/* A userdata of another library may have any bytes, but not its own address beside one of ours. */
void *mm_tagged(lua_State *L, int at, const void *kind)
{
	const struct mm_tag *tag = lua_type(L, at) == LUA_TUSERDATA ? lua_touserdata(L, at) : NULL;
	if (tag == NULL || lua_objlen(L, at) < sizeof *tag || tag->self != tag || tag->kind != kind)
		return NULL;
	return (void *)(uintptr_t)tag;
}
