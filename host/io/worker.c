#include "io/worker.h"

#include "base/bounds.h"
#include "async/child.h"
#include "base/heap.h"
#include "base/say.h"
#include "io/acceptor.h"
#include "io/turn.h"
#include "map/services.h"
#include "map/tables.h"
#include "story/desk.h"
#include "task/memory.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REST_SLICE          0.0002      /* seconds of collecting garbage between two looks at the sockets */
#define SWEEP_EVERY         2.0         /* seconds between looks for connections whose time is over */
#define MEMORY_STRIKES      3           /* useless full collections until a worker asks for a successor */
#define PRESSURE_ENDS_AFTER 5           /* sweeps in which nothing was refused for lack of memory */
#define REFUSALS_SAID_EVERY 10.0        /* seconds between log lines about peers that may not connect */

struct watch {
	struct mm_worker   *worker;     /* borrowed */
	unsigned            milter;
	unsigned            listener;   /* its number for admission.h */
	bool                is_full;    /* has stopped listening, because it has all the sessions it may have */
	struct mm_acceptor *acceptor;   /* owned */
	struct watch       *next;
};

/* The networks that may connect. */
struct allowed {
	const struct mm_network *networks;      /* borrowed */
	size_t                   count;
	double                   said_at;       /* when a refusal was logged; mm_clock_now() */
	unsigned long            unsaid;        /* refusals since */
};

struct mm_worker {
	struct mm_worker_options options;
	struct mm_worker_limits  limits;
	struct allowed          *allowed;       /* owned, one a milter */
	struct mm_clock          clock;
	struct mm_generation    *scripts;       /* list of all generations in memory */
	struct mm_dns           *dns;           /* owned: outlives every generation */
	struct mm_stores        *stores;        /* owned */
	struct mm_tables        *tables;        /* owned */
	struct mm_services       services;      /* that maps ask */
	struct mm_desk          *desk;          /* owned; NULL: there is no history */
	struct mm_tracer         tracer;
	struct mm_children       children;      /* likewise */
	struct mm_worker_memory  memory;
	struct mm_profile        profile;
	struct mm_figures      **figures;       /* owned array: of each milter */
	struct mm_connections    connections;
	uint64_t                 refusals_at_sweep;     /* for lack of memory (memory_held) */
	unsigned                 pressed;       /* sweeps until the end of the pressure is logged; 0: there is none */
	struct mm_next          *next;          /* owned; NULL: milters have no shadows */
	struct mm_generation   **current;       /* owned references, one a milter; NULL before the first commit */
	struct mm_generation   **prepared;      /* owned references */
	unsigned                 loading;       /* milters of `prepared` that are loaded */
	bool                     is_preparing;
	void                   (*done)(void *self, bool ok, const struct mm_fault *why);
	void                    *done_self;
	struct watch            *watches;       /* owned list */
	struct mm_admission      admission;
	bool                     has_said_full;
	bool                     is_draining;
	bool                     is_retiring;   /* a successor has been asked for */
	struct mm_turns          turns;
	ev_timer                 sweep;
	uint64_t                 messages_at_sweep;
	ev_prepare               before_wait;   /* a turn of the loop ends; is there garbage? */
	ev_async                 log_waits;     /* never sent: fed when lines wait, and last in its turn */
	ev_timer                 log_is_due;    /* for lines that wait longer */
	ev_tstamp                log_written_at;        /* when lines have waited the last time */
	ev_idle                  rest;          /* active while there is: runs when the loop has nothing else to do */
};

static struct ev_loop *loop_of(const struct mm_worker *w)
{
	return w->options.loop;
}

/* ---- full, and room again; which MTAs may connect ---- */

static void pause_all(struct mm_worker *w)
{
	for (struct watch *watch = w->watches; watch != NULL; watch = watch->next)
		mm_acceptor_pause(watch->acceptor);
}

/* With connections queued, each freed slot is taken at once. So "full" is logged once, and "room again" only at the
 * next sweep. */
static void say_full(struct mm_worker *w, const struct watch *watch)
{
	unsigned kept = w->limits.max_sessions - w->connections.count;
	if (!w->has_said_full && w->connections.count >= w->limits.max_sessions)
		mm_log_say(w->options.log, MM_LEVEL_WARN, "sessions", "%u sessions are open (max_sessions): further "
			"connections wait in the kernel's queue until one ends", w->connections.count);
	else if (!w->has_said_full)
		mm_log_say(w->options.log, MM_LEVEL_WARN, "sessions", "%u sessions are open, and the last %u of "
			"max_sessions are kept for other listeners: further connections to milter %s wait in the "
			"kernel's queue until one ends", w->connections.count, kept,
			w->options.milter_names[watch->milter]);
	w->has_said_full = true;
}

static void say_room(struct mm_worker *w)
{
	bool is_full = false;
	for (struct watch *watch = w->watches; watch != NULL; watch = watch->next)
		is_full |= watch->is_full;
	if (w->has_said_full && !is_full)
		mm_log_say(w->options.log, MM_LEVEL_INFO, "sessions", "there is room again: new connections "
			"are accepted");
	w->has_said_full &= is_full;
}

/* Each listener listens while it has room. */
static void look_at_room(struct mm_worker *w)
{
	for (struct watch *watch = w->watches; watch != NULL && !w->is_draining; watch = watch->next) {
		bool is_full = !mm_admission_has_room(&w->admission, watch->listener);
		if (is_full == watch->is_full)
			continue;
		watch->is_full = is_full;
		if (is_full)
			say_full(w, watch);
		(is_full ? mm_acceptor_pause : mm_acceptor_resume)(watch->acceptor);
	}
}

static void count_sessions(const struct mm_worker *w)
{
	mm_census_set(w->options.row->sessions, w->connections.count);
	mm_census_set(w->options.row->sessions_begun, w->connections.engines.sessions_begun);
}

static void on_connection_closed(void *self, const struct mm_admitted *admitted)
{
	struct mm_worker *w = self;
	mm_admission_give_back(&w->admission, admitted);
	count_sessions(w);
	if (w->is_draining) {
		if (w->connections.count == 0 && w->options.drained != NULL)
			w->options.drained(w->options.self);
		return;
	}
	for (struct watch *watch = w->watches; watch != NULL; watch = watch->next)
		mm_acceptor_look(watch->acceptor);
	look_at_room(w);
}

static void look_at_limits(struct mm_worker *w)
{
	look_at_room(w);
	if (w->limits.recycle_sessions > 0 && w->connections.engines.sessions_begun >= w->limits.recycle_sessions)
		mm_worker_retire(w, "it has reached recycle_sessions");
}

/* Which of several milters; a single milter needs no name. */
static const char *milter_in_log(const struct mm_worker *w, unsigned milter)
{
	return w->options.milter_count > 1 ? w->options.milter_names[milter] : NULL;
}

/* A network scanner must not fill the log. */
static void log_refusal(struct mm_worker *w, unsigned milter, const struct mm_peer *peer)
{
	struct allowed *a = &w->allowed[milter];
	double now = mm_clock_now();
	if (a->said_at != 0 && now - a->said_at < REFUSALS_SAID_EVERY) {
		a->unsaid++;
		return;
	}
	struct mm_log_line line;
	mm_log_begin(&line, w->options.log, MM_LEVEL_WARN, "refused");
	mm_log_string(&line, "milter", milter_in_log(w, milter));
	mm_log_string(&line, "mta", peer->text);
	mm_log_string(&line, "text", "may not connect; if it is one of your MTAs, add it to allow");
	if (a->unsaid > 0)
		mm_log_number(&line, "unsaid", (long long)a->unsaid);
	mm_log_end(&line);
	a->said_at = now;
	a->unsaid = 0;
}

static bool is_allowed(const struct allowed *a, const struct mm_peer *peer)
{
	if (peer == NULL || a->count == 0 || peer->is_loopback)
		return true;
	for (size_t i = 0; i < a->count; i++)
		if (mm_network_contains(&a->networks[i], peer->address, peer->size))
			return true;
	return false;
}

static void say_too_many(struct mm_worker *w, unsigned milter, const struct mm_peer *peer)
{
	struct mm_log_line line;
	mm_log_begin(&line, w->options.log, MM_LEVEL_WARN, "refused");
	mm_log_caused_by(&line, peer->text, false);
	mm_log_string(&line, "milter", milter_in_log(w, milter));
	mm_log_string(&line, "mta", peer->text);
	mm_log_string(&line, "text", "has as many sessions as an MTA on another machine may have "
		"(max_sessions_per_mta)");
	mm_log_alike(&line, (const char *)peer->address, peer->size);
	mm_log_end(&line);
}

static bool is_my_turn(void *self)
{
	const struct watch *watch = self;
	const struct mm_worker_options *o = &watch->worker->options;
	if (mm_census_get(o->row->is_out)) {    /* the master's order to drain is on its way */
		pause_all(watch->worker);
		return false;
	}
	return o->census == NULL || mm_census_is_my_turn(o->census, o->row);
}

struct mm_runtime mm_worker_runtime(struct mm_worker *w, unsigned milter, const struct mm_shadow_of **shadow)
{
	struct mm_runtime runtime = w->options.runtime != NULL ? w->options.runtime(w->options.self, milter)
		: mm_generation_runtime(w->current[milter]);
	*shadow = NULL;
	if (w->next != NULL)
		mm_next_joins(w->next, milter, &runtime, shadow);
	return runtime;
}

static void take_connection(void *self, int fd, const struct mm_peer *peer)
{
	struct watch *watch = self;
	struct mm_worker *w = watch->worker;
	struct allowed *a = &w->allowed[watch->milter];
	if (!is_allowed(a, peer)) {
		close(fd);
		log_refusal(w, watch->milter, peer);
		return;
	}
	struct mm_admitted admitted;
	const struct mm_shadow_of *shadow;
	enum mm_admission_answer may = mm_admission_take(&w->admission, watch->listener, peer, &admitted);
	if (may == MM_ADMISSION_TOO_MANY)
		say_too_many(w, watch->milter, peer);
	struct mm_runtime runtime = mm_worker_runtime(w, watch->milter, &shadow);
	if (may != MM_ADMITTED) {
		close(fd);
	} else if (!mm_connection_open(&w->connections, fd, peer != NULL ? peer->text : NULL,
		milter_in_log(w, watch->milter), w->figures[watch->milter], &admitted,
		runtime, shadow)) {
		mm_admission_give_back(&w->admission, &admitted);
		may = MM_ADMISSION_NO_MEMORY;
	}
	if (may == MM_ADMISSION_NO_MEMORY)
		mm_log_say(w->options.log, MM_LEVEL_ERROR, "sessions", "out of memory for a new session");
	if (may != MM_ADMITTED)
		return;
	count_sessions(w);
	look_at_limits(w);
}

static void accept_trouble(void *self, const char *what, int error)
{
	struct watch *watch = self;
	mm_log_say(watch->worker->options.log, MM_LEVEL_ERROR, "sessions", "%s: %s", what, strerror(error));
}

/* memory_held is reached: logged once, and so is the end. */
static void say_pressure(struct mm_worker *w)
{
	const struct mm_account_sum *held = &w->connections.engines.held;
	bool is_pressed = held->refusals != w->refusals_at_sweep, began = is_pressed && w->pressed == 0;
	w->refusals_at_sweep = held->refusals;
	if (is_pressed)
		w->pressed = PRESSURE_ENDS_AFTER;
	else if (w->pressed == 0 || --w->pressed > 0)
		return;
	if (is_pressed && !began)
		return;
	const struct mm_session *largest = began ? mm_connections_largest(&w->connections) : NULL;
	struct mm_log_line line;
	mm_log_begin(&line, w->options.log, began ? MM_LEVEL_WARN : MM_LEVEL_INFO, "memory");
	mm_log_string(&line, "limit", "memory_held");
	mm_log_number(&line, "bytes", (long long)held->held);
	mm_log_number(&line, "sessions", (long long)w->connections.count);
	if (largest != NULL) {
		mm_log_string(&line, "largest", largest->id);
		mm_log_string(&line, "mta", largest->peer);
		mm_log_number(&line, "largest_bytes", (long long)largest->account.held);
	}
	mm_log_string(&line, "text", began ? "whoever holds much is read no further or answered with a temporary "
		"failure" : "there is room again");
	mm_log_end(&line);
}

static void on_sweep(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct mm_worker *w = timer->data;
	(void)events;
	if (!mm_connections_sweep(&w->connections)) {
		ev_timer_stop(loop, timer);
		ev_timer_set(timer, 0., SWEEP_EVERY);
		ev_timer_start(loop, timer);
		return;
	}
	mm_log_sweep(w->options.log);
	mm_tracer_sweep(&w->tracer);
	mm_turns_measure(&w->turns);
	for (unsigned i = 0; i < w->options.milter_count; i++)
		mm_figures_tune(w->figures[i]);
	uint64_t messages = mm_census_get(w->options.row->messages);
	mm_heap_sweep(messages == w->messages_at_sweep);
	w->messages_at_sweep = messages;
	say_room(w);
	say_pressure(w);
	if (w->memory.strikes >= MEMORY_STRIKES)
		mm_worker_retire(w, "its memory stays above memory_soft after full collections");
}

static struct mm_generation *shadows_of(const struct mm_worker *w)
{
	return w->next != NULL ? mm_next_shadows(w->next) : NULL;
}

/* ---- collects garbage while there is nothing else to do ---- */

static struct mm_generation *with_garbage(const struct mm_worker *w)
{
	for (struct mm_generation *g = w->scripts; g != NULL; g = mm_generation_next(g))
		if (mm_memory_wants_rest(g))
			return g;
	for (struct mm_generation *g = shadows_of(w); g != NULL; g = mm_generation_next(g))
		if (mm_memory_wants_rest(g))
			return g;
	return NULL;
}

static void on_rest(struct ev_loop *loop, ev_idle *rest, int events)
{
	struct mm_worker *w = rest->data;
	struct mm_generation *g = with_garbage(w);
	(void)events;
	if (g == NULL || mm_memory_rest(g, REST_SLICE))
		ev_idle_stop(loop, rest);
}

static void on_before_wait(struct ev_loop *loop, ev_prepare *before, int events)
{
	struct mm_worker *w = before->data;
	(void)events;
	mm_profile_begin_turn(&w->profile);
	if (!ev_is_active(&w->rest) && with_garbage(w) != NULL)
		ev_idle_start(loop, &w->rest);
}

/* ---- log lines leave together ----
 * Those of one turn do. While there are many, those of MM_LOG_GATHER: where a system call is dear, a write for each
 * message would cost as much as half the message. */

static void on_log_is_due(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct mm_worker *w = timer->data;
	(void)events;
	w->log_written_at = ev_now(loop);
	mm_log_flush(w->options.log);
}

static void on_log_waits(struct ev_loop *loop, ev_async *waits, int events)
{
	struct mm_worker *w = waits->data;
	double since = ev_now(loop) - w->log_written_at;
	if (since < 0 || since >= MM_LOG_GATHER) {      /* below 0: the clock was set back */
		on_log_is_due(loop, &w->log_is_due, events);
	} else if (!ev_is_active(&w->log_is_due)) {
		ev_timer_set(&w->log_is_due, MM_LOG_GATHER - since, 0.);
		ev_timer_start(loop, &w->log_is_due);
	}
}

static void log_begins_to_wait(void *self)
{
	struct mm_worker *w = self;
	ev_feed_event(loop_of(w), &w->log_waits, EV_CUSTOM);
}

/* ---- life ---- */

/* Time and process id tell hosts apart. Several hosts of one process, which may begin in the same second, differ in the
 * digits after these eight. */
static void name_sessions(struct mm_worker *w)
{
	static unsigned made;
	char *prefix = w->connections.engines.id_prefix;
	unsigned before = __atomic_fetch_add(&made, 1, __ATOMIC_RELAXED);
	int n = snprintf(prefix, sizeof w->connections.engines.id_prefix, "%08llx",
		(unsigned long long)((unsigned long)mm_clock_wall() ^ (unsigned long)getpid() << 16) & 0xffffffffULL);
	if (before > 0)
		snprintf(prefix + n, sizeof w->connections.engines.id_prefix - (size_t)n, "%x", before);
}

static void release_all(struct mm_worker *w, struct mm_generation ***scripts)
{
	if (*scripts == NULL)
		return;
	for (unsigned i = 0; i < w->options.milter_count; i++)
		mm_generation_release((*scripts)[i]);
	free(*scripts);
	*scripts = NULL;
}

/* Frees everything but the watchers; what does not exist yet is NULL or empty. */
static void free_parts(struct mm_worker *w)
{
	mm_worker_unwatch(w);
	mm_connections_free(&w->connections);
	mm_admission_free(&w->admission);
	mm_worker_discard(w);
	mm_next_free(w->next);
	release_all(w, &w->current);
	mm_dns_free(w->dns);
	mm_tables_free(w->tables);              /* after the scripts that use them */
	mm_stores_free(w->stores);
	if (w->tracer.engines != NULL)
		mm_tracer_end(&w->tracer);
	mm_desk_free(w->desk);
	mm_children_end(&w->children);
	mm_profile_free(&w->profile);
	for (unsigned i = 0; w->figures != NULL && i < w->options.milter_count; i++)
		mm_figures_free(w->figures[i]);
	free(w->figures);
	free(w->allowed);
	free(w);
}

static bool make_figures(struct mm_worker *w, struct mm_fault *why)
{
	w->figures = calloc(w->options.milter_count, sizeof *w->figures);
	if (w->figures == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for metrics");
	for (unsigned i = 0; i < w->options.milter_count; i++)
		if ((w->figures[i] = mm_figures_new(w->options.meters, w->options.milter_names[i], why)) == NULL)
			return false;
	return true;
}

static bool make_parts(struct mm_worker *w, const struct mm_worker_options *o, struct mm_fault *why)
{
	static const struct mm_dns_settings dns = { .timeout = MM_DNS_TIMEOUT, .cache_max = MM_DNS_CACHE_MAX };
	w->options = *o;
	w->options.record = NULL;
	w->options.identity = w->options.state_dir = NULL;
	w->clock.loop = o->loop;
	w->limits.max_sessions = w->admission.max = ~0u;
	mm_children_init(&w->children, &w->clock);
	mm_profile_init(&w->profile);
	w->allowed = calloc(o->milter_count, sizeof *w->allowed);
	if (!mm_connections_init(&w->connections, o->loop, o->log) || w->allowed == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a worker");
	mm_turns_init(&w->turns, o->log, &w->profile, &w->connections.engines);
	w->connections.row = o->row;
	if (o->census != NULL) {                /* a master outlives us, and remembers what we die of */
		w->connections.engines.row = o->row;
		w->connections.engines.poison = o->census->poison;
	}
	w->connections.profile = &w->profile;
	w->desk = o->history != NULL ? mm_desk_new(o->history, o->writer) : NULL;
	w->connections.desk = w->desk;
	mm_tracer_init(&w->tracer, &w->connections.engines, o->log);
	w->connections.on_close = on_connection_closed;
	w->connections.self = w;
	if (o->record != NULL && (w->connections.recorder = mm_recorder_new(o->record, o->log, why)) == NULL)
		return false;
	if (!make_figures(w, why))
		return false;
	w->dns = mm_dns_new(&w->clock, &dns, why);
	if (w->dns == NULL)
		return false;
	struct mm_stores_settings stores = { &w->clock, o->log, o->identity, o->state_dir };
	w->stores = mm_stores_new(&stores);
	if (w->stores == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a worker");
	bool is_first = o->census == NULL || o->row == o->census->rows;
	struct mm_tables_settings tables = { &w->clock, o->log, .tells_failures = is_first };
	w->tables = mm_tables_new(&tables);
	if (w->tables == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory or descriptors for a worker");
	w->children.account.sum = &w->connections.engines.held;
	mm_dns_charge(w->dns, &w->connections.engines.held);
	return true;
}

static bool make_next(struct mm_worker *w)
{
	const struct mm_worker_options *o = &w->options;
	struct mm_next_settings settings = {
		.loop = o->loop, .log = o->log, .differences = o->differences, .profile = &w->profile,
		.meters = o->meters, .figures = w->figures, .milter_names = o->milter_names,
		.milter_count = o->milter_count, .id_prefix = w->connections.engines.id_prefix,
	};
	w->next = mm_next_new(&settings);
	return w->next != NULL;
}

static void start_watchers(struct mm_worker *w)
{
	ev_timer_init(&w->sweep, on_sweep, SWEEP_EVERY, SWEEP_EVERY);
	w->sweep.data = w;
	ev_timer_start(loop_of(w), &w->sweep);
	ev_prepare_init(&w->before_wait, on_before_wait);
	w->before_wait.data = w;
	ev_prepare_start(loop_of(w), &w->before_wait);
	ev_init(&w->log_waits, on_log_waits);
	ev_set_priority(&w->log_waits, EV_MINPRI);
	ev_init(&w->log_is_due, on_log_is_due);
	w->log_waits.data = w->log_is_due.data = w;
	mm_log_gather(w->options.log, &w->options.row->log_lines, log_begins_to_wait, w);
	ev_idle_init(&w->rest, on_rest);
	w->rest.data = w;
	ev_unref(loop_of(w));           /* sweep and before_wait alone keep no loop running */
	ev_unref(loop_of(w));
}

struct mm_worker *mm_worker_new(const struct mm_worker_options *o, struct mm_fault *why)
{
	struct mm_worker *w = calloc(1, sizeof *w);
	if (w == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a worker");
		return NULL;
	}
	if (!make_parts(w, o, why)) {
		free_parts(w);
		return NULL;
	}
	name_sessions(w);
	if (o->differences != NULL && !make_next(w)) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a worker");
		free_parts(w);
		return NULL;
	}
	start_watchers(w);
	return w;
}

bool mm_worker_set_dns(struct mm_worker *w, const struct mm_dns_settings *settings, struct mm_fault *why)
{
	return mm_dns_configure(w->dns, settings, why);
}

void mm_worker_free(struct mm_worker *w)
{
	if (w == NULL)
		return;
	mm_log_gather(w->options.log, NULL, NULL, NULL);
	ev_clear_pending(loop_of(w), &w->log_waits);
	ev_timer_stop(loop_of(w), &w->log_is_due);
	ev_ref(loop_of(w));
	ev_ref(loop_of(w));
	ev_timer_stop(loop_of(w), &w->sweep);
	ev_prepare_stop(loop_of(w), &w->before_wait);
	ev_idle_stop(loop_of(w), &w->rest);
	free_parts(w);
}

/* ---- generations ---- */

static void load_next(struct mm_worker *w);

static void finish_preparing(struct mm_worker *w, bool ok, const struct mm_fault *why)
{
	w->is_preparing = false;
	if (!ok)
		release_all(w, &w->prepared);
	if (!ok && w->next != NULL)
		mm_next_discard(w->next);
	w->done(w->done_self, ok, why);
}

/* All that serves is loaded; so is what comes next, or it cannot be. */
static void on_next_loaded(void *self)
{
	static const struct mm_fault none = { .class = MM_FAULT_NONE };
	finish_preparing(self, true, &none);
}

static void on_loaded(void *self, bool ok, const struct mm_fault *why)
{
	struct mm_worker *w = self;
	if (!ok) {
		struct mm_fault copy = *why;    /* it may live in the generation that is released */
		finish_preparing(w, false, &copy);
		return;
	}
	w->loading++;
	load_next(w);
}

static void load_next(struct mm_worker *w)
{
	if (w->loading == w->options.milter_count && w->next != NULL)
		mm_next_load(w->next, on_next_loaded, w);
	else if (w->loading == w->options.milter_count)
		on_next_loaded(w);
	else
		mm_generation_load(w->prepared[w->loading], on_loaded, w);
}

/* What the worker lends to the scripts of a milter. */
static void lend(struct mm_worker *w, struct mm_generation_settings *s, unsigned milter)
{
	s->clock = &w->clock;
	s->dns = w->dns;
	s->children = &w->children;
	s->stores = w->stores;
	s->tables = w->tables;
	s->services = &w->services;
	s->desk = w->desk;
	s->tracer = &w->tracer;
	s->meters = w->options.meters;
	s->figures = w->figures[milter];
	s->log = w->options.log;
	s->all = &w->scripts;
	s->memory = &w->memory;
	s->held = &w->connections.engines.held;
	s->profile = &w->profile;
}

static void prepare_next(struct mm_worker *w, struct mm_next_order *next)
{
	for (unsigned i = 0; i < w->options.milter_count; i++) {
		lend(w, &next[i].shadow.settings, i);
		lend(w, &next[i].canary.settings, i);
	}
	mm_next_prepare(w->next, next);
}

void mm_worker_prepare(struct mm_worker *w, const struct mm_generation_options *options, struct mm_next_order *next,
	void (*done)(void *self, bool ok, const struct mm_fault *why), void *self)
{
	struct mm_fault why;
	w->done = done;
	w->done_self = self;
	w->loading = 0;
	w->is_preparing = true;
	w->prepared = calloc(w->options.milter_count, sizeof *w->prepared);
	if (w->prepared == NULL) {
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory for a generation of scripts");
		finish_preparing(w, false, &why);
		return;
	}
	for (unsigned i = 0; i < w->options.milter_count; i++) {
		struct mm_generation_options o = options[i];
		lend(w, &o.settings, i);
		w->prepared[i] = mm_generation_new(&o, &why);
		if (w->prepared[i] == NULL) {
			finish_preparing(w, false, &why);
			return;
		}
	}
	if (w->next != NULL && next != NULL)
		prepare_next(w, next);
	load_next(w);
}

/* Timers stop; sessions go on. */
static void retire_current(struct mm_worker *w)
{
	for (unsigned i = 0; w->current != NULL && i < w->options.milter_count; i++)
		mm_generation_retire(w->current[i]);
	if (w->current != NULL && w->next != NULL)
		mm_next_retire(w->next);
}

void mm_worker_commit(struct mm_worker *w)
{
	retire_current(w);
	release_all(w, &w->current);    /* sessions keep theirs */
	w->current = w->prepared;
	w->prepared = NULL;
	if (w->next != NULL)
		mm_next_commit(w->next, w->current[0]->settings.number);
	mm_turns_measure(&w->turns);
	mm_generation_begin_serving(w->current[0]);
}

void mm_worker_discard(struct mm_worker *w)
{
	if (w->prepared != NULL && w->is_preparing && w->loading < w->options.milter_count)
		mm_generation_stop_loading(w->prepared[w->loading]);
	if (w->next != NULL)
		mm_next_discard(w->next);
	w->is_preparing = false;
	release_all(w, &w->prepared);
}

struct mm_generation *mm_worker_generation(const struct mm_worker *w, unsigned milter)
{
	return w->current != NULL ? w->current[milter] : NULL;
}

struct mm_generation *mm_worker_prepared(const struct mm_worker *w, unsigned milter)
{
	return w->prepared != NULL ? w->prepared[milter] : NULL;
}

/* ---- serving ---- */

bool mm_worker_watch(struct mm_worker *w, unsigned milter, int fd, struct mm_fault *why)
{
	struct watch *watch = calloc(1, sizeof *watch);
	unsigned listener = 0;
	for (struct watch *other = w->watches; other != NULL; other = other->next)
		listener++;
	if (watch != NULL && mm_admission_knows(&w->admission, listener)) {
		struct mm_acceptor_owner owner = { watch, is_my_turn, take_connection, accept_trouble };
		watch->worker = w;
		watch->milter = milter;
		watch->listener = listener;
		watch->acceptor = mm_acceptor_new(w->options.loop, fd, owner);
	}
	if (watch == NULL || watch->acceptor == NULL) {
		free(watch);
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a listener");
	}
	watch->next = w->watches;
	w->watches = watch;
	look_at_room(w);
	return true;
}

void mm_worker_unwatch(struct mm_worker *w)
{
	while (w->watches != NULL) {
		struct watch *watch = w->watches;
		w->watches = watch->next;
		mm_acceptor_free(watch->acceptor);
		free(watch);
	}
}

void mm_worker_tune(struct mm_worker *w, const struct mm_worker_limits *limits)
{
	w->limits = *limits;
	w->connections.times = limits->times;
	w->admission.max = limits->max_sessions;
	w->admission.max_per_mta = limits->max_sessions_per_mta;
	look_at_room(w);
	w->connections.engines.held.limit = limits->held;
	if (w->next != NULL)
		mm_next_tune(w->next, limits->held);
}

void mm_worker_allow(struct mm_worker *w, unsigned milter, const struct mm_network *networks, size_t count)
{
	w->allowed[milter].networks = networks;
	w->allowed[milter].count = count;
}

void mm_worker_retire(struct mm_worker *w, const char *why)
{
	if (w->is_retiring || w->is_draining)
		return;
	w->is_retiring = true;
	if (w->options.retire != NULL)
		w->options.retire(w->options.self, why);
}

void mm_worker_drain(struct mm_worker *w)
{
	w->is_draining = true;
	pause_all(w);
	retire_current(w);
	if (w->connections.count == 0 && w->options.drained != NULL)
		w->options.drained(w->options.self);
}

void mm_worker_each_session(const struct mm_worker *w, mm_each_engine *each, void *self)
{
	mm_connections_each(&w->connections, each, self);
}

bool mm_worker_end_session(struct mm_worker *w, const char *id)
{
	return mm_connections_end(&w->connections, id);
}

void mm_worker_shut_down(struct mm_worker *w)
{
	mm_connections_shut_down(&w->connections);
}

void mm_worker_show_figures(struct mm_worker *w)
{
	for (unsigned i = 0; i < w->options.milter_count; i++)
		mm_figures_flush(w->figures[i]);
}

void mm_worker_look_at_loop(struct mm_worker *w, double every)
{
	mm_turns_look(&w->turns, every);
}

unsigned mm_worker_session_count(const struct mm_worker *w)
{
	return w->connections.count;
}

uint64_t mm_worker_lua_bytes(const struct mm_worker *w)
{
	uint64_t bytes = 0;
	for (const struct mm_generation *g = w->scripts; g != NULL; g = mm_generation_next(g))
		bytes += mm_generation_bytes(g);
	for (const struct mm_generation *g = shadows_of(w); g != NULL; g = mm_generation_next(g))
		bytes += mm_generation_bytes(g);
	return bytes;
}

unsigned mm_worker_older_sessions(const struct mm_worker *w)
{
	unsigned count = 0;
	for (const struct mm_generation *g = w->scripts; g != NULL; g = mm_generation_next(g)) {
		bool is_current = false;
		for (unsigned i = 0; i < w->options.milter_count; i++)
			is_current |= g == mm_worker_generation(w, i) || g == mm_worker_prepared(w, i)
				|| (w->next != NULL && g == mm_next_canary(w->next, i));
		if (!is_current)
			count += mm_generation_session_count(g);
	}
	return count;
}

void mm_worker_close_copies(struct mm_worker *w)
{
	mm_connections_close_copies(&w->connections);
	mm_tables_close_copies(w->tables);
}

void mm_worker_list_sessions(const struct mm_worker *w, struct mm_say say)
{
	for (const struct mm_generation *g = w->scripts; g != NULL; g = mm_generation_next(g))
		mm_generation_list_sessions(g, say);
}

void mm_worker_list_generations(const struct mm_worker *w, struct mm_say say)
{
	for (const struct mm_generation *g = w->scripts; g != NULL; g = mm_generation_next(g))
		mm_generation_list(g, say);
	for (const struct mm_generation *g = shadows_of(w); g != NULL; g = mm_generation_next(g))
		mm_generation_list(g, say);
}

void mm_worker_list_maps(const struct mm_worker *w, struct mm_say say)
{
	mm_tables_list(w->tables, say);
	mm_services_list(&w->services, say);
}

bool mm_worker_trace(struct mm_worker *w, const struct mm_trace_filter *filter, enum mm_story_redact redact, int fd)
{
	return mm_tracer_add(&w->tracer, filter, redact, fd);
}

struct mm_next *mm_worker_next(const struct mm_worker *w)
{
	return w->next;
}

struct mm_desk *mm_worker_desk(struct mm_worker *w)
{
	return w->desk;
}

struct mm_profile *mm_worker_profile(struct mm_worker *w)
{
	return &w->profile;
}

struct mm_figures *mm_worker_figures(struct mm_worker *w, unsigned milter)
{
	return w->figures[milter];
}

struct mm_engine_shared *mm_worker_engines(struct mm_worker *w)
{
	return &w->connections.engines;
}

struct mm_clock *mm_worker_clock(struct mm_worker *w)
{
	return &w->clock;
}
