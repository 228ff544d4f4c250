#include "script/generation.h"

#include "async/http.h"
#include "async/pool.h"
#include "async/tls.h"
#include "base/list.h"
#include "script/files.h"
#include "script/load.h"
#include "script/state.h"
#include "task/budget.h"
#include "task/call.h"
#include "task/group.h"
#include "task/profile.h"

#include <lua.h>

#include <stdlib.h>

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
	bool is_in = g->previous != NULL || (all != NULL && *all == g);        /* false when making it failed early */
	if (is_in)
		MM_LIST_REMOVE(*all, g);
}

static void free_generation(struct mm_generation *g)
{
	leave_all(g);
	if (g->L != NULL) {
		mm_task_group_end(&g->timers, g, NULL, MM_CANCEL_SHUTDOWN);
		mm_task_group_end(&g->tasks, g, NULL, MM_CANCEL_SHUTDOWN);
		mm_holder_end(&g->holder);
		mm_state_close(g);
	}
	mm_holder_end(&g->holder);      /* finalizers may have opened new ones */
	mm_pools_free(g->pools);
	mm_tls_cache_free(g->tls);
	mm_http_free(g->http);
	mm_timer_stop(&g->runner);
	mm_load_free(g);
	mm_work_free(g);
	free(g->pool);
	free(g);
}

/* Runs what is ready now, but leaves time for other work. What is left, and what becomes ready meanwhile, runs at the
 * next turn of the loop. */
static void run_ready(struct mm_timer *timer)
{
	struct mm_generation *g = MM_OWNER_OF(timer, struct mm_generation, runner);
	mm_generation_retain(g);            /* the last session may end during this call */
	const struct mm_profile *p = g->settings.profile;
	uint64_t began = mm_clock_ticks(), most = p != NULL ? mm_profile_share(p) : UINT64_MAX;
	for (unsigned n = g->ready_count; n > 0 && g->ready_count > 0; n--) {
		mm_task_run_ready(g);
		if (mm_clock_ticks() - began > most)
			break;
	}
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
	g->load_sources = o->sources;
	g->is_first_milter = o->is_first;
	g->account.sum = o->settings.held;
	g->references = 1;
	mm_timer_init(&g->runner, g->settings.clock, run_ready);
	g->ctx_metatable = g->kept_metatable = g->client_metatable = g->task_metatable = MM_NO_REF;
	g->macros_metatable = MM_NO_REF;
	g->handle_metatables = MM_NO_REF;
	g->ctx_members = g->entry = g->host_object = g->cancel_token = g->host_token = MM_NO_REF;
	g->field_factory = g->feed_kept_body = g->close_file = g->registry_copy = MM_NO_REF;
	g->begin_identity = g->make_seals = MM_NO_REF;
	bool is_made = mm_script_files_find(&list, o->paths, why) && mm_load_prepare(g, &list, why)
		&& ((o->needs_no_scripts && mm_load_is_of_nothing(g))
			|| mm_state_open(g, &list, o->modules, o->host_settings, o->redis, why));
	mm_script_files_free(&list);
	if (!is_made) {
		free_generation(g);
		return NULL;
	}
	join_all(g);
	return g;
}

void mm_generation_load(struct mm_generation *g, void (*done)(void *self, bool ok, const struct mm_fault *why),
	void *self)
{
	mm_load_start(g, done, self);
}

void mm_generation_stop_loading(struct mm_generation *g)
{
	mm_load_stop(g);
}

void mm_generation_begin_serving(struct mm_generation *g)
{
	if (g->L != NULL)
		mm_budget_prefer(g->L);
}

void mm_generation_retire(struct mm_generation *g)
{
	if (g == NULL)
		return;
	mm_task_group_close(&g->timers, "timer", MM_CANCEL_SHUTDOWN);
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
		mm_load_run_unloaders(g);
	free_generation(g);
}

unsigned mm_generation_session_count(const struct mm_generation *g)
{
	unsigned count = 0;
	for (const struct mm_script_session *ss = g->sessions; ss != NULL; ss = ss->next)
		count++;
	return count;
}

uint64_t mm_generation_bytes(const struct mm_generation *g)
{
	if (g->L == NULL)
		return 0;
	return (uint64_t)lua_gc(g->L, LUA_GCCOUNT, 0) * 1024 + (uint64_t)lua_gc(g->L, LUA_GCCOUNTB, 0);
}

struct mm_generation *mm_generation_next(const struct mm_generation *g)
{
	return g->next;
}
