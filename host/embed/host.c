/* embed/host.c -- the life of a host: bind, raise, start, run, free; and what it reports about itself. */
#include "embed/host.h"

#include "base/suggest.h"
#include "embed/beat.h"
#include "embed/filter.h"
#include "embed/inherited.h"
#include "embed/names.h"
#include "embed/parts.h"
#include "embed/rights.h"
#include "embed/signals.h"
#include "embed/state.h"
#include "embed/wake.h"
#include "moonmilter_testing.h"
#include "state/stores.h"
#include "task/budget.h"

#include <ev.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HISTORY_WRITERS 130u    /* worker processes, living and dying, of a host: rows of its census, and one */
#define HISTORY_SWEEPER 255u

const char *mm_version(void)
{
	return MM_VERSION;
}

const char *mm_error_word(enum mm_error_reason reason)
{
	return (unsigned)reason < MM_REASON_COUNT ? mm_fault_word((enum mm_fault_reason)reason) : "none";
}

int mm_error_status(const struct mm_error *error)
{
	return mm_fault_status(&(struct mm_fault){ .reason = (enum mm_fault_reason)error->reason });
}

/* ---- bind and raise ---- */

static bool name_milters(struct mm_host *h)
{
	h->milter_names = calloc(h->config.milter_count + 1, sizeof *h->milter_names);
	h->kept_names = calloc(h->config.milter_count + 1, sizeof *h->kept_names);
	if (h->milter_names == NULL || h->kept_names == NULL)
		return false;
	for (size_t i = 0; i < h->config.milter_count; i++) {
		h->kept_names[i] = strdup(h->config.milters[i].name);
		if (h->kept_names[i] == NULL)
			return false;
		h->milter_names[i] = h->kept_names[i];
	}
	return true;
}

static void on_retire(void *self, const char *text)
{
	struct mm_host *h = self;
	if (h->retire != NULL)
		h->retire(h->retire_self, text);
}

static bool make_worker(struct mm_host *h, struct mm_fault *why)
{
	struct mm_host_state state;
	mm_host_find_state(h, &state);
	struct mm_worker_options o = {
		.loop = h->loop, .log = &h->log, .census = h->census, .row = h->row,
		.meters = h->meters,
		.milter_count = (unsigned)h->config.milter_count, .milter_names = h->milter_names,
		.state_dir = state.directory, .identity = state.identity,
		.differences = h->differences,
		.history = h->history, .writer = h->census != NULL ? (unsigned)(h->row - h->census->rows) + 1 : 1,
		.runtime = h->filtered != NULL ? mm_host_runtime : NULL,
		.drained = mm_host_on_drained, .retire = on_retire, .self = h,
	};
	struct mm_recorder_options record = {
		.directory = h->config.record, .sample = h->config.record_sample, .session_max = h->config.record_max,
		.total_max = h->config.record_total, .files_max = h->config.record_files,
		.redact = (enum mm_redact)h->config.record_redact,
	};
	if (h->config.record != NULL && !h->options.no_sockets)
		o.record = &record;
	h->worker = mm_worker_new(&o, why);
	return h->worker != NULL && mm_host_tune_worker(h, why);
}

static void free_names(struct mm_host *h)
{
	for (size_t i = 0; h->kept_names != NULL && h->kept_names[i] != NULL; i++)
		free(h->kept_names[i]);
	free(h->kept_names);
	free(h->milter_names);
}

static void free_worker(struct mm_host *h)
{
	if (h->worker == NULL)
		return;
	if (!h->is_stopped)
		mm_worker_shut_down(h->worker);
	mm_timer_stop(&h->drain_timer);         /* after the sessions, because their end stops it; it
	                                         * uses the worker's clock */
	if (h->guards)
		mm_budget_watch(NULL);
	mm_worker_free(h->worker);
}

/* Before anything is opened that will belong to the user. */
static bool choose_user(struct mm_host *h, struct mm_fault *why)
{
	if (h->config.user == NULL && !mm_rights_need_a_user(&h->config.user, why))
		return false;
	return mm_names_check(&h->config, why);
}

/* ---- the last messages ---- */

static bool begin_history(struct mm_host *h, struct mm_fault *why)
{
	const struct mm_config *c = &h->config;
	struct mm_history_options o = {
		.capacity = c->history, .writers = HISTORY_WRITERS, .retention = c->history_time,
		.redact = (enum mm_story_redact)c->history_redact,
	};
	if (c->history == 0 || c->control == NULL)
		return true;
	h->history = mm_history_new(&o, why);
	return h->history != NULL;
}

bool mm_host_trace(struct mm_host *h, const char *text, int fd)
{
	struct mm_trace_filter filter;
	struct mm_fault ignored;
	if (h->worker != NULL && mm_trace_filter_read(&filter, text, &ignored))
		return mm_worker_trace(h->worker, &filter, (enum mm_story_redact)h->config.history_redact, fd);
	close(fd);
	return false;
}

/* Also when no milter has a shadow: a reload may bring one. */
static bool begin_differences(struct mm_host *h, struct mm_fault *why)
{
	const char *names[MM_CONFIG_MILTERS_MAX + 1];           /* "default" besides those with names */
	unsigned count = (unsigned)h->config.milter_count;
	for (unsigned i = 0; i < count; i++)
		names[i] = h->config.milters[i].name;
	h->differences = mm_differences_new(names, count, h->config.history_redact == MM_STORY_REDACT_ADDRESSES);
	return h->differences != NULL || mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a host");
}

struct mm_differences *mm_host_differences(const struct mm_host *h)
{
	return h->differences;
}

struct mm_history *mm_host_history(const struct mm_host *h)
{
	return h->history;
}

void mm_host_recover_history(struct mm_host *h, unsigned index)
{
	if (h->history != NULL)
		mm_history_recover(h->history, index + 1, mm_clock_wall());
}

void mm_host_sweep_history(struct mm_host *h)
{
	if (h->history != NULL)
		mm_history_sweep(h->history, HISTORY_SWEEPER, mm_clock_wall());
}

/* ---- bind ---- */

static void log_doubt(void *self, const char *line)
{
	mm_log_say(self, MM_LEVEL_WARN, "owners", "%s", line);
}

/* The configuration is read. */
static bool bind_rest(struct mm_host *h, bool with_control, struct mm_fault *why)
{
	if (!h->options.drop_rights)
		return true;
	if (with_control)
		mm_inherited_bound_capabilities();
	return mm_rights_drop(h->config.user, h->config.group, why)
		&& (!with_control || mm_inherited_drop_capabilities(why));
}

/* A key that a host inside another program would ignore; NULL: there is none. */
static const char *programs_own(const struct mm_config *c)
{
	static const char *const given[] = { "hang_timeout", "poison_time", "history", "history_time",
		"history_redact", NULL };
	const char *key = c->workers != 0 ? "workers" : c->control != NULL ? "control"
		: c->metrics.count > 0 ? "metrics" : c->watch ? "watch" : c->daemon ? "daemon"
		: c->pid_file != NULL ? "pid_file" : c->recycle_sessions != 0 ? "recycle_sessions" : NULL;
	for (const char *const *g = given; key == NULL && *g != NULL; g++)
		if (mm_config_is_given(c, *g))
			key = *g;
	return key;
}

/* A host inside another program has neither processes of its own nor anybody who answers for it. */
static bool is_for_a_library(const struct mm_host *h, struct mm_fault *why)
{
	const char *key = programs_own(&h->config);
	return h->options.no_sockets || key == NULL || mm_fault_because(why, MM_REASON_IS_NOT_SUPPORTED, "%s: only the "
		"program moonmilter has it; a host in another program is one loop, which the program asks: remove it, "
		"or override it (options.set, \"workers=0\")", key);
}

static bool bind_all(struct mm_host *h, bool with_control, struct mm_fault *why)
{
	mm_owners_begin(&h->owners, h->options.drop_rights, h->options.set);
	if (!mm_owners_check_config(&h->owners, h->options.config_file, why)
	    || !mm_host_read_config(&h->options, &h->config, why))
		return false;
	if ((!with_control && !is_for_a_library(h, why)) || !mm_host_take_filters(h, why))
		return false;
	if (with_control)                       /* this process is the program: nothing of our own is open yet */
		mm_inherited_close_files(&h->config);
	if (h->options.drop_rights)
		mm_rights_raise_limits();
	if (h->options.drop_rights && !choose_user(h, why))
		return false;
	if (!mm_owners_check(&h->owners, &h->config, why) || !mm_host_reopen_log(h, why))
		return false;
	if (!h->options.no_sockets)
		mm_host_describe_doubts(h, (struct mm_say){ log_doubt, &h->log });
	if (with_control && h->config.pid_file != NULL
	    && !mm_pid_file_open(&h->pid_file, h->config.pid_file, h->config.user, why))
		return false;
	if (!h->options.no_sockets && !mm_host_open_listeners(h, why))
		return false;
	if (with_control && h->config.control != NULL && !mm_host_open_control(h, why))
		return false;
	if (with_control && !mm_host_open_metrics(h, why))
		return false;
	if (with_control && !begin_history(h, why))
		return false;
	return begin_differences(h, why) && bind_rest(h, with_control, why);
}

/* Before any process is forked that shares them. */
static bool make_counts(struct mm_host *h, struct mm_fault *why)
{
	h->meters = mm_meters_new();
	if (h->meters == NULL || !mm_census_make(&h->own, 1))
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a host");
	h->figures = mm_figures_new(h->meters, "", why);
	return h->figures != NULL;
}

/* Tells hosts of one process apart, where they have no name: two may be made at once, on two threads. */
static unsigned next_number(void)
{
	static atomic_uint made;
	return atomic_fetch_add(&made, 1);
}

struct mm_host *mm_host_bind(const struct mm_host_options *o, bool with_control, struct mm_fault *why)
{
	struct mm_host *h = calloc(1, sizeof *h);
	if (h == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a host");
		return NULL;
	}
	mm_host_copy_options(h, o);
	h->bound_by = getpid();
	h->started_at = mm_clock_wall();
	h->number = next_number();
	h->control.fd = h->wake_fd = h->pid_file.fd = h->waits_on = -1;
	mm_log_init(&h->log, STDERR_FILENO);
	if (make_counts(h, why) && bind_all(h, with_control, why))
		return h;
	mm_host_free(h);
	return NULL;
}

void mm_host_move(struct mm_host *h)
{
	h->bound_by = getpid();
	mm_pid_file_renew(&h->pid_file);
}

bool mm_host_raise(struct mm_host *h, const struct mm_host_member *member, struct mm_fault *why)
{
	h->row = h->own.rows;
	if (member != NULL) {
		mm_meters_be_worker(h->meters, (unsigned)(member->row - member->census->rows));
		h->census = member->census;
		h->row = member->row;
		h->retire = member->retire;
		h->retire_self = member->self;
		mm_host_lend_listeners(h);
	}
	h->is_virtual = h->stands_at > 0 && h->options.loop == NULL && mm_clock_make_virtual(h->stands_at);
	if (h->stands_at > 0 && !h->is_virtual)
		return mm_fault_set(why, MM_FAULT_CONFIG, "the clock of %s cannot be set",
			h->options.loop != NULL ? "a loop that was handed in" : "this libev");
	h->owns_loop = h->options.loop == NULL;
	h->loop = h->owns_loop ? mm_clock_new_loop() : h->options.loop;
	if (!h->owns_loop)
		mm_clock_adopt();
	if (h->loop == NULL || !name_milters(h))
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a host");
	struct mm_budget_limits cpu = { h->config.cpu_slice, h->config.cpu_session };
	if (h->options.guard_scripts && !mm_budget_open(&cpu, h->row, &h->log, why))
		return false;
	h->guards = h->options.guard_scripts;
	if (!make_worker(h, why))
		return false;
	if (h->guards)
		mm_budget_watch(&mm_worker_engines(h->worker)->working);
	if (!mm_host_begin_beating(h) || !mm_host_listen_for_wakes(h))
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a host");
	if (member == NULL && h->owns_loop)
		h->waits_on = mm_host_fd(h);    /* for mm_host_after_fork(), which must not ask the loop */
	return !h->options.handle_signals || mm_host_watch_signals(h, why);
}

#define ALWAYS 1e12     /* seconds */

/* told: messages of which it keeps a history. */
static struct mm_host *new_host(const struct mm_host_options *o, double stands_at, unsigned told,
	struct mm_error *error)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	struct mm_history_options history = { .capacity = told, .writers = 1, .retention = ALWAYS };
	struct mm_host *h = mm_host_bind(o, false, &why);
	if (h != NULL)
		h->stands_at = stands_at;
	if (h != NULL && (told == 0 || (h->history = mm_history_new(&history, &why)) != NULL)
	    && mm_host_raise(h, NULL, &why))
		return h;
	mm_fault_tell(&why, error);
	mm_host_free(h);
	return NULL;
}

struct mm_host *mm_host_new(const struct mm_host_options *o, struct mm_error *error)
{
	return new_host(o, 0, 0, error);
}

struct mm_host *mm_host_new_telling(const struct mm_host_options *o, unsigned messages, struct mm_error *error)
{
	return new_host(o, 0, messages, error);
}

struct mm_host *mm_testing_host_new(const struct mm_host_options *o, double now, struct mm_error *error)
{
	return new_host(o, now, 0, error);
}

/* ---- start and run ---- */

double mm_testing_now(void)
{
	return mm_clock_now();
}

const char *mm_testing_suggest(const char *word, const char *const *words)
{
	return mm_suggest(word, words);
}

static void on_first_load(void *self, bool ok, const struct mm_fault *why)
{
	struct mm_host *h = self;
	h->load_ok = ok;
	h->load_fault = *why;
}

bool mm_host_start(struct mm_host *h, struct mm_error *error)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	mm_pace_ask(&h->pace);
	mm_host_prepare(h, 1, false, on_first_load, h);
	while (h->is_loading && !h->is_stopping)
		ev_run(h->loop, EVRUN_ONCE);
	bool ok = h->load_ok && mm_host_commit(h, &why);
	mm_host_end_pace(h, ok);
	return ok || mm_fault_tell(h->load_ok ? &why : &h->load_fault, error);
}

void mm_host_run(struct mm_host *h)
{
	ev_ref(h->loop);                        /* a host without sockets waits, too */
	while (!h->is_stopped)
		ev_run(h->loop, 0);
	ev_unref(h->loop);
}

static void on_turn_over(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)t;
	(void)events;
}

void mm_host_turn(struct mm_host *h, double seconds)
{
	ev_timer limit;
	if (seconds <= 0) {
		ev_run(h->loop, EVRUN_NOWAIT);
	} else {
		ev_now_update(h->loop);
		ev_timer_init(&limit, on_turn_over, seconds, 0.);
		ev_timer_start(h->loop, &limit);
		ev_run(h->loop, EVRUN_ONCE);
		ev_timer_stop(h->loop, &limit);
	}
	mm_log_flush(&h->log);                  /* the next turn may be far away */
}

unsigned long mm_host_generation(const struct mm_host *h)
{
	return h->generation;
}

unsigned long mm_host_script_errors(const struct mm_host *h)
{
	return (unsigned long)mm_census_get(h->row->script_errors);
}

char *mm_host_busy_with(const struct mm_host *h, char *to, size_t size)
{
	struct mm_whereabouts at = mm_whereabouts_read(h->row);
	if (at.is_set && at.handler[0] != '\0')
		snprintf(to, size, "%s of %s", at.handler, at.script);
	else
		to[0] = '\0';
	return to;
}

/* ---- what a host reports about itself ---- */

const char *mm_host_milter_name(const struct mm_host *h)
{
	return h->config.milters[0].name;
}

struct mm_store *mm_host_open_store(const struct mm_host *h, const char *file, struct mm_fault *why)
{
	struct mm_host_state s;
	mm_host_find_state(h, &s);
	return s.identity != NULL ? mm_stores_open_made(s.identity, file, why) : NULL;
}

void mm_host_each_store(const struct mm_host *h, void (*each)(void *self, const char *file), void *self)
{
	struct mm_host_state s;
	mm_host_find_state(h, &s);
	if (s.identity != NULL)
		mm_stores_each_made(s.identity, each, self);
}

struct mm_buckets *mm_host_open_buckets(const struct mm_host *h, const char *milter, struct mm_fault *why)
{
	struct mm_host_state s;
	mm_host_find_state(h, &s);
	return s.identity != NULL ? mm_stores_open_made_buckets(s.identity, milter, why) : NULL;
}

void mm_host_each_buckets(const struct mm_host *h, void (*each)(void *self, const char *milter), void *self)
{
	struct mm_host_state s;
	mm_host_find_state(h, &s);
	if (s.identity != NULL)
		mm_stores_each_made_buckets(s.identity, each, self);
}

void mm_host_describe(const struct mm_host *h, void (*say)(void *self, const char *line), void *self)
{
	struct mm_say to = { say, self };
	for (unsigned i = 0; i < h->config.milter_count; i++) {
		const struct mm_generation *g = mm_worker_generation(h->worker, i);
		mm_host_describe_milter(h, i, to);
		if (mm_host_filter_of(h, i) != NULL)
			mm_filter_describe(mm_host_filter_of(h, i), to);
		if (g != NULL && (mm_host_filter_of(h, i) == NULL || !mm_generation_is_empty(g)))
			mm_generation_describe(g, to);
	}
}

void mm_host_describe_doubts(const struct mm_host *h, struct mm_say say)
{
	mm_owners_describe(&h->owners, h->options.config_file, &h->config, say);
}

static void say_to_file(void *self, const char *line)
{
	fprintf(self, "%s\n", line);
}

bool mm_host_list(const struct mm_host *h, enum mm_listing what, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *f = copy >= 0 ? fdopen(copy, "w") : NULL;
	if (f == NULL) {
		if (copy >= 0)
			close(copy);
		return false;
	}
	for (unsigned i = 0; what == MM_LIST_SCRIPTS && i < h->config.milter_count; i++)
		if (mm_worker_generation(h->worker, i) != NULL)
			mm_generation_describe(mm_worker_generation(h->worker, i), (struct mm_say){ say_to_file, f });
	if (what == MM_LIST_SESSIONS)
		mm_worker_list_sessions(h->worker, (struct mm_say){ say_to_file, f });
	if (what == MM_LIST_GENERATIONS)
		mm_worker_list_generations(h->worker, (struct mm_say){ say_to_file, f });
	if (what == MM_LIST_MAPS)
		mm_worker_list_maps(h->worker, (struct mm_say){ say_to_file, f });
	return fclose(f) == 0;
}

void mm_host_end_listed(struct mm_host *h, const char *id, int fd)
{
	if (mm_host_end_session(h, id, NULL))
		dprintf(fd, "session=%s state=ended\n", id);
}

const struct mm_config *mm_host_config(const struct mm_host *h)
{
	return &h->config;
}

struct mm_log *mm_host_log(struct mm_host *h)
{
	return &h->log;
}

struct mm_clock *mm_host_clock(struct mm_host *h)
{
	return mm_worker_clock(h->worker);
}

const struct mm_census_row *mm_host_row(const struct mm_host *h)
{
	return h->row;
}

struct mm_profile *mm_host_profile(struct mm_host *h)
{
	return mm_worker_profile(h->worker);
}

const char *mm_host_config_file(const struct mm_host *h)
{
	return h->options.config_file;
}

/* ---- the end ---- */

void mm_host_free(struct mm_host *h)
{
	if (h == NULL)
		return;
	while (h->feeds != NULL)
		mm_feed_close(h->feeds);
	mm_host_forget_reload(h);
	mm_host_forget_ends(h);
	mm_host_ignore_signals(h);              /* before their way to the loop is closed */
	mm_host_end_wakes(h);
	free_worker(h);
	if (h->guards)
		mm_budget_close();
	mm_host_end_beating(h);
	if (h->owns_loop && h->loop != NULL)
		ev_loop_destroy(h->loop);
	if (h->is_virtual)
		mm_clock_make_real();
	mm_history_free(h->history);
	mm_differences_free(h->differences);
	mm_host_free_listeners(h);
	mm_host_remove_state(h);
	free_names(h);
	mm_host_free_filters(h);
	mm_config_free(&h->config);
	mm_config_free(&h->next_config);
	mm_host_free_options(h);
	mm_log_close(&h->log);
	mm_buffer_free(&h->page);
	mm_figures_free(h->figures);
	mm_meters_free(h->meters);
	mm_census_free(&h->own);
	free(h);
}
