#include "script/handlers.h"

#include "base/text.h"
#include "bind/ctx.h"
#include "bind/received.h"
#include "script/arguments.h"
#include "script/deadline.h"
#include "script/failure.h"
#include "script/load.h"
#include "task/call.h"
#include "task/told.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>
#include <stdlib.h>

/* Reads [result...] of the finished handler. True: it is a verdict; false: why says what is wrong with it. */
static bool verdict_of_results(struct mm_script_session *ss, struct mm_verdict *out, struct mm_fault *why)
{
	lua_State *co = ss->task->co;
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
	if (!(mm_verdict_stages(kind) & 1u << ss->stage))
		return mm_fault_set(why, MM_FAULT_SCRIPT, "the handler returned \"%s\", which is not possible at %s",
			mm_verdict_name(kind), mm_stage_name(ss->stage));
	if (lua_gettop(co) > 1)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "the handler returned \"%s\" and more; to give a text, write "
			"return ctx:%s(text)", mm_verdict_name(kind), mm_verdict_name(kind));
	mm_verdict_plain(out, kind);
	if (kind != MM_VERDICT_continue)
		snprintf(out->decided_by, sizeof out->decided_by, "%.30s %s",
			ss->generation->scripts[ss->script_at].name, mm_stage_handler(ss->stage));
	return true;
}

/* Not inline: the others would save and restore registers for its loop. */
__attribute__((noinline)) static int handler_of_field(struct mm_script_session *ss, const struct mm_handlers *h)
{
	struct mm_text name = ss->event->command->text;
	for (unsigned i = 0; i < h->field_count; i++)
		if (mm_text_equal_blind(name, (struct mm_text){ h->fields[i].name, h->fields[i].size })) {
			ss->called_line = h->fields[i].line;
			return h->fields[i].ref;
		}
	return MM_NO_REF;
}

/* The handler that the script at script_at has for a stage, that of the event. */
static inline int handler_for(struct mm_script_session *ss, enum mm_stage stage)
{
	const struct mm_handlers *h = &ss->generation->plan->handlers[ss->script_at];
	ss->called_line = h->lines[stage];
	return stage == MM_STAGE_header && h->fields != NULL ? handler_of_field(ss, h) : h->by_stage[stage];
}

static int handler_of(struct mm_script_session *ss)
{
	return handler_for(ss, ss->stage);
}

static bool takes_part(const struct mm_script_session *ss, unsigned at)
{
	uint64_t bit = UINT64_C(1) << at;
	enum mm_stage stage = ss->stage;
	if (stage == MM_STAGE_close || stage == MM_STAGE_negotiate)
		return true;
	if (MM_STAGES_AFTERWARDS & 1u << stage) /* a script that accepted the client never saw its messages */
		return !(ss->accepted_client & bit);
	return !((ss->accepted_client | ss->accepted_message | ss->skipped) & bit);
}

/* Folds one handler's verdict into the event's. True: the event is decided. */
static bool fold(struct mm_script_session *ss, struct mm_verdict *v, struct mm_verdict *out)
{
	uint64_t bit = UINT64_C(1) << ss->script_at;
	switch (v->kind) {
	case MM_VERDICT_accept:
		if (MM_STAGES_OF_CLIENT & 1u << ss->stage)
			ss->accepted_client |= bit;
		else
			ss->accepted_message |= bit;
		/* in case all accept: mm_handlers_conclude() */
		memcpy(out->decided_by, v->decided_by, sizeof out->decided_by);
		return false;
	case MM_VERDICT_skip:
		if (ss->stage == MM_STAGE_body && ss->keeps_body & bit)
			ss->skips_body |= bit;  /* its on_body is done; keeping the body goes on */
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

/* Does no script want more of this body? Some scripts ask for every body but keep it for few messages. */
static bool body_is_over(const struct mm_script_session *ss, uint64_t accepted)
{
	const struct mm_generation *g = ss->generation;
	uint64_t wanting = (g->plan->stage_scripts[MM_STAGE_body] & ~ss->skipped) | ss->keeps_body;
	return !g->plan->counts_body && ss->body_hashes == NULL && !(g->wanted.quiet & MM_STAGE_BIT(body))
		&& (wanting & ~accepted) == 0;
}

/* The last script that wanted to see more has accepted; its name is in out. */
static void accept_for_all(struct mm_verdict *out)
{
	char by[sizeof out->decided_by];
	memcpy(by, out->decided_by, sizeof by);
	mm_verdict_plain(out, MM_VERDICT_accept);
	memcpy(out->decided_by, by, sizeof by);
}

void mm_handlers_conclude_what_was_said(struct mm_script_session *ss, struct mm_verdict *out)
{
	const struct mm_plan *plan = ss->generation->plan;
	enum mm_stage stage = ss->stage;
	uint64_t accepted = ss->accepted_client | ss->accepted_message;
	bool is_client = MM_STAGES_OF_CLIENT & 1u << stage;
	const uint32_t undecided = MM_STAGES_AFTERWARDS | MM_STAGE_BIT(negotiate) | MM_STAGE_BIT(unknown)
		| MM_STAGE_BIT(macros);
	bool can_decide = !(undecided & 1u << stage);
	bool all_accept = is_client ? ss->accepted_client != 0 && (plan->client_scripts & ~ss->accepted_client) == 0
		: accepted != 0 && (plan->message_scripts & ~accepted) == 0;
	if (ss->over_due != 0 && can_decide && !is_client) {    /* a task has read it since the last handler */
		mm_failure_over(ss, out);
		return;
	}
	if (can_decide && all_accept) {
		accept_for_all(out);
		return;
	}
	mm_verdict_reset(out);
	if (!can_decide || is_client)
		return;
	if (stage == MM_STAGE_body ? body_is_over(ss, accepted)
		: ss->skipped != 0 && (plan->stage_scripts[stage] & ~(ss->skipped | accepted)) == 0)
		mm_verdict_plain(out, MM_VERDICT_skip);
}

void mm_handlers_forget_verdict(struct mm_script_session *ss)
{
	ss->has_verdict = false;
	if (ss->verdict == NULL)
		return;
	mm_verdict_reset(ss->verdict);
	free(ss->verdict);
	ss->verdict = NULL;
}

/* The coroutine goes back to the pool between events: idle sessions hold none, and busy ones share a few whose stacks
 * are still in the processor's cache. */
void mm_handlers_end(struct mm_script_session *ss)
{
	mm_work_end(ss);
	ss->event = &mm_event_none;
	ss->has_event = ss->makes_seals = false;
	mm_handlers_forget_verdict(ss);
	mm_edit_mark_free(ss->mark);
	ss->mark = NULL;
}

/* However the handler has ended: it may have caught the error. */
static bool over_decides(struct mm_script_session *ss, struct mm_verdict *out)
{
	mm_handlers_forget_verdict(ss);
	if (ss->task->co != NULL)
		lua_settop(ss->task->co, 0);
	mm_failure_over(ss, out);
	return true;
}

/* One handler has run. Returns true when the event is over, with its verdict in out. */
static bool handler_ended(struct mm_script_session *ss, int ref, enum mm_run run, struct mm_fault *why,
	struct mm_verdict *out)
{
	if (ss->over_due != 0 && mm_failure_has_verdict(ss->stage))
		return over_decides(ss, out);
	if (run == MM_RUN_DONE && !ss->has_verdict && lua_gettop(ss->task->co) == 0)
		return false;                   /* nothing: the usual result */
	struct mm_verdict said = { 0 };
	bool ok = true;
	if (ss->has_verdict) {
		mm_verdict_move(&said, ss->verdict);
		mm_handlers_forget_verdict(ss);
	} else if (run == MM_RUN_FAILED) {
		ok = false;
		/* `return ctx:reject(…)` is a tail call, so Lua knows no line */
		if (!mm_failure_names_script(ss, why->text))
			mm_failure_name_handler(ss, ref, why);
	} else if (!verdict_of_results(ss, &said, why)) {
		ok = false;
		mm_failure_name_handler(ss, ref, why);
	}
	if (ss->task->co != NULL)
		lua_settop(ss->task->co, 0);
	if (!ok) {
		mm_failure_decide(ss, why->text, out);
		return mm_failure_has_verdict(ss->stage);
	}
	bool decided = fold(ss, &said, out);
	mm_verdict_reset(&said);
	return decided;
}

static void push_feed(lua_State *co, void *self)
{
	struct mm_script_session *ss = self;
	mm_ctx_push(co, ss);
	mm_vault_push(ss->generation, co, ss->kept_bodies);
	lua_rawgeti(co, -1, (int)ss->script_at + 1);
	lua_remove(co, -2);
	if (ss->stage == MM_STAGE_body)
		mm_arguments_push(co, ss, MM_ARGUMENTS_ALL);
}

/* Those after ctx. */
static void push_arguments(lua_State *co, void *self)
{
	struct mm_script_session *ss = self;
	const struct mm_handlers *h = &ss->generation->plan->handlers[ss->script_at];
	bool has_fields = h->fields != NULL && ss->stage == MM_STAGE_header;
	mm_arguments_push(co, ss, has_fields ? MM_ARGUMENTS_ALL : h->seen[ss->stage]);
}

static void push_handler(lua_State *co, void *self)
{
	mm_ctx_push(co, self);
	push_arguments(co, self);
}

/* ---- the fields of a header in one call ---- */

/* The handler for the field of the next of these scripts, all of which take part. MM_NO_REF: none has one. */
static inline int next_handler(struct mm_script_session *ss, uint64_t scripts)
{
	int ref = MM_NO_REF;
	for (; scripts != 0 && ref == MM_NO_REF; scripts &= scripts - 1) {
		ss->script_at = (unsigned)__builtin_ctzll(scripts);
		ref = handler_for(ss, MM_STAGE_header);
	}
	return ref;
}

/* Has nothing happened that would have to be told from field to field? */
static bool can_walk(const struct mm_script_session *ss)
{
	return ss->stage == MM_STAGE_header && ss->facts->grants.quiet & MM_STAGE_BIT(header)
		&& (ss->accepted_client | ss->accepted_message | ss->skipped) == 0
		&& ss->over_due == 0 && !ss->has_verdict;
}

/* All handlers of a field have returned nothing, which is all there is to be done for one without a reply. */
static inline bool takes_further_field(struct mm_script_session *ss)
{
	if (!mm_engine_further(ss->engine, ss))
		return false;
	ss->script_at = 0;
	mm_told_event(ss, true);
	return true;
}

/* As mm_arguments_push() pushes them. */
static void fill_field(const struct mm_script_session *ss, int ref, struct mm_walked *w)
{
	const struct mm_handlers *h = &ss->generation->plan->handlers[ss->script_at];
	const struct mm_command *c = ss->event->command;
	unsigned seen = h->seen[MM_STAGE_header];
	*w = (struct mm_walked){
		.first = c->text.bytes, .first_size = seen >= 2 ? (int32_t)c->text.size : -1,
		.second = c->value.bytes, .second_size = seen >= MM_ARGUMENTS_ALL ? (int32_t)c->value.size : -1,
		.called = ref,
	};
	if (h->fields != NULL) {
		w->first = c->value.bytes;
		w->first_size = (int32_t)c->value.size;
		w->second_size = -1;
	}
}

/* A handler has returned nothing: the next one is that of another script, or of another field. */
static bool further_handler(void *self, struct mm_walked *w)
{
	struct mm_script_session *ss = self;
	if (ss->has_verdict || ss->over_due != 0)
		return false;
	uint64_t scripts = ss->generation->plan->stage_scripts[MM_STAGE_header];
	int ref = next_handler(ss, scripts & ~UINT64_C(1) << ss->script_at);
	while (ref == MM_NO_REF && takes_further_field(ss))
		ref = next_handler(ss, scripts);
	if (ref == MM_NO_REF)
		return false;
	fill_field(ss, ref, w);
	return true;
}

/* Its function declares no further argument. */
static inline bool gets_only_ctx(const struct mm_script_session *ss)
{
	const struct mm_handlers *h = &ss->generation->plan->handlers[ss->script_at];
	return h->seen[ss->stage] < 2 && (h->fields == NULL || ss->stage != MM_STAGE_header);
}

/* Is there more than one handler to be called? A loop that always ends at once could not be compiled, nor later. */
static bool goes_far(const struct mm_script_session *ss)
{
	uint64_t scripts = ss->generation->plan->stage_scripts[MM_STAGE_header];
	return (scripts & (scripts - 1)) != 0 || mm_engine_has_further(ss->engine, ss);
}

static enum mm_run call_handler(struct mm_script_session *ss, int ref, struct mm_fault *why)
{
	if (ss->ctx != MM_NO_REF && can_walk(ss) && goes_far(ss))
		return mm_call_walk(ss->task, ref, push_arguments, further_handler, ss, why);
	if (ss->ctx != MM_NO_REF && gets_only_ctx(ss))
		return mm_call_with_ctx(ss->task, ref, why);
	return mm_call_function(ss->task, ref, push_handler, ss, why);
}

/* A body that the script asked for with ctx:body{}: each piece is stored before on_body sees it, and the body is
 * finished before on_eom. True: a limit of the script or a full disk has decided the event. */
static bool feed_kept_body(struct mm_script_session *ss, struct mm_verdict *out)
{
	struct mm_fault why;
	ss->feeds_body = true;
	/* never waits */
	enum mm_run run = mm_call_function(ss->task, ss->generation->feed_kept_body, push_feed, ss, &why);
	bool is_decided = handler_ended(ss, ss->generation->feed_kept_body, run, &why, out);
	ss->feeds_body = false;
	return is_decided;
}

/* ---- what the host does for mail identity ---- */

static bool begins_identity(const struct mm_script_session *ss)
{
	return ss->generation->begin_identity != MM_NO_REF && (ss->stage == MM_STAGE_mail
		|| ss->stage == MM_STAGE_eoh);
}

static bool has_seals(const struct mm_script_session *ss)
{
	const struct mm_message *m = ss->facts->message;
	return ss->stage == MM_STAGE_eom && m != NULL && m->edits.seals > 0;
}

bool mm_handlers_have_identity(const struct mm_script_session *ss)
{
	return begins_identity(ss) || has_seals(ss);
}

static void push_ctx(lua_State *co, void *self)
{
	mm_ctx_push(co, self);
}

static void push_ctx_and_stage(lua_State *co, void *self)
{
	const struct mm_script_session *ss = self;
	mm_ctx_push(co, self);
	lua_pushstring(co, mm_stage_name(ss->stage));
}

/* True: it has failed, and out is the event's verdict. */
static bool begin_identity(struct mm_script_session *ss, struct mm_verdict *out)
{
	struct mm_fault why;
	int ref = ss->generation->begin_identity;
	/* never waits */
	enum mm_run run = mm_call_function(ss->task, ref, push_ctx_and_stage, ss, &why);
	return handler_ended(ss, ref, run, &why, out);
}

/* All handlers have run; what they have decided is in out. The message is sealed as it leaves, if it does. */
static enum mm_outcome finish(struct mm_script_session *ss, struct mm_verdict *out)
{
	struct mm_fault why;
	bool leaves = out->kind == MM_VERDICT_continue || out->kind == MM_VERDICT_accept
		|| out->kind == MM_VERDICT_skip;
	if (!has_seals(ss) || !leaves) {
		mm_handlers_end(ss);
		return MM_DECIDED;
	}
	ss->makes_seals = true;
	ss->script_at = ss->sealed_by;          /* whose fault it is, if one is raised */
	enum mm_run run = mm_call_function(ss->task, ss->generation->make_seals, push_ctx, ss, &why);
	if (run == MM_RUN_WAITING) {
		mm_deadline_arm(ss);
		return MM_WAITING;
	}
	handler_ended(ss, ss->generation->make_seals, run, &why, out);
	mm_handlers_end(ss);
	return MM_DECIDED;
}

/* The engine holds an accept, so no handler runs. */
static enum mm_outcome only_seal(struct mm_script_session *ss, struct mm_verdict *out)
{
	mm_verdict_reset(out);
	if (begins_identity(ss) && begin_identity(ss, out)) {
		mm_handlers_end(ss);
		return MM_DECIDED;
	}
	return finish(ss, out);
}

/* ---- running ---- */

/* The handlers from script_at on. MM_RUN_DONE: all have run. MM_RUN_EXITED: the event is decided. */
static enum mm_run run_handlers(struct mm_script_session *ss, struct mm_verdict *out)
{
	struct mm_generation *g = ss->generation;
	bool may_keep = ss->stage == MM_STAGE_body || ss->stage == MM_STAGE_eom;
	for (; ss->script_at < g->script_count; ss->script_at++) {
		uint64_t bit = UINT64_C(1) << ss->script_at;
		int ref = handler_of(ss);
		if (may_keep && ss->keeps_body & bit && takes_part(ss, ss->script_at)) {
			if (feed_kept_body(ss, out))
				return MM_RUN_EXITED;
			if (ss->stage == MM_STAGE_body && ss->skips_body & bit)
				continue;
		}
		if (ref == MM_NO_REF || !takes_part(ss, ss->script_at))
			continue;
		struct mm_fault why;
		enum mm_run run = call_handler(ss, ref, &why);
		if (run == MM_RUN_WAITING) {
			mm_deadline_arm(ss);
			return run;
		}
		if (handler_ended(ss, ref, run, &why, out))
			return MM_RUN_EXITED;
	}
	return MM_RUN_DONE;
}

enum mm_outcome mm_handlers_run(struct mm_script_session *ss, struct mm_verdict *out)
{
	enum mm_run run;
	do
		run = run_handlers(ss, out);
	while (run == MM_RUN_DONE && can_walk(ss) && takes_further_field(ss));
	if (run == MM_RUN_WAITING)
		return MM_WAITING;
	if (run == MM_RUN_EXITED) {
		mm_handlers_end(ss);
		return MM_DECIDED;
	}
	mm_handlers_conclude(ss, out);
	return finish(ss, out);
}

enum mm_outcome mm_handlers_begin(struct mm_script_session *ss, struct mm_verdict *out)
{
	if (ss->event->is_accepted)
		return only_seal(ss, out);
	if (begins_identity(ss) && begin_identity(ss, out)) {
		mm_handlers_end(ss);
		return MM_DECIDED;
	}
	return mm_handlers_run(ss, out);
}

/* The seals are made, or have failed. */
static enum mm_outcome sealed(struct mm_script_session *ss, enum mm_run run, struct mm_fault *why,
	struct mm_verdict *out)
{
	if (!handler_ended(ss, ss->generation->make_seals, run, why, out) && !ss->event->is_accepted)
		mm_handlers_conclude(ss, out);
	mm_handlers_end(ss);
	return MM_DECIDED;
}

enum mm_outcome mm_handlers_go_on(struct mm_script_session *ss, enum mm_run run, struct mm_fault *why,
	struct mm_verdict *out)
{
	if (run == MM_RUN_WAITING) {
		mm_deadline_arm(ss);
		return MM_WAITING;
	}
	if (ss->makes_seals)
		return sealed(ss, run, why, out);
	int ref = handler_of(ss);
	if (handler_ended(ss, ref, run, why, out)) {
		mm_handlers_end(ss);
		return MM_DECIDED;
	}
	ss->script_at++;
	return mm_handlers_run(ss, out);
}

void mm_handlers_give_up(struct mm_script_session *ss, enum mm_cancel why)
{
	mm_task_cancel(ss->task, why);
	mm_handlers_forget_verdict(ss);
}
