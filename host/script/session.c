/* script/session.c -- a session as its scripts see it: the runtime that an engine asks (milter/runtime.h). Events begin
 * and end here, waits end from outside, and tasks, tables and sockets go with the message or the client they belong to.
 * mm_generation_runtime() of script/generation.h; what handlers do with an event is script/handlers.h. */
#include "script/generation.h"

#include "base/figures.h"
#include "base/list.h"
#include "bind/ctx.h"
#include "bind/kept_body.h"
#include "bind/limit.h"
#include "bind/received.h"
#include "script/deadline.h"
#include "script/failure.h"
#include "script/handlers.h"
#include "script/load.h"
#include "script/state.h"
#include "task/call.h"
#include "task/group.h"
#include "task/told.h"

#include <stdio.h>
#include <stdlib.h>

static void main_resumed(struct mm_task *, enum mm_run, struct mm_fault *);
static void alarm_fired(struct mm_timer *);

_Static_assert(MM_STAGE_COUNT <= MM_FIGURES_STAGES, "each stage has its series");

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
	ss->recipients_table = ss->headers_table = ss->kept_bodies = ss->received = MM_NO_REF;
	ss->ending = MM_CANCEL_ENDED;
	ss->event = &mm_event_none;
	g->alarm = alarm_fired;
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
	mm_limit_settle(ss);
	mm_task_group_end(&ss->message_tasks, ss->generation, ss, ss->ending);
	mm_kept_bodies_close(ss);
	mm_received_end(ss);
	mm_holder_end(&ss->message_holder);
	mm_ctx_end_message(ss);
	mm_state_check_registry(ss->generation);
	ss->cpu_used = 0;
	ss->has_passed = false;
	ss->accepted_message = 0;
	ss->skipped = 0;
	ss->over_due = ss->over_logged = 0;
}

static void session_end_client(void *self)
{
	struct mm_script_session *ss = self;
	session_end_message(ss);
	mm_task_group_end(&ss->client_tasks, ss->generation, ss, ss->ending);
	mm_told_end(ss);
	mm_holder_end(&ss->client_holder);
	mm_ctx_end(ss);
	ss->accepted_client = 0;
}

static void session_close(void *self)
{
	struct mm_script_session *ss = self;
	struct mm_generation *g = ss->generation;
	session_end_client(ss);
	mm_work_end(ss);
	mm_handlers_forget_verdict(ss);
	mm_edit_mark_free(ss->mark);
	MM_LIST_REMOVE(g->sessions, ss);
	free(ss);
	mm_generation_release(g);
}

/* ---- events ---- */

/* The error of tasks that are still running when their message or client ends. */
static void note_ending(struct mm_script_session *ss, enum mm_stage stage)
{
	if (stage == MM_STAGE_abort && ss->ending == MM_CANCEL_ENDED)
		ss->ending = MM_CANCEL_ABORT;
	else if (!(MM_STAGES_AFTERWARDS & 1u << stage))
		ss->ending = MM_CANCEL_ENDED;
}

/* How long the MTA has waited for a verdict, as a metric. */
static void note_decided(const struct mm_script_session *ss, enum mm_stage stage)
{
	struct mm_figures *f = ss->generation->settings.figures;
	if (f == NULL || ss->event_began_at == 0)
		return;
	if (f->stages[stage] == NULL)
		f->stages[stage] = mm_figures_gather(f, MM_FIGURE_stages, mm_stage_name(stage), NULL);
	if (f->stages[stage] != NULL)
		mm_figures_note(f->stages[stage], mm_clock_ticks() - ss->event_began_at);
}

/* False: out of memory. */
static bool begin_work(struct mm_script_session *ss)
{
	bool is_marked = ss->facts->message != NULL
		&& (MM_STAGE_BIT(rcpt) | MM_STAGE_BIT(unknown)) & 1u << ss->stage;
	return mm_work_begin(ss, main_resumed) && (!is_marked || mm_edits_mark(ss->facts->message, &ss->mark));
}

/* The engine lends an event for its call; a handler that waits needs it longer. */
static void keep_event(struct mm_script_session *ss)
{
	struct mm_at_work *w = mm_work_of(ss);
	w->event = *ss->event;
	ss->event = &w->event;
}

static enum mm_outcome session_event(void *self, const struct mm_event *event, struct mm_verdict *out)
{
	struct mm_script_session *ss = self;
	note_ending(ss, event->stage);
	if (event->stage == MM_STAGE_done)
		ss->has_passed = event->result == MM_VERDICT_continue || event->result == MM_VERDICT_accept;
	if (ss->stage != event->stage)
		ss->skipped = 0;                /* skip applies to one kind of event */
	ss->stage = event->stage;
	ss->event = event;
	bool is_awaited = !(ss->facts->grants.quiet & 1u << event->stage);
	ss->event_began_at = is_awaited ? mm_clock_ticks() : 0;
	ss->has_event = true;
	ss->script_at = 0;
	bool is_handled = ss->generation->plan->stage_scripts[event->stage] != 0;
	mm_told_event(ss, is_handled);
	if (!is_handled && ss->keeps_body == 0 && !mm_handlers_have_identity(ss)) {
		mm_handlers_conclude(ss, out);
		ss->event = &mm_event_none;
		ss->has_event = false;
		return MM_DECIDED;
	}
	ss->body_marked_by = ss->body_replaced_by;
	if (!begin_work(ss)) {
		mm_failure_decide(ss, "out of memory for the handlers of this event", out);
		mm_handlers_end(ss);
		return MM_DECIDED;
	}
	enum mm_outcome outcome = mm_handlers_begin(ss, out);
	if (outcome == MM_WAITING)
		keep_event(ss);
	if (is_awaited && outcome == MM_DECIDED)
		note_decided(ss, event->stage);
	return outcome;
}

static void main_resumed(struct mm_task *t, enum mm_run run, struct mm_fault *why)
{
	struct mm_script_session *ss = t->session;
	struct mm_verdict out = { 0 };
	enum mm_stage stage = (enum mm_stage)ss->stage;
	if (mm_handlers_go_on(ss, run, why, &out) != MM_DECIDED)
		return;
	note_decided(ss, stage);
	mm_engine_decided(ss->engine, &out);
}

/* ---- the end of a wait from outside ---- */

static void session_cancel(void *self, enum mm_cancel why)
{
	struct mm_script_session *ss = self;
	struct mm_verdict ignored = { 0 };
	ss->ending = why;
	/* The other scripts still get the event. */
	do {
		mm_handlers_give_up(ss, why);
		ss->script_at++;
	} while (MM_STAGES_AFTERWARDS & 1u << ss->stage && mm_handlers_run(ss, &ignored) == MM_WAITING);
	mm_handlers_end(ss);
}

static void deadline_passed(struct mm_script_session *ss)
{
	struct mm_verdict out = { 0 };
	char text[160];
	snprintf(text, sizeof text, "deadline: the handler still waits (%s) after %.0f s; the MTA would give up soon",
		ss->task->wait_name != NULL ? ss->task->wait_name : "?", mm_deadline_seconds(ss));
	mm_handlers_give_up(ss, MM_CANCEL_DEADLINE);
	mm_failure_decide(ss, text, &out);
	if (!mm_failure_has_verdict(ss->stage)) {
		mm_work_of(ss)->deadline_at = 0;        /* the other scripts still get the event, each with its own
		                                         * time limit */
		ss->script_at++;
		if (mm_handlers_run(ss, &out) == MM_WAITING)
			return;
	} else {
		mm_handlers_end(ss);
	}
	note_decided(ss, ss->stage);
	mm_engine_decided(ss->engine, &out);
}

static void alarm_fired(struct mm_timer *timer)
{
	struct mm_script_session *ss = MM_OWNER_OF(timer, struct mm_task_timers, alarm)->task->session;
	if (!ss->task->is_waiting)
		return;
	if (mm_clock_now() >= mm_work_of(ss)->deadline_at - 0.001) {
		deadline_passed(ss);
		return;
	}
	mm_engine_progress(ss->engine);
	mm_work_of(ss)->progress_at = 0;
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
