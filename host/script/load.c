#include "script/load.h"

#include "script/state.h"
#include "task/call.h"
#include "task/profile.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdlib.h>

/* The next script in memory of this milter, s included; NULL: none. */
static const struct mm_source *source_from(const struct mm_generation *g, const struct mm_source *s)
{
	while (s != NULL && s->name != NULL && (s->milter == NULL ? !g->is_first_milter
	    : strcmp(s->milter, g->settings.milter_name) != 0))
		s++;
	return s != NULL && s->name != NULL ? s : NULL;
}

bool mm_load_prepare(struct mm_generation *g, const struct mm_script_files *list, struct mm_fault *why)
{
	size_t size = 1;
	for (size_t i = 0; i < list->count; i++)
		size += strlen(list->items[i]) + 1;
	for (const struct mm_source *s = source_from(g, g->load_sources); s != NULL; s = source_from(g, s + 1))
		size += strlen(s->name) + 1;
	g->plan = calloc(1, sizeof *g->plan);
	g->load_paths = malloc(size);
	if (g->plan == NULL || g->load_paths == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a list of scripts");
	char *to = g->load_paths;
	for (size_t i = 0; i < list->count; i++)
		to = stpcpy(to, list->items[i]) + 1;
	for (const struct mm_source *s = source_from(g, g->load_sources); s != NULL; s = source_from(g, s + 1))
		to = stpcpy(to, s->name) + 1;
	g->load_files = (unsigned)list->count;
	*to = '\0';
	return true;
}

bool mm_load_is_of_nothing(const struct mm_generation *g)
{
	return g->load_files == 0 && source_from(g, g->load_sources) == NULL;
}

/* ---- the plan ----
 * The table that plan.of returned is on top of L. Each helper leaves the stack unchanged. */

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

/* [function]: where it begins. */
static int line_of(lua_State *L)
{
	lua_Debug where;
	lua_pushvalue(L, -1);
	return lua_getinfo(L, ">S", &where) ? where.linedefined : 0;
}

/* [function] -> []: as mm_vault_put(), of a handler that a walk may call. */
static int keep_walked(lua_State *L, const struct mm_generation *g)
{
	lua_pushvalue(L, -1);
	int ref = mm_vault_put(L);
	mm_vault_push(g, L, g->walk_handlers);
	lua_insert(L, -2);
	lua_rawseti(L, -2, ref);
	lua_pop(L, 1);
	return ref;
}

/* [fields] */
static void take_fields(lua_State *L, const struct mm_generation *g, struct mm_handlers *handlers, const char *path)
{
	unsigned count = 0;
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
		count++;
	handlers->fields = calloc(count ? count : 1, sizeof *handlers->fields);
	if (handlers->fields == NULL)
		luaL_error(L, "out of memory for handlers of %s", path);
	for (lua_pushnil(L); lua_next(L, -2) != 0;) {
		struct mm_field_handler *h = &handlers->fields[handlers->field_count];
		if (lua_type(L, -2) != LUA_TSTRING || !lua_isfunction(L, -1))
			luaL_error(L, "%s: on_header is not a table of functions by name", path);
		if (strlen(lua_tostring(L, -2)) != lua_objlen(L, -2))
			luaL_error(L, "%s: on_header: the name of a field has a NUL byte", path);
		h->name = strdup(lua_tostring(L, -2));
		if (h->name == NULL)
			luaL_error(L, "out of memory for handlers of %s", path);
		h->size = strlen(h->name);
		h->line = line_of(L);
		h->ref = keep_walked(L, g);
		handlers->field_count++;
	}
}

/* [script] */
static void take_script(lua_State *L, struct mm_generation *g, unsigned at)
{
	struct mm_script *script = &g->scripts[at];
	struct mm_handlers *h = &g->plan->handlers[at];
	for (int stage = 0; stage < MM_STAGE_COUNT; stage++)
		h->by_stage[stage] = MM_NO_REF;
	g->script_count = at + 1;
	script->name = string_of(L, "name");
	script->path = string_of(L, "path");
	if (script->name == NULL || script->path == NULL)
		luaL_error(L, "out of memory for the list of scripts");
	if (g->settings.profile != NULL)
		script->profile = mm_profile_join(g->settings.profile, g->settings.milter_name, script->path);
	lua_getfield(L, -1, "handlers");
	lua_getfield(L, -2, "seen");
	for (int stage = 0; stage < MM_STAGE_COUNT; stage++) {
		const char *name = mm_stage_name((enum mm_stage)stage);
		lua_getfield(L, -1, name);
		h->seen[stage] = (uint8_t)lua_tointeger(L, -1);
		lua_pop(L, 1);
		lua_getfield(L, -2, name);
		if (!lua_isfunction(L, -1)) {
			lua_pop(L, 1);
			continue;
		}
		h->lines[stage] = line_of(L);
		h->by_stage[stage] = stage == MM_STAGE_header ? keep_walked(L, g) : mm_vault_put(L);
		mm_profile_show(script->profile, stage, g->settings.figures, script->name);
		g->plan->stage_scripts[stage] |= UINT64_C(1) << at;
	}
	lua_pop(L, 2);
	lua_getfield(L, -1, "fields");
	if (lua_istable(L, -1)) {
		take_fields(L, g, h, script->path);
		g->plan->stage_scripts[MM_STAGE_header] |= UINT64_C(1) << at;
	}
	lua_pop(L, 1);
}

static void take_macro_lists(lua_State *L, struct mm_generation *g)
{
	g->plan->macros_named = string_of(L, "macros_named");
	lua_getfield(L, -1, "macro_lists");
	for (int set = 0; lua_istable(L, -1) && set < MM_MACRO_SET_COUNT; set++) {
		g->plan->macro_lists[set] = string_of(L, mm_macro_set_name((enum mm_macro_set)set));
		g->wanted.macro_lists[set] = g->plan->macro_lists[set];
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

/* The handlers that exist turn steps on; we switch every other step off, so that the MTA sends nothing in vain. A stage
 * that we need for its facts only gets no reply. Neither do headers: their verdict is held until the end of headers,
 * which we ask for in that case. */
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
	g->plan->handlers = calloc(count ? count : 1, sizeof *g->plan->handlers);
	if (g->scripts == NULL || g->plan->handlers == NULL)
		return luaL_error(L, "out of memory for the list of scripts");
	for (unsigned i = 0; i < count; i++) {
		lua_rawgeti(L, -1, (int)i + 1);
		take_script(L, g, i);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	take_macro_lists(L, g);
	g->plan->findings = string_of(L, "findings");
	g->plan->signs = string_of(L, "signs");
	g->plan->maps = string_of(L, "maps");
	lua_getfield(L, -1, "warned");
	g->plan->warned = (unsigned)lua_tointeger(L, -1);
	lua_pop(L, 1);
	take_needs(L, g);
	g->wanted.rejected_recipients = flag_of(L, "rejected_recipients");
	g->plan->counts_body = flag_of(L, "counts_body");
	derive_wanted(g, stages_of(L, "stages"), stages_of(L, "handled"), flag_of(L, "lockstep")
		|| g->settings.lockstep);

	const uint32_t message_stages = MM_STAGES_OF_MESSAGE;
	for (int stage = MM_STAGE_negotiate; stage < MM_STAGE_abort; stage++) {
		g->plan->client_scripts |= g->plan->stage_scripts[stage];
		if (message_stages & 1u << stage)
			g->plan->message_scripts |= g->plan->stage_scripts[stage];
	}
	return 0;
}

/* ---- the load ---- */

static void load_ended(struct mm_task *t, enum mm_run run, struct mm_fault *why)
{
	struct mm_generation *g = t->generation;
	if (run == MM_RUN_WAITING)
		return;
	bool ok = run == MM_RUN_DONE;
	if (run == MM_RUN_EXITED)
		mm_fault_set(why, MM_FAULT_CONFIG, "a script gave a verdict while it was loading");
	if (ok && mm_protected(g->L, take_plan, g) != 0) {
		ok = mm_fault_set(why, MM_FAULT_CONFIG, "%s", lua_tostring(g->L, -1));
		lua_pop(g->L, 1);
	}
	if (ok)
		mm_state_note_registry(g);
	why->class = ok ? MM_FAULT_NONE : MM_FAULT_CONFIG;
	why->reason = MM_REASON_IS_CONFIG;
	mm_task_release(t);
	g->is_loaded = ok;
	g->plan->loaded(g->plan->loaded_self, ok, why);
}

/* [] -> [{ path, text }]: a script in memory */
static void push_source(lua_State *L, const struct mm_source *s)
{
	lua_createtable(L, 0, 2);
	lua_pushstring(L, s->name);
	lua_setfield(L, -2, "path");
	lua_pushlstring(L, s->text, s->size > 0 ? s->size : strlen(s->text));
	lua_setfield(L, -2, "text");
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
	unsigned n = 0;
	const char *path = g->load_paths;
	for (; n < g->load_files; path += strlen(path) + 1) {
		lua_pushstring(L, path);
		lua_rawseti(L, -2, (int)++n);
	}
	for (const struct mm_source *s = source_from(g, g->load_sources); s != NULL; s = source_from(g, s + 1)) {
		push_source(L, s);
		lua_rawseti(L, -2, (int)++n);
	}
	mm_vault_push(g, L, g->host_object);
	lua_xmove(L, co, 3);
	return 0;
}

void mm_load_start(struct mm_generation *g, void (*done)(void *self, bool ok, const struct mm_fault *why), void *self)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	g->plan->loaded = done;
	g->plan->loaded_self = self;
	mm_task_init(&g->load_task, g, NULL, load_ended);
	if (g->L == NULL) {
		done(self, true, &why);
		return;
	}
	if (mm_protected(g->L, push_load, g) != 0) {
		mm_fault_set(&why, MM_FAULT_CONFIG, "%s", lua_tostring(g->L, -1));
		lua_pop(g->L, 1);
		done(self, false, &why);
		return;
	}
	load_ended(&g->load_task, mm_call_resume(&g->load_task, 2, &why), &why);
}

void mm_load_stop(struct mm_generation *g)
{
	mm_task_cancel(&g->load_task, MM_CANCEL_SHUTDOWN);
}

/* ---- the end ---- */

static void push_host(lua_State *co, void *self)
{
	const struct mm_generation *g = self;
	mm_vault_push(g, co, g->host_object);
}

static void unload_ended(struct mm_task *t, enum mm_run run, struct mm_fault *why)
{
	struct mm_log_line line;
	if (run != MM_RUN_FAILED)
		return;
	mm_census_add(t->generation->settings.row->script_errors, 1);
	mm_log_begin(&line, t->generation->settings.log, MM_LEVEL_ERROR, "script_error");
	mm_log_string(&line, "milter", t->generation->settings.milter_in_log);
	mm_log_string(&line, "script", t->script->path);
	mm_log_string(&line, "handler", mm_stage_handler(MM_STAGE_unload));
	mm_log_string(&line, "error", why->text);
	mm_log_alike(&line, t->script->path, strlen(t->script->path));
	mm_log_end(&line);
}

void mm_load_run_unloaders(struct mm_generation *g)
{
	for (unsigned i = 0; i < g->script_count; i++) {
		struct mm_fault why;
		struct mm_task task;
		int ref = g->plan->handlers[i].by_stage[MM_STAGE_unload];
		if (ref == MM_NO_REF)
			continue;
		mm_task_init(&task, g, NULL, unload_ended);
		task.script = &g->scripts[i];
		unload_ended(&task, mm_call_function(&task, ref, push_host, g, &why), &why);
		mm_task_cancel(&task, MM_CANCEL_SHUTDOWN);
		mm_task_release(&task);
	}
}

static void free_plan(struct mm_plan *plan, unsigned script_count)
{
	for (unsigned i = 0; i < script_count; i++) {
		for (unsigned j = 0; j < plan->handlers[i].field_count; j++)
			free(plan->handlers[i].fields[j].name);
		free(plan->handlers[i].fields);
	}
	free(plan->handlers);
	free(plan->findings);
	free(plan->signs);
	free(plan->maps);
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		free(plan->macro_lists[set]);
	free(plan->macros_named);
	free(plan);
}

void mm_load_free(struct mm_generation *g)
{
	if (g->plan != NULL)
		free_plan(g->plan, g->script_count);
	for (unsigned i = 0; i < g->script_count; i++) {
		mm_profile_leave(g->settings.profile, g->scripts[i].profile);
		free(g->scripts[i].name);
		free(g->scripts[i].path);
	}
	free(g->scripts);
	free(g->load_paths);
}
