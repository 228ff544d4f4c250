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
#include "task/budget.h"
#include "async/http.h"
#include "script/arguments.h"
#include "script/deadline.h"
#include "script/failure.h"
#include "script/load.h"
#include "script/state.h"
#include "async/pool.h"
#include "task/profile.h"
#include "task/call.h"
#include "script/files.h"
#include "task/memory.h"
#include "task/group.h"
#include "async/tls.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>
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
		mm_state_close(g);
	}
	mm_holder_end(&g->holder);      /* finalizers may have opened more */
	mm_pools_free(g->pools);
	mm_tls_cache_free(g->tls);
	mm_http_free(g->http);
	mm_timer_stop(&g->runner);
	mm_load_free(g);
	free(g->pool);
	free(g);
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
	bool is_made = mm_script_files_find(&list, o->paths, why) && mm_load_keep_paths(g, &list, why)
		&& mm_state_open(g, &list, o->modules, o->host_settings, why);
	mm_script_files_free(&list);
	if (!is_made) {
		script_free(g);
		return NULL;
	}
	join_all(g);
	return g;
}

/* ---- life ---- */

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

static bool takes_part(const struct mm_script_session *ss, unsigned at)
{
	uint64_t bit = UINT64_C(1) << at;
	enum mm_stage stage = ss->event.stage;
	if (stage == MM_STAGE_close || stage == MM_STAGE_negotiate)
		return true;
	if (MM_STAGES_AFTERWARDS & 1u << stage)       /* a script that has accepted the client has not seen its messages */
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
	bool can_decide = !(MM_STAGES_AFTERWARDS & 1u << stage) && stage != MM_STAGE_negotiate && stage != MM_STAGE_unknown;
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
	mm_edit_mark_free(ss->mark);
	ss->mark = NULL;
	mm_deadline_disarm(ss);
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
		if (!mm_failure_names_script(ss, why->text))
			mm_failure_name_handler(ss, ref, why);
	} else if (!verdict_of_results(ss, &said, why)) {
		ok = false;
		mm_failure_name_handler(ss, ref, why);
	}
	if (ss->task.co != NULL)
		lua_settop(ss->task.co, 0);
	if (!ok) {
		mm_failure_decide(ss, why->text, out);
		return mm_failure_has_verdict(ss->event.stage);
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
		mm_arguments_push(co, ss, &ss->generation->scripts[ss->script_at], MM_ARGUMENTS_ALL);
}

static void push_handler(lua_State *co, void *self)
{
	struct mm_script_session *ss = self;
	const struct mm_script *f = &ss->generation->scripts[ss->script_at];
	mm_ctx_push(co, ss);
	bool has_fields = f->fields != NULL && ss->event.stage == MM_STAGE_header;
	mm_arguments_push(co, ss, f, has_fields ? MM_ARGUMENTS_ALL : f->seen[ss->event.stage]);
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
			mm_deadline_arm(ss);
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
	else if (!(MM_STAGES_AFTERWARDS & 1u << stage))
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
		mm_failure_decide(ss, "out of memory for the edits of this message", out);
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
		mm_deadline_arm(ss);
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
	} while (MM_STAGES_AFTERWARDS & 1u << ss->event.stage && run_handlers(ss, &ignored) == MM_WAITING);
	event_over(ss);
}

static void deadline_passed(struct mm_script_session *ss)
{
	struct mm_verdict out = { 0 };
	char text[160];
	snprintf(text, sizeof text, "deadline: the handler still waits (%s) after %.0f s; the MTA would give up soon",
		ss->task.wait_name != NULL ? ss->task.wait_name : "?", mm_deadline_seconds(ss));
	mm_task_cancel(&ss->task, MM_CANCEL_DEADLINE);
	mm_verdict_reset(&ss->verdict);
	ss->has_verdict = false;
	mm_failure_decide(ss, text, &out);
	if (!mm_failure_has_verdict(ss->event.stage)) {
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
	mm_deadline_arm(ss);
}

struct mm_runtime mm_generation_runtime(struct mm_generation *g)
{
	static const struct mm_runtime_ops ops = {
		.open = session_open, .wanted = session_wanted, .event = session_event, .cancel = session_cancel,
		.end_message = session_end_message, .end_client = session_end_client, .close = session_close,
	};
	return (struct mm_runtime){ &ops, g };
}
