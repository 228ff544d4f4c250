/* bind/service.c -- core.service: how the services that maps ask answered, noted for `moonmilter ctl maps`
 * (map/services.h). A service is noted until its map is closed, or its generation ends. */
#include "bind/bind.h"

#include "bind/handle.h"
#include "map/services.h"

#include <lauxlib.h>
#include <lua.h>

static void end_service(void *thing)
{
	mm_service_close(thing);
}

static const struct mm_handle_class class = { "a service is expected, not a %s", end_service, MM_HANDLE_SERVICE };

/* service.open(kind, name) -> handle; nothing: this host notes nothing, or is out of memory */
static int service_open(lua_State *L)
{
	struct mm_generation *g = mm_generation_of(L);
	const char *kind = mm_check_cstring(L, 1, "service: kind"), *name = mm_check_cstring(L, 2, "service: name");
	if (g->settings.services == NULL)
		return 0;
	struct mm_handle *h = mm_handle_new(L, &class);
	struct mm_service *s = mm_services_open(g->settings.services, kind, name);
	if (s == NULL)
		return 0;
	mm_handle_open(h, s, g);
	return 1;
}

/* service.note(handle, outcome, seconds, error): outcome "found", "none" or "failed"; error of a failure */
static int service_note(lua_State *L)
{
	static const char *const outcomes[] = { "found", "none", "failed", NULL };      /* ORDER OUTCOME */
	struct mm_service *s = mm_handle_check(L, &class);
	int outcome = luaL_checkoption(L, 2, NULL, outcomes);
	double seconds = luaL_checknumber(L, 3);
	struct mm_text error = lua_isnoneornil(L, 4) ? mm_text_of("") : mm_check_text(L, 4);
	if (s != NULL)
		mm_service_note(s, (enum mm_service_outcome)outcome, seconds > 0 ? seconds : 0, error);
	return 0;
}

void mm_bind_service(lua_State *L)
{
	static const luaL_Reg functions[] = { { "open", service_open }, { "note", service_note }, { NULL, NULL } };
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	mm_handle_push_class(L, &class);        /* Lua never calls methods of it */
	lua_pop(L, 1);
	lua_setfield(L, -2, "service");
}
