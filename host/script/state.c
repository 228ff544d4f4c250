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

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int load_embedded(lua_State *L)
{
	const struct mm_lua_source *source = mm_lua_sources;
	while (source->name != NULL && source != lua_touserdata(L, lua_upvalueindex(1)))
		source++;
	if (source->name == NULL)       /* a script has changed the upvalue */
		return luaL_error(L, "this module of the host is gone");
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
	mm_bind_database(L);
	mm_bind_hash(L);
	mm_bind_re(L);
	mm_bind_map(L);
	mm_bind_service(L);
	mm_bind_store(L);
	mm_bind_limit(L);
	mm_bind_tally(L);
	mm_bind_metric(L);
	mm_bind_event(L);
	mm_bind_sessions(L);
	mm_bind_task(L);
	mm_bind_dns(L);
	mm_bind_process(L);
	mm_bind_identity(L);
	mm_bind_key_file(L);
	lua_pushliteral(L, MM_VERSION);
	lua_setfield(L, -2, "version");
	lua_pushvalue(L, lua_upvalueindex(1));  /* of the configuration, or nil */
	lua_setfield(L, -2, "redis");
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

/* The directory of a script, without its last slash. */
static struct mm_text directory_of(const char *script)
{
	const char *slash = strrchr(script, '/');
	return slash != NULL ? (struct mm_text){ script, (size_t)(slash - script) } : (struct mm_text){ ".", 1 };
}

/* lib/ beside each script; scripts of one directory follow each other. */
static void add_beside_scripts(luaL_Buffer *b, const struct mm_script_files *list)
{
	struct mm_text before = { "", 0 };
	for (size_t i = 0; i < list->count; i++) {
		struct mm_text here = directory_of(list->items[i]);
		if (here.size == before.size && memcmp(here.bytes, before.bytes, here.size) == 0)
			continue;
		before = here;
		luaL_addlstring(b, here.bytes, here.size);
		luaL_addstring(b, "/lib/?.lua;");
		luaL_addlstring(b, here.bytes, here.size);
		luaL_addstring(b, "/lib/?/init.lua;");
	}
}

static void add_pattern(luaL_Buffer *b, const char *directory, const char *pattern)
{
	luaL_addstring(b, directory);
	luaL_addstring(b, pattern);
}

static void add_lua(luaL_Buffer *b, const char *directory)
{
	add_pattern(b, directory, "/?.lua;");
	add_pattern(b, directory, "/?/init.lua;");
}

/* package.path and cpath: beside the scripts, then the system's directories, then the user's LuaRocks tree: a module
 * there cannot replace one of the system. A service that root starts does not look into the tree at all: what a script
 * writes into the home of the user who serves must not be loaded at the next start. The environment's LUA_PATH and the
 * current directory do not count: what a service loads must not depend on who started it. */
static void set_search_path(lua_State *L, const struct mm_script_files *list, bool omits_home)
{
	luaL_Buffer b;
	char tree[PATH_MAX] = "";
	const char *home = getenv("HOME");
	char jit_modules[256];
	bool has_home = !omits_home && home != NULL && home[0] == '/' && strlen(home) < sizeof tree - 64;
	find_jit_modules(L, jit_modules, sizeof jit_modules);
	lua_getglobal(L, "package");

	luaL_buffinit(L, &b);
	add_beside_scripts(&b, list);
	for (const char *const *d = mm_script_module_directories; *d != NULL; d++)
		if (strstr(*d, "/share/") != NULL)
			add_lua(&b, *d);
	luaL_addstring(&b, jit_modules);
	luaL_addchar(&b, ';');
	if (has_home)
		snprintf(tree, sizeof tree, "%s/.luarocks/share/lua/5.1", home);
	if (has_home)
		add_lua(&b, tree);
	luaL_pushresult(&b);
	lua_setfield(L, -2, "path");

	luaL_buffinit(L, &b);
	for (const char *const *d = mm_script_module_directories; *d != NULL; d++)
		if (strstr(*d, "/share/") == NULL)
			add_pattern(&b, *d, "/?.so;");
	if (has_home)
		snprintf(tree, sizeof tree, "%s/.luarocks/lib/lua/5.1", home);
	if (has_home)
		add_pattern(&b, tree, "/?.so;");
	luaL_pushresult(&b);
	lua_setfield(L, -2, "cpath");
	lua_pop(L, 1);
}

/* [] -> [kept]: ctx.message and ctx.session, each a table by the number of ctx in the vault */
static void push_kept_tables(lua_State *L, struct mm_generation *g)
{
	static const char *const names[] = {    /* ORDER KEPT */
		"session", "message",
	};
	lua_newtable(L);
	for (int i = 0; i < MM_KEPT_COUNT; i++) {
		lua_newtable(L);
		lua_pushvalue(L, -1);
		g->kept_tables[i] = mm_vault_stand(L);
		lua_setfield(L, -2, names[i]);
	}
}

/* [] -> [now]: whose ctx runs, whether it has a message, the number of ctx in the vault */
static void push_now(lua_State *L, struct mm_generation *g)
{
	lua_newtable(L);
	for (int i = 1; i <= 3; i++) {
		lua_pushboolean(L, 0);
		lua_rawseti(L, -2, i);
	}
	lua_pushvalue(L, -1);
	g->ctx_now = mm_vault_stand(L);
}

/* [metatable members] with the host's __index in the metatable: puts the one of
 * lua/moonmilter/runtime/members.lua before it */
static void put_index_before(lua_State *L, struct mm_generation *g)
{
	lua_getglobal(L, "require");
	lua_pushliteral(L, "moonmilter.runtime.members");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "guard");
	lua_pushvalue(L, -3);
	lua_call(L, 1, 1);
	lua_pushvalue(L, -1);
	g->kept_metatable = mm_vault_put(L);
	lua_getfield(L, -2, "index");
	push_kept_tables(L, g);
	lua_pushvalue(L, -5);
	lua_getfield(L, -7, "__index");
	push_now(L, g);
	lua_pushvalue(L, -6);
	lua_call(L, 5, 1);              /* [metatable members module guard index] */
	lua_setfield(L, -5, "__index");
	lua_pop(L, 2);
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
	mm_bind_received(L);
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
	g->ctx_metatable = mm_vault_put(L);
}

static void make_host_object(lua_State *L, struct mm_generation *g, const struct mm_value *settings)
{
	lua_newtable(L);
	/* a shadow is named after its milter, which has no "." in its name (io/next.c) */
	const char *name = g->settings.milter_name;
	lua_pushlstring(L, name, g->settings.shadow_row > 0 ? strcspn(name, ".") : strlen(name));
	lua_setfield(L, -2, "name");
	lua_pushliteral(L, MM_VERSION);
	lua_setfield(L, -2, "version");
	lua_pushnumber(L, (lua_Number)g->settings.number);
	lua_setfield(L, -2, "generation");
	lua_pushinteger(L, (lua_Integer)getpid());
	lua_setfield(L, -2, "pid");
	mm_push_settings(L, settings);
	lua_setfield(L, -2, "settings");
	g->host_object = mm_vault_put(L);
}

/* The host's own modules after ours, so that they may replace them. */
static void preload_modules(lua_State *L, const struct mm_module *modules, const struct mm_value *redis)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "preload");
	preload_sources(L);
	if (redis != NULL && redis->kind == MM_VALUE_TABLE)
		mm_push_settings(L, redis);
	else
		lua_pushnil(L);
	lua_pushcclosure(L, open_core, 1);
	lua_setfield(L, -2, "moonmilter.core");
	lua_pushcfunction(L, luaopen_moonmilter_codec);
	lua_setfield(L, -2, "moonmilter.codec");
	lua_pushcfunction(L, luaopen_moonmilter_seal);
	lua_setfield(L, -2, "moonmilter.seal");
	for (const struct mm_module *module = modules; module != NULL && module->name != NULL; module++) {
		/* a replaced module of ours stays available, for fakes */
		lua_pushfstring(L, "host:%s", module->name);
		lua_getfield(L, -2, module->name);
		lua_rawset(L, -3);
		lua_pushlightuserdata(L, module->self);
		lua_pushcclosure(L, module->open, 1);
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

static char mark;               /* its address is a key of the registry, as long as nobody empties it */

/* What C modules keep under names, such as the metatables by which they recognise their userdata. */
static int copy_registry(lua_State *L)
{
	struct mm_generation *g = lua_touserdata(L, 1);
	lua_pushlightuserdata(L, &mark);
	lua_pushboolean(L, 1);
	lua_rawset(L, LUA_REGISTRYINDEX);
	lua_newtable(L);
	for (lua_pushnil(L); lua_next(L, LUA_REGISTRYINDEX) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) == LUA_TNUMBER)
			continue;
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, 2);
	}
	g->registry_copy = mm_vault_put(L);
	return 0;
}

void mm_state_note_registry(struct mm_generation *g)
{
	if (mm_protected(g->L, copy_registry, g) != 0)
		lua_pop(g->L, 1);       /* out of memory: there is no copy to go back to */
}

static int restore_registry(lua_State *L)
{
	struct mm_generation *g = lua_touserdata(L, 1);
	mm_vault_push(g, L, g->registry_copy);
	for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, LUA_REGISTRYINDEX);
	}
	return 0;
}

void mm_state_check_registry(struct mm_generation *g)
{
	lua_pushlightuserdata(g->L, &mark);
	lua_rawget(g->L, LUA_REGISTRYINDEX);
	bool is_whole = lua_toboolean(g->L, -1);
	lua_pop(g->L, 1);
	if (is_whole || g->registry_copy == MM_NO_REF)
		return;
	if (!g->has_lost_registry)
		mm_log_say(g->settings.log, MM_LEVEL_ERROR, "registry", "a script has emptied Lua's registry, where "
			"C modules keep what they need; what they had there by name when the scripts were loaded is "
			"back, but do not rely on them: find where the scripts change the registry, mend it, and "
			"reload");
	g->has_lost_registry = true;
	if (mm_protected(g->L, restore_registry, g) != 0)
		lua_pop(g->L, 1);
}

static int get_registry(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	return 1;
}

/* LuaJIT would unload a C module as soon as the registry entry that holds it is gone; its functions may still be
 * called. A module once loaded stays. */
static void keep_c_modules(lua_State *L)
{
	lua_getfield(L, LUA_REGISTRYINDEX, "_LOADLIB");
	if (lua_istable(L, -1)) {
		lua_pushnil(L);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
}

/* debug.getregistry() gives scripts and their modules a table of their own, through which the registry can be read: one
 * loop that clears the registry would break every C module, for all sessions. */
static void shield_registry(lua_State *L)
{
	lua_getglobal(L, "debug");
	lua_newtable(L);
	lua_newtable(L);
	lua_pushvalue(L, LUA_REGISTRYINDEX);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	lua_pushcclosure(L, get_registry, 1);
	lua_setfield(L, -2, "getregistry");
	lua_pop(L, 1);
}

struct making {
	struct mm_generation          *generation;
	const struct mm_script_files  *paths;
	const struct mm_module        *modules;
	const struct mm_value         *settings, *redis;
};

/* Protected: everything here may raise. */
static int make_state(lua_State *L)
{
	struct making *m = lua_touserdata(L, 1);
	struct mm_generation *g = m->generation;
	mm_vault_make(L);
	lua_pushboolean(L, 1);
	lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
	luaL_openlibs(L);
	keep_c_modules(L);
	shield_registry(L);
	mm_budget_admit(L);             /* after openlibs, which turns the compiler on */
	mm_memory_hear_finalizers(L);
	lua_newtable(L);
	g->cancel_token = mm_vault_put(L);
	lua_newtable(L);
	g->host_token = mm_vault_put(L);
	mm_task_keep_words(L, g);

	set_search_path(L, m->paths, g->settings.omits_home);
	preload_modules(L, m->modules, m->redis);
	make_ctx_class(L, g);
	make_host_object(L, g, m->settings);
	push_of_module(L, "moonmilter.runtime.entry", "by");
	lua_pushcfunction(L, mm_call_push);
	lua_call(L, 1, 1);
	g->entry = mm_vault_put(L);
	push_of_module(L, "moonmilter.runtime.entry", "walk_by");
	lua_pushcfunction(L, mm_call_push);
	lua_pushcfunction(L, mm_call_further_pushing);
	lua_pushlightuserdata(L, (void *)mm_call_further);
	lua_pushlightuserdata(L, g);
	lua_pushlightuserdata(L, &g->walked);
	lua_newtable(L);
	lua_pushvalue(L, -1);
	g->walk_handlers = mm_vault_put(L);
	lua_call(L, 6, 2);
	g->walk_plainly = mm_vault_put(L);
	g->walk = mm_vault_put(L);
	push_of_module(L, "moonmilter.runtime.headers", NULL);
	g->field_factory = mm_vault_put(L);
	lua_getglobal(L, "io");
	lua_getfield(L, -1, "close");
	g->close_file = mm_vault_put(L);
	push_of_module(L, "moonmilter.runtime.kept_body", "feed");
	g->feed_kept_body = mm_vault_put(L);
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

#if defined __has_feature               /* clang */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
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
	const struct mm_value *settings, const struct mm_value *redis, struct mm_fault *why)
{
	g->L = new_state();
	if (g->L == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a Lua state");
	mm_memory_watch(g);
	lua_atpanic(g->L, panic);
	struct making m = { g, paths, modules, settings, redis };
	if (mm_protected(g->L, make_state, &m) == 0) {
		mm_vault_fix(g);
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
	mm_generation_closes(g);
	lua_close(g->L);
	mm_generation_closes(NULL);
	g->L = NULL;
}
