#include "embed/filter.h"

#include "base/text.h"
#include "embed/parts.h"

#include <stdlib.h>
#include <string.h>

void mm_filter_drop(struct mm_filter_kept *k)
{
	if (k->destroy != NULL && k->data != NULL)
		k->destroy(k->data);
	*k = (struct mm_filter_kept){ NULL, NULL };
}

const char *mm_filter_string(struct mm_filter_session *f, unsigned at, struct mm_text text)
{
	struct mm_buffer *b = &f->texts[at];
	mm_buffer_clear(b);
	mm_buffer_append(b, text.bytes, text.size);
	mm_buffer_append_u8(b, '\0');
	if (b->failed) {
		b->failed = false;
		return "";
	}
	return (const char *)b->bytes;
}

/* ---- what the MTA is asked for ---- */

static uint32_t stages_of(const struct mm_filter *c)
{
	const struct { bool has; enum mm_stage stage; } rows[] = {
		{ c->on_connect != NULL, MM_STAGE_connect }, { c->on_helo != NULL, MM_STAGE_helo },
		{ c->on_mail != NULL, MM_STAGE_mail }, { c->on_rcpt != NULL, MM_STAGE_rcpt },
		{ c->on_data != NULL, MM_STAGE_data }, { c->on_header != NULL, MM_STAGE_header },
		{ c->on_eoh != NULL, MM_STAGE_eoh }, { c->on_body != NULL, MM_STAGE_body },
		{ c->on_eom != NULL, MM_STAGE_eom }, { c->on_unknown != NULL, MM_STAGE_unknown },
		{ c->on_abort != NULL, MM_STAGE_abort }, { c->on_done != NULL, MM_STAGE_done },
		{ c->on_close != NULL, MM_STAGE_close }, { c->on_macros != NULL, MM_STAGE_macros },
	};
	uint32_t stages = 0;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		stages |= rows[i].has ? 1u << rows[i].stage : 0;
	return stages;
}

/* A message is seen from its beginning to its end, as with scripts (runtime/plan.lua). A header's verdict waits for the
 * end of headers, so that fields need no reply. */
static void derive_wanted(struct mm_filter_session *f)
{
	const uint32_t of_message = MM_STAGES_OF_MESSAGE | MM_STAGE_BIT(unknown) | MM_STAGE_BIT(abort)
		| MM_STAGE_BIT(done);
	struct mm_wanted *w = &f->wanted;
	uint32_t handled = stages_of(f->filter), stages = handled;
	if (stages & of_message)
		stages |= MM_STAGE_BIT(mail) | MM_STAGE_BIT(rcpt) | MM_STAGE_BIT(eom);
	if (handled & (MM_STAGE_BIT(unknown) | MM_STAGE_BIT(abort)))
		handled |= MM_STAGE_BIT(mail);
	if (handled & MM_STAGE_BIT(macros))
		stages |= MM_STAGES_OF_CLIENT | (MM_STAGES_OF_MESSAGE & ~(MM_STAGE_BIT(header) | MM_STAGE_BIT(body)));
	if (handled & MM_STAGE_BIT(header)) {
		handled = (handled & ~MM_STAGE_BIT(header)) | MM_STAGE_BIT(eoh);
		stages |= MM_STAGE_BIT(eoh);
	}
	if (f->inner != NULL) {
		*w = *f->scripts.ops->wanted(f->inner);
		handled |= w->stages & ~w->quiet;
		stages |= w->stages;
	}
	w->stages = stages;
	w->quiet = stages & ~handled;
	w->actions |= SMFIF_ADDHDRS | SMFIF_CHGBODY | SMFIF_ADDRCPT | SMFIF_DELRCPT | SMFIF_CHGHDRS | SMFIF_QUARANTINE
		| SMFIF_CHGFROM | SMFIF_ADDRCPT_PAR;
	for (int set = 0; f->of->macros != NULL && set < MM_MACRO_SET_COUNT; set++)
		if (w->macro_lists[set] == NULL && set != MM_MACRO_SET_data)
			w->macro_lists[set] = f->of->macros;
}

/* ---- verdicts of both ---- */

/* The filter wants to see no more of the message, or of the client. */
static bool is_done(const struct mm_filter_session *f)
{
	return f->accepted_client || f->accepted_message
		|| !(stages_of(f->filter) & (MM_STAGES_OF_MESSAGE | MM_STAGES_OF_CLIENT));
}

static bool scripts_are_done(const struct mm_filter_session *f)
{
	return f->inner == NULL || f->scripts_accepted_client || f->scripts_accepted_message;
}

/* Makes one verdict of what the scripts say, or would if there were any, and of what the filter has said before. */
static void merge(struct mm_filter_session *f, struct mm_verdict *v)
{
	enum mm_stage stage = f->event.stage;
	bool of_client = MM_STAGES_OF_CLIENT & 1u << stage;
	bool scripts_skip = f->inner == NULL || scripts_are_done(f) || v->kind == MM_VERDICT_skip
		|| !(f->scripts.ops->wanted(f->inner)->stages & 1u << stage);
	if (v->kind == MM_VERDICT_accept && of_client)
		f->scripts_accepted_client = true;
	else if (v->kind == MM_VERDICT_accept)
		f->scripts_accepted_message = true;
	if (v->kind != MM_VERDICT_continue && v->kind != MM_VERDICT_accept && v->kind != MM_VERDICT_skip)
		return;
	if (!((MM_STAGES_OF_CLIENT | MM_STAGES_OF_MESSAGE) & 1u << stage))
		return;
	bool somebody_accepts = f->accepted_client || f->accepted_message || f->scripts_accepted_client
		|| f->scripts_accepted_message;
	if (somebody_accepts && is_done(f) && scripts_are_done(f)) {
		mm_verdict_plain(v, MM_VERDICT_accept);
		snprintf(v->decided_by, sizeof v->decided_by, "%.40s", f->filter->name);
	} else if ((stage == MM_STAGE_header || stage == MM_STAGE_body) && f->skips && scripts_skip) {
		mm_verdict_plain(v, MM_VERDICT_skip);
	} else {
		mm_verdict_reset(v);
	}
}

static enum mm_outcome ask_scripts(struct mm_filter_session *f, struct mm_verdict *out)
{
	uint32_t afterwards = MM_STAGES_AFTERWARDS;
	mm_verdict_reset(out);
	bool asks = f->inner != NULL && (afterwards & 1u << f->event.stage || f->event.is_accepted
		|| !scripts_are_done(f));
	if (asks && f->scripts.ops->event(f->inner, &f->event, out) == MM_WAITING) {
		f->awaits_scripts = true;
		return MM_WAITING;
	}
	merge(f, out);
	return MM_DECIDED;
}

/* ---- lists of strings for a handler: first all the strings, then the pointers to them ---- */

static void begin_words(struct mm_filter_session *f)
{
	mm_buffer_clear(&f->words);
	mm_buffer_clear(&f->lists);
}

static void add_word(struct mm_filter_session *f, struct mm_text text)
{
	mm_buffer_append(&f->words, text.bytes, text.size);
	mm_buffer_append_u8(&f->words, '\0');
}

/* word NULL: ends a list. Returns the next word. */
static const char *add_pointer(struct mm_filter_session *f, const char *word)
{
	mm_buffer_append(&f->lists, &word, sizeof word);
	return word != NULL ? word + strlen(word) + 1 : NULL;
}

/* False: out of memory. */
static bool words_are_whole(struct mm_filter_session *f)
{
	bool ok = !f->words.failed && !f->lists.failed;
	f->words.failed = f->lists.failed = false;
	return ok;
}

static const void *list_at(const struct mm_filter_session *f, size_t pointer)
{
	return f->lists.bytes + pointer * sizeof(char *);
}

/* ---- what has become of a message ---- */

static void add_edited(struct mm_filter_session *f, bool deleted)
{
	const struct mm_message *m = f->facts->message;
	for (uint32_t i = 0; f->event.result_edits > 0 && i < m->edits.envelope_count; i++)
		if ((m->envelope_edits[i].letter == SMFIR_DELRCPT) == deleted)
			add_word(f, mm_address_bare(mm_message_text(m, m->envelope_edits[i].address)));
}

static void add_refused(struct mm_filter_session *f)
{
	const struct mm_message *m = f->facts->message;
	for (uint32_t i = 0; i < m->recipient_count; i++) {
		const struct mm_recipient *r = &m->recipients[i];
		if (!r->is_refused)
			continue;
		add_word(f, mm_address_bare(mm_message_text(m, r->address)));
		add_word(f, mm_text_of(r->refused_with == MM_VERDICT_continue ? "mta"
			: mm_verdict_name((enum mm_verdict_kind)r->refused_with)));
	}
}

/* Three lists: recipients added, recipients deleted, pairs of refusals. Two NULLs end the last. */
static void add_lists(struct mm_filter_session *f, struct mm_result *result)
{
	static const char *const none[] = { NULL };
	static const struct mm_refusal nobody = { NULL, NULL };
	size_t ends[3], at = 0;
	begin_words(f);
	add_edited(f, false);
	ends[0] = f->words.size;
	add_edited(f, true);
	ends[1] = f->words.size;
	add_refused(f);
	ends[2] = f->words.size;
	const char *word = (const char *)f->words.bytes, *first = word;
	size_t starts[3] = { 0 };
	for (int list = 0; list < 3; list++) {
		starts[list] = at;
		for (; !f->words.failed && word < first + ends[list]; at++)
			word = add_pointer(f, word);
		add_pointer(f, NULL);
		at++;
	}
	add_pointer(f, NULL);
	bool ok = words_are_whole(f);
	result->added = ok ? list_at(f, starts[0]) : none;
	result->deleted = ok ? list_at(f, starts[1]) : none;
	result->refusals = ok ? list_at(f, starts[2]) : &nobody;
}

static struct mm_result result_of(struct mm_filter_session *f)
{
	const struct mm_event *e = &f->event;
	const struct mm_message *m = f->facts->message;
	struct mm_result result = {
		.answer = (enum mm_decision)e->result, .stage = mm_stage_name(e->ended_at), .decided_by = e->result_by,
		.reply = mm_filter_string(f, 0, e->result_reply),
		.quarantine = e->result_edits > 0 && m->edits.quarantines
			? mm_filter_string(f, 1, mm_message_text(m, m->edits.quarantine_reason)) : NULL,
		.edits = e->result_edits, .recipients = m->recipient_count, .refused = m->refused_count,
		.seconds = m->decided_at - m->began_at, .waited = m->waited,
		.computed = mm_profile_seconds(mm_worker_profile(f->of->host->worker), m->busy),
	};
	add_lists(f, &result);
	return result;
}

/* Pairs of name and value; two NULLs end them. */
static void call_macros(struct mm_filter_session *f)
{
	const struct mm_macros *all = &f->facts->macros;
	struct mm_text name, value;
	enum mm_macro_set set = f->event.macros_at;
	begin_words(f);
	for (size_t at = 0; mm_macros_next(all, set, &at, &name, &value);) {
		add_word(f, mm_macro_bare(name));
		add_word(f, value);
	}
	const char *word = (const char *)f->words.bytes, *end = word + f->words.size;
	while (!f->words.failed && word < end)
		word = add_pointer(f, word);
	add_pointer(f, NULL);
	add_pointer(f, NULL);
	if (words_are_whole(f))
		f->filter->on_macros(&f->event, mm_macro_set_name(set), list_at(f, 0));
}

/* ---- the filter's part ---- */

/* Calls the event's handler, if there is one. */
static enum mm_decision call(struct mm_filter_session *f)
{
	const struct mm_filter *c = f->filter;
	struct mm_event *e = &f->event;
	const struct mm_command *command = e->command;
#define RUN(handler, ...) return c->handler != NULL ? c->handler(e, ##__VA_ARGS__) : MM_DECISION_CONTINUE
	switch (e->stage) {
	case MM_STAGE_connect: RUN(on_connect, f->facts->client_host, f->facts->client_address);
	case MM_STAGE_helo:    RUN(on_helo, mm_filter_string(f, 0, command->text));
	case MM_STAGE_mail:    RUN(on_mail, mm_filter_string(f, 0, mm_address_bare(command->text)));
	case MM_STAGE_rcpt:    RUN(on_rcpt, mm_filter_string(f, 0, mm_address_bare(command->text)));
	case MM_STAGE_data:    RUN(on_data);
	case MM_STAGE_header:
		RUN(on_header, mm_filter_string(f, 0, command->text), mm_filter_string(f, 1, command->value));
	case MM_STAGE_eoh:     RUN(on_eoh);
	case MM_STAGE_body:    RUN(on_body, command->text.bytes, command->text.size);
	case MM_STAGE_eom:     RUN(on_eom);
	case MM_STAGE_unknown: RUN(on_unknown, mm_filter_string(f, 0, command->text));
	case MM_STAGE_macros:
		if (c->on_macros != NULL)
			call_macros(f);
		return MM_DECISION_CONTINUE;
	case MM_STAGE_abort:
		if (c->on_abort != NULL)
			c->on_abort(e, mm_stage_name(e->ended_at), (enum mm_end_reason)e->ended_by);
		return MM_DECISION_CONTINUE;
	case MM_STAGE_done:
		if (c->on_done != NULL) {
			struct mm_result result = result_of(f);
			c->on_done(e, &result);
		}
		return MM_DECISION_CONTINUE;
	case MM_STAGE_close:
		if (c->on_close != NULL)
			c->on_close(e, (enum mm_end_reason)e->ended_by);
		return MM_DECISION_CONTINUE;
	default:
		return MM_DECISION_CONTINUE;
	}
#undef RUN
}

/* What it takes counts like the work of scripts: for the message, and for the turns of sessions. */
static enum mm_decision call_measured(struct mm_filter_session *f)
{
	uint64_t began = mm_clock_ticks();
	enum mm_decision answer = call(f);
	uint64_t busy = mm_clock_ticks() - began;
	mm_worker_profile(f->of->host->worker)->busy += busy;
	if (f->facts->message != NULL)
		f->facts->message->busy += busy;
	return answer;
}

static bool takes_part(const struct mm_filter_session *f)
{
	if (MM_STAGES_AFTERWARDS & 1u << f->event.stage)
		return f->event.stage == MM_STAGE_close || !f->accepted_client;
	return !f->event.is_accepted && !f->accepted_client && !f->accepted_message && !f->skips;
}

/* The filter's answer. DECIDED: the event is over; else the scripts are asked. */
static bool fold(struct mm_filter_session *f, enum mm_decision answer, struct mm_verdict *out)
{
	enum mm_verdict_kind kind = (enum mm_verdict_kind)answer;
	mm_verdict_reset(out);
	if (answer >= MM_DECISION_LATER || !(mm_verdict_stages(kind) & 1u << f->event.stage)) {
		mm_log_say(&f->of->host->log, MM_LEVEL_ERROR, "filter_error", "%s: answer %d is not possible at %s",
			f->filter->name, (int)answer, mm_stage_name(f->event.stage));
		kind = MM_STAGES_AFTERWARDS & 1u << f->event.stage ? MM_VERDICT_continue : MM_VERDICT_tempfail;
	}
	switch (kind) {
	case MM_VERDICT_continue:
		return false;
	case MM_VERDICT_accept:
		if (MM_STAGES_OF_CLIENT & 1u << f->event.stage)
			f->accepted_client = true;
		else
			f->accepted_message = true;
		return false;
	case MM_VERDICT_skip:
		f->skips = true;
		return false;
	default:
		if (f->worded.kind == kind)
			mm_verdict_move(out, &f->worded);
		else
			mm_verdict_plain(out, kind);
		snprintf(out->decided_by, sizeof out->decided_by, "%.40s", f->filter->name);
		return true;
	}
}

static double deadline_of(const struct mm_filter_session *f)
{
	const struct mm_config *c = &f->of->host->config;
	return f->event.stage == MM_STAGE_eom ? c->eom_deadline : c->stage_deadline;
}

static void arm(struct mm_filter_session *f)
{
	double left = f->deadline_at - mm_clock_now(), every = f->of->host->config.progress_every;
	mm_timer_start(&f->alarm, left < every ? left : every);
}

static void stop_awaiting(struct mm_filter_session *f)
{
	f->awaits_answer = false;
	mm_timer_stop(&f->alarm);
}

static enum mm_outcome go_on(struct mm_filter_session *f, enum mm_decision answer, struct mm_verdict *out)
{
	bool is_decided = fold(f, answer, out);
	mm_verdict_reset(&f->worded);
	return is_decided ? MM_DECIDED : ask_scripts(f, out);
}

static enum mm_outcome filtered_event(void *self, const struct mm_event *event, struct mm_verdict *out)
{
	struct mm_filter_session *f = self;
	f->event = *event;
	if (f->skipped_stage != event->stage) {
		f->skipped_stage = event->stage;
		f->skips = false;
	}
	if (!takes_part(f))
		return ask_scripts(f, out);
	f->is_in_handler = true;
	f->has_early_answer = false;
	f->awaits_answer = true;
	enum mm_decision answer = call_measured(f);
	f->is_in_handler = f->awaits_answer = false;
	if (answer == MM_DECISION_LATER && f->has_early_answer)
		answer = f->early_answer;
	if (answer != MM_DECISION_LATER || MM_STAGES_AFTERWARDS & 1u << event->stage)
		return go_on(f, answer, out);
	f->awaits_answer = true;
	f->deadline_at = mm_clock_now() + deadline_of(f);
	arm(f);
	return MM_WAITING;
}

bool mm_event_finish(struct mm_event *event, enum mm_decision answer)
{
	struct mm_filter_session *f = (struct mm_filter_session *)event;
	struct mm_verdict out = { 0 };
	if (!f->awaits_answer || f->has_early_answer)
		return false;
	if (f->is_in_handler) {
		f->has_early_answer = true;
		f->early_answer = answer;
		return true;
	}
	stop_awaiting(f);
	if (go_on(f, answer, &out) == MM_DECIDED)
		mm_engine_decided(f->engine, &out);
	return true;
}

static void on_alarm(struct mm_timer *timer)
{
	struct mm_filter_session *f = MM_OWNER_OF(timer, struct mm_filter_session, alarm);
	struct mm_text words = mm_text_of("Mail filter failed, please try again later");
	struct mm_verdict out = { 0 };
	struct mm_fault why;
	if (mm_clock_now() < f->deadline_at - 0.001) {
		mm_engine_progress(f->engine);
		arm(f);
		return;
	}
	mm_log_say(&f->of->host->log, MM_LEVEL_ERROR, "filter_error", "%s: deadline: no answer at %s after %.0f s",
		f->filter->name, mm_stage_name(f->event.stage), deadline_of(f));
	stop_awaiting(f);
	if (f->filter->on_cancel != NULL)
		f->filter->on_cancel(&f->event);
	if (!mm_verdict_worded(&out, MM_VERDICT_tempfail, 451, mm_text_of("4.3.0"), &words, 1, &why))
		mm_verdict_plain(&out, MM_VERDICT_tempfail);
	snprintf(out.decided_by, sizeof out.decided_by, "%.40s", f->filter->name);
	mm_engine_decided(f->engine, &out);
}

/* ---- the runtime ---- */

static void *filtered_open(void *runtime, struct mm_session *facts, void *engine)
{
	const struct mm_filtered *of = runtime;
	struct mm_generation *g = mm_worker_generation(of->host->worker, of->milter);
	struct mm_filter_session *f = calloc(1, sizeof *f);
	if (f == NULL)
		return NULL;
	f->of = of;
	f->filter = of->filter;
	f->facts = facts;
	f->engine = engine;
	f->skipped_stage = MM_STAGE_COUNT;
	mm_timer_init(&f->alarm, mm_worker_clock(of->host->worker), on_alarm);
	if (!mm_generation_is_empty(g)) {
		f->scripts = mm_generation_runtime(g);
		f->inner = f->scripts.ops->open(f->scripts.self, facts, engine);
		if (f->inner == NULL) {
			free(f);
			return NULL;
		}
	}
	derive_wanted(f);
	return f;
}

static const struct mm_wanted *filtered_wanted(void *self)
{
	return &((struct mm_filter_session *)self)->wanted;
}

static void filtered_settle(void *self, struct mm_verdict *v)
{
	struct mm_filter_session *f = self;
	if (!f->awaits_scripts)
		return;
	f->awaits_scripts = false;
	merge(f, v);
}

static void filtered_cancel(void *self, enum mm_cancel why)
{
	struct mm_filter_session *f = self;
	if (f->awaits_scripts) {
		f->awaits_scripts = false;
		f->scripts.ops->cancel(f->inner, why);
		return;
	}
	stop_awaiting(f);
	mm_verdict_reset(&f->worded);
	if (f->filter->on_cancel != NULL)
		f->filter->on_cancel(&f->event);
}

static void filtered_end_message(void *self)
{
	struct mm_filter_session *f = self;
	f->accepted_message = f->scripts_accepted_message = f->skips = false;
	mm_filter_drop(&f->of_message);
	if (f->inner != NULL)
		f->scripts.ops->end_message(f->inner);
}

static void filtered_end_client(void *self)
{
	struct mm_filter_session *f = self;
	filtered_end_message(f);
	f->accepted_client = f->scripts_accepted_client = false;
	mm_filter_drop(&f->of_client);
	if (f->inner != NULL)
		f->scripts.ops->end_client(f->inner);
}

static void filtered_close(void *self)
{
	struct mm_filter_session *f = self;
	stop_awaiting(f);
	mm_filter_drop(&f->of_message);
	mm_filter_drop(&f->of_client);
	if (f->inner != NULL)
		f->scripts.ops->close(f->inner);
	mm_verdict_reset(&f->worded);
	for (unsigned i = 0; i < sizeof f->texts / sizeof *f->texts; i++)
		mm_buffer_free(&f->texts[i]);
	mm_buffer_free(&f->words);
	mm_buffer_free(&f->lists);
	free(f);
}

const struct mm_filter *mm_host_filter_of(const struct mm_host *h, unsigned milter)
{
	return h->filtered != NULL ? h->filtered[milter].filter : NULL;
}

void mm_filter_describe(const struct mm_filter *c, struct mm_say say)
{
	char line[512];
	uint32_t stages = stages_of(c);
	int at = snprintf(line, sizeof line, "filter %.100s in C:", c->name);
	for (int stage = 0; stage < MM_STAGE_COUNT; stage++)
		if (stages & 1u << stage)
			at += snprintf(line + at, sizeof line - (size_t)at, " %s",
				mm_stage_handler((enum mm_stage)stage));
	say.line(say.self, line);
}

struct mm_runtime mm_host_runtime(void *self, unsigned milter)
{
	static const struct mm_runtime_ops ops = {
		.open = filtered_open, .wanted = filtered_wanted, .event = filtered_event, .cancel = filtered_cancel,
		.end_message = filtered_end_message, .end_client = filtered_end_client, .close = filtered_close,
		.settle = filtered_settle,
	};
	struct mm_host *h = self;
	if (mm_host_filter_of(h, milter) != NULL)
		return (struct mm_runtime){ &ops, &h->filtered[milter] };
	return mm_generation_runtime(mm_worker_generation(h->worker, milter));
}

static char *join_macros(const char *const *names)
{
	struct mm_buffer line = { 0 };
	for (; names != NULL && *names != NULL; names++) {
		if (line.size > 0)
			mm_buffer_append_u8(&line, ' ');
		mm_buffer_append(&line, *names, strlen(*names));
	}
	char *copy = line.size > 0 && !line.failed ? strndup((char *)line.bytes, line.size) : NULL;
	mm_buffer_free(&line);
	return copy;
}

bool mm_host_take_filters(struct mm_host *h, struct mm_fault *why)
{
	const struct mm_filter *const *list = h->options.filters;
	if (list == NULL)
		return true;
	h->filtered = calloc(h->config.milter_count, sizeof *h->filtered);
	if (h->filtered == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for filters");
	for (; *list != NULL; list++) {
		unsigned at = 0;        /* mm_host_read_config() has found it */
		if ((*list)->size < offsetof(struct mm_filter, on_macros))
			return mm_fault_because(why, MM_REASON_IS_BAD_VALUE, "filters: .size is %zu; write .size = "
				"sizeof(struct mm_filter)", (*list)->size);
		while ((*list)->milter != NULL && strcmp(h->config.milters[at].name, (*list)->milter) != 0)
			at++;
		if (h->filtered[at].filter != NULL)
			return mm_fault_because(why, MM_REASON_IS_IN_USE, "filters: milter \"%s\" has two, %s and %s",
				h->config.milters[at].name, h->filtered[at].filter->name, (*list)->name);
		struct mm_filtered *f = &h->filtered[at];
		*f = (struct mm_filtered){ .filter = &f->copy, .host = h, .milter = at };
		memcpy(&f->copy, *list, (*list)->size < sizeof f->copy ? (*list)->size : sizeof f->copy);
		f->macros = join_macros(f->copy.macros);
	}
	return true;
}

void mm_host_free_filters(struct mm_host *h)
{
	for (size_t i = 0; h->filtered != NULL && i < h->config.milter_count; i++)
		free(h->filtered[i].macros);
	free(h->filtered);
}
