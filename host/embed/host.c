/* embed/host.c -- the public face: configuration, listeners, rights, generations, stop and
 * reload, around one worker. */
#include "embed/host.h"

#include "moonmilter_testing.h"
#include "base/list.h"
#include "base/say.h"
#include "task/budget.h"
#include "embed/pace.h"
#include "embed/rights.h"
#include "script/files.h"
#include "embed/service.h"
#include "io/worker.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIGNAL_COUNT 4

struct listening {
	struct mm_listener listener;
	unsigned           milter;
};

struct reload_waiter {
	void                 (*done)(void *self, bool ok, const struct mm_error *);
	void                  *self;
	struct reload_waiter  *next;
};

struct mm_host {
	struct mm_host_options options;         /* lists are owned copies */
	struct mm_config       config;
	struct mm_config       next_config;     /* of the reload under way */
	struct mm_log          log;
	struct ev_loop        *loop;            /* NULL between bind and raise */
	bool                   owns_loop;
	double                 stands_at;       /* seconds since 1970, for tests; 0: real time */
	bool                   is_virtual;      /* this thread's clock stands for us */
	bool                   guards;          /* CPU budgets */
	struct mm_host_member  member;           /* census NULL: we are the whole host; row: never NULL once raised */
	struct mm_census_row   own_row;
	struct mm_worker      *worker;
	const char           **milter_names;    /* owned array of borrowed names */
	char                 **kept_names;      /* owned names */
	struct listening      *listeners;       /* owned */
	unsigned               listener_count;
	struct mm_listener     control;         /* fd -1: none */
	unsigned long          generation;
	unsigned long          next_generation; /* being prepared, or prepared */
	bool                   is_loading;
	bool                   has_next_config; /* next_config is of what is prepared */
	void                 (*prepared)(void *self, bool ok, const struct mm_fault *);
	void                  *prepared_self;
	struct mm_pace         pace;            /* of reloads */
	ev_timer               reload_timer;    /* a SIGHUP came soon after another */
	bool                   load_ok;
	struct mm_fault        load_fault;
	struct reload_waiter  *waiters;         /* owned */
	void                 (*reload_ended)(void *self, bool ok, const struct mm_fault *);
	void                  *reload_ended_self;
	bool                   is_stopping;
	bool                   is_halting;      /* every session is over; some of their last
	                                         * bytes may still be unsent */
	bool                   is_stopped;
	ev_timer               drain_timer;
	ev_timer               beat;            /* running when there is a census */
	ev_signal              signals[SIGNAL_COUNT];
	int                    signal_count;    /* that we watch */
	struct mm_feed         *feeds;         /* owned list of sessions without a socket */
};

/* A session without a socket. */
struct mm_feed {
	struct mm_host   *host;                 /* borrowed */
	struct mm_engine *engine;               /* owned */
	struct mm_buffer  out;
	struct mm_feed    *next, *previous;
};

const char *mm_version(void)
{
	return MM_VERSION;
}

/* ---- configuration ---- */

static char **copy_list(const char *const *list)
{
	if (list == NULL)
		return NULL;
	size_t n = 0;
	while (list[n] != NULL)
		n++;
	char **copy = calloc(n + 1, sizeof *copy);
	for (size_t i = 0; copy != NULL && i < n; i++)
		copy[i] = strdup(list[i]);
	return copy;
}

static void free_list(const char *const *list)
{
	char **owned = (char **)(uintptr_t)list;
	for (size_t i = 0; owned != NULL && owned[i] != NULL; i++)
		free(owned[i]);
	free(owned);
}

static bool set_all(struct mm_config *c, const char *key, const char *const *values, struct mm_fault *why)
{
	for (; values != NULL && *values != NULL; values++)
		if (!mm_config_set(c, key, *values, why))
			return false;
	return true;
}

static bool set_pairs(struct mm_config *c, const char *const *pairs, struct mm_fault *why)
{
	for (; pairs != NULL && *pairs != NULL; pairs++) {
		char key[128];
		const char *equals = strchr(*pairs, '=');
		size_t size = equals != NULL ? (size_t)(equals - *pairs) : sizeof key;
		if (size >= sizeof key)
			return mm_fault_set(why, MM_FAULT_CONFIG, "option \"%s\": write key=value", *pairs);
		memcpy(key, *pairs, size);
		key[size] = '\0';
		if (!mm_config_set(c, key, equals + 1, why))
			return false;
	}
	return true;
}

/* The file, then what the command line says: the same at start and at every reload. */
static bool read_config(const struct mm_host_options *o, struct mm_config *c, struct mm_fault *why)
{
	bool ok = o->config_file != NULL ? mm_config_load(c, o->config_file, why) : mm_config_init(c, why);
	if (!ok)
		return false;
	if (set_all(c, "listen", o->listen, why) && set_all(c, "scripts", o->scripts, why) && set_pairs(c, o->set, why)
	    && (o->no_sockets || mm_config_check(c, why)))
		return true;
	mm_config_free(c);
	return false;
}

/* ---- log ---- */

static void sink_to_embedder(void *self, enum mm_level level, const char *line, size_t size)
{
	struct mm_host *h = self;
	h->options.log(h->options.log_self, (enum mm_level)level, line, size);
}

/* The log's directory is often our later user's. While we are root, a link that somebody else has put there must not
 * have us write into another file, nor give it away; a link of root's (/dev/stdout) is meant. */
static int open_log(const char *path, const char *user)
{
	struct stat at;
	bool is_link = lstat(path, &at) == 0 && S_ISLNK(at.st_mode);
	if (is_link && geteuid() == 0 && at.st_uid != 0) {
		errno = ELOOP;
		return -1;
	}
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | (is_link ? 0 : O_NOFOLLOW), 0640);
	if (fd >= 0 && !is_link)
		mm_rights_hand_over(fd, user);
	return fd;
}

bool mm_host_reopen_log(struct mm_host *h, struct mm_fault *why)
{
	const char *where = h->config.log != NULL ? h->config.log : "stderr";
	if (h->options.log != NULL) {
		mm_log_close(&h->log);
		h->log.sink = sink_to_embedder;
		h->log.sink_self = h;
	} else if (where[0] == '/') {
		int fd = open_log(where, h->config.user);
		if (fd < 0)
			return mm_fault_set(why, MM_FAULT_CONFIG, "log: %s cannot be opened: %s", where,
				strerror(errno));
		mm_log_to_file(&h->log, fd);
	} else if (strcmp(where, "syslog") == 0) {
		mm_log_to_syslog(&h->log);
	} else {
		mm_log_to_descriptor(&h->log, STDERR_FILENO);
	}
	h->log.level = h->config.log_level;
	h->log.is_json = h->config.log_format == MM_CONFIG_LOG_JSON;
	return true;
}

/* ---- listeners ---- */

/* A socket that root makes belongs to whom we become, as if he had made it himself. */
static void leave_to_user(const struct mm_host *h, struct mm_listener_options *o)
{
	if (!h->options.drop_rights || geteuid() != 0)
		return;
	o->user = h->config.user;
	if (o->group == NULL)
		o->group = h->config.group;
}

static struct mm_listener_options listener_options(const struct mm_host *h, unsigned milter)
{
	const struct mm_config_milter *m = &h->config.milters[milter];
	struct mm_listener_options o = { .mode = m->socket_mode, .owner = m->socket_owner, .group = m->socket_group };
	leave_to_user(h, &o);
	return o;
}

static bool add_listener(struct mm_host *h, unsigned milter, const struct mm_endpoint *spec, struct mm_fault *why)
{
	struct mm_listener_options o = listener_options(h, milter);
	struct listening *grown = reallocarray(h->listeners, h->listener_count + 1, sizeof *grown);
	if (grown == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a listener");
	h->listeners = grown;
	grown[h->listener_count].milter = milter;
	if (!mm_listener_open(&grown[h->listener_count].listener, spec, &o, why))
		return false;
	h->listener_count++;
	return true;
}

/* systemd:NAME is the sockets of that name; the names of the descriptors are gone once they are known. */
static bool add_activated(struct mm_host *h, unsigned milter, const struct mm_endpoint *spec, struct mm_fault *why)
{
	int fds[MM_ACTIVATED_MAX];
	int count = mm_service_sockets(spec->name, fds, MM_ACTIVATED_MAX, why);
	if (count > MM_ACTIVATED_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "systemd: %d sockets; at most %d are served", count,
			MM_ACTIVATED_MAX);
	for (int i = 0; i < count; i++) {
		struct mm_endpoint one = { .kind = MM_ENDPOINT_FD, .fd = fds[i] };
		if (!add_listener(h, milter, &one, why))
			return false;
	}
	return count > 0;
}

static bool open_listeners(struct mm_host *h, struct mm_fault *why)
{
	for (unsigned i = 0; i < h->config.milter_count; i++) {
		const struct mm_config_strings *listen = &h->config.milters[i].listen;
		for (size_t j = 0; j < listen->count; j++) {
			struct mm_endpoint spec;
			if (!mm_endpoint_parse(listen->items[j], &spec, why))
				return false;
			bool ok = spec.kind == MM_ENDPOINT_SYSTEMD ? add_activated(h, i, &spec, why)
				: add_listener(h, i, &spec, why);
			if (!ok)
				return false;
		}
	}
	return true;
}

/* ---- generations ---- */

/* GIVES them with NULL behind; NULL: out of memory. */
static const char **paths_of(const struct mm_config_milter *m)
{
	const char **paths = calloc(m->scripts.count + 1, sizeof *paths);
	for (size_t i = 0; paths != NULL && i < m->scripts.count; i++)
		paths[i] = m->scripts.items[i];
	return paths;
}

static bool options_of(struct mm_host *h, const struct mm_config *c, unsigned i, struct mm_generation_options *o)
{
	const struct mm_config_milter *m = &c->milters[i];
	const char **paths = paths_of(m);
	if (paths == NULL)
		return false;
	*o = (struct mm_generation_options){
		.settings = {
			.milter_name = h->milter_names[i], .milter_in_log = c->milter_count > 1
				? h->milter_names[i] : NULL,
			.stage_deadline = c->stage_deadline, .eom_deadline = c->eom_deadline,
			.progress_every = c->progress_every,
			.body_max = c->body_max, .on_error = m->on_error, .lockstep = m->lockstep,
			.number = h->next_generation, .row = h->member.row,
			.worker_index = h->member.census != NULL
			? (unsigned)(h->member.row - h->member.census->rows) : 0,
			.memory_soft = c->memory_soft, .memory_hard = c->memory_hard,
		},
		.paths = paths,
		.modules = h->options.modules,
		.host_settings = &m->settings,
	};
	return true;
}

static void tell_waiters(struct mm_host *h, bool ok, const struct mm_fault *why)
{
	struct mm_error error = { .code = MM_ERROR_NONE };
	if (!ok)
		mm_fault_tell(why, &error);
	while (h->waiters != NULL) {
		struct reload_waiter *w = h->waiters;
		h->waiters = w->next;
		w->done(w->self, ok, &error);
		free(w);
	}
}

static bool set_dns(struct mm_host *h, struct mm_fault *why)
{
	const char **servers = calloc(h->config.dns_servers.count + 1, sizeof *servers);
	if (servers == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the list of name servers");
	for (size_t i = 0; i < h->config.dns_servers.count; i++)
		servers[i] = h->config.dns_servers.items[i];
	struct mm_dns_settings settings = {
		.servers = servers, .timeout = h->config.dns_timeout, .cache_max = h->config.dns_cache,
	};
	bool ok = mm_worker_set_dns(h->worker, &settings, why);
	free(servers);
	return ok;
}

static void update_row(const struct mm_host *h, enum mm_census_state state)
{
	mm_census_set(h->member.row->generation, (uint32_t)h->generation);
	mm_census_set(h->member.row->state, state);
}

/* A session is a descriptor. Scripts, logs and a reload need some as well, so that none of them
 * fails because we are full. */
static unsigned sessions_that_fit(struct mm_host *h)
{
	struct rlimit files;
	unsigned wanted = h->config.max_sessions;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY)
		return wanted;
	rlim_t spare = files.rlim_cur / 4 < MM_DESCRIPTORS_SPARE ? files.rlim_cur / 4 : MM_DESCRIPTORS_SPARE;
	if (wanted <= files.rlim_cur - spare)
		return wanted;
	mm_log_say(&h->log, MM_LEVEL_WARN, "sessions", "max_sessions %u is more than the %llu descriptors we may have "
		"can carry: %llu are served at a time; raise the limit (LimitNOFILE=, ulimit -n)", wanted,
		(unsigned long long)files.rlim_cur,
		(unsigned long long)(files.rlim_cur - spare));
	return (unsigned)(files.rlim_cur - spare);
}

/* What a worker takes from the configuration while it runs. */
static void tune_worker(struct mm_host *h)
{
	const struct mm_config *c = &h->config;
	struct mm_worker_limits limits = {
		.max_sessions = sessions_that_fit(h), .recycle_sessions = c->recycle_sessions,
		.times = { c->negotiate_timeout, c->idle_timeout, c->write_timeout },
	};
	mm_worker_tune(h->worker, &limits);
	if (h->options.guard_scripts)
		mm_budget_set(&(struct mm_budget_limits){ c->cpu_slice, c->cpu_session });
	for (unsigned i = 0; i < c->milter_count; i++)
		mm_worker_allow(h->worker, i, c->milters[i].allow.items, c->milters[i].allow.count);
}

static void drop_next_config(struct mm_host *h)
{
	if (h->has_next_config)
		mm_config_free(&h->next_config);
	h->has_next_config = false;
}

/* A directory without scripts is allowed, for a start; after a reload it may be a copy that went wrong. */
static void warn_of_no_scripts(struct mm_host *h)
{
	for (unsigned i = 0; i < h->config.milter_count; i++) {
		struct mm_fault why;
		struct mm_script_files list = { 0 };
		const char **paths = paths_of(&h->config.milters[i]);
		if (paths != NULL && mm_script_files_find(&list, paths, &why) && list.count == 0)
			mm_log_say(&h->log, MM_LEVEL_WARN, "reload", "milter %s has no scripts: no directory of "
				"`scripts` holds a file named *.lua; mail passes unfiltered",
				h->config.milters[i].name);
		mm_script_files_free(&list);
		free((void *)(uintptr_t)paths);
	}
}

static void take_next_config(struct mm_host *h)
{
	struct mm_fault why;
	struct mm_config before = h->config;
	h->config = h->next_config;
	h->next_config = (struct mm_config){ 0 };
	h->has_next_config = false;
	h->log.level = h->config.log_level;
	h->log.is_json = h->config.log_format == MM_CONFIG_LOG_JSON;
	bool speaks = h->worker == NULL || h->member.census == NULL;     /* for all workers */
	const char *fixed = speaks ? mm_config_fixed_change(&before, &h->config) : NULL;
	if (fixed != NULL)
		mm_log_say(&h->log, MM_LEVEL_WARN, "reload", "%s has changed in the configuration; that takes "
			"a restart", fixed);
	if (speaks)
		warn_of_no_scripts(h);
	bool same_log = before.log == h->config.log
		|| (before.log != NULL && h->config.log != NULL && strcmp(before.log, h->config.log) == 0);
	if (!same_log && !mm_host_reopen_log(h, &why))
		mm_log_say(&h->log, MM_LEVEL_ERROR, "log", "%s", why.text);
	if (h->worker != NULL && !set_dns(h, &why))
		mm_log_say(&h->log, MM_LEVEL_ERROR, "reload", "%s; name servers stay as they were", why.text);
	if (h->worker != NULL)
		tune_worker(h);
	mm_config_free(&before);
}

static void on_loaded(void *self, bool ok, const struct mm_fault *why)
{
	struct mm_host *h = self;
	h->is_loading = false;
	if (!ok)
		drop_next_config(h);
	h->prepared(h->prepared_self, ok, why);
}

static void begin_load(struct mm_host *h, const struct mm_config *c)
{
	struct mm_fault why;
	unsigned count = (unsigned)c->milter_count, made = 0;
	struct mm_generation_options *options = calloc(count, sizeof *options);
	h->is_loading = true;
	while (options != NULL && made < count && options_of(h, c, made, &options[made]))
		made++;
	if (made < count) {
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory for a generation of scripts");
		on_loaded(h, false, &why);
	} else {
		mm_worker_prepare(h->worker, options, on_loaded, h);
	}
	for (unsigned i = 0; i < made; i++)
		free((void *)(uintptr_t)options[i].paths);
	free(options);
}

/* A milter more or less, or another listener, is another process: a reload changes scripts and their settings. */
static bool same_milters(const struct mm_host *h, const struct mm_config *c, struct mm_fault *why)
{
	bool same = c->milter_count == h->config.milter_count;
	for (unsigned i = 0; same && i < c->milter_count; i++)
		same = strcmp(c->milters[i].name, h->config.milters[i].name) == 0;
	return same || mm_fault_set(why, MM_FAULT_CONFIG, "milters were added or removed in the configuration; that "
		"needs a restart");
}

static bool read_next_config(struct mm_host *h, struct mm_fault *why)
{
	drop_next_config(h);
	if (!read_config(&h->options, &h->next_config, why))
		return false;
	h->has_next_config = true;
	if (same_milters(h, &h->next_config, why))
		return true;
	drop_next_config(h);
	return false;
}

bool mm_host_reread(struct mm_host *h, struct mm_fault *why)
{
	if (!read_next_config(h, why))
		return false;
	take_next_config(h);
	return true;
}

void mm_host_prepare(struct mm_host *h, unsigned long generation, bool rereads,
	void (*done)(void *self, bool ok, const struct mm_fault *), void *self)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	mm_host_discard(h);
	h->prepared = done;
	h->prepared_self = self;
	h->next_generation = generation;
	if (rereads && !read_next_config(h, &why))
		done(self, false, &why);
	else
		begin_load(h, rereads ? &h->next_config : &h->config);
}

static bool watch_listeners(struct mm_host *h, struct mm_fault *why)
{
	for (unsigned i = 0; i < h->listener_count; i++)
		if (!mm_worker_watch(h->worker, h->listeners[i].milter, h->listeners[i].listener.fd, why))
			return false;
	return true;
}

bool mm_host_commit(struct mm_host *h, struct mm_fault *why)
{
	bool is_first = h->generation == 0;
	mm_worker_commit(h->worker);
	h->generation = h->next_generation;
	if (h->has_next_config)
		take_next_config(h);
	update_row(h, h->is_stopping ? MM_CENSUS_DRAINING : MM_CENSUS_SERVING);
	return !is_first || h->is_stopping || watch_listeners(h, why);
}

void mm_host_discard(struct mm_host *h)
{
	mm_worker_discard(h->worker);
	h->is_loading = false;
	drop_next_config(h);
}

/* ---- reload ---- */

static void wait_for_pace(struct mm_host *h);

static void log_reload(struct mm_host *h, bool ok, const struct mm_fault *why)
{
	struct mm_log_line line;
	mm_log_begin(&line, &h->log, ok ? MM_LEVEL_INFO : MM_LEVEL_ERROR, "reload");
	mm_log_string(&line, "result", ok ? "ok" : "failed");
	mm_log_number(&line, "generation", (long long)h->generation);
	if (!ok)
		mm_log_string(&line, "error", why->text);
	mm_log_end(&line);
}

static void on_reload_timer(struct ev_loop *loop, ev_timer *t, int events)
{
	struct mm_host *h = t->data;
	(void)loop;
	(void)events;
	if (mm_pace_is_due(&h->pace, mm_clock_now()))
		mm_host_reload(h, NULL, NULL);
	else
		wait_for_pace(h);
}

/* A reload that was put off begins when its time has come. */
static void wait_for_pace(struct mm_host *h)
{
	double wait = mm_pace_wait(&h->pace, mm_clock_now());
	if (wait < 0 || ev_is_active(&h->reload_timer))
		return;
	ev_timer_init(&h->reload_timer, on_reload_timer, wait, 0.);
	h->reload_timer.data = h;
	ev_timer_start(h->loop, &h->reload_timer);
}

static void end_pace(struct mm_host *h, bool goes_on)
{
	bool is_owed = mm_pace_end(&h->pace, mm_clock_now());
	if (!goes_on)
		return;
	if (is_owed)
		mm_host_reload(h, NULL, NULL);
	else
		wait_for_pace(h);
}

static void on_reloaded(void *self, bool ok, const struct mm_fault *why)
{
	struct mm_host *h = self;
	struct mm_fault fault = *why;
	if (ok)
		ok = mm_host_commit(h, &fault);
	log_reload(h, ok, &fault);
	if (h->options.handle_signals)
		mm_service_ready();
	if (h->reload_ended != NULL)
		h->reload_ended(h->reload_ended_self, ok, &fault);
	tell_waiters(h, ok, &fault);
	end_pace(h, true);
}

void mm_host_on_reload(struct mm_host *h, void (*ended)(void *self, bool ok, const struct mm_fault *), void *self)
{
	h->reload_ended = ended;
	h->reload_ended_self = self;
}

void mm_host_reload(struct mm_host *h, void (*done)(void *self, bool ok, const struct mm_error *), void *self)
{
	if (done != NULL) {
		struct reload_waiter *w = malloc(sizeof *w);
		if (w != NULL) {
			*w = (struct reload_waiter){ done, self, h->waiters };
			h->waiters = w;
		}
	}
	if (h->is_stopping || !mm_pace_ask(&h->pace))
		return;
	if (h->options.handle_signals)
		mm_service_reloading();
	mm_host_prepare(h, h->generation + 1, true, on_reloaded, h);
}

/* ---- signals, stop ---- */

static void be_stopped(struct mm_host *h)
{
	ev_timer_stop(h->loop, &h->drain_timer);
	h->is_stopped = true;
	ev_break(h->loop, EVBREAK_ALL);
}

static void on_drained(void *self)
{
	struct mm_host *h = self;
	if (!h->is_stopped)
		be_stopped(h);
}

static void on_last_words(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	on_drained(t->data);
}

/* Every session has its last reply, but the kernel may have taken a part only: whoever reads it gets a moment more. */
static void halt(struct mm_host *h)
{
	if (h->is_stopped)
		return;
	h->is_stopping = true;
	mm_worker_shut_down(h->worker);
	if (h->is_stopped)                      /* that was all */
		return;
	if (h->is_halting) {
		be_stopped(h);
		return;
	}
	h->is_halting = true;
	ev_timer_stop(h->loop, &h->drain_timer);
	ev_timer_init(&h->drain_timer, on_last_words, MM_LAST_WORDS, 0.);
	h->drain_timer.data = h;
	ev_timer_start(h->loop, &h->drain_timer);
	mm_worker_drain(h->worker);             /* says so when nothing is left */
}

static void on_drain_timer(struct ev_loop *loop, ev_timer *t, int events)
{
	struct mm_host *h = t->data;
	(void)loop;
	(void)events;
	mm_log_say(&h->log, MM_LEVEL_WARN, "stop", "drain_timeout is over: %u sessions end with a temporary failure",
		mm_worker_session_count(h->worker));
	halt(h);
}

void mm_host_retire(struct mm_host *h)
{
	update_row(h, MM_CENSUS_DRAINING);
	mm_worker_unwatch(h->worker);           /* before the descriptors close: the kernel gives their numbers away */
	mm_host_close_listeners(h);
	mm_worker_drain(h->worker);
}

static void begin_drain(struct mm_host *h)
{
	h->is_stopping = true;
	if (h->options.handle_signals && h->member.census == NULL)
		mm_service_stopping();
	mm_log_say(&h->log, MM_LEVEL_INFO, "stop", "no new connections; %u sessions may finish within %.0f s",
		mm_worker_session_count(h->worker), h->config.drain_timeout);
	ev_timer_init(&h->drain_timer, on_drain_timer, h->config.drain_timeout, 0.);
	h->drain_timer.data = h;
	ev_timer_start(h->loop, &h->drain_timer);
	mm_host_retire(h);
}

void mm_host_stop(struct mm_host *h, enum mm_stop how)
{
	if (how == MM_STOP_NOW)
		halt(h);
	else if (!h->is_stopping)
		begin_drain(h);
}

void mm_host_stop_as_asked(struct mm_host *h)
{
	if (h->is_stopping && !h->is_stopped)
		mm_log_say(&h->log, MM_LEVEL_WARN, "stop", "asked again: stopping at once");
	mm_host_stop(h, h->is_stopping ? MM_STOP_NOW : MM_STOP_DRAIN);
}

static void reload_soon(struct mm_host *h)
{
	if (mm_pace_ask_soon(&h->pace, mm_clock_now()))
		mm_host_reload(h, NULL, NULL);
	else
		wait_for_pace(h);
}

static void on_signal(struct ev_loop *loop, ev_signal *s, int events)
{
	struct mm_host *h = s->data;
	struct mm_fault why;
	(void)loop;
	(void)events;
	switch (s->signum) {
	case SIGHUP:
		reload_soon(h);
		break;
	case SIGUSR1:
		if (!mm_host_reopen_log(h, &why))
			mm_log_say(&h->log, MM_LEVEL_ERROR, "log", "%s", why.text);
		break;
	default:
		if (h->member.census == NULL || !h->is_stopping)    /* a worker hears it from its master, too */
			mm_host_stop_as_asked(h);
	}
}

static void watch_signals(struct mm_host *h)
{
	static const int numbers[SIGNAL_COUNT] = { SIGTERM, SIGUSR1, SIGHUP, SIGINT };
	h->signal_count = h->member.census == NULL ? SIGNAL_COUNT : 2;      /* follower.c ignores the others */
	for (int i = 0; i < h->signal_count; i++) {
		ev_signal_init(&h->signals[i], on_signal, numbers[i]);
		h->signals[i].data = h;
		ev_signal_start(h->loop, &h->signals[i]);
		ev_unref(h->loop);
	}
	signal(SIGPIPE, SIG_IGN);
}

/* ---- life ---- */

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
	if (h->member.retire != NULL)
		h->member.retire(h->member.self, text);
}

static bool make_worker(struct mm_host *h, struct mm_fault *why)
{
	struct mm_worker_options o = {
		.loop = h->loop, .log = &h->log, .census = h->member.census, .row = h->member.row,
		.milter_count = (unsigned)h->config.milter_count, .milter_names = h->milter_names,
		.drained = on_drained, .retire = on_retire, .self = h,
	};
	struct mm_recorder_options record = {
		.directory = h->config.record, .sample = h->config.record_sample, .session_max = h->config.record_max,
		.redact = (enum mm_redact)h->config.record_redact,
	};
	if (h->config.record != NULL && !h->options.no_sockets)
		o.record = &record;
	h->worker = mm_worker_new(&o, why);
	if (h->worker == NULL || !set_dns(h, why))
		return false;
	tune_worker(h);
	return true;
}

static bool open_control(struct mm_host *h, struct mm_fault *why)
{
	struct mm_endpoint spec = { .kind = MM_ENDPOINT_UNIX };
	struct mm_listener_options o = { .mode = 0600 };
	leave_to_user(h, &o);
	snprintf(spec.path, sizeof spec.path, "%s", h->config.control);
	return mm_listener_open(&h->control, &spec, &o, why);
}

/* Known to be good before anything is opened for him. */
static bool choose_user(struct mm_host *h, struct mm_fault *why)
{
	if (h->config.user == NULL && !mm_rights_need_a_user(&h->config.user, why))
		return false;
	return geteuid() != 0 || mm_rights_check(h->config.user, h->config.group, why);
}

static bool bind_all(struct mm_host *h, bool with_control, struct mm_fault *why)
{
	if (!read_config(&h->options, &h->config, why))
		return false;
	if (h->options.drop_rights)
		mm_rights_raise_limits();
	if (h->options.drop_rights && !choose_user(h, why))
		return false;
	if (!mm_host_reopen_log(h, why))
		return false;
	if (!h->options.no_sockets && !open_listeners(h, why))
		return false;
	if (with_control && h->config.control != NULL && !open_control(h, why))
		return false;
	return !h->options.drop_rights || mm_rights_drop(h->config.user, h->config.group, why);
}

struct mm_host *mm_host_bind(const struct mm_host_options *o, bool with_control, struct mm_fault *why)
{
	struct mm_host *h = calloc(1, sizeof *h);
	if (h == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a host");
		return NULL;
	}
	memcpy(&h->options, o, o->size < sizeof h->options ? o->size : sizeof h->options);
	h->options.listen = (const char *const *)copy_list(o->listen);
	h->options.scripts = (const char *const *)copy_list(o->scripts);
	h->options.set = (const char *const *)copy_list(o->set);
	h->options.config_file = h->options.config_file != NULL ? strdup(h->options.config_file) : NULL;
	h->control.fd = -1;
	mm_log_init(&h->log, STDERR_FILENO);
	if (bind_all(h, with_control, why))
		return h;
	mm_host_free(h);
	return NULL;
}

/* A worker beats while its loop turns (and when a long slice has ended: budget.c); who reads the census
 * draws the conclusions. */
static void on_beat(struct ev_loop *loop, ev_timer *t, int events)
{
	struct mm_host *h = t->data;
	(void)loop;
	(void)events;
	mm_census_add(h->member.row->beats, 1);
	mm_census_set(h->member.row->lua_bytes, mm_worker_lua_bytes(h->worker));
	mm_census_set(h->member.row->older_sessions, mm_worker_older_sessions(h->worker));
	mm_census_set(h->member.row->log_lost, h->log.dropped_ever);
}

static void begin_beating(struct mm_host *h)
{
	mm_census_set(h->member.row->pid, (int32_t)getpid());
	ev_timer_init(&h->beat, on_beat, 0., MM_BEAT_EVERY);
	h->beat.data = h;
	ev_timer_start(h->loop, &h->beat);
	ev_unref(h->loop);
}

bool mm_host_raise(struct mm_host *h, const struct mm_host_member *member, struct mm_fault *why)
{
	h->member.row = &h->own_row;
	if (member != NULL) {
		h->member = *member;
		for (unsigned i = 0; i < h->listener_count; i++)
			h->listeners[i].listener.is_ours = false;
		h->control.is_ours = false;
		mm_listener_close(&h->control);
	}
	h->is_virtual = h->stands_at > 0 && h->options.loop == NULL
		&& mm_clock_make_virtual(h->stands_at);
	if (h->stands_at > 0 && !h->is_virtual)
		return mm_fault_set(why, MM_FAULT_CONFIG, "the clock of %s cannot be made to stand",
			h->options.loop != NULL ? "a loop that was handed in" : "this libev");
	h->owns_loop = h->options.loop == NULL;
	h->loop = h->owns_loop ? ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV) : h->options.loop;
	if (h->loop == NULL || !name_milters(h))
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a host");
	struct mm_budget_limits cpu = { h->config.cpu_slice, h->config.cpu_session };
	if (h->options.guard_scripts && !mm_budget_open(&cpu, h->member.row, &h->log, why))
		return false;
	h->guards = h->options.guard_scripts;
	if (!make_worker(h, why))
		return false;
	begin_beating(h);
	if (h->options.handle_signals)
		watch_signals(h);
	return true;
}

static struct mm_host *new_host(const struct mm_host_options *o, double stands_at, struct mm_error *error)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	struct mm_host *h = mm_host_bind(o, false, &why);
	if (h != NULL)
		h->stands_at = stands_at;
	if (h != NULL && mm_host_raise(h, NULL, &why))
		return h;
	mm_fault_tell(&why, error);
	mm_host_free(h);
	return NULL;
}

struct mm_host *mm_host_new(const struct mm_host_options *o, struct mm_error *error)
{
	return new_host(o, 0, error);
}

struct mm_host *mm_testing_host_new(const struct mm_host_options *o, double now, struct mm_error *error)
{
	return new_host(o, now, error);
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
	end_pace(h, ok);
	return ok || mm_fault_tell(h->load_ok ? &why : &h->load_fault, error);
}

void mm_host_run(struct mm_host *h)
{
	while (!h->is_stopped)
		ev_run(h->loop, 0);
}

static void on_turn_over(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)t;
	(void)events;
}

void mm_host_turn(struct mm_host *h, double seconds)
{
	if (seconds <= 0) {
		ev_run(h->loop, EVRUN_NOWAIT);
		return;
	}
	ev_timer limit;
	ev_now_update(h->loop);
	ev_timer_init(&limit, on_turn_over, seconds, 0.);
	ev_timer_start(h->loop, &limit);
	ev_run(h->loop, EVRUN_ONCE);
	ev_timer_stop(h->loop, &limit);
}

bool mm_host_is_stopped(const struct mm_host *h)
{
	return h->is_stopped;
}

unsigned long mm_host_generation(const struct mm_host *h)
{
	return h->generation;
}

unsigned mm_host_session_count(const struct mm_host *h)
{
	return mm_worker_session_count(h->worker);
}

/* ---- for people, and for the rest of the process row ---- */

static void describe_listener(const struct mm_host *h, const struct mm_endpoint *spec,
	struct mm_say say)
{
	char line[MM_ENDPOINT_LINE_SIZE + 64], text[MM_ENDPOINT_LINE_SIZE];
	snprintf(line, sizeof line, "listens on %s", mm_endpoint_text(spec, text, sizeof text));
	say.line(say.self, line);
	if (!mm_endpoint_has_address(spec))
		return;
	snprintf(line, sizeof line, "  Postfix, main.cf:  smtpd_milters = %s",
		mm_endpoint_postfix(spec, text, sizeof text));
	say.line(say.self, line);
	snprintf(line, sizeof line, "  Sendmail, .mc:     %s", mm_endpoint_sendmail(spec, "moonmilter",
		h->config.stage_deadline, h->config.eom_deadline, text, sizeof text));
	say.line(say.self, line);
}

static void describe_milter(const struct mm_host *h, unsigned milter,
	struct mm_say say)
{
	char line[128];
	snprintf(line, sizeof line, "milter %s:", h->config.milters[milter].name);
	if (h->config.milter_count > 1)
		say.line(say.self, line);
	for (unsigned i = 0; i < h->listener_count; i++)
		if (h->listeners[i].milter == milter)
			describe_listener(h, &h->listeners[i].listener.spec, say);
}

void mm_host_describe_listeners(const struct mm_host *h, struct mm_say say)
{
	for (unsigned i = 0; i < h->config.milter_count; i++)
		describe_milter(h, i, say);
}

void mm_host_describe(const struct mm_host *h, void (*say)(void *self, const char *line), void *self)
{
	struct mm_say to = { say, self };
	for (unsigned i = 0; i < h->config.milter_count; i++) {
		const struct mm_generation *g = mm_worker_generation(h->worker, i);
		describe_milter(h, i, to);
		if (g != NULL)
			mm_generation_describe(g, to);
	}
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
	return fclose(f) == 0;
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
	return h->member.row;
}

struct mm_profile *mm_host_profile(struct mm_host *h)
{
	return mm_worker_profile(h->worker);
}

const char *mm_host_config_file(const struct mm_host *h)
{
	return h->options.config_file;
}

int mm_host_control(const struct mm_host *h)
{
	return h->control.fd;
}

unsigned long mm_host_preparing(const struct mm_host *h)
{
	return h->next_generation;
}

bool mm_host_is_stopping(const struct mm_host *h)
{
	return h->is_stopping;
}

void mm_host_set_log_level(struct mm_host *h, enum mm_level level)
{
	h->log.level = level;
}

unsigned mm_host_listener_count(const struct mm_host *h)
{
	return h->listener_count;
}

bool mm_host_listener_is_lost(const struct mm_host *h, unsigned listener)
{
	return mm_listener_is_lost(&h->listeners[listener].listener);
}

void mm_host_describe_lost(const struct mm_host *h, struct mm_say say)
{
	char line[MM_ENDPOINT_TEXT_SIZE + 128], text[MM_ENDPOINT_TEXT_SIZE];
	for (unsigned i = 0; i < h->listener_count; i++) {
		if (!mm_host_listener_is_lost(h, i))
			continue;
		snprintf(line, sizeof line, "lost: %s: somebody removed the socket's file, and no MTA gets in",
			mm_endpoint_text(&h->listeners[i].listener.spec, text, sizeof text));
		say.line(say.self, line);
	}
}

bool mm_host_listener_renew(struct mm_host *h, unsigned listener, struct mm_fault *why)
{
	struct mm_listener fresh, *l = &h->listeners[listener].listener;
	struct mm_listener_options o = listener_options(h, h->listeners[listener].milter);
	if (!mm_listener_open(&fresh, &l->spec, &o, why))
		return false;
	int fd = fresh.fd;
	if (h->worker == NULL) {
		close(l->fd);
		*l = fresh;
		return true;
	}
	l->is_ours = false;             /* what is there now is the new one's */
	if (!mm_host_listener_replace(h, listener, fd, why))
		return false;
	*l = fresh;
	return true;
}

int mm_host_listener_descriptor(const struct mm_host *h, unsigned listener)
{
	return h->listeners[listener].listener.fd;
}

bool mm_host_listener_replace(struct mm_host *h, unsigned listener, int fd, struct mm_fault *why)
{
	struct mm_listener *l = &h->listeners[listener].listener;
	mm_worker_unwatch(h->worker);
	close(l->fd);
	l->fd = fd;
	return h->generation == 0 || h->is_stopping || watch_listeners(h, why);
}

void mm_host_close_listeners(struct mm_host *h)
{
	for (unsigned i = 0; i < h->listener_count; i++)
		mm_listener_close(&h->listeners[i].listener);
}

void mm_host_free(struct mm_host *h)
{
	if (h == NULL)
		return;
	while (h->feeds != NULL)
		mm_feed_close(h->feeds);
	if (h->worker != NULL) {
		if (!h->is_stopped)
			mm_worker_shut_down(h->worker);
		mm_worker_free(h->worker);
	}
	for (int i = 0; i < h->signal_count; i++) {
		ev_ref(h->loop);
		ev_signal_stop(h->loop, &h->signals[i]);
	}
	if (h->guards)
		mm_budget_close();
	if (h->loop != NULL) {
		ev_timer_stop(h->loop, &h->drain_timer);
		ev_timer_stop(h->loop, &h->reload_timer);
	}
	if (h->loop != NULL && ev_is_active(&h->beat)) {
		ev_ref(h->loop);
		ev_timer_stop(h->loop, &h->beat);
	}
	if (h->owns_loop && h->loop != NULL)
		ev_loop_destroy(h->loop);
	if (h->is_virtual)
		mm_clock_make_real();
	mm_host_close_listeners(h);
	mm_listener_close(&h->control);
	free(h->listeners);
	while (h->waiters != NULL) {
		struct reload_waiter *w = h->waiters;
		h->waiters = w->next;
		free(w);
	}
	for (size_t i = 0; h->kept_names != NULL && h->kept_names[i] != NULL; i++)
		free(h->kept_names[i]);
	free(h->kept_names);
	free(h->milter_names);
	mm_config_free(&h->config);
	mm_config_free(&h->next_config);
	free_list(h->options.listen);
	free_list(h->options.scripts);
	free_list(h->options.set);
	free((char *)(uintptr_t)h->options.config_file);
	mm_log_close(&h->log);
	free(h);
}

/* ---- sessions without a socket ---- */

static void on_feeder_wake(void *self)
{
	(void)self;             /* output waits in out until it is asked for */
}

static void on_feeder_report(void *self, const struct mm_outcome_report *r)
{
	struct mm_feed *f = self;
	mm_log_outcome(&f->host->log, mm_host_profile(f->host), r);
}

static void on_feeder_aside(void *self, const struct mm_outcome_report *r)
{
	struct mm_feed *f = self;
	mm_log_aside(&f->host->log, r);
}

static void on_feeder_fault(void *self, const struct mm_fault *why)
{
	struct mm_feed *f = self;
	mm_log_fault(&f->host->log, mm_engine_session(f->engine), why);
}

struct mm_feed *mm_feed_open(struct mm_host *h, const char *milter, struct mm_error *error)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	unsigned at = 0;
	while (milter != NULL && at < h->config.milter_count && strcmp(h->milter_names[at], milter) != 0)
		at++;
	struct mm_generation *g = at < h->config.milter_count ? mm_worker_generation(h->worker, at) : NULL;
	if (g == NULL) {
		mm_fault_set(&why, MM_FAULT_CONFIG, at < h->config.milter_count ? "no scripts are loaded yet"
			: "there is no milter \"%s\"", milter != NULL ? milter : "");
		mm_fault_tell(&why, error);
		return NULL;
	}
	struct mm_feed *f = calloc(1, sizeof *f);
	if (f != NULL) {
		struct mm_engine_owner owner = { f, on_feeder_wake, on_feeder_report, on_feeder_fault,
			on_feeder_aside };
		f->engine = mm_engine_new(mm_worker_engines(h->worker), mm_generation_runtime(g), owner, &f->out);
	}
	if (f == NULL || f->engine == NULL) {
		free(f);
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory for a session");
		mm_fault_tell(&why, error);
		return NULL;
	}
	mm_engine_session(f->engine)->milter = h->config.milter_count > 1 ? h->milter_names[at] : NULL;
	f->host = h;
	MM_LIST_PUSH(h->feeds, f);
	return f;
}

bool mm_feed_bytes(struct mm_feed *f, const void *bytes, size_t size, struct mm_error *error)
{
	struct mm_fault why;
	return mm_engine_feed(f->engine, bytes, size, &why) || mm_fault_tell(&why, error);
}

const void *mm_feed_output(const struct mm_feed *f, size_t *size)
{
	*size = f->out.size;
	return f->out.bytes;
}

void mm_feed_consume(struct mm_feed *f, size_t size)
{
	mm_buffer_consume(&f->out, size < f->out.size ? size : f->out.size);
}

bool mm_feed_is_waiting(const struct mm_feed *f)
{
	return mm_engine_is_waiting(f->engine);
}

bool mm_feed_is_finished(const struct mm_feed *f)
{
	return mm_engine_is_finished(f->engine);
}

void mm_feed_hang_up(struct mm_feed *f)
{
	mm_engine_end(f->engine, MM_CANCEL_DISCONNECT);
}

void mm_feed_close(struct mm_feed *f)
{
	mm_engine_end(f->engine, MM_CANCEL_DISCONNECT);
	MM_LIST_REMOVE(f->host->feeds, f);
	mm_engine_free(f->engine);
	mm_buffer_free(&f->out);
	free(f);
}
