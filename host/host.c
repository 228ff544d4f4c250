/* host.c -- the public face: configuration, listeners, rights, generations, stop and reload, around one worker. */
#include "moonmilter.h"

#include "config.h"
#include "rights.h"
#include "worker.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
	struct ev_loop        *loop;
	bool                   owns_loop;
	bool                   is_virtual;      /* this thread's clock stands for us */
	struct mm_worker      *worker;
	const char           **milter_names;    /* owned array of borrowed names */
	char                 **kept_names;      /* owned names */
	struct listening      *listeners;       /* owned */
	unsigned               listener_count;
	unsigned long          generation;
	bool                   is_loading;
	bool                   reload_again;    /* asked for while one was under way */
	bool                   load_ok;
	struct mm_fault        load_fault;
	struct reload_waiter  *waiters;         /* owned */
	bool                   is_stopping;
	bool                   is_stopped;
	ev_timer               drain_timer;
	ev_signal              signals[4];
	bool                   has_signals;
	struct feeder         *feeders;         /* owned list of sessions without a socket */
};

/* A session without a socket. */
struct feeder {
	struct mm_host   *host;                 /* borrowed */
	struct mm_engine *engine;               /* owned */
	struct mm_buffer  out;
	struct feeder    *next, *previous;
};

const char *mm_version(void)
{
	return MM_VERSION_TEXT;
}

static bool tell(struct mm_error *error, const struct mm_fault *why)
{
	if (error != NULL)
		snprintf(error->text, sizeof error->text, "%s", why->text);
	return false;
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

static void sink_to_embedder(void *self, enum mm_log_level level, const char *line, size_t size)
{
	struct mm_host *h = self;
	h->options.log(h->options.log_self, (enum mm_level)level, line, size);
}

static bool open_log(struct mm_host *h, struct mm_fault *why)
{
	int fd = STDERR_FILENO;
	bool is_file = h->config.log != NULL && h->config.log[0] == '/';
	if (is_file && h->options.log == NULL) {
		fd = open(h->config.log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
		if (fd < 0)
			return mm_fault_set(why, MM_FAULT_CONFIG, "log: %s cannot be opened: %s", h->config.log, strerror(errno));
	}
	int before = h->log.fd;
	mm_log_init(&h->log, fd);
	if (before > STDERR_FILENO)
		close(before);
	h->log.level = (enum mm_log_level)h->config.log_level;
	h->log.is_json = h->config.log_format == MM_CONFIG_LOG_JSON;
	if (h->options.log != NULL) {
		h->log.fd = -1;
		h->log.sink = sink_to_embedder;
		h->log.sink_self = h;
	} else if (h->config.log != NULL && strcmp(h->config.log, "syslog") == 0) {
		mm_log_to_syslog(&h->log);
	}
	return true;
}

/* ---- listeners ---- */

static bool add_listener(struct mm_host *h, unsigned milter, const struct mm_listen_spec *spec, struct mm_fault *why)
{
	const struct mm_config_milter *m = &h->config.milters[milter];
	struct mm_listener_options o = { .mode = m->socket_mode, .owner = m->socket_owner, .group = m->socket_group };
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

static bool open_listeners(struct mm_host *h, struct mm_fault *why)
{
	for (unsigned i = 0; i < h->config.milter_count; i++) {
		const struct mm_config_strings *listen = &h->config.milters[i].listen;
		for (size_t j = 0; j < listen->count; j++) {
			struct mm_listen_spec spec;
			if (!mm_listen_spec_parse(listen->items[j], &spec, why) || !add_listener(h, i, &spec, why))
				return false;
		}
	}
	return true;
}

/* ---- generations ---- */

static void push_value(lua_State *L, const struct mm_value *v);

static void push_table(lua_State *L, const struct mm_value *v)
{
	int n = 0;
	lua_newtable(L);
	for (uint32_t i = 0; v->kind == MM_VALUE_TABLE && i < v->table.count; i++) {
		const struct mm_value_entry *entry = &v->table.entries[i];
		if (entry->name == NULL) {
			push_value(L, &entry->value);
			lua_rawseti(L, -2, ++n);
			continue;
		}
		lua_pushlstring(L, entry->name, entry->name_size);
		push_value(L, &entry->value);
		lua_rawset(L, -3);
	}
}

static void push_value(lua_State *L, const struct mm_value *v)
{
	luaL_checkstack(L, 4, "settings");
	switch (v->kind) {
	case MM_VALUE_NIL:     lua_pushnil(L); break;
	case MM_VALUE_BOOLEAN: lua_pushboolean(L, v->boolean); break;
	case MM_VALUE_NUMBER:  lua_pushnumber(L, v->number); break;
	case MM_VALUE_STRING:  lua_pushlstring(L, v->string.bytes, v->string.size); break;
	case MM_VALUE_TABLE:   push_table(L, v); break;
	}
}

static void push_settings(lua_State *L, void *self)
{
	const struct mm_config_milter *m = self;
	push_table(L, &m->settings);
}

static bool options_of(struct mm_host *h, const struct mm_config *c, unsigned i, struct mm_script_options *o)
{
	const struct mm_config_milter *m = &c->milters[i];
	const char **paths = calloc(m->scripts.count + 1, sizeof *paths);
	if (paths == NULL)
		return false;
	for (size_t j = 0; j < m->scripts.count; j++)
		paths[j] = m->scripts.items[j];
	*o = (struct mm_script_options){
		.settings = {
			.milter_name = h->milter_names[i],
			.stage_deadline = c->stage_deadline, .eom_deadline = c->eom_deadline, .progress_every = c->progress_every,
			.body_max = c->body_max, .on_error = m->on_error, .lockstep = m->lockstep,
			.generation = h->generation + 1,
		},
		.paths = paths,
		.modules = (const struct mm_script_module *)(const void *)h->options.modules,
		.push_settings = push_settings, .push_self = (void *)(uintptr_t)m,
	};
	return true;
}

_Static_assert(sizeof(struct mm_module) == sizeof(struct mm_script_module), "the same struct under its public name");

static void tell_waiters(struct mm_host *h, bool ok, const struct mm_fault *why)
{
	struct mm_error error = { .text = "" };
	if (!ok)
		tell(&error, why);
	while (h->waiters != NULL) {
		struct reload_waiter *w = h->waiters;
		h->waiters = w->next;
		w->done(w->self, ok, &error);
		free(w);
	}
}

static void begin_load(struct mm_host *h, const struct mm_config *c);

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

static void on_reloaded(struct mm_host *h)
{
	struct mm_fault why;
	mm_config_free(&h->config);
	h->config = h->next_config;
	h->next_config = (struct mm_config){ 0 };
	h->log.level = (enum mm_log_level)h->config.log_level;
	h->log.is_json = h->config.log_format == MM_CONFIG_LOG_JSON;
	if (!set_dns(h, &why))
		mm_log_say(&h->log, MM_LOG_ERROR, "reload", "%s; name servers stay as they were", why.text);
}

static void on_prepared(void *self, bool ok, const struct mm_fault *why)
{
	struct mm_host *h = self;
	bool is_first = h->generation == 0;
	h->is_loading = false;
	h->load_ok = ok;
	h->load_fault = *why;
	if (ok) {
		mm_worker_commit(h->worker);
		h->generation++;
		if (!is_first)
			on_reloaded(h);
	} else if (!is_first) {
		mm_config_free(&h->next_config);
	}
	struct mm_log_line line;
	if (!is_first) {
		mm_log_begin(&line, &h->log, ok ? MM_LOG_INFO : MM_LOG_ERROR, "reload");
		mm_log_string(&line, "result", ok ? "ok" : "failed");
		mm_log_number(&line, "generation", (long long)h->generation);
		if (!ok)
			mm_log_string(&line, "error", why->text);
		mm_log_end(&line);
	}
	tell_waiters(h, ok, why);
	if (h->reload_again) {
		h->reload_again = false;
		mm_host_reload(h, NULL, NULL);
	}
}

static void begin_load(struct mm_host *h, const struct mm_config *c)
{
	struct mm_fault why;
	unsigned count = (unsigned)c->milter_count, made = 0;
	struct mm_script_options *options = calloc(count, sizeof *options);
	h->is_loading = true;
	while (options != NULL && made < count && options_of(h, c, made, &options[made]))
		made++;
	if (made < count) {
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory for a generation of scripts");
		on_prepared(h, false, &why);
	} else {
		mm_worker_prepare(h->worker, options, on_prepared, h);
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
		same = strcmp(c->milters[i].name, h->milter_names[i]) == 0;
	return same || mm_fault_set(why, MM_FAULT_CONFIG, "milters were added or removed in the configuration; that needs a restart");
}

void mm_host_reload(struct mm_host *h, void (*done)(void *self, bool ok, const struct mm_error *), void *self)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	if (done != NULL) {
		struct reload_waiter *w = malloc(sizeof *w);
		if (w != NULL) {
			*w = (struct reload_waiter){ done, self, h->waiters };
			h->waiters = w;
		}
	}
	if (h->is_stopping)
		return;
	if (h->is_loading) {
		h->reload_again = true;         /* a storm of reloads becomes two: this one and one more */
		return;
	}
	if (!read_config(&h->options, &h->next_config, &why) || !same_milters(h, &h->next_config, &why)) {
		on_prepared(h, false, &why);
		return;
	}
	begin_load(h, &h->next_config);
}

/* ---- signals, stop ---- */

static void stop_now(struct mm_host *h)
{
	ev_timer_stop(h->loop, &h->drain_timer);
	mm_worker_shut_down(h->worker);
	h->is_stopped = true;
	ev_break(h->loop, EVBREAK_ALL);
}

static void on_drained(void *self)
{
	struct mm_host *h = self;
	if (h->is_stopped)
		return;
	ev_timer_stop(h->loop, &h->drain_timer);
	h->is_stopped = true;
	ev_break(h->loop, EVBREAK_ALL);
}

static void on_drain_timer(struct ev_loop *loop, ev_timer *t, int events)
{
	struct mm_host *h = t->data;
	(void)loop;
	(void)events;
	mm_log_say(&h->log, MM_LOG_WARN, "stop", "drain_timeout is over: %u sessions end with a temporary failure",
		mm_worker_session_count(h->worker));
	stop_now(h);
}

void mm_host_stop(struct mm_host *h)
{
	if (h->is_stopped)
		return;
	if (h->is_stopping) {
		mm_log_say(&h->log, MM_LOG_WARN, "stop", "asked again: stopping at once");
		stop_now(h);
		return;
	}
	h->is_stopping = true;
	mm_log_say(&h->log, MM_LOG_INFO, "stop", "no new connections; %u sessions may finish within %.0f s",
		mm_worker_session_count(h->worker), h->config.drain_timeout);
	ev_timer_init(&h->drain_timer, on_drain_timer, h->config.drain_timeout, 0.);
	h->drain_timer.data = h;
	ev_timer_start(h->loop, &h->drain_timer);
	for (unsigned i = 0; i < h->listener_count; i++)
		mm_listener_close(&h->listeners[i].listener);
	mm_worker_drain(h->worker);
}

static void on_signal(struct ev_loop *loop, ev_signal *s, int events)
{
	struct mm_host *h = s->data;
	struct mm_fault why;
	(void)loop;
	(void)events;
	switch (s->signum) {
	case SIGHUP:
		mm_host_reload(h, NULL, NULL);
		break;
	case SIGUSR1:
		if (!open_log(h, &why))
			mm_log_say(&h->log, MM_LOG_ERROR, "log", "%s", why.text);
		break;
	default:
		mm_host_stop(h);
	}
}

static void watch_signals(struct mm_host *h)
{
	static const int numbers[] = { SIGHUP, SIGTERM, SIGINT, SIGUSR1 };
	for (int i = 0; i < 4; i++) {
		ev_signal_init(&h->signals[i], on_signal, numbers[i]);
		h->signals[i].data = h;
		ev_signal_start(h->loop, &h->signals[i]);
		ev_unref(h->loop);
	}
	h->has_signals = true;
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

static bool make_worker(struct mm_host *h, struct mm_fault *why)
{
	struct mm_worker_options o = {
		.loop = h->loop, .log = &h->log, .max_sessions = h->config.max_sessions,
		.times = { h->config.negotiate_timeout, h->config.idle_timeout, h->config.write_timeout },
		.milter_count = (unsigned)h->config.milter_count, .milter_names = h->milter_names,
		.drained = on_drained, .self = h,
	};
	struct mm_recorder_options record = {
		.directory = h->config.record, .sample = h->config.record_sample, .session_max = h->config.record_max,
		.redact = (enum mm_redact)h->config.record_redact,
	};
	if (h->config.record != NULL && !h->options.no_sockets)
		o.record = &record;
	h->worker = mm_worker_new(&o, why);
	return h->worker != NULL && set_dns(h, why);
}

static bool make(struct mm_host *h, struct mm_fault *why)
{
	if (!read_config(&h->options, &h->config, why) || !open_log(h, why))
		return false;
	if (h->options.drop_rights && h->config.user == NULL && !mm_rights_need_a_user(&h->config.user, why))
		return false;
	if (!h->options.no_sockets && !open_listeners(h, why))
		return false;
	if (h->options.drop_rights && !mm_rights_drop(h->config.user, h->config.group, why))
		return false;
	h->is_virtual = h->options.virtual_time > 0 && h->options.loop == NULL && mm_clock_make_virtual(h->options.virtual_time);
	if (h->options.virtual_time > 0 && !h->is_virtual)
		return mm_fault_set(why, MM_FAULT_CONFIG, "virtual_time: the clock of %s cannot be moved",
			h->options.loop != NULL ? "a loop that was handed in" : "this libev");
	h->owns_loop = h->options.loop == NULL;
	h->loop = h->owns_loop ? ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV) : h->options.loop;
	if (h->loop == NULL || !name_milters(h))
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a host");
	if (!make_worker(h, why))
		return false;
	if (h->options.handle_signals)
		watch_signals(h);
	return true;
}

struct mm_host *mm_host_new(const struct mm_host_options *o, struct mm_error *error)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	struct mm_host *h = calloc(1, sizeof *h);
	if (h == NULL) {
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory for a host");
		tell(error, &why);
		return NULL;
	}
	memcpy(&h->options, o, o->size < sizeof h->options ? o->size : sizeof h->options);
	h->options.listen = (const char *const *)copy_list(o->listen);
	h->options.scripts = (const char *const *)copy_list(o->scripts);
	h->options.set = (const char *const *)copy_list(o->set);
	h->options.config_file = h->options.config_file != NULL ? strdup(h->options.config_file) : NULL;
	h->log.fd = -1;
	mm_log_init(&h->log, STDERR_FILENO);
	if (make(h, &why))
		return h;
	tell(error, &why);
	mm_host_free(h);
	return NULL;
}

bool mm_host_start(struct mm_host *h, struct mm_error *error)
{
	struct mm_fault why;
	begin_load(h, &h->config);
	while (h->is_loading && !h->is_stopping)
		ev_run(h->loop, EVRUN_ONCE);
	if (!h->load_ok)
		return tell(error, &h->load_fault);
	for (unsigned i = 0; i < h->listener_count; i++)
		if (!mm_worker_watch(h->worker, h->listeners[i].milter, h->listeners[i].listener.fd, &why))
			return tell(error, &why);
	return true;
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

void mm_host_describe(const struct mm_host *h, void (*say)(void *self, const char *line), void *self)
{
	char line[MM_LISTEN_LINE_SIZE + 64], text[MM_LISTEN_LINE_SIZE];
	for (unsigned i = 0; i < h->config.milter_count; i++) {
		const struct mm_script *script = mm_worker_script(h->worker, i);
		snprintf(line, sizeof line, "milter %s:", h->milter_names[i]);
		if (h->config.milter_count > 1)
			say(self, line);
		for (unsigned j = 0; j < h->listener_count; j++) {
			const struct mm_listen_spec *spec = &h->listeners[j].listener.spec;
			if (h->listeners[j].milter != i)
				continue;
			snprintf(line, sizeof line, "listens on %s", mm_listen_spec_text(spec, text, sizeof text));
			say(self, line);
			if (!mm_listen_spec_has_address(spec))
				continue;
			snprintf(line, sizeof line, "  Postfix, main.cf:  smtpd_milters = %s", mm_listen_spec_postfix(spec, text, sizeof text));
			say(self, line);
			snprintf(line, sizeof line, "  Sendmail, .mc:     %s", mm_listen_spec_sendmail(spec, "moonmilter",
				h->config.stage_deadline, h->config.eom_deadline, text, sizeof text));
			say(self, line);
		}
		if (script != NULL)
			mm_script_describe(script, say, self);
	}
}

void mm_host_free(struct mm_host *h)
{
	if (h == NULL)
		return;
	while (h->feeders != NULL)
		mm_session_close(mm_engine_session(h->feeders->engine));
	if (h->worker != NULL) {
		if (!h->is_stopped)
			mm_worker_shut_down(h->worker);
		mm_worker_free(h->worker);
	}
	for (int i = 0; h->has_signals && i < 4; i++) {
		ev_ref(h->loop);
		ev_signal_stop(h->loop, &h->signals[i]);
	}
	if (h->loop != NULL)
		ev_timer_stop(h->loop, &h->drain_timer);
	if (h->owns_loop && h->loop != NULL)
		ev_loop_destroy(h->loop);
	if (h->is_virtual)
		mm_clock_make_real();
	for (unsigned i = 0; i < h->listener_count; i++)
		mm_listener_close(&h->listeners[i].listener);
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
	if (h->log.fd > STDERR_FILENO)
		close(h->log.fd);
	free(h);
}

/* ---- sessions without a socket ---- */

static struct feeder *feeder_of(const struct mm_session *s)
{
	return mm_engine_owner_self(mm_engine_of((struct mm_session *)(uintptr_t)s));
}

static void on_feeder_wake(void *self)
{
	(void)self;             /* output waits in out until it is asked for */
}

static void on_feeder_report(void *self, const struct mm_outcome_report *r)
{
	struct feeder *f = self;
	mm_log_outcome(&f->host->log, r);
}

static void on_feeder_fault(void *self, const struct mm_fault *why)
{
	struct feeder *f = self;
	mm_log_fault(&f->host->log, mm_engine_session(f->engine), why);
}

struct mm_session *mm_session_open(struct mm_host *h, const char *milter, struct mm_error *error)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	unsigned at = 0;
	while (milter != NULL && at < h->config.milter_count && strcmp(h->milter_names[at], milter) != 0)
		at++;
	struct mm_script *script = at < h->config.milter_count ? mm_worker_script(h->worker, at) : NULL;
	if (script == NULL) {
		mm_fault_set(&why, MM_FAULT_CONFIG, at < h->config.milter_count ? "no scripts are loaded yet" : "there is no milter \"%s\"",
			milter != NULL ? milter : "");
		tell(error, &why);
		return NULL;
	}
	struct feeder *f = calloc(1, sizeof *f);
	if (f != NULL) {
		struct mm_engine_owner owner = { f, on_feeder_wake, on_feeder_report, on_feeder_fault };
		f->engine = mm_engine_new(mm_worker_engines(h->worker), mm_script_runtime(script), owner, &f->out);
	}
	if (f == NULL || f->engine == NULL) {
		free(f);
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory for a session");
		tell(error, &why);
		return NULL;
	}
	f->host = h;
	f->next = h->feeders;
	if (f->next != NULL)
		f->next->previous = f;
	h->feeders = f;
	return mm_engine_session(f->engine);
}

bool mm_session_feed(struct mm_session *s, const void *bytes, size_t size, struct mm_error *error)
{
	struct mm_fault why;
	return mm_engine_feed(feeder_of(s)->engine, bytes, size, &why) || tell(error, &why);
}

const void *mm_session_output(const struct mm_session *s, size_t *size)
{
	const struct feeder *f = feeder_of(s);
	*size = f->out.size;
	return f->out.bytes;
}

void mm_session_consume(struct mm_session *s, size_t size)
{
	struct feeder *f = feeder_of(s);
	mm_buffer_consume(&f->out, size < f->out.size ? size : f->out.size);
}

bool mm_session_is_waiting(const struct mm_session *s)
{
	return mm_engine_is_waiting(feeder_of(s)->engine);
}

bool mm_session_is_finished(const struct mm_session *s)
{
	return mm_engine_is_finished(feeder_of(s)->engine);
}

void mm_session_end(struct mm_session *s)
{
	mm_engine_end(feeder_of(s)->engine, MM_CANCEL_DISCONNECT);
}

void mm_session_close(struct mm_session *s)
{
	struct feeder *f = feeder_of(s);
	mm_engine_end(f->engine, MM_CANCEL_DISCONNECT);
	if (f->previous != NULL)
		f->previous->next = f->next;
	else
		f->host->feeders = f->next;
	if (f->next != NULL)
		f->next->previous = f->previous;
	mm_engine_free(f->engine);
	mm_buffer_free(&f->out);
	free(f);
}
