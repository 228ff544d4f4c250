/* script/generation.c -- see script/generation.h. First the making of a Lua state, then loading, then the runtime that
 * engines ask.
 *
 * One event may have handlers in several scripts. They run one after another on the session's coroutine, in file-name
 * order; the first reject, tempfail or discard decides, accept ends that script's part and the others go on.
 * When one waits, the session's event, script_at and coroutine hold the place. */
#include "script/generation.h"

#include "base/list.h"
#include "base/text.h"
#include "bind/bind.h"
#include "bind/ctx.h"
#include "bind/kept_body.h"
#include "bind/settings.h"
#include "task/budget.h"
#include "async/http.h"
#include "script/sources.h"
#include "async/pool.h"
#include "task/profile.h"
#include "task/call.h"
#include "script/files.h"
#include "task/memory.h"
#include "task/group.h"
#include "async/tls.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <luajit.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define VERSION_TEXT MM_VERSION   /* from the Makefile */

/* ---- the Lua state ---- */

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
	lua_pushliteral(L, VERSION_TEXT);
	lua_setfield(L, -2, "version");
	/* what options.needs may name */
	add_word_set(L, "needs", mm_actions_text(~0u, words, sizeof words));
	add_word_set(L, "needs", mm_steps_text(~0u, words, sizeof words));
	snprintf(words, sizeof words, "insert_header delete_header");
	add_word_set(L, "needs", words);
	return 1;
}

/* package.path: beside the scripts, then the user's LuaRocks tree, then what LuaJIT was built with. The environment's
 * LUA_PATH and the current directory play no part: what a service loads must not depend on who started it. */
static void set_search_path(lua_State *L, const struct mm_script_files *list)
{
	luaL_Buffer b;
	const char *home = getenv("HOME");
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
		"/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua;/usr/share/luajit-2.1.0-beta3/?.lua");
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

/* ctx.deadline: by when the handler must have ended, in milter.now() time. */
static double stage_limit(const struct mm_script_session *ss)
{
	const struct mm_generation_settings *settings = &ss->generation->settings;
	return ss->event.stage == MM_STAGE_eom || (ss->event.command != NULL && ss->event.command->row->letter == 'E')
		? settings->eom_deadline : settings->stage_deadline;
}

static void ensure_deadline(struct mm_script_session *ss)
{
	if (ss->deadline_at == 0)
		ss->deadline_at = mm_clock_now() + stage_limit(ss);
}

static int get_deadline(lua_State *L, struct mm_script_session *ss)
{
	if (!ss->has_event)
		return 0;
	ensure_deadline(ss);
	lua_pushnumber(L, ss->deadline_at - mm_clock_now() + mm_clock_wall());
	return 1;
}

static const struct mm_ctx_fact own_facts[] = { { "deadline", get_deadline }, { NULL, NULL } };

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

/* [metatable members] with the host's __index in the metatable: the one of
 * lua/moonmilter/runtime/members.lua goes before it */
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
	mm_ctx_add_facts(L, own_facts);
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

static void make_host_object(lua_State *L, struct mm_generation *g, const struct mm_generation_options *o)
{
	lua_newtable(L);
	lua_pushstring(L, g->settings.milter_name);
	lua_setfield(L, -2, "name");
	lua_pushliteral(L, VERSION_TEXT);
	lua_setfield(L, -2, "version");
	lua_pushnumber(L, (lua_Number)g->settings.number);
	lua_setfield(L, -2, "generation");
	lua_pushinteger(L, (lua_Integer)getpid());
	lua_setfield(L, -2, "pid");
	mm_push_settings(L, o->host_settings);
	lua_setfield(L, -2, "settings");
	g->host_object = luaL_ref(L, LUA_REGISTRYINDEX);
}

struct making {
	struct mm_generation               *generation;
	const struct mm_generation_options *options;
	const struct mm_script_files   *paths;
};

/* Protected: everything here may raise. */
static int make_state(lua_State *L)
{
	struct making *m = lua_touserdata(L, 1);
	struct mm_generation *g = m->generation;
	lua_pushboolean(L, 1);
	lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
	luaL_openlibs(L);
	mm_budget_admit(L);             /* behind openlibs, which turns the compiler on */
	mm_generation_mark(L, g);
	lua_newtable(L);
	g->cancel_token = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_newtable(L);
	g->host_token = luaL_ref(L, LUA_REGISTRYINDEX);
	mm_task_keep_words(L, g);

	set_search_path(L, m->paths);
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "preload");
	preload_sources(L);
	lua_pushcfunction(L, open_core);
	lua_setfield(L, -2, "moonmilter.core");
	lua_pushcfunction(L, luaopen_moonmilter_codec);
	lua_setfield(L, -2, "moonmilter.codec");
	for (const struct mm_module *module = m->options->modules; module != NULL
	    && module->name != NULL; module++) {
		lua_pushfstring(L, "host:%s", module->name);    /* one of ours that is replaced stays
		                                                 * within reach: for fakes */
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
	make_ctx_class(L, g);
	make_host_object(L, g, m->options);
	lua_getglobal(L, "require");
	lua_pushliteral(L, "moonmilter.runtime.entry");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "by");
	lua_pushcfunction(L, mm_call_push);
	lua_call(L, 1, 1);
	g->entry = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pop(L, 1);
	lua_getglobal(L, "require");
	lua_pushliteral(L, "moonmilter.mail.fields");
	lua_call(L, 1, 1);
	g->field_factory = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_getglobal(L, "require");
	lua_pushliteral(L, "moonmilter.runtime.kept_body");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "feed");
	g->feed_kept_body = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pop(L, 1);
	return 0;
}

#ifdef MM_COLLECT_AT_EVERY_LINE         /* make gc */
/* A collection at each line finds whatever is used and held by nobody. Hooks do not reach compiled code. */
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
/* Lua's memory comes from malloc then, so that a use after free in the Lua row is seen too. */
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

/* What the host pushes is pushed in protected calls (task/call.h): reached only by a fault of the host's own. */
static int panic(lua_State *L)
{
	const char *text = lua_tostring(L, -1);
	fprintf(stderr, "moonmilter: Lua failed outside of a handler: %s\n", text != NULL ? text : "(no text)");
	return 0;
}

static void free_scripts(struct mm_generation *g)
{
	for (unsigned i = 0; i < g->script_count; i++) {
		mm_profile_leave(g->settings.profile, g->scripts[i].profile);
		free(g->scripts[i].name);
		free(g->scripts[i].path);
		for (unsigned j = 0; j < g->scripts[i].field_count; j++)
			free(g->scripts[i].fields[j].name);
		free(g->scripts[i].fields);
	}
	free(g->scripts);
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		free(g->macro_lists[set]);
}

static void join_all(struct mm_generation *g)
{
	struct mm_generation **all = g->settings.all;
	if (all == NULL)
		return;
	MM_LIST_PUSH(*all, g);
}

static void leave_all(struct mm_generation *g)
{
	struct mm_generation **all = g->settings.all;
	bool is_in = g->previous != NULL || (all != NULL && *all == g);        /* not when making it has failed early */
	if (is_in)
		MM_LIST_REMOVE(*all, g);
}

static void script_free(struct mm_generation *g)
{
	leave_all(g);
	if (g->L != NULL) {
		mm_task_group_end(&g->timers, g, NULL, MM_CANCEL_SHUTDOWN);
		mm_task_group_end(&g->tasks, g, NULL, MM_CANCEL_SHUTDOWN);
		mm_holder_end(&g->holder);
		mm_budget_dismiss(g->L);
		mm_memory_unwatch(g);
		lua_close(g->L);
	}
	mm_holder_end(&g->holder);      /* finalizers may have opened more */
	mm_pools_free(g->pools);
	mm_tls_cache_free(g->tls);
	mm_http_free(g->http);
	mm_timer_stop(&g->runner);
	free_scripts(g);
	free(g->pool);
	free(g->load_paths);
	free(g);
}

static bool join_paths(struct mm_generation *g, const struct mm_script_files *list)
{
	size_t size = 1;
	for (size_t i = 0; i < list->count; i++)
		size += strlen(list->items[i]) + 1;
	g->load_paths = malloc(size);
	if (g->load_paths == NULL)
		return false;
	char *to = g->load_paths;
	for (size_t i = 0; i < list->count; i++)
		to = stpcpy(to, list->items[i]) + 1;
	*to = '\0';
	return true;
}

static bool script_make(struct mm_generation *g, const struct mm_generation_options *o,
	const struct mm_script_files *list, struct mm_fault *why)
{
	g->L = new_state();
	if (g->L == NULL || !join_paths(g, list))
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a Lua state");
	mm_memory_watch(g);
	lua_atpanic(g->L, panic);
	struct making m = { g, o, list };
	if (lua_cpcall(g->L, make_state, &m) == 0) {
		begin_hunt(g->L);
		return true;
	}
	return mm_fault_set(why, MM_FAULT_BUG, "the Lua runtime does not start: %s", lua_tostring(g->L, -1));
}

/* What is ready now; what becomes ready meanwhile has its turn when the loop comes by again. */
static void run_ready(struct mm_timer *timer)
{
	struct mm_generation *g = MM_OWNER_OF(timer, struct mm_generation, runner);
	mm_generation_retain(g);            /* the last session may end in here */
	for (unsigned n = g->ready_count; n > 0 && g->ready_count > 0; n--)
		mm_task_run_ready(g);
	if (g->ready_count > 0)
		mm_timer_soon(&g->runner);
	mm_generation_release(g);
}

struct mm_generation *mm_generation_new(const struct mm_generation_options *o, struct mm_fault *why)
{
	struct mm_script_files list;
	struct mm_generation *g = calloc(1, sizeof *g);
	if (g == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a generation of scripts");
		return NULL;
	}
	g->settings = o->settings;
	g->references = 1;
	mm_timer_init(&g->runner, g->settings.clock, run_ready);
	g->ctx_metatable = g->host_object = g->cancel_token = g->host_token = g->field_factory = MM_NO_REF;
	g->feed_kept_body = MM_NO_REF;
	if (!mm_script_files_find(&list, o->paths, why) || !script_make(g, o, &list, why)) {
		mm_script_files_free(&list);
		script_free(g);
		return NULL;
	}
	mm_script_files_free(&list);
	join_all(g);
	return g;
}

/* ---- loading ---- */

/* [plan] at the top of L: the table of loader.plan. Each helper leaves the stack as it was. */

static bool flag_of(lua_State *L, const char *key)
{
	lua_getfield(L, -1, key);
	bool flag = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return flag;
}

static char *string_of(lua_State *L, const char *key)
{
	lua_getfield(L, -1, key);
	char *copy = lua_isstring(L, -1) ? strdup(lua_tostring(L, -1)) : NULL;
	lua_pop(L, 1);
	return copy;
}

static uint32_t stages_of(lua_State *L, const char *key)
{
	uint32_t stages = 0;
	lua_getfield(L, -1, key);
	for (int stage = 0; stage < MM_STAGE_COUNT; stage++)
		if (flag_of(L, mm_stage_name((enum mm_stage)stage)))
			stages |= 1u << stage;
	lua_pop(L, 1);
	return stages;
}

/* [fields] */
static void take_fields(lua_State *L, struct mm_script *f)
{
	unsigned count = 0;
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
		count++;
	f->fields = calloc(count ? count : 1, sizeof *f->fields);
	if (f->fields == NULL)
		luaL_error(L, "out of memory for handlers of %s", f->path);
	for (lua_pushnil(L); lua_next(L, -2) != 0;) {
		struct mm_field_handler *h = &f->fields[f->field_count];
		h->name = strdup(lua_tostring(L, -2));
		if (h->name == NULL)
			luaL_error(L, "out of memory for handlers of %s", f->path);
		h->size = strlen(h->name);
		h->ref = luaL_ref(L, LUA_REGISTRYINDEX);
		f->field_count++;
	}
}

/* [script] */
static void take_script(lua_State *L, struct mm_generation *g, unsigned at)
{
	struct mm_script *f = &g->scripts[at];
	for (int stage = 0; stage < MM_STAGE_COUNT; stage++)
		f->handlers[stage] = MM_NO_REF;
	g->script_count = at + 1;
	f->name = string_of(L, "name");
	f->path = string_of(L, "path");
	if (f->name == NULL || f->path == NULL)
		luaL_error(L, "out of memory for the list of scripts");
	if (g->settings.profile != NULL)
		f->profile = mm_profile_join(g->settings.profile, g->settings.milter_name, f->path);
	lua_getfield(L, -1, "handlers");
	lua_getfield(L, -2, "seen");
	for (int stage = 0; stage < MM_STAGE_COUNT; stage++) {
		const char *name = mm_stage_name((enum mm_stage)stage);
		lua_getfield(L, -1, name);
		f->seen[stage] = (uint8_t)lua_tointeger(L, -1);
		lua_pop(L, 1);
		lua_getfield(L, -2, name);
		if (!lua_isfunction(L, -1)) {
			lua_pop(L, 1);
			continue;
		}
		f->handlers[stage] = luaL_ref(L, LUA_REGISTRYINDEX);
		g->stage_scripts[stage] |= UINT64_C(1) << at;
	}
	lua_pop(L, 2);
	lua_getfield(L, -1, "fields");
	if (lua_istable(L, -1)) {
		take_fields(L, f);
		g->stage_scripts[MM_STAGE_header] |= UINT64_C(1) << at;
	}
	lua_pop(L, 1);
}

static void take_macro_lists(lua_State *L, struct mm_generation *g)
{
	static const char *const names[] = {    /* ORDER MACRO_SET */
#define X(name, letter, number) #name,
		MM_MACRO_SETS(X)
#undef X
	};
	lua_getfield(L, -1, "macro_lists");
	for (int set = 0; lua_istable(L, -1) && set < MM_MACRO_SET_COUNT; set++) {
		g->macro_lists[set] = string_of(L, names[set]);
		g->wanted.macro_lists[set] = g->macro_lists[set];
	}
	lua_pop(L, 1);
}

static void take_needs(lua_State *L, struct mm_generation *g)
{
	lua_getfield(L, -1, "needs");
	for (int i = 1;; i++) {
		lua_rawgeti(L, -1, i);
		const char *word = lua_tostring(L, -1);
		if (word != NULL) {
			g->wanted.needs_actions |= mm_action_bit(word);
			g->wanted.needs_steps |= mm_step_bit(word);
		}
		lua_pop(L, 1);
		if (word == NULL)
			break;
	}
	lua_pop(L, 1);
}

/* The handlers that exist turn steps on; every other step is switched off, so that the MTA sends nothing in vain. A
 * stage that is told for its facts only is quiet; so are headers, whose verdict is held until the end of headers, which
 * is asked for then. */
static void derive_wanted(struct mm_generation *g, uint32_t stages, uint32_t handled, bool lockstep)
{
	bool quiet_headers = stages & MM_STAGE_BIT(header) && !lockstep;
	uint32_t quiet = stages & ~handled;
	if (quiet_headers) {
		quiet |= MM_STAGE_BIT(header);
		if (handled & MM_STAGE_BIT(header)) {
			stages |= MM_STAGE_BIT(eoh);
			quiet &= ~MM_STAGE_BIT(eoh);
		}
	}
	g->wanted.stages = stages;
	g->wanted.quiet = lockstep ? quiet & ~MM_STAGE_BIT(header) : quiet;
	g->wanted.actions = SMFIF_ADDHDRS | SMFIF_CHGBODY | SMFIF_ADDRCPT | SMFIF_DELRCPT | SMFIF_CHGHDRS
		| SMFIF_QUARANTINE
		| SMFIF_CHGFROM | SMFIF_ADDRCPT_PAR;
}

static int take_plan(lua_State *L)
{
	struct mm_generation *g = lua_touserdata(L, 1);
	lua_State *co = g->load_task.co;
	lua_xmove(co, L, lua_gettop(co));
	if (!lua_istable(L, 2))
		return luaL_error(L, "the loader returned no plan");
	lua_settop(L, 2);
	lua_getfield(L, -1, "scripts");
	unsigned count = (unsigned)lua_objlen(L, -1);
	g->scripts = calloc(count ? count : 1, sizeof *g->scripts);
	if (g->scripts == NULL)
		return luaL_error(L, "out of memory for the list of scripts");
	for (unsigned i = 0; i < count; i++) {
		lua_rawgeti(L, -1, (int)i + 1);
		take_script(L, g, i);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	take_macro_lists(L, g);
	take_needs(L, g);
	g->wanted.rejected_recipients = flag_of(L, "rejected_recipients");
	g->counts_body = flag_of(L, "counts_body");
	derive_wanted(g, stages_of(L, "stages"), stages_of(L, "handled"), flag_of(L, "lockstep")
		|| g->settings.lockstep);

	const uint32_t message_stages = MM_VERDICT_MESSAGE_STAGES;
	for (int stage = MM_STAGE_negotiate; stage < MM_STAGE_abort; stage++) {
		g->client_scripts |= g->stage_scripts[stage];
		if (message_stages & 1u << stage)
			g->message_scripts |= g->stage_scripts[stage];
	}
	return 0;
}

static void load_ended(struct mm_task *t, enum mm_run run, struct mm_fault *why)
{
	struct mm_generation *g = t->generation;
	if (run == MM_RUN_WAITING)
		return;
	bool ok = run == MM_RUN_DONE;
	if (run == MM_RUN_EXITED)
		mm_fault_set(why, MM_FAULT_CONFIG, "a script gave a verdict while loading");
	if (ok && lua_cpcall(g->L, take_plan, g) != 0) {
		ok = mm_fault_set(why, MM_FAULT_CONFIG, "%s", lua_tostring(g->L, -1));
		lua_pop(g->L, 1);
	}
	why->class = ok ? MM_FAULT_NONE : MM_FAULT_CONFIG;
	mm_task_release(t);
	g->is_loaded = ok;
	g->loaded(g->loaded_self, ok, why);
}

/* [] -> [load paths host] */
static int push_load(lua_State *L)
{
	struct mm_generation *g = lua_touserdata(L, 1);
	lua_State *co = mm_task_coroutine(&g->load_task);
	if (co == NULL)
		return luaL_error(L, "out of memory for a coroutine");
	lua_getglobal(L, "require");
	lua_pushliteral(L, "moonmilter.runtime.loader");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "load");
	lua_newtable(L);
	int n = 0;
	for (const char *path = g->load_paths; *path != '\0'; path += strlen(path) + 1) {
		lua_pushstring(L, path);
		lua_rawseti(L, -2, ++n);
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, g->host_object);
	lua_xmove(L, co, 3);
	return 0;
}

void mm_generation_load(struct mm_generation *g, void (*done)(void *self, bool ok, const struct mm_fault *why),
	void *self)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	g->loaded = done;
	g->loaded_self = self;
	mm_task_init(&g->load_task, g, NULL, load_ended);
	if (lua_cpcall(g->L, push_load, g) != 0) {
		mm_fault_set(&why, MM_FAULT_CONFIG, "%s", lua_tostring(g->L, -1));
		lua_pop(g->L, 1);
		done(self, false, &why);
		return;
	}
	load_ended(&g->load_task, mm_call_resume(&g->load_task, 2, &why), &why);
}

void mm_generation_begin_serving(struct mm_generation *g)
{
	mm_budget_prefer(g->L);
}

void mm_generation_stop_loading(struct mm_generation *g)
{
	mm_task_cancel(&g->load_task, MM_CANCEL_SHUTDOWN);
}

/* ---- ending ---- */

void mm_generation_retire(struct mm_generation *g)
{
	if (g == NULL)
		return;
	mm_task_group_close(&g->timers, "timer", MM_CANCEL_SHUTDOWN);
}

static void push_host(lua_State *co, void *self)
{
	const struct mm_generation *g = self;
	lua_rawgeti(co, LUA_REGISTRYINDEX, g->host_object);
}

static void unload_ended(struct mm_task *t, enum mm_run run, struct mm_fault *why)
{
	if (run == MM_RUN_FAILED)
		mm_log_say(t->generation->settings.log, MM_LEVEL_ERROR, "script_error", "on_unload: %s", why->text);
}

/* on_unload cannot wait: the state closes right behind it. */
static void run_unloaders(struct mm_generation *g)
{
	for (unsigned i = 0; i < g->script_count; i++) {
		struct mm_fault why;
		struct mm_task task;
		int ref = g->scripts[i].handlers[MM_STAGE_unload];
		if (ref == MM_NO_REF)
			continue;
		mm_task_init(&task, g, NULL, unload_ended);
		unload_ended(&task, mm_call_function(&task, ref, push_host, g, &why), &why);
		mm_task_cancel(&task, MM_CANCEL_SHUTDOWN);
		mm_task_release(&task);
	}
}

void mm_generation_retain(struct mm_generation *g)
{
	g->references++;
}

void mm_generation_release(struct mm_generation *g)
{
	if (g == NULL || --g->references > 0)
		return;
	if (g->is_loaded)
		run_unloaders(g);
	script_free(g);
}

/* ---- sessions ---- */

static void main_resumed(struct mm_task *, enum mm_run, struct mm_fault *);
static void alarm_fired(struct mm_timer *);

static void *session_open(void *runtime, struct mm_session *facts, void *engine)
{
	struct mm_generation *g = runtime;
	struct mm_script_session *ss = calloc(1, sizeof *ss);
	if (ss == NULL)
		return NULL;
	ss->generation = g;
	mm_generation_retain(g);
	ss->facts = facts;
	ss->engine = engine;
	ss->began_at = mm_clock_now();
	ss->ctx = ss->client_table = MM_NO_REF;
	ss->recipients_table = ss->headers_table = ss->kept_bodies = MM_NO_REF;
	ss->ending = MM_CANCEL_ENDED;
	mm_task_init(&ss->task, g, ss, main_resumed);
	mm_timer_init(&ss->alarm, g->settings.clock, alarm_fired);
	MM_LIST_PUSH(g->sessions, ss);
	return ss;
}

static const struct mm_wanted *session_wanted(void *self)
{
	return &((struct mm_script_session *)self)->generation->wanted;
}

static void session_end_message(void *self)
{
	struct mm_script_session *ss = self;
	mm_task_group_end(&ss->message_tasks, ss->generation, ss, ss->ending);
	mm_kept_bodies_close(ss);
	mm_holder_end(&ss->message_holder);
	mm_ctx_end_message(ss);
	ss->cpu_used = 0;
	ss->accepted_message = 0;
	ss->skipped = 0;
}

static void session_end_client(void *self)
{
	struct mm_script_session *ss = self;
	session_end_message(ss);
	mm_task_group_end(&ss->client_tasks, ss->generation, ss, ss->ending);
	mm_holder_end(&ss->client_holder);
	mm_ctx_end(ss);
	ss->accepted_client = 0;
}

static void session_close(void *self)
{
	struct mm_script_session *ss = self;
	struct mm_generation *g = ss->generation;
	session_end_client(ss);
	mm_timer_stop(&ss->alarm);
	mm_task_release(&ss->task);
	mm_verdict_reset(&ss->verdict);
	mm_edit_mark_free(ss->mark);
	MM_LIST_REMOVE(g->sessions, ss);
	free(ss);
	mm_generation_release(g);
}

/* ---- what a handler said ---- */

static bool is_afterwards(enum mm_stage stage)
{
	return stage == MM_STAGE_abort || stage == MM_STAGE_done || stage == MM_STAGE_close;
}

static void log_script_error(struct mm_script_session *ss, const char *text)
{
	struct mm_generation *g = ss->generation;
	struct mm_log_line line;
	struct mm_text queue_id = mm_session_macro(ss->facts, "i");
	mm_census_add(g->settings.row->script_errors, 1);
	mm_task_count_error(&ss->task);
	mm_log_begin(&line, g->settings.log, MM_LEVEL_ERROR, "script_error");
	mm_log_string(&line, "milter", g->settings.milter_in_log);
	mm_log_string(&line, "session", ss->facts->id);
	if (queue_id.size > 0)
		mm_log_text(&line, "queue_id", queue_id);
	mm_log_string(&line, "script", g->scripts[ss->script_at].path);
	mm_log_string(&line, "handler", mm_stage_handler(ss->event.stage));
	if (!is_afterwards(ss->event.stage) && ss->event.stage != MM_STAGE_negotiate)
		mm_log_string(&line, "verdict", mm_verdict_name(g->settings.on_error));
	mm_log_string(&line, "error", text);
	mm_log_alike(&line, g->scripts[ss->script_at].path, strlen(g->scripts[ss->script_at].path));
	mm_log_alike(&line, text, strcspn(text, " "));          /* file:line: */
	mm_log_end(&line);
}

static void on_error_verdict(const struct mm_generation *g, struct mm_verdict *out)
{
	struct mm_fault why;
	struct mm_text text = mm_text_of("Mail filter failed, please try again later");
	if (g->settings.on_error != MM_VERDICT_tempfail
	    || !mm_verdict_worded(out, MM_VERDICT_tempfail, 451, mm_text_of("4.3.0"), &text, 1, &why))
		mm_verdict_plain(out, g->settings.on_error);
}

/* A recipient or an unknown command that is refused leaves the message open (protocol 3.3). */
static bool ends_message(enum mm_stage stage, enum mm_verdict_kind kind)
{
	return stage != MM_STAGE_unknown && (stage != MM_STAGE_rcpt || kind == MM_VERDICT_accept);
}

/* A failed handler: nothing of what the message was going to be changed by it may leave. */
static void fail_event(struct mm_script_session *ss, const char *text, struct mm_verdict *out)
{
	enum mm_stage stage = ss->event.stage;
	log_script_error(ss, text);
	mm_verdict_reset(out);
	if (is_afterwards(stage) || stage == MM_STAGE_negotiate)
		return;
	on_error_verdict(ss->generation, out);
	if (ss->facts->message != NULL) {
		if (ends_message(stage, out->kind))
			mm_edits_drop(ss->facts->message);
		else
			mm_edits_back_to(ss->facts->message, ss->mark);
		ss->body_replaced_by = ss->body_marked_by;
	}
	if (!(mm_verdict_stages(out->kind) & 1u << stage))
		mm_verdict_reset(out);
	snprintf(out->decided_by, sizeof out->decided_by, "on_error (%.30s)",
		ss->generation->scripts[ss->script_at].name);
}

/* Reads [result...] of the finished handler; true when it is a verdict, else why says what is wrong with it. */
static bool verdict_of_results(struct mm_script_session *ss, struct mm_verdict *out, struct mm_fault *why)
{
	lua_State *co = ss->task.co;
	mm_verdict_reset(out);
	if (lua_gettop(co) == 0 || lua_isnil(co, 1))
		return true;
	if (lua_type(co, 1) != LUA_TSTRING)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "the handler returned a %s; a verdict is "
			"\"continue\", \"accept\", \"reject\", \"tempfail\", \"discard\", \"skip\" or nothing",
			luaL_typename(co, 1));
	struct mm_text name;
	name.bytes = lua_tolstring(co, 1, &name.size);
	enum mm_verdict_kind kind = mm_verdict_of_name(name);
	if (kind == MM_VERDICT_COUNT)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "the handler returned \"%.*s\"; a verdict is "
			"\"continue\", \"accept\", \"reject\", \"tempfail\", \"discard\", \"skip\" or nothing",
			(int)(name.size < 60 ? name.size : 60), name.bytes);
	if (!(mm_verdict_stages(kind) & 1u << ss->event.stage))
		return mm_fault_set(why, MM_FAULT_SCRIPT, "the handler returned \"%s\", which is not possible at %s",
			mm_verdict_name(kind), mm_stage_name(ss->event.stage));
	if (lua_gettop(co) > 1)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "the handler returned \"%s\" and more; to give a text say "
			"return ctx:%s(text)", mm_verdict_name(kind), mm_verdict_name(kind));
	mm_verdict_plain(out, kind);
	if (kind != MM_VERDICT_continue)
		snprintf(out->decided_by, sizeof out->decided_by, "%.30s %s",
			ss->generation->scripts[ss->script_at].name, mm_stage_handler(ss->event.stage));
	return true;
}

/* The function that called back is known only while it runs: say file and line of the handler instead. */
static void name_handler(struct mm_script_session *ss, int ref, struct mm_fault *why)
{
	lua_State *L = ss->generation->L;
	lua_Debug where;
	char text[sizeof why->text];
	lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
	lua_getinfo(L, ">S", &where);
	snprintf(text, sizeof text, "%s", why->text);
	mm_fault_set(why, MM_FAULT_SCRIPT, "%s:%d: %s: %s", where.short_src, where.linedefined,
		mm_stage_handler(ss->event.stage), text);
}

static bool names_script(const struct mm_script_session *ss, const char *text)
{
	const char *path = ss->generation->scripts[ss->script_at].path, *slash = strrchr(path, '/');
	return strstr(text, slash != NULL ? slash + 1 : path) != NULL;
}

/* ---- the handlers of one event ---- */

static int handler_of(const struct mm_script *f, const struct mm_event *event)
{
	if (event->stage != MM_STAGE_header || f->fields == NULL)
		return f->handlers[event->stage];
	struct mm_text name = event->command->text;
	for (unsigned i = 0; i < f->field_count; i++)
		if (f->fields[i].size == name.size
		    && mm_text_equal_blind(name, (struct mm_text){ f->fields[i].name, name.size }))
			return f->fields[i].ref;
	return MM_NO_REF;
}

static int push_connect(lua_State *co, const struct mm_session *facts, bool both)
{
	lua_pushstring(co, facts->client_host);
	if (!both || facts->client_address == NULL)
		return 1;
	lua_pushstring(co, facts->client_address);
	return 2;
}

static int push_address(lua_State *co, struct mm_text raw, struct mm_text params, bool both)
{
	struct mm_text bare = mm_address_bare(raw);
	lua_pushlstring(co, bare.bytes, bare.size);
	if (!both)
		return 1;
	mm_push_params(co, params, raw);
	return 2;
}

static int push_offer(lua_State *co, const struct mm_offer *offer)
{
	lua_createtable(co, 0, 3);
	lua_pushnumber(co, offer->version);
	lua_setfield(co, -2, "version");
	lua_pushnumber(co, offer->actions);
	lua_setfield(co, -2, "actions");
	lua_pushnumber(co, offer->steps);
	lua_setfield(co, -2, "steps");
	return 1;
}

static int push_result(lua_State *co, const struct mm_event *event)
{
	lua_createtable(co, 0, 2);
	lua_pushstring(co, mm_verdict_name(event->result));
	lua_setfield(co, -2, "verdict");
	if (event->result_reply.size > 0) {
		lua_pushlstring(co, event->result_reply.bytes, event->result_reply.size);
		lua_setfield(co, -2, "reply");
	}
	return 1;
}

static int push_field(lua_State *co, const struct mm_command *c, bool both)
{
	lua_pushlstring(co, c->text.bytes, c->text.size);
	if (!both)
		return 1;
	lua_pushlstring(co, c->value.bytes, c->value.size);
	return 2;
}

#define SEES_ALL 3      /* ctx and two more: no handler gets more */

/* Pushes the arguments after ctx, as far as the function can see them; docs/scripting.md names them. */
static int push_arguments(lua_State *co, const struct mm_script_session *ss, const struct mm_script *f, unsigned seen)
{
	const struct mm_event *event = &ss->event;
	const struct mm_command *c = event->command;
	bool both = seen >= SEES_ALL;
	if (seen < 2)
		return 0;
	switch (event->stage) {
	case MM_STAGE_negotiate: return push_offer(co, &c->offer);
	case MM_STAGE_connect:   return push_connect(co, ss->facts, both);
	case MM_STAGE_mail:
	case MM_STAGE_rcpt:      return push_address(co, c->text, c->strings, both);
	case MM_STAGE_header:
		if (f->fields == NULL)
			return push_field(co, c, both);
		lua_pushlstring(co, c->value.bytes, c->value.size);
		return 1;
	case MM_STAGE_body:
		mm_memory_pay(ss->generation, c->text.size);
		/* fall through */
	case MM_STAGE_helo:
	case MM_STAGE_unknown:
		lua_pushlstring(co, c->text.bytes, c->text.size);
		return 1;
	case MM_STAGE_done:      return push_result(co, event);
	default:                 return 0;
	}
}

static bool takes_part(const struct mm_script_session *ss, unsigned at)
{
	uint64_t bit = UINT64_C(1) << at;
	enum mm_stage stage = ss->event.stage;
	if (stage == MM_STAGE_close || stage == MM_STAGE_negotiate)
		return true;
	if (is_afterwards(stage))       /* a script that has accepted the client has not seen its messages */
		return !(ss->accepted_client & bit);
	return !((ss->accepted_client | ss->accepted_message | ss->skipped) & bit);
}

/* Folds one handler's verdict into the event's. True: the event is decided. */
static bool fold(struct mm_script_session *ss, struct mm_verdict *v, struct mm_verdict *out)
{
	uint64_t bit = UINT64_C(1) << ss->script_at;
	switch (v->kind) {
	case MM_VERDICT_accept:
		if (MM_VERDICT_CLIENT_STAGES & 1u << ss->event.stage)
			ss->accepted_client |= bit;
		else
			ss->accepted_message |= bit;
		/* if it comes to that: conclude() */
		memcpy(out->decided_by, v->decided_by, sizeof out->decided_by);
		return false;
	case MM_VERDICT_skip:
		if (ss->event.stage == MM_STAGE_body && ss->keeps_body & bit)
			ss->skips_body |= bit;  /* its on_body is done; what it keeps goes on */
		else
			ss->skipped |= bit;
		return false;
	case MM_VERDICT_continue:
		return false;
	default:
		mm_verdict_move(out, v);
		return true;
	}
}

/* Does no script want more of this body? Some ask for it on the chance that they keep it, and
 * do so for few messages. */
static bool body_is_over(const struct mm_script_session *ss, uint64_t accepted)
{
	const struct mm_generation *g = ss->generation;
	uint64_t wanting = (g->stage_scripts[MM_STAGE_body] & ~ss->skipped) | ss->keeps_body;
	return !g->counts_body && !(g->wanted.quiet & MM_STAGE_BIT(body)) && (wanting & ~accepted) == 0;
}

/* The last script that wanted to see more has accepted; its name is in out. */
static void accept_for_all(struct mm_verdict *out)
{
	char by[sizeof out->decided_by];
	memcpy(by, out->decided_by, sizeof by);
	mm_verdict_plain(out, MM_VERDICT_accept);
	memcpy(out->decided_by, by, sizeof by);
}

/* Nobody has decided: accept when no script is left that wants to see more, skip when none wants more of this kind. */
static void conclude(struct mm_script_session *ss, struct mm_verdict *out)
{
	const struct mm_generation *g = ss->generation;
	enum mm_stage stage = ss->event.stage;
	uint64_t accepted = ss->accepted_client | ss->accepted_message;
	bool is_client = MM_VERDICT_CLIENT_STAGES & 1u << stage;
	bool can_decide = !is_afterwards(stage) && stage != MM_STAGE_negotiate && stage != MM_STAGE_unknown;
	bool all_accept = is_client ? ss->accepted_client != 0 && (g->client_scripts & ~ss->accepted_client) == 0
		: accepted != 0 && (g->message_scripts & ~accepted) == 0;
	if (can_decide && all_accept) {
		accept_for_all(out);
		return;
	}
	mm_verdict_reset(out);
	if (!can_decide || is_client)
		return;
	if (stage == MM_STAGE_body ? body_is_over(ss, accepted)
		: ss->skipped != 0 && (g->stage_scripts[stage] & ~(ss->skipped | accepted)) == 0)
		mm_verdict_plain(out, MM_VERDICT_skip);
}

/* The coroutine goes back to the pool between events: a session that is idle holds none, and those that are busy share
 * a few whose stacks are still in the processor's cache. */
static void event_over(struct mm_script_session *ss)
{
	mm_task_release(&ss->task);
	ss->has_event = false;
	ss->deadline_at = 0;
	mm_edit_mark_free(ss->mark);
	ss->mark = NULL;
	if (mm_timer_is_running(&ss->alarm))
		mm_timer_stop(&ss->alarm);
}

static void arm_alarm(struct mm_script_session *ss)
{
	double now = mm_clock_now();
	ensure_deadline(ss);
	if (!mm_timer_is_running(&ss->alarm) || ss->progress_at <= now)
		ss->progress_at = now + ss->generation->settings.progress_every;
	double next = ss->progress_at < ss->deadline_at ? ss->progress_at : ss->deadline_at;
	mm_timer_start(&ss->alarm, next - now);
}

/* One handler has run. Returns true when the event is over, with its verdict in out. */
static bool handler_ended(struct mm_script_session *ss, int ref, enum mm_run run, struct mm_fault *why,
	struct mm_verdict *out)
{
	if (run == MM_RUN_DONE && !ss->has_verdict && lua_gettop(ss->task.co) == 0)
		return false;                   /* nothing: what most handlers say most of the time */
	struct mm_verdict said = { 0 };
	bool ok = true;
	if (ss->has_verdict) {
		ss->has_verdict = false;
		mm_verdict_move(&said, &ss->verdict);
	} else if (run == MM_RUN_FAILED) {
		ok = false;
		/* after `return ctx:reject(…)`, a tail call, Lua knows no line */
		if (!names_script(ss, why->text))
			name_handler(ss, ref, why);
	} else if (!verdict_of_results(ss, &said, why)) {
		ok = false;
		name_handler(ss, ref, why);
	}
	if (ss->task.co != NULL)
		lua_settop(ss->task.co, 0);
	if (!ok) {
		fail_event(ss, why->text, out);
		return !is_afterwards(ss->event.stage) && ss->event.stage != MM_STAGE_negotiate;
	}
	bool decided = fold(ss, &said, out);
	mm_verdict_reset(&said);
	return decided;
}

static void push_feed(lua_State *co, void *self)
{
	struct mm_script_session *ss = self;
	mm_ctx_push(co, ss);
	lua_rawgeti(co, LUA_REGISTRYINDEX, ss->kept_bodies);
	lua_rawgeti(co, -1, (int)ss->script_at + 1);
	lua_remove(co, -2);
	if (ss->event.stage == MM_STAGE_body)
		push_arguments(co, ss, &ss->generation->scripts[ss->script_at], SEES_ALL);
}

static void push_handler(lua_State *co, void *self)
{
	struct mm_script_session *ss = self;
	const struct mm_script *f = &ss->generation->scripts[ss->script_at];
	mm_ctx_push(co, ss);
	bool has_fields = f->fields != NULL && ss->event.stage == MM_STAGE_header;
	push_arguments(co, ss, f, has_fields ? SEES_ALL : f->seen[ss->event.stage]);
}

/* A body that the script has asked for with ctx:body{}: each piece goes there before its on_body sees it, and before
 * on_eom it is finished. True: the event is decided, by a limit of the script's or a full disk. */
static bool feed_kept_body(struct mm_script_session *ss, struct mm_verdict *out)
{
	struct mm_fault why;
	ss->feeds_body = true;
	/* never waits */
	enum mm_run run = mm_call_function(&ss->task, ss->generation->feed_kept_body, push_feed, ss, &why);
	bool is_decided = handler_ended(ss, ss->generation->feed_kept_body, run, &why, out);
	ss->feeds_body = false;
	return is_decided;
}

/* Runs handlers from script_at on. MM_DECIDED: out is the event's verdict. */
static enum mm_outcome run_handlers(struct mm_script_session *ss, struct mm_verdict *out)
{
	struct mm_generation *g = ss->generation;
	bool may_keep = ss->event.stage == MM_STAGE_body || ss->event.stage == MM_STAGE_eom;
	for (; ss->script_at < g->script_count; ss->script_at++) {
		struct mm_script *f = &g->scripts[ss->script_at];
		uint64_t bit = UINT64_C(1) << ss->script_at;
		int ref = handler_of(f, &ss->event);
		if (may_keep && ss->keeps_body & bit && takes_part(ss, ss->script_at)) {
			if (feed_kept_body(ss, out)) {
				event_over(ss);
				return MM_DECIDED;
			}
			if (ss->event.stage == MM_STAGE_body && ss->skips_body & bit)
				continue;
		}
		if (ref == MM_NO_REF || !takes_part(ss, ss->script_at))
			continue;
		struct mm_fault why;
		enum mm_run run = mm_call_function(&ss->task, ref, push_handler, ss, &why);
		if (run == MM_RUN_WAITING) {
			arm_alarm(ss);
			return MM_WAITING;
		}
		if (handler_ended(ss, ref, run, &why, out)) {
			event_over(ss);
			return MM_DECIDED;
		}
	}
	conclude(ss, out);
	event_over(ss);
	return MM_DECIDED;
}

/* What tasks are told that the end of their message or client takes by surprise. */
static void note_ending(struct mm_script_session *ss, enum mm_stage stage)
{
	if (stage == MM_STAGE_abort && ss->ending == MM_CANCEL_ENDED)
		ss->ending = MM_CANCEL_ABORT;
	else if (!is_afterwards(stage))
		ss->ending = MM_CANCEL_ENDED;
}

static enum mm_outcome session_event(void *self, const struct mm_event *event, struct mm_verdict *out)
{
	struct mm_script_session *ss = self;
	note_ending(ss, event->stage);
	if (ss->skipped_stage != event->stage) {        /* skip is for one kind of event */
		ss->skipped_stage = event->stage;
		ss->skipped = 0;
	}
	ss->event = *event;
	ss->has_event = true;
	ss->script_at = 0;
	if (ss->generation->stage_scripts[event->stage] == 0 && ss->keeps_body == 0) {
		conclude(ss, out);
		ss->has_event = false;
		return MM_DECIDED;
	}
	ss->body_marked_by = ss->body_replaced_by;
	if ((event->stage == MM_STAGE_rcpt || event->stage == MM_STAGE_unknown) && ss->facts->message != NULL
	    && !mm_edits_mark(ss->facts->message, &ss->mark)) {
		fail_event(ss, "out of memory for the edits of this message", out);
		event_over(ss);
		return MM_DECIDED;
	}
	return run_handlers(ss, out);
}

static void main_resumed(struct mm_task *t, enum mm_run run, struct mm_fault *why)
{
	struct mm_script_session *ss = t->session;
	struct mm_verdict out = { 0 };
	if (run == MM_RUN_WAITING) {
		arm_alarm(ss);
		return;
	}
	int ref = handler_of(&ss->generation->scripts[ss->script_at], &ss->event);
	if (handler_ended(ss, ref, run, why, &out)) {
		event_over(ss);
	} else {
		ss->script_at++;
		if (run_handlers(ss, &out) == MM_WAITING)
			return;
	}
	mm_engine_decided(ss->engine, &out);
}

/* ---- the end of a wait from outside ---- */

static void session_cancel(void *self, enum mm_cancel why)
{
	struct mm_script_session *ss = self;
	struct mm_verdict ignored = { 0 };
	ss->ending = why;
	/* The other scripts are still told. */
	do {
		mm_task_cancel(&ss->task, why);
		mm_verdict_reset(&ss->verdict);
		ss->has_verdict = false;
		ss->script_at++;
	} while (is_afterwards(ss->event.stage) && run_handlers(ss, &ignored) == MM_WAITING);
	event_over(ss);
}

static void deadline_passed(struct mm_script_session *ss)
{
	struct mm_verdict out = { 0 };
	char text[160];
	snprintf(text, sizeof text, "deadline: the handler still waits (%s) after %.0f s; the MTA would give up soon",
		ss->task.wait_name != NULL ? ss->task.wait_name : "?", stage_limit(ss));
	mm_task_cancel(&ss->task, MM_CANCEL_DEADLINE);
	mm_verdict_reset(&ss->verdict);
	ss->has_verdict = false;
	fail_event(ss, text, &out);
	if (is_afterwards(ss->event.stage) || ss->event.stage == MM_STAGE_negotiate) {
		ss->deadline_at = 0;            /* the other scripts are still told, in their own time */
		ss->script_at++;
		if (run_handlers(ss, &out) == MM_WAITING)
			return;
	} else {
		event_over(ss);
	}
	mm_engine_decided(ss->engine, &out);
}

static void alarm_fired(struct mm_timer *timer)
{
	struct mm_script_session *ss = MM_OWNER_OF(timer, struct mm_script_session, alarm);
	if (!ss->task.is_waiting)
		return;
	if (mm_clock_now() >= ss->deadline_at - 0.001) {
		deadline_passed(ss);
		return;
	}
	mm_engine_progress(ss->engine);
	ss->progress_at = 0;
	arm_alarm(ss);
}

struct mm_runtime mm_generation_runtime(struct mm_generation *g)
{
	static const struct mm_runtime_ops ops = {
		.open = session_open, .wanted = session_wanted, .event = session_event, .cancel = session_cancel,
		.end_message = session_end_message, .end_client = session_end_client, .close = session_close,
	};
	return (struct mm_runtime){ &ops, g };
}
