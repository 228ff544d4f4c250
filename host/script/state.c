#include "script/state.h"

#include "bind/bind.h"
#include "bind/settings.h"
#include "script/deadline.h"
#include "script/sources.h"
#include "task/budget.h"
#include "task/memory.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int load_embedded(lua_State *L)
{
	const struct mm_lua_source *source = lua_touserdata(L, lua_upvalueindex(1));
	char chunk[96];
	snprintf(chunk, sizeof chunk, "=%s.lua", source->name);
	if (luaL_loadbufferx(L, (const char *)source->bytes, source->size, chunk, "t") != 0)
		return lua_error(L);
	lua_pushstring(L, source->name);
	lua_call(L, 1, 1);
	return 1;
}

/* [package.preload] -> the runtime's own modules come from the library itself: program and runtime cannot differ */
static void preload_sources(lua_State *L)
{
	for (const struct mm_lua_source *source = mm_lua_sources; source->name != NULL; source++) {
		lua_pushlightuserdata(L, (void *)(uintptr_t)source);
		lua_pushcclosure(L, load_embedded, 1);
		lua_setfield(L, -2, source->name);
	}
}

static void add_word_set(lua_State *L, const char *key, char *words)
{
	lua_getfield(L, -1, key);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -1);
		lua_setfield(L, -3, key);
	}
	for (char *save, *word = strtok_r(words, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, word);
	}
	lua_pop(L, 1);
}

static int open_core(lua_State *L)
{
	char words[1024];
	mm_bind_core(L);
	mm_bind_socket(L);
	mm_bind_datagram(L);
	mm_bind_http(L);
	mm_bind_task(L);
	mm_bind_dns(L);
	mm_bind_process(L);
	lua_pushliteral(L, MM_VERSION);
	lua_setfield(L, -2, "version");
	/* the words allowed in options.needs */
	add_word_set(L, "needs", mm_actions_text(~0u, words, sizeof words));
	add_word_set(L, "needs", mm_steps_text(~0u, words, sizeof words));
	snprintf(words, sizeof words, "insert_header delete_header");
	add_word_set(L, "needs", words);
	return 1;
}

/* The entry of LuaJIT's own package.path that holds jit.bc and the like: its directory has the version in its name. */
static void find_jit_modules(lua_State *L, char *out, size_t size)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "path");
	const char *path = lua_tostring(L, -1), *found = path != NULL ? strstr(path, "/luajit-") : NULL;
	while (found != NULL && found > path && found[-1] != ';')
		found--;
	snprintf(out, size, "%.*s", found != NULL ? (int)strcspn(found, ";") : 0, found != NULL ? found : "");
	lua_pop(L, 2);
}

/* package.path: beside the scripts, then the user's LuaRocks tree, then what LuaJIT was built with. The environment's
 * LUA_PATH and the current directory do not count: what a service loads must not depend on who started it. */
static void set_search_path(lua_State *L, const struct mm_script_files *list)
{
	luaL_Buffer b;
	const char *home = getenv("HOME");
	char jit_modules[256];
	find_jit_modules(L, jit_modules, sizeof jit_modules);
	lua_getglobal(L, "package");
	luaL_buffinit(L, &b);
	for (size_t i = 0; i < list->count; i++) {
		const char *slash = strrchr(list->items[i], '/');
		size_t size = slash != NULL ? (size_t)(slash - list->items[i]) : 1;
		const char *directory = slash != NULL ? list->items[i] : ".";
		if (i > 0) {
			const char *before = strrchr(list->items[i - 1], '/');
			size_t before_size = before != NULL ? (size_t)(before - list->items[i - 1]) : 1;
			if (before_size == size && strncmp(before != NULL ? list->items[i - 1] : ".",
			    directory, size) == 0)
				continue;
		}
		luaL_addlstring(&b, directory, size);
		luaL_addstring(&b, "/lib/?.lua;");
		luaL_addlstring(&b, directory, size);
		luaL_addstring(&b, "/lib/?/init.lua;");
	}
	if (home != NULL && home[0] == '/') {
		luaL_addstring(&b, home);
		luaL_addstring(&b, "/.luarocks/share/lua/5.1/?.lua;");
		luaL_addstring(&b, home);
		luaL_addstring(&b, "/.luarocks/share/lua/5.1/?/init.lua;");
	}
	luaL_addstring(&b, "/usr/local/share/lua/5.1/?.lua;/usr/local/share/lua/5.1/?/init.lua;"
		"/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua;");
	luaL_addstring(&b, jit_modules);
	luaL_pushresult(&b);
	lua_setfield(L, -2, "path");

	luaL_buffinit(L, &b);
	if (home != NULL && home[0] == '/') {
		luaL_addstring(&b, home);
		luaL_addstring(&b, "/.luarocks/lib/lua/5.1/?.so;");
	}
	luaL_addstring(&b, "/usr/local/lib/lua/5.1/?.so;" MM_LUA_MULTIARCH_CPATH "/usr/lib/lua/5.1/?.so");
	luaL_pushresult(&b);
	lua_setfield(L, -2, "cpath");
	lua_pop(L, 1);
}

/* [] -> [kept]: ctx.message and ctx.session, each a table by ctx */
static void push_kept_tables(lua_State *L, struct mm_generation *g)
{
	static const char *const names[] = {    /* ORDER KEPT */
		"session", "message",
	};
	lua_newtable(L);
	for (int i = 0; i < MM_KEPT_COUNT; i++) {
		lua_newtable(L);
		lua_pushvalue(L, -1);
		g->kept_tables[i] = luaL_ref(L, LUA_REGISTRYINDEX);
		lua_setfield(L, -2, names[i]);
	}
}

/* [metatable members] with the host's __index in the metatable: puts the one of
 * lua/moonmilter/runtime/members.lua before it */
static void put_index_before(lua_State *L, struct mm_generation *g)
{
	lua_getglobal(L, "require");
	lua_pushliteral(L, "moonmilter.runtime.members");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "index");
	push_kept_tables(L, g);
	lua_pushvalue(L, -4);
	lua_getfield(L, -6, "__index");
	lua_call(L, 3, 1);              /* [metatable members module index] */
	lua_setfield(L, -4, "__index");
	lua_getfield(L, -1, "guard");
	lua_pushvalue(L, -3);
	lua_call(L, 1, 1);
	lua_setfield(L, LUA_REGISTRYINDEX, MM_KEPT_CLASS);
	lua_pop(L, 1);
}

/* Builds metatable and members of ctx; Lua parts are added from lua/moonmilter/runtime/edits.lua. */
static void make_ctx_class(lua_State *L, struct mm_generation *g)
{
	lua_newtable(L);                /* [metatable] */
	lua_newtable(L);                /* [metatable members] */
	mm_bind_ctx(L);
	mm_bind_facts(L);
	mm_bind_headers(L);
	mm_bind_kept_body(L);
	mm_bind_verdicts(L);
	mm_bind_edits(L);
	mm_deadline_bind(L);
	lua_getglobal(L, "require");
	lua_pushliteral(L, "moonmilter.runtime.edits");
	lua_call(L, 1, 1);
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, -6);      /* [metatable members edits key value key value] */
	}
	lua_pop(L, 1);
	put_index_before(L, g);
	lua_pop(L, 1);
	g->ctx_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void make_host_object(lua_State *L, struct mm_generation *g, const struct mm_value *settings)
{
	lua_newtable(L);
	lua_pushstring(L, g->settings.milter_name);
	lua_setfield(L, -2, "name");
	lua_pushliteral(L, MM_VERSION);
	lua_setfield(L, -2, "version");
	lua_pushnumber(L, (lua_Number)g->settings.number);
	lua_setfield(L, -2, "generation");
	lua_pushinteger(L, (lua_Integer)getpid());
	lua_setfield(L, -2, "pid");
	mm_push_settings(L, settings);
	lua_setfield(L, -2, "settings");
	g->host_object = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* The host's own modules after ours, so that they may replace them. */
static void preload_modules(lua_State *L, const struct mm_module *modules)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "preload");
	preload_sources(L);
	lua_pushcfunction(L, open_core);
	lua_setfield(L, -2, "moonmilter.core");
	lua_pushcfunction(L, luaopen_moonmilter_codec);
	lua_setfield(L, -2, "moonmilter.codec");
	for (const struct mm_module *module = modules; module != NULL && module->name != NULL; module++) {
		/* a replaced module of ours stays available, for fakes */
		lua_pushfstring(L, "host:%s", module->name);
		lua_getfield(L, -2, module->name);
		lua_rawset(L, -3);
		lua_pushcfunction(L, module->open);
		lua_setfield(L, -2, module->name);
	}
	if (mm_budget_is_open()) {              /* LuaJIT's profiler is ours */
		lua_pushnil(L);
		lua_setfield(L, -2, "jit.profile");
	}
	lua_pop(L, 2);
}

/* [] -> [value]: a field of one of the runtime's modules; NULL: the module itself */
static void push_of_module(lua_State *L, const char *module, const char *field)
{
	lua_getglobal(L, "require");
	lua_pushstring(L, module);
	lua_call(L, 1, 1);
	if (field == NULL)
		return;
	lua_getfield(L, -1, field);
	lua_remove(L, -2);
}

struct making {
	struct mm_generation          *generation;
	const struct mm_script_files  *paths;
	const struct mm_module        *modules;
	const struct mm_value         *settings;
};

/* Protected: everything here may raise. */
static int make_state(lua_State *L)
{
	struct making *m = lua_touserdata(L, 1);
	struct mm_generation *g = m->generation;
	lua_pushboolean(L, 1);
	lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
	luaL_openlibs(L);
	mm_budget_admit(L);             /* after openlibs, which turns the compiler on */
	mm_generation_mark(L, g);
	mm_memory_hear_finalizers(L);
	lua_newtable(L);
	g->cancel_token = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_newtable(L);
	g->host_token = luaL_ref(L, LUA_REGISTRYINDEX);
	mm_task_keep_words(L, g);

	set_search_path(L, m->paths);
	preload_modules(L, m->modules);
	make_ctx_class(L, g);
	make_host_object(L, g, m->settings);
	push_of_module(L, "moonmilter.runtime.entry", "by");
	lua_pushcfunction(L, mm_call_push);
	lua_call(L, 1, 1);
	g->entry = luaL_ref(L, LUA_REGISTRYINDEX);
	push_of_module(L, "moonmilter.runtime.headers", NULL);
	g->field_factory = luaL_ref(L, LUA_REGISTRYINDEX);
	push_of_module(L, "moonmilter.runtime.kept_body", "feed");
	g->feed_kept_body = luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

#ifdef MM_COLLECT_AT_EVERY_LINE         /* make gc */
/* A collection at each line finds every object that is used without a reference. Hooks do not reach compiled code. */
static void collect_now(lua_State *L, lua_Debug *where)
{
	(void)where;
	lua_gc(L, LUA_GCCOLLECT, 0);
}

static void begin_hunt(lua_State *L)
{
	luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
	lua_sethook(L, collect_now, LUA_MASKLINE, 0);
}
#else
static void begin_hunt(lua_State *L) { (void)L; }
#endif

#ifdef __SANITIZE_ADDRESS__
/* Takes Lua's memory from malloc, so that the sanitizer also finds a use after free of Lua objects. */
static void *allocate_checked(void *self, void *block, size_t old_size, size_t new_size)
{
	(void)self, (void)old_size;
	if (new_size > 0)
		return realloc(block, new_size);
	free(block);
	return NULL;
}

static lua_State *new_state(void) { return lua_newstate(allocate_checked, NULL); }
#else
static lua_State *new_state(void) { return luaL_newstate(); }
#endif

/* The host pushes values only in protected calls (task/call.h): only a fault in the host itself gets here. */
static int panic(lua_State *L)
{
	const char *text = lua_tostring(L, -1);
	fprintf(stderr, "moonmilter: Lua failed outside a handler: %s\n", text != NULL ? text : "(no text)");
	return 0;
}

bool mm_state_open(struct mm_generation *g, const struct mm_script_files *paths, const struct mm_module *modules,
	const struct mm_value *settings, struct mm_fault *why)
{
	g->L = new_state();
	if (g->L == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a Lua state");
	mm_memory_watch(g);
	lua_atpanic(g->L, panic);
	struct making m = { g, paths, modules, settings };
	if (lua_cpcall(g->L, make_state, &m) == 0) {
		begin_hunt(g->L);
		return true;
	}
	return mm_fault_set(why, MM_FAULT_BUG, "the Lua runtime does not start: %s", lua_tostring(g->L, -1));
}

void mm_state_close(struct mm_generation *g)
{
	if (g->L == NULL)
		return;
	mm_budget_dismiss(g->L);
	mm_memory_unwatch(g);
	lua_close(g->L);
	g->L = NULL;
}
