/* process/master.c -- see master.h.
 *
 * The loop is a poll(2) of few descriptors, because every child would inherit a libev loop. Signals come through a
 * signalfd and stay blocked, except in the children, so that none is lost.
 *
 * A reload goes through three phases. A throw-away process tries the new generation first: scripts that crash or hang
 * while they load cost no session. Then every worker prepares it. When all have, all commit; after one failure, all
 * discard. A worker that starts meanwhile joins in. */
#include "process/master.h"

#include "base/say.h"
#include "process/answers.h"
#include "process/exporter.h"
#include "process/listing.h"
#include "process/look.h"
#include "process/traces.h"
#include "process/workforce.h"
#include "embed/exposed.h"
#include "embed/pace.h"
#include "embed/service.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#define LISTENERS_EVERY 1.0     /* seconds between looks at sockets' files: when one is gone, MTAs cannot connect
                                 * for at most this long */
#define STATUS_EVERY    5.0     /* seconds between two lines for `systemctl status` */
#define ANNOUNCE_WAIT   2.0     /* seconds for the list of scripts at start */
#define COMMIT_WAIT     2.0     /* seconds that workers may take to commit */
#define COMMIT_POLL     0.005   /* between two looks at whether they have */
#define CLIENTS_MAX     32

enum phase { AT_REST, TRYING, PREPARING, COMMITTING };

struct master {
	struct mm_host     *host;               /* owned */
	struct mm_log      *log;                /* borrowed from it */
	struct mm_workforce workforce;
	struct mm_listings  listings;
	struct mm_traces    traces;
	struct mm_answers   answers;
	struct mm_look      look;
	struct mm_exporter  exporter;
	int                 signals;            /* owned signalfd */
	struct mm_say       say;
	struct mm_detached *detached;           /* borrowed */

	/* generations */
	uint32_t           generation;          /* that serves; 0: none yet */
	enum phase         phase;
	double             phase_until;
	struct mm_pace     pace;                /* when the next reload may begin */
	char               last_failure[1024];  /* "": the last reload was good */
	double             reloaded_at;         /* wall clock; 0: never */
	struct mm_control_client *clients[CLIENTS_MAX];         /* clients of the reload under way */
	unsigned           client_count;
	struct mm_control_client *late_clients[CLIENTS_MAX];    /* clients of the reload after it */
	unsigned           late_client_count;

	/* the start, the end */
	bool               is_announced, has_said_scripts;
	unsigned           announce_owed;       /* workers that have not reported yet that they serve */
	double             announce_by;         /* 0: not serving yet */
	int                status;
	bool               is_over;
	double             tick_at, listeners_at, status_at, alive_at;
};

static void reload(struct master *m);
static void stop(struct master *m);

static bool is_stopping(const struct master *m)
{
	return m->workforce.is_stopping;
}

/* ---- workers ---- */

static void spawn_missing(struct master *m, double now)
{
	for (struct mm_worker_process *worker; (worker = mm_workforce_spawn_missing(&m->workforce, now)) != NULL;) {
		if (m->phase == PREPARING)
			mm_worker_process_prepare(worker, m->generation + 1, m->generation > 0);
		else
			mm_worker_process_prepare(worker, m->generation, false); /* uses the configuration that we
			                                                          * hold */
		mm_traces_tell(&m->traces, worker);
	}
}

/* ---- generations ---- */

static void log_reload(struct master *m, bool ok)
{
	struct mm_log_line line;
	mm_log_begin(&line, m->log, ok ? MM_LEVEL_INFO : MM_LEVEL_ERROR, "reload");
	mm_log_string(&line, "result", ok ? "ok" : "failed");
	mm_log_number(&line, "generation", m->generation);
	mm_log_number(&line, "workers", mm_workforce_taking_part(&m->workforce));
	if (!ok)
		mm_log_string(&line, "error", m->last_failure);
	mm_log_end(&line);
}

static void answer_reload(struct master *m, bool ok)
{
	unsigned count = m->client_count;
	m->client_count = 0;
	for (unsigned i = 0; i < count; i++)
		mm_answers_end_reload(m->clients[i], m->generation, ok ? NULL : m->last_failure);
}

static void answer_stopping(struct master *m)
{
	for (unsigned i = 0; i < m->client_count; i++)
		mm_control_client_end(m->clients[i], EX_TEMPFAIL, MM_ANSWERS_STOPPING);
	for (unsigned i = 0; i < m->late_client_count; i++)
		mm_control_client_end(m->late_clients[i], EX_TEMPFAIL, MM_ANSWERS_STOPPING);
	m->client_count = m->late_client_count = 0;
}

static void update_status(struct master *m)
{
	mm_service_status("generation %u, %u workers, %u sessions%s%s", m->generation,
		mm_workforce_count(&m->workforce, MM_WORKER_SERVING), mm_workforce_sessions(&m->workforce),
		m->last_failure[0] != '\0' ? ", last reload failed: " : "", m->last_failure);
}

static void end_reload(struct master *m, bool ok, const char *failure)
{
	mm_workforce_end_trial(&m->workforce);
	m->phase = AT_REST;
	m->reloaded_at = mm_clock_wall();
	if (ok)
		mm_suspects_pardon(&m->workforce.suspects);     /* the new scripts may be better */
	snprintf(m->last_failure, sizeof m->last_failure, "%s", ok ? "" : failure);
	log_reload(m, ok);
	mm_figures_count(mm_host_figures(m->host), MM_FIGURE_reloads, ok ? "ok" : "failed", NULL);
	answer_reload(m, ok);
	update_status(m);
	mm_service_ready();
	if (!mm_pace_end(&m->pace, mm_clock_now()))
		return;
	memcpy(m->clients, m->late_clients, sizeof m->clients);
	m->client_count = m->late_client_count;
	m->late_client_count = 0;
	reload(m);
}

/* Before anything serves, a start that fails ends the host. The other workers fail alike: the first one says it. */
static void fail_start(struct master *m, const char *failure)
{
	if (m->status != EX_OK)
		return;
	fprintf(stderr, "moonmilter: %s\n", failure);
	m->status = EX_CONFIG;
	stop(m);
	stop(m);
}

static void fail_reload(struct master *m, const char *failure)
{
	if (m->generation == 0) {
		fail_start(m, failure);
		return;
	}
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		struct mm_worker_process *worker = &m->workforce.workers[i];
		if (worker->state == MM_WORKER_SERVING && m->phase == PREPARING)
			mm_worker_process_tell(worker, MM_NOTE_DISCARD, m->generation + 1);
		else if (worker->state == MM_WORKER_LOADING && m->phase == PREPARING)
			mm_worker_process_prepare(worker, m->generation, false);
		worker->prepared = 0;
	}
	end_reload(m, false, failure);
}

static void announce(struct master *m)
{
	if (m->is_announced)
		return;
	m->is_announced = true;
	m->say.line(m->say.self, "ready");
	update_status(m);
	mm_service_ready();
	mm_detached_serves(m->detached);
}

/* The first answer describes the scripts. When all workers have answered they all accept connections, and on_listed()
 * says "ready"; after ANNOUNCE_WAIT it says so in any case. */
static void begin_announcing(struct master *m)
{
	struct mm_note note = { .kind = MM_NOTE_LIST, .number = MM_LIST_SCRIPTS };
	m->announce_by = mm_clock_now() + ANNOUNCE_WAIT;
	mm_host_describe_listeners(m->host, m->say);
	m->announce_owed = mm_workforce_send(&m->workforce, &note, -1);
	if (m->announce_owed == 0)
		announce(m);
}

static void commit_all(struct master *m)
{
	struct mm_fault why;
	bool is_first = m->generation == 0;
	if (!is_first && !mm_host_reread(m->host, &why))
		mm_log_say(m->log, MM_LEVEL_WARN, "reload", "the configuration changed again while it was "
			"loaded: %s", why.text);
	m->generation++;
	mm_workforce_commit(&m->workforce, m->generation);
	if (!is_first) {
		m->phase = COMMITTING;
		m->phase_until = mm_clock_now() + COMMIT_WAIT;
		return;
	}
	m->phase = AT_REST;
	begin_announcing(m);
	if (mm_pace_end(&m->pace, mm_clock_now()))
		reload(m);
}

static void commit_when_all_are_ready(struct master *m)
{
	if (m->phase == PREPARING && !is_stopping(m) && mm_workforce_is_ready(&m->workforce, m->generation + 1))
		commit_all(m);
}

static void prepare_all(struct master *m)
{
	m->phase = PREPARING;
	m->phase_until = mm_clock_now() + MM_LOAD_TIMEOUT;
	mm_workforce_prepare(&m->workforce, m->generation + 1, m->generation > 0);
}

static void reload(struct master *m)
{
	if (is_stopping(m) || !mm_pace_ask(&m->pace))
		return;
	mm_service_reloading();
	m->phase = TRYING;
	m->phase_until = mm_clock_now() + MM_LOAD_TIMEOUT;
	struct mm_worker_process *worker = mm_workforce_spawn(&m->workforce, MM_WORKER_TRIAL);
	if (worker != NULL)
		mm_worker_process_prepare(worker, m->generation + 1, true);
	else
		fail_reload(m, "no process can be created to try the new scripts");
}

static void on_prepared(struct master *m, struct mm_worker_process *worker, const struct mm_note *note)
{
	if (worker->state == MM_WORKER_TRIAL && m->phase == TRYING && note->number == m->generation + 1) {
		mm_workforce_end_trial(&m->workforce);
		prepare_all(m);
		return;
	}
	if (!mm_worker_process_takes_part(worker))
		return;
	if (worker->state == MM_WORKER_LOADING && note->number == m->generation) {
		mm_worker_process_commit(worker, m->generation);
	} else if (m->phase == PREPARING && note->number == m->generation + 1) {
		worker->prepared = note->number;
		commit_when_all_are_ready(m);
	}                               /* otherwise it belongs to a reload that is over */
}

static void on_failed(struct master *m, struct mm_worker_process *worker, const struct mm_note *note)
{
	bool is_of_reload = m->phase != AT_REST && note->number == m->generation + 1;
	if (is_of_reload && (mm_worker_process_takes_part(worker) || worker->state == MM_WORKER_TRIAL)) {
		fail_reload(m, note->text);
		return;
	}
	if (worker->state != MM_WORKER_LOADING)
		return;
	mm_log_say(m->log, MM_LEVEL_ERROR, "worker", "pid %d cannot replace a dead worker, because the scripts no "
		"longer load: %s", (int)worker->pid, note->text);
	mm_worker_process_stop(worker);
}

/* ---- listings of workers ---- */

static void say_lines_of(struct master *m, int listing_fd)
{
	char line[1024];
	FILE *f = fdopen(dup(listing_fd), "r");
	if (f == NULL)
		return;
	rewind(f);
	while (fgets(line, sizeof line, f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		m->say.line(m->say.self, line);
	}
	fclose(f);
}

static void on_listed(struct master *m, const struct mm_worker_process *worker, const struct mm_note *note,
	int listing_fd)
{
	if (note->ticket == 0) {
		if (listing_fd >= 0 && !m->has_said_scripts)
			say_lines_of(m, listing_fd);
		m->has_said_scripts = true;
		if (m->announce_owed > 0 && --m->announce_owed == 0)
			announce(m);
		return;
	}
	mm_listings_answer(&m->listings, worker, note, listing_fd);
}

/* ---- ctl ---- */

static void report_status(void *self, struct mm_answers_status *out)
{
	const struct master *m = self;
	out->workers = m->workforce.wanted;
	out->worker_deaths = m->workforce.deaths;
	out->generation = m->generation;
	out->sessions = mm_workforce_sessions(&m->workforce);
	out->is_reloading = m->phase != AT_REST;
	out->reloaded_at = m->reloaded_at;
	out->last_failure = m->last_failure;
}

static void say_workers(void *self, struct mm_control_client *client)
{
	const struct master *m = self;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		const struct mm_worker_process *worker = &m->workforce.workers[i];
		if (worker->state != MM_WORKER_FREE)
			mm_control_client_say_worker(client, (int)worker->pid, mm_worker_process_trouble(worker),
				worker->row);
	}
}

static void say_poison(void *self, struct mm_control_client *client)
{
	const struct master *m = self;
	unsigned long long refused = mm_workforce_refused_unseen(&m->workforce);
	if (refused > 0)
		mm_control_client_say(client, "refused_unseen=%llu", refused);
	mm_suspects_describe(&m->workforce.suspects, mm_clock_now(), (struct mm_say){ mm_control_client_line, client });
}

static unsigned forget(void *self)
{
	struct master *m = self;
	return mm_suspects_forget(&m->workforce.suspects);
}

/* A client that comes during a reload may ask because of files that changed since it began: it
 * waits for the next reload. */
static void reload_for(void *self, struct mm_control_client *client)
{
	struct master *m = self;
	struct mm_control_client **clients = m->phase == AT_REST ? m->clients : m->late_clients;
	unsigned *count = m->phase == AT_REST ? &m->client_count : &m->late_client_count;
	if (is_stopping(m) || m->generation == 0 || *count == CLIENTS_MAX) {
		mm_control_client_end(client, EX_TEMPFAIL, is_stopping(m) ? MM_ANSWERS_STOPPING
			: "too many reloads wait already");
		return;
	}
	clients[(*count)++] = client;
	reload(m);
}

static void stop_as_asked(void *self)
{
	stop(self);
}

static void list(void *self, struct mm_control_client *client, enum mm_listing what)
{
	struct master *m = self;
	mm_listings_ask(&m->listings, client, what);
}

static bool trace(void *self, const char *filter, int fd)
{
	struct master *m = self;
	return mm_traces_begin(&m->traces, filter, fd);
}

static void end_session(void *self, struct mm_control_client *client, const char *session)
{
	struct master *m = self;
	mm_listings_ask_end(&m->listings, client, session);
}

static void set_log_level(void *self, enum mm_level level)
{
	struct master *m = self;
	mm_host_set_log_level(m->host, level);
	mm_workforce_tell(&m->workforce, MM_NOTE_LOG_LEVEL, level);
}

static bool is_profiling(void *self)
{
	struct master *m = self;
	return mm_listings_is_profiling(&m->listings);
}

static const struct mm_census *census(void *self)
{
	const struct master *m = self;
	return &m->workforce.census;
}

static bool has_worker(void *self, unsigned pid)
{
	const struct master *m = self;
	return mm_workforce_has(&m->workforce, pid);
}

static void profile(void *self, struct mm_control_client *client, const struct mm_profile_request *request)
{
	struct master *m = self;
	mm_listings_ask_profile(&m->listings, client, request);
}

static const struct mm_answers_calls answers_calls = {
	.status = report_status, .say_workers = say_workers, .say_poison = say_poison, .forget = forget,
	.census = census, .has_worker = has_worker, .is_profiling = is_profiling,
	.set_log_level = set_log_level, .trace = trace,
	.stop = stop_as_asked, .reload = reload_for, .list = list, .end = end_session,
	.profile = profile,
};

/* ---- notes from workers, and their end ---- */

static void on_retire(struct master *m, struct mm_worker_process *worker, const struct mm_note *note)
{
	if (worker->state != MM_WORKER_SERVING || is_stopping(m))
		return;
	mm_log_say(m->log, MM_LEVEL_INFO, "worker", "pid %d makes room for a fresh one: %s",
		(int)worker->pid, note->text);
	worker->state = MM_WORKER_LEAVING;
	mm_worker_process_tell(worker, MM_NOTE_DRAIN, 1);       /* 1: sessions may take their time,
	                                                         * because we do not stop */
	spawn_missing(m, mm_clock_now());
}

static void on_note(void *self, struct mm_worker_process *worker, const struct mm_note *note, int descriptor)
{
	struct master *m = self;
	if (descriptor >= 0 && !mm_listing_is_sound(descriptor))
		descriptor = -1;
	switch ((enum mm_note_kind)note->kind) {
	case MM_NOTE_PREPARED: on_prepared(m, worker, note); break;
	case MM_NOTE_FAILED:   on_failed(m, worker, note); break;
	case MM_NOTE_LISTED:   on_listed(m, worker, note, descriptor); break;
	case MM_NOTE_RETIRE:   on_retire(m, worker, note); break;
	default:               break;   /* a worker may send no other note */
	}
}

static void on_set_aside(void *self, const struct mm_worker_process *worker, enum mm_worker_state before)
{
	struct master *m = self;
	mm_listings_forget_worker(&m->listings, (unsigned)(worker - m->workforce.workers));
	if (is_stopping(m) || before == MM_WORKER_LEAVING)
		return;
	if (before == MM_WORKER_TRIAL) {
		if (m->phase == TRYING)
			fail_reload(m, worker->is_stopped ? "the process that tries the new scripts is stopped "
				"(SIGSTOP, a debugger)" : "the process that tries the new scripts cannot be killed");
		return;
	}
	spawn_missing(m, mm_clock_now());
	commit_when_all_are_ready(m);
}

static void on_ended(void *self, unsigned slot, const struct mm_worker_process *ended, const char *why)
{
	struct master *m = self;
	mm_listings_forget_worker(&m->listings, slot);
	if (is_stopping(m) || ended->state == MM_WORKER_LEAVING)
		return;
	if (ended->state == MM_WORKER_TRIAL) {
		if (m->phase == TRYING)
			fail_reload(m, why);
		return;
	}
	if (m->generation == 0) {
		fail_start(m, why);
		return;
	}
	spawn_missing(m, mm_clock_now());
	if (m->phase == PREPARING)
		commit_when_all_are_ready(m);
}

/* ---- regular checks ---- */

static void on_renewed(void *self, unsigned listener)
{
	struct master *m = self;
	struct mm_note note = { .kind = MM_NOTE_LISTEN, .number = listener };
	mm_workforce_send(&m->workforce, &note, mm_host_listener_descriptor(m->host, listener));
}

static void look_at_phase(struct master *m, double now)
{
	/* report "ok" only when it is true: a worker that has taken the new scripts shows that in its row */
	if (m->phase == COMMITTING && !is_stopping(m)
	    && (mm_workforce_all_have(&m->workforce, m->generation) || now >= m->phase_until))
		end_reload(m, true, NULL);      /* a worker that takes longer hangs, and is replaced */
	else if (m->phase != AT_REST && now >= m->phase_until && !is_stopping(m))
		fail_reload(m, "the scripts are still loading after 60 s; on_load or a script's top level waits for "
			"something that does not come");
	if (mm_pace_is_due(&m->pace, now))
		reload(m);
	if (m->announce_by != 0 && now >= m->announce_by)
		announce(m);
	mm_listings_sweep(&m->listings, now);
}

static bool is_due(double *at, double now, double every)
{
	if (now < *at)
		return false;
	*at = now + every;
	return true;
}

static void tick(struct master *m)
{
	double now = mm_clock_now(), alive_every = mm_service_alive_every();
	spawn_missing(m, now);
	look_at_phase(m, now);
	mm_exporter_keep(&m->exporter);
	if (!is_due(&m->tick_at, now, MM_WORKFORCE_TICK))
		return;
	mm_workforce_watch(&m->workforce, now);
	mm_log_sweep(m->log);
	mm_host_sweep_history(m->host);
	mm_traces_sweep(&m->traces);
	if (alive_every > 0 && (is_stopping(m) || m->generation == 0 || mm_workforce_serves(&m->workforce))
	    && is_due(&m->alive_at, now, alive_every - MM_WORKFORCE_TICK))
		mm_service_alive();
	if (is_stopping(m))
		return;
	if (m->generation > 0 && mm_look_at_files(&m->look))
		reload(m);
	if (is_due(&m->listeners_at, now, LISTENERS_EVERY))
		mm_look_at_sockets(&m->look, on_renewed, m);
	if (m->is_announced && is_due(&m->status_at, now, STATUS_EVERY))
		update_status(m);
}

/* ---- signals, the end ---- */

static void stop(struct master *m)
{
	double drain = mm_host_config(m->host)->drain_timeout;
	bool again = is_stopping(m);
	if (!again) {
		mm_log_say(m->log, MM_LEVEL_INFO, "stop", "no new connections; sessions may finish "
			"within %.0f s", drain);
		mm_service_stopping();
		mm_host_close_listeners(m->host);
		answer_stopping(m);
	} else {
		mm_log_say(m->log, MM_LEVEL_WARN, "stop", "asked again: stopping at once");
	}
	mm_workforce_stop(&m->workforce, again);
}

static void reopen_logs(struct master *m)
{
	struct mm_fault why;
	if (!mm_host_reopen_log(m->host, &why))
		mm_log_say(m->log, MM_LEVEL_ERROR, "log", "%s", why.text);
	mm_workforce_tell(&m->workforce, MM_NOTE_REOPEN, 0);
}

static void read_signals(struct master *m)
{
	struct signalfd_siginfo info;
	while (read(m->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		switch (info.ssi_signo) {
		case SIGCHLD: break;    /* reap workers at every turn: one signal may stand for several deaths */
		case SIGHUP:
			if (mm_pace_ask_soon(&m->pace, mm_clock_now()))
				reload(m);
			break;
		case SIGUSR1: reopen_logs(m); break;
		default:      stop(m);
		}
	}
}

/* ---- life ---- */

static double next_due(const struct master *m, double now)
{
	double wait = MM_WORKFORCE_TICK, reload_in = mm_pace_wait(&m->pace, now);
	double spawn_in = mm_workforce_spawn_wait(&m->workforce, now);
	if (spawn_in > 0 && spawn_in < wait)
		wait = spawn_in;
	if (m->phase == COMMITTING && wait > COMMIT_POLL)
		wait = COMMIT_POLL;
	if (reload_in >= 0 && reload_in < wait)
		wait = reload_in;
	return wait;
}

static void turn(struct master *m)
{
	struct pollfd fds[MM_WORKFORCE_MAX + 2];
	unsigned count = mm_workforce_poll(&m->workforce, fds);
	fds[count] = (struct pollfd){ .fd = m->signals, .events = POLLIN };
	fds[count + 1] = (struct pollfd){ .fd = m->answers.control != NULL
		? mm_control_descriptor(m->answers.control) : -1, .events = POLLIN };
	if (poll(fds, count + 2, (int)(next_due(m, mm_clock_now()) * 1000) + 1) < 0 && errno != EINTR)
		usleep(10000);          /* the kernel is out of memory: do not spin */
	mm_workforce_read(&m->workforce, fds, count);
	if (fds[count + 1].revents != 0)
		mm_control_turn(m->answers.control);
	if (fds[count].revents != 0)
		read_signals(m);
	mm_workforce_reap(&m->workforce);
	tick(m);
	m->is_over = is_stopping(m) && mm_workforce_is_empty(&m->workforce);
}

static bool take_signals(struct master *m)
{
	static const int numbers[] = { SIGHUP, SIGTERM, SIGINT, SIGUSR1, SIGCHLD };
	sigset_t mask;
	sigemptyset(&mask);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		sigaddset(&mask, numbers[i]);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	m->signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	return m->signals >= 0;
}

/* In a worker: closes the descriptors that only the master needs. */
static void in_child(void *self)
{
	struct master *m = self;
	mm_answers_end(&m->answers);
	mm_traces_end(&m->traces);
	close(m->signals);
	mm_detached_leave(m->detached);
}

static void on_stranger(void *self, pid_t pid, int status)
{
	struct master *m = self;
	mm_exporter_ended(&m->exporter, pid, status);
}

static bool make(struct master *m, struct mm_host *host)
{
	struct mm_workforce_owner owner = { m, in_child, on_note, on_set_aside, on_stranger, on_ended };
	m->host = host;
	m->look.host = host;
	m->exporter = (struct mm_exporter){ .host = host, .census = &m->workforce.census };
	m->log = mm_host_log(host);
	m->listings.workforce = &m->workforce;
	mm_traces_init(&m->traces, &m->workforce);
	return mm_workforce_init(&m->workforce, host, owner) && take_signals(m)
		&& mm_answers_begin(&m->answers, host, &answers_calls, m);
}

int mm_master_serve(struct mm_host *host, struct mm_say say, struct mm_detached *detached)
{
	struct master *m = calloc(1, sizeof *m);
	if (m == NULL || !make(m, host)) {
		fprintf(stderr, "moonmilter: out of memory or descriptors\n");
		return EX_OSERR;
	}
	m->say = say;
	m->detached = detached;
	m->phase = PREPARING;           /* the first generation needs no trial, because nothing serves yet */
	m->phase_until = mm_clock_now() + MM_LOAD_TIMEOUT;
	mm_look_at_files(&m->look);             /* before they are read: a later change is noticed */
	mm_pace_ask(&m->pace);
	tick(m);
	while (!m->is_over)
		turn(m);
	int status = m->status;
	mm_answers_end(&m->answers);
	mm_traces_end(&m->traces);
	mm_exporter_stop(&m->exporter);
	close(m->signals);
	mm_workforce_free(&m->workforce);
	mm_host_free(host);
	free(m);
	return status;
}
