/* process/master.c -- see master.h.
 *
 * The loop is a poll(2) of few descriptors: a libev loop would be inherited by every child. Signals come through a
 * signalfd and stay blocked but for the children, so that none is lost between two lines.
 *
 * A reload goes through three phases. A throw-away process tries the new generation first: what crashes or hangs while
 * it loads takes no session with it. Then every worker prepares it, and when all have, all commit; one failure, and all
 * discard. A worker that is started meanwhile joins in. */
#include "process/master.h"

#include "base/say.h"
#include "process/answers.h"
#include "process/follower.h"
#include "process/look.h"
#include "embed/pace.h"
#include "embed/service.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define TICK            0.5     /* seconds between looks at the workers */
#define LISTENERS_EVERY 1.0     /* seconds between looks at sockets' files: as long no MTA gets in when one is gone */
#define STATUS_EVERY    5.0     /* seconds between lines for `systemctl status` */
#define LIST_TIMEOUT    2.0     /* seconds a worker has to write a listing */
#define ANNOUNCE_WAIT   2.0     /* seconds for the list of scripts at start */
#define COMMIT_WAIT     2.0     /* seconds for workers to take over what they have loaded */
#define COMMIT_POLL     0.005   /* between looks at whether they have */
#define STOP_GRACE      5.0     /* seconds beyond drain_timeout until a worker is killed */
#define HALT_GRACE      3.0     /* seconds from "now" to a kill */
#define ABORT_GRACE     2.0     /* seconds for a core to be written */
#define STEADY_AFTER    10.0    /* seconds after which a worker's death is not counted as a failed start */
#define BACK_OFF_FIRST  0.1     /* seconds, doubled with each quick death */
#define BACK_OFF_MAX    30.0
/* the most when no worker is left: a fork a second is cheap, mail that nobody filters is not */
#define BACK_OFF_ALONE  1.0
#define MM_WORKFORCE_MAX (2 * (int)MM_WORKERS_MAX + 1)        /* serving, leaving, and one on trial */
#define QUESTIONS_MAX   16
#define CLIENTS_MAX     32

enum mm_worker_state { MM_WORKER_FREE, MM_WORKER_LOADING, MM_WORKER_SERVING, MM_WORKER_LEAVING, MM_WORKER_TRIAL };

/* A worker process. */
struct mm_worker_process {
	enum mm_worker_state  state;
	pid_t                 pid;
	int                   channel;          /* owned; -1: closed */
	struct mm_census_row *row;              /* owned through the census */
	uint32_t              prepared;         /* generation that it has ready and not committed; 0: none */
	double                served_at;        /* 0: never */
	uint64_t              beats;            /* seen last */
	unsigned              silent_ticks;
	bool                  is_hung;          /* has been told to abort */
	double                kill_at;          /* 0: not to be killed */
};

enum phase { AT_REST, TRYING, PREPARING, COMMITTING };

/* A ctl that wants listings of all workers. */
struct question {
	struct mm_control_client *client;                 /* NULL: free */
	uint64_t         ticket;
	unsigned         owed;
	bool             owes[MM_WORKFORCE_MAX];       /* by index of worker */
	bool             is_profile;
	bool             has_lost;              /* a worker died before it could answer */
	double           until;
};

struct master {
	struct mm_host    *host;                /* owned */
	struct mm_log     *log;                 /* borrowed from it */
	struct mm_census   census;
	struct mm_worker_process workers[MM_WORKFORCE_MAX];
	unsigned           wanted;              /* workers */
	struct mm_answers  answers;
	int                signals;             /* owned signalfd */
	struct mm_say      say;

	/* generations */
	uint32_t           generation;          /* that serves; 0: none yet */
	enum phase         phase;
	double             phase_until;
	struct mm_pace     pace;                /* when the next reload may begin */
	char               last_failure[1024];  /* "": the last reload was good */
	double             reloaded_at;         /* wall clock; 0: never */
	struct mm_control_client   *clients[CLIENTS_MAX];  /* wait for the reload under way */
	unsigned           client_count;
	struct mm_control_client   *late_clients[CLIENTS_MAX];     /* wait for the one after it */
	unsigned           late_client_count;
	struct mm_look     look;

	/* births and deaths */
	unsigned           quick_deaths;        /* in a row */
	double             died_at;
	double             spawn_at;            /* the next may be forked */
	unsigned long      deaths;

	/* the start, the end, questions */
	bool               is_announced, has_said_scripts;
	unsigned           announce_owed;       /* workers that have not said yet that they serve */
	double             announce_by;         /* 0: not serving yet */
	bool               is_stopping;
	double             kill_all_at;
	int                status;
	bool               is_over;
	struct question    questions[QUESTIONS_MAX];
	uint64_t           tickets;
	double             tick_at, listeners_at, status_at, alive_at;
};

static void reload(struct master *m);
static void stop(struct master *m);

/* ---- notes to workers ---- */

static void tell(struct mm_worker_process *worker, enum mm_note_kind kind, uint32_t number)
{
	if (worker->channel >= 0)
		mm_channel_post(worker->channel, kind, number, NULL);
}

/* rereads: with the configuration as the file has it now. */
static void tell_prepare(struct mm_worker_process *worker, uint32_t generation, bool rereads)
{
	struct mm_note note = { .kind = MM_NOTE_PREPARE, .number = generation, .ticket = rereads };
	worker->prepared = 0;
	if (worker->channel >= 0)
		mm_channel_send(worker->channel, &note, -1);
}

static bool takes_part(const struct mm_worker_process *worker)
{
	return worker->state == MM_WORKER_LOADING || worker->state == MM_WORKER_SERVING;
}

static unsigned count_states(const struct master *m, enum mm_worker_state a, enum mm_worker_state b)
{
	unsigned count = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		count += m->workers[i].state == a || m->workers[i].state == b;
	return count;
}

/* ---- births ---- */

/* In the child: what is the master's closes. Never returns. */
static void be_worker(struct master *m, struct mm_census_row *row, int channel, int master)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (m->workers[i].channel >= 0)
			close(m->workers[i].channel);
	mm_answers_end(&m->answers);
	close(m->signals);
	exit(mm_follow(m->host, &m->census, row, channel, master));
}

static struct mm_worker_process *free_worker(struct master *m)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (m->workers[i].state == MM_WORKER_FREE)
			return &m->workers[i];
	return NULL;
}

/* NULL: it could not be made; that is logged. */
static struct mm_worker_process *spawn(struct master *m, enum mm_worker_state state)
{
	struct mm_fault why;
	int ends[2], master = (int)getpid();
	struct mm_worker_process *worker = free_worker(m);
	struct mm_census_row *row = worker != NULL ? mm_census_take(&m->census) : NULL;
	if (row == NULL)
		return NULL;
	if (!mm_channel_make(ends, &why)) {
		mm_log_say(m->log, MM_LEVEL_ERROR, "worker", "%s", why.text);
		mm_census_give_back(row);
		return NULL;
	}
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		be_worker(m, row, ends[1], master);
	}
	close(ends[1]);
	if (pid < 0) {
		mm_log_say(m->log, MM_LEVEL_ERROR, "worker", "fork: %s", strerror(errno));
		close(ends[0]);
		mm_census_give_back(row);
		return NULL;
	}
	*worker = (struct mm_worker_process){ .state = state, .pid = pid, .channel = ends[0], .row = row };
	return worker;
}

static void spawn_missing(struct master *m, double now)
{
	while (!m->is_stopping && now >= m->spawn_at
	    && count_states(m, MM_WORKER_LOADING, MM_WORKER_SERVING) < m->wanted) {
		struct mm_worker_process *worker = spawn(m, MM_WORKER_LOADING);
		if (worker == NULL) {
			m->spawn_at = now + 1;
			return;
		}
		if (m->phase == PREPARING)
			tell_prepare(worker, m->generation + 1, m->generation > 0);
		else
			tell_prepare(worker, m->generation, false);       /* the configuration is the one we hold */
	}
}

/* ---- leaving ---- */

static void stop_worker(struct mm_worker_process *worker, enum mm_note_kind how, double grace)
{
	if (worker->state == MM_WORKER_FREE)
		return;
	worker->state = MM_WORKER_LEAVING;
	tell(worker, how, 0);
	worker->kill_at = mm_clock_now() + grace;
}

/* ---- generations ---- */

static void log_reload(struct master *m, bool ok)
{
	struct mm_log_line line;
	mm_log_begin(&line, m->log, ok ? MM_LEVEL_INFO : MM_LEVEL_ERROR, "reload");
	mm_log_string(&line, "result", ok ? "ok" : "failed");
	mm_log_number(&line, "generation", m->generation);
	mm_log_number(&line, "workers", count_states(m, MM_WORKER_LOADING, MM_WORKER_SERVING));
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

static void end_trial(struct master *m)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (m->workers[i].state == MM_WORKER_TRIAL)
			stop_worker(&m->workers[i], MM_NOTE_HALT, HALT_GRACE);
}

static unsigned count_sessions(const struct master *m)
{
	unsigned sessions = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (m->workers[i].state != MM_WORKER_FREE)
			sessions += mm_census_get(m->workers[i].row->sessions);
	return sessions;
}

static void update_status(struct master *m)
{
	mm_service_status("generation %u, %u workers, %u sessions%s%s", m->generation,
		count_states(m, MM_WORKER_SERVING, MM_WORKER_SERVING), count_sessions(m),
		m->last_failure[0] != '\0' ? ", last reload failed: " : "", m->last_failure);
}

static void end_reload(struct master *m, bool ok, const char *failure)
{
	end_trial(m);
	m->phase = AT_REST;
	m->reloaded_at = mm_clock_wall();
	snprintf(m->last_failure, sizeof m->last_failure, "%s", ok ? "" : failure);
	log_reload(m, ok);
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

/* Nothing serves yet: a start that fails ends the host. */
static void fail_start(struct master *m, const char *failure)
{
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
		struct mm_worker_process *worker = &m->workers[i];
		if (worker->state == MM_WORKER_SERVING && m->phase == PREPARING)
			tell(worker, MM_NOTE_DISCARD, m->generation + 1);
		else if (worker->state == MM_WORKER_LOADING && m->phase == PREPARING)
			tell_prepare(worker, m->generation, false);
		worker->prepared = 0;
	}
	end_reload(m, false, failure);
}

static void commit_worker(struct mm_worker_process *worker, uint32_t generation)
{
	tell(worker, MM_NOTE_COMMIT, generation);
	worker->prepared = 0;
	if (worker->state == MM_WORKER_LOADING)
		worker->served_at = mm_clock_now();
	worker->state = MM_WORKER_SERVING;
}

static void announce(struct master *m)
{
	if (m->is_announced)
		return;
	m->is_announced = true;
	m->say.line(m->say.self, "ready");
	update_status(m);
	mm_service_ready();
}

/* The first answer tells what the scripts are. When all workers have answered they all accept, and on_listed() says
 * "ready"; after ANNOUNCE_WAIT it is said anyway. */
static void begin_announcing(struct master *m)
{
	struct mm_note note = { .kind = MM_NOTE_LIST, .number = MM_LIST_SCRIPTS };
	m->announce_by = mm_clock_now() + ANNOUNCE_WAIT;
	mm_host_describe_listeners(m->host, m->say);
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (m->workers[i].state == MM_WORKER_SERVING)
			m->announce_owed += mm_channel_send(m->workers[i].channel, &note, -1);
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
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (takes_part(&m->workers[i]))
			commit_worker(&m->workers[i], m->generation);
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
	unsigned ready = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		if (!takes_part(&m->workers[i]))
			continue;
		if (m->workers[i].prepared != m->generation + 1)
			return;
		ready++;
	}
	if (ready > 0 && m->phase == PREPARING && !m->is_stopping)
		commit_all(m);
}

static void prepare_all(struct master *m)
{
	m->phase = PREPARING;
	m->phase_until = mm_clock_now() + MM_LOAD_TIMEOUT;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (takes_part(&m->workers[i]))
			tell_prepare(&m->workers[i], m->generation + 1, m->generation > 0);
}

static void reload(struct master *m)
{
	if (m->is_stopping || !mm_pace_ask(&m->pace))
		return;
	mm_service_reloading();
	m->phase = TRYING;
	m->phase_until = mm_clock_now() + MM_LOAD_TIMEOUT;
	struct mm_worker_process *worker = spawn(m, MM_WORKER_TRIAL);
	if (worker != NULL)
		tell_prepare(worker, m->generation + 1, true);
	else
		fail_reload(m, "no process can be made to try the new scripts");
}

static void on_prepared(struct master *m, struct mm_worker_process *worker, const struct mm_note *note)
{
	if (worker->state == MM_WORKER_TRIAL && m->phase == TRYING && note->number == m->generation + 1) {
		end_trial(m);
		prepare_all(m);
		return;
	}
	if (!takes_part(worker))
		return;
	if (worker->state == MM_WORKER_LOADING && note->number == m->generation) {
		commit_worker(worker, m->generation);
	} else if (m->phase == PREPARING && note->number == m->generation + 1) {
		worker->prepared = note->number;
		commit_when_all_are_ready(m);
	}                               /* else: of a reload that is over */
}

static void on_failed(struct master *m, struct mm_worker_process *worker, const struct mm_note *note)
{
	bool is_of_reload = m->phase != AT_REST && note->number == m->generation + 1;
	if (is_of_reload && (takes_part(worker) || worker->state == MM_WORKER_TRIAL)) {
		fail_reload(m, note->text);
		return;
	}
	if (worker->state != MM_WORKER_LOADING)
		return;
	mm_log_say(m->log, MM_LEVEL_ERROR, "worker", "pid %d cannot take a dead worker's place, the "
		"scripts do not load any more: %s", (int)worker->pid, note->text);
	stop_worker(worker, MM_NOTE_HALT, HALT_GRACE);
}

/* ---- listings ---- */

static void end_question(struct question *q)
{
	const char *text = q->owed > 0 ? "a worker does not answer; it is busy, or hangs and will be replaced"
		: q->has_lost ? "a worker has ended meanwhile; what it knew is missing" : NULL;
	mm_control_client_end(q->client, text == NULL ? EX_OK : EX_TEMPFAIL, text);
	q->client = NULL;
}

static void settle(struct master *m, struct question *q, const struct mm_worker_process *worker)
{
	q->owes[worker - m->workers] = false;
	if (--q->owed == 0)
		end_question(q);
}

/* The worker has died. */
static void settle_all(struct master *m, const struct mm_worker_process *worker)
{
	for (int i = 0; i < QUESTIONS_MAX; i++) {
		struct question *q = &m->questions[i];
		if (q->client == NULL || !q->owes[worker - m->workers])
			continue;
		q->has_lost = true;
		settle(m, q, worker);
	}
}

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
	for (int i = 0; i < QUESTIONS_MAX; i++) {
		struct question *q = &m->questions[i];
		if (q->client == NULL || q->ticket != note->ticket || !q->owes[worker - m->workers])
			continue;
		mm_control_client_say(q->client, "worker pid=%d", (int)worker->pid);
		if (listing_fd >= 0)
			mm_control_client_give(q->client, listing_fd);
		settle(m, q, worker);
		return;
	}
}

/* note: the question, without its ticket. pid: of the worker that is asked; 0: all. */
static void ask(struct master *m, struct mm_control_client *client, struct mm_note *note, unsigned pid, double seconds)
{
	struct question *q = NULL;
	for (int i = 0; i < QUESTIONS_MAX && q == NULL; i++)
		if (m->questions[i].client == NULL)
			q = &m->questions[i];
	if (q == NULL) {
		mm_control_client_end(client, EX_TEMPFAIL, "too many questions at a time");
		return;
	}
	*q = (struct question){ .client = client, .ticket = ++m->tickets };
	q->until = mm_clock_now() + LIST_TIMEOUT + seconds;
	note->kind = MM_NOTE_LIST;
	note->ticket = q->ticket;
	q->is_profile = note->number == MM_LIST_PROFILE;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		struct mm_worker_process *worker = &m->workers[i];
		bool is_meant = (worker->state == MM_WORKER_SERVING || worker->state == MM_WORKER_LEAVING)
			&& (pid == 0 || pid == (unsigned)worker->pid);
		q->owes[i] = is_meant && worker->channel >= 0 && mm_channel_send(worker->channel, note, -1);
		q->owed += q->owes[i];
	}
	if (q->owed == 0)
		end_question(q);
}

/* The client has hung up. */
static void forget_profile(struct master *m, struct question *q)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (q->owes[i])
			tell(&m->workers[i], MM_NOTE_FORGET, 0);
	mm_control_client_end(q->client, EX_TEMPFAIL, NULL);
	q->client = NULL;
}

static void forget_unwanted_profiles(struct master *m)
{
	for (int i = 0; i < QUESTIONS_MAX; i++)
		if (m->questions[i].client != NULL && m->questions[i].is_profile
		    && mm_control_client_has_gone(m->questions[i].client))
			forget_profile(m, &m->questions[i]);
}

/* ---- ctl ---- */

static void report_status(void *self, struct mm_answers_status *out)
{
	const struct master *m = self;
	out->workers = m->wanted;
	out->worker_deaths = m->deaths;
	out->generation = m->generation;
	out->sessions = count_sessions(m);
	out->is_reloading = m->phase != AT_REST;
	out->reloaded_at = m->reloaded_at;
	out->last_failure = m->last_failure;
}

static void say_workers(void *self, struct mm_control_client *client)
{
	const struct master *m = self;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (m->workers[i].state != MM_WORKER_FREE)
			mm_control_client_say_worker(client, (int)m->workers[i].pid,
				m->workers[i].is_hung ? "hung" : NULL, m->workers[i].row);
}

/* A client that comes during a reload may ask because of files changed since: it waits for the next one. */
static void reload_for(void *self, struct mm_control_client *client)
{
	struct master *m = self;
	struct mm_control_client **clients = m->phase == AT_REST ? m->clients : m->late_clients;
	unsigned *count = m->phase == AT_REST ? &m->client_count : &m->late_client_count;
	if (m->is_stopping || m->generation == 0 || *count == CLIENTS_MAX) {
		mm_control_client_end(client, EX_TEMPFAIL, m->is_stopping ? MM_ANSWERS_STOPPING
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
	struct mm_note note = { .number = what };
	ask(self, client, &note, 0, 0);
}

static void set_log_level(void *self, enum mm_level level)
{
	struct master *m = self;
	mm_host_set_log_level(m->host, level);
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		tell(&m->workers[i], MM_NOTE_LOG_LEVEL, level);
}

static bool is_profiling(void *self)
{
	struct master *m = self;
	forget_unwanted_profiles(m);
	for (int i = 0; i < QUESTIONS_MAX; i++)
		if (m->questions[i].client != NULL && m->questions[i].is_profile)
			return true;
	return false;
}

static bool has_worker(void *self, unsigned pid)
{
	const struct master *m = self;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if ((m->workers[i].state == MM_WORKER_SERVING || m->workers[i].state == MM_WORKER_LEAVING)
		    && (unsigned)m->workers[i].pid == pid)
			return true;
	return false;
}

static void profile(void *self, struct mm_control_client *client, const struct mm_profile_request *request)
{
	struct mm_note note = { .number = MM_LIST_PROFILE };
	mm_profile_request_write(request, note.text, sizeof note.text);
	ask(self, client, &note, request->worker, request->seconds);
}

static const struct mm_answers_calls answers_calls = {
	.status = report_status, .say_workers = say_workers, .has_worker = has_worker, .is_profiling = is_profiling,
	.set_log_level = set_log_level, .stop = stop_as_asked, .reload = reload_for, .list = list, .profile = profile,
};

/* ---- notes from workers ---- */

static void on_retire(struct master *m, struct mm_worker_process *worker, const struct mm_note *note)
{
	if (worker->state != MM_WORKER_SERVING || m->is_stopping)
		return;
	mm_log_say(m->log, MM_LEVEL_INFO, "worker", "pid %d makes room for a fresh one: %s",
		(int)worker->pid, note->text);
	worker->state = MM_WORKER_LEAVING;
	tell(worker, MM_NOTE_DRAIN, 1);   /* its sessions may take their time: we do not stop */
	spawn_missing(m, mm_clock_now());
}

static void on_note(struct master *m, struct mm_worker_process *worker, const struct mm_note *note, int descriptor)
{
	switch ((enum mm_note_kind)note->kind) {
	case MM_NOTE_PREPARED: on_prepared(m, worker, note); break;
	case MM_NOTE_FAILED:   on_failed(m, worker, note); break;
	case MM_NOTE_LISTED:   on_listed(m, worker, note, descriptor); break;
	case MM_NOTE_RETIRE:   on_retire(m, worker, note); break;
	default:               break;   /* a worker has no say in anything else */
	}
}

static void read_notes(struct master *m, struct mm_worker_process *worker)
{
	struct mm_note note;
	int descriptor;
	enum mm_channel_state got = MM_CHANNEL_NOTHING;
	while (worker->channel >= 0 && (got = mm_channel_receive(worker->channel, &note, &descriptor))
	    == MM_CHANNEL_NOTE) {
		on_note(m, worker, &note, descriptor);
		if (descriptor >= 0)
			close(descriptor);
	}
	if (got != MM_CHANNEL_GONE || worker->channel < 0)
		return;
	close(worker->channel);              /* it ends; waitpid will tell how */
	worker->channel = -1;
}

/* ---- deaths ---- */

static void log_death(struct master *m, const struct mm_worker_process *worker, int status, bool is_expected)
{
	struct mm_log_line line;
	const struct mm_whereabouts *at = &worker->row->whereabouts;
	unsigned lost = mm_census_get(worker->row->sessions);
	bool is_clean = WIFEXITED(status) && WEXITSTATUS(status) == EX_OK;
	mm_log_begin(&line, m->log, is_expected && is_clean ? MM_LEVEL_DEBUG : MM_LEVEL_ERROR, "worker_ended");
	mm_log_number(&line, "pid", worker->pid);
	if (WIFSIGNALED(status))
		mm_log_string(&line, "signal", strsignal(WTERMSIG(status)));
	else
		mm_log_number(&line, "exit", WEXITSTATUS(status));
	if (worker->is_hung)
		mm_log_string(&line, "cause", "its loop did not turn any more (hang_timeout)");
	if (!is_clean)
		mm_log_number(&line, "sessions_lost", lost);
	if (!is_clean && mm_census_get(at->is_set)) {
		mm_log_string(&line, "script", at->script);
		mm_log_string(&line, "handler", at->handler);
		mm_log_string(&line, "session", at->session[0] != '\0' ? at->session : NULL);
		mm_log_string(&line, "queue_id", at->queue_id[0] != '\0' ? at->queue_id : NULL);
	}
	mm_log_end(&line);
}

/* At once after a long life, else later and later. */
static void plan_respawn(struct master *m, const struct mm_worker_process *worker, double now)
{
	bool was_steady = worker->served_at != 0 && now - worker->served_at >= STEADY_AFTER;
	m->deaths++;
	if (was_steady || now - m->died_at > BACK_OFF_MAX)
		m->quick_deaths = 0;
	m->died_at = now;
	double wait = m->quick_deaths == 0
		? 0 : BACK_OFF_FIRST * (double)(1u << (m->quick_deaths < 10 ? m->quick_deaths - 1 : 9));
	double most = count_states(m, MM_WORKER_LOADING, MM_WORKER_SERVING) > 0 ? BACK_OFF_MAX : BACK_OFF_ALONE;
	if (wait > most)
		wait = most;
	if (!was_steady)
		m->quick_deaths++;
	if (wait >= 1)
		mm_log_say(m->log, MM_LEVEL_WARN, "worker", "workers die as soon as they serve; the next one starts "
			"in %.1f s", wait);
	m->spawn_at = now + wait;
}

/* Why a process died that loaded scripts, and of which one. */
static void explain_load(const struct mm_worker_process *worker, int status, char *to, size_t size)
{
	const char *script = mm_census_get(worker->row->whereabouts.is_set)
		? worker->row->whereabouts.script : "a script";
	if (worker->is_hung)
		snprintf(to, size, "%s: hangs in a C function while it loads (hang_timeout); the process that tried it "
			"was killed", script);
	else if (WIFSIGNALED(status))
		snprintf(to, size, "%s: the process that loaded it died: %s", script, strsignal(WTERMSIG(status)));
	else
		snprintf(to, size, "%s: the process that loaded it ended with status %d", script, WEXITSTATUS(status));
}

static void reap(struct master *m, struct mm_worker_process *worker, int status)
{
	struct mm_worker_process dead = *worker;
	double now = mm_clock_now();
	if (worker->channel >= 0)
		read_notes(m, worker);            /* its last note may say why */
	dead.state = worker->state;
	char why[512];
	explain_load(worker, status, why, sizeof why);
	log_death(m, &dead, status, dead.state == MM_WORKER_LEAVING || dead.state == MM_WORKER_TRIAL || m->is_stopping);
	if (worker->channel >= 0)
		close(worker->channel);
	settle_all(m, worker);
	mm_census_give_back(worker->row);
	*worker = (struct mm_worker_process){ .state = MM_WORKER_FREE, .channel = -1 };
	if (m->is_stopping || dead.state == MM_WORKER_LEAVING)
		return;
	if (dead.state == MM_WORKER_TRIAL) {
		if (m->phase == TRYING)
			fail_reload(m, why);
		return;
	}
	if (m->generation == 0) {
		fail_start(m, why);
		return;
	}
	plan_respawn(m, &dead, now);
	spawn_missing(m, now);
	if (m->phase == PREPARING)
		commit_when_all_are_ready(m);
}

static void reap_all(struct master *m)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		for (int i = 0; i < MM_WORKFORCE_MAX; i++)
			if (m->workers[i].state != MM_WORKER_FREE && m->workers[i].pid == pid)
				reap(m, &m->workers[i], status);
}

/* ---- hangs ---- */

/* A stopped worker (SIGSTOP, a debugger) is silent and well. */
static bool is_held(pid_t pid)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
	if (f != NULL)
		fclose(f);
	text[n] = '\0';
	const char *end = strrchr(text, ')');   /* of the name, which may hold anything */
	return end != NULL && strlen(end) > 2 && (end[2] == 'T' || end[2] == 't');
}

static void check_heartbeat(struct master *m, struct mm_worker_process *worker, double now)
{
	uint64_t beats = mm_census_get(worker->row->beats);
	/* a worker that loads may compute for cpu_session, which takes longer where others compute, too */
	double hang_timeout = mm_host_config(m->host)->hang_timeout * (worker->state == MM_WORKER_SERVING ? 1 : 2);
	if (beats != worker->beats || is_held(worker->pid)) {
		worker->beats = beats;
		worker->silent_ticks = 0;
		return;
	}
	/* ticks, not time: when we were stopped ourselves, or the machine was, the worker is not to blame */
	if (++worker->silent_ticks * TICK < hang_timeout || worker->is_hung)
		return;
	worker->is_hung = true;
	worker->kill_at = now + ABORT_GRACE;
	kill(worker->pid, SIGABRT);       /* a core, where cores are wanted */
}

static bool all_beat(const struct master *m)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (m->workers[i].state == MM_WORKER_SERVING
		    && m->workers[i].silent_ticks * TICK > mm_host_config(m->host)->hang_timeout)
			return false;
	return true;
}

/* ---- what has to be looked at again and again ---- */

static void look_at_workers(struct master *m, double now)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		struct mm_worker_process *worker = &m->workers[i];
		if (worker->state == MM_WORKER_FREE)
			continue;
		check_heartbeat(m, worker, now);
		if ((worker->kill_at != 0 && now >= worker->kill_at) || (m->kill_all_at != 0 && now >= m->kill_all_at))
			kill(worker->pid, SIGKILL);
	}
}

static void on_renewed(void *self, unsigned listener)
{
	struct master *m = self;
	struct mm_note note = { .kind = MM_NOTE_LISTEN, .number = listener };
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (takes_part(&m->workers[i]) && m->workers[i].channel >= 0)
			mm_channel_send(m->workers[i].channel, &note, mm_host_listener_descriptor(m->host, listener));
}

/* "ok" is said when it is true: when a worker has taken the new scripts, its row says so. */
static bool all_have_committed(const struct master *m)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (m->workers[i].state == MM_WORKER_SERVING
		    && mm_census_get(m->workers[i].row->generation) < m->generation)
			return false;
	return true;
}

static void look_at_phase(struct master *m, double now)
{
	if (m->phase == COMMITTING && !m->is_stopping && (all_have_committed(m) || now >= m->phase_until))
		end_reload(m, true, NULL);      /* a worker that takes longer hangs, and is replaced */
	else if (m->phase != AT_REST && now >= m->phase_until && !m->is_stopping)
		fail_reload(m, "the scripts still load after 60 s; on_load or a script's top level waits for something "
			"that does not come");
	if (mm_pace_is_due(&m->pace, now))
		reload(m);
	if (m->announce_by != 0 && now >= m->announce_by)
		announce(m);
	forget_unwanted_profiles(m);
	for (int i = 0; i < QUESTIONS_MAX; i++)
		if (m->questions[i].client != NULL && now >= m->questions[i].until)
			end_question(&m->questions[i]);
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
	if (!is_due(&m->tick_at, now, TICK))
		return;
	look_at_workers(m, now);
	mm_log_sweep(m->log);
	if (alive_every > 0 && all_beat(m) && is_due(&m->alive_at, now, alive_every - TICK))
		mm_service_alive();
	if (m->is_stopping)
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
	double now = mm_clock_now(), drain = mm_host_config(m->host)->drain_timeout;
	bool again = m->is_stopping;
	if (!again) {
		mm_log_say(m->log, MM_LEVEL_INFO, "stop", "no new connections; sessions may finish "
			"within %.0f s", drain);
		mm_service_stopping();
		mm_host_close_listeners(m->host);
		answer_stopping(m);
	} else {
		mm_log_say(m->log, MM_LEVEL_WARN, "stop", "asked again: stopping at once");
	}
	m->is_stopping = true;
	m->kill_all_at = now + (again ? HALT_GRACE : drain + STOP_GRACE);
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		tell(&m->workers[i], again || m->workers[i].state == MM_WORKER_TRIAL ? MM_NOTE_HALT : MM_NOTE_DRAIN, 0);
}

static void reopen_logs(struct master *m)
{
	struct mm_fault why;
	if (!mm_host_reopen_log(m->host, &why))
		mm_log_say(m->log, MM_LEVEL_ERROR, "log", "%s", why.text);
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		tell(&m->workers[i], MM_NOTE_REOPEN, 0);
}

static void read_signals(struct master *m)
{
	struct signalfd_siginfo info;
	while (read(m->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		switch (info.ssi_signo) {
		case SIGCHLD: break;            /* reap() runs at every turn: several deaths may be one signal */
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
	double wait = TICK, reload_in = mm_pace_wait(&m->pace, now);
	if (!m->is_stopping && m->spawn_at > now && m->spawn_at - now < wait)
		wait = m->spawn_at - now;
	if (m->phase == COMMITTING && wait > COMMIT_POLL)
		wait = COMMIT_POLL;
	if (reload_in >= 0 && reload_in < wait)
		wait = reload_in;
	return wait;
}

static void turn(struct master *m)
{
	struct pollfd fds[MM_WORKFORCE_MAX + 2];
	struct mm_worker_process *whose[MM_WORKFORCE_MAX];
	unsigned count = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		if (m->workers[i].state == MM_WORKER_FREE || m->workers[i].channel < 0)
			continue;
		whose[count] = &m->workers[i];
		fds[count++] = (struct pollfd){ .fd = m->workers[i].channel, .events = POLLIN };
	}
	fds[count] = (struct pollfd){ .fd = m->signals, .events = POLLIN };
	fds[count + 1] = (struct pollfd){ .fd = m->answers.control != NULL
		? mm_control_descriptor(m->answers.control) : -1, .events = POLLIN };
	if (poll(fds, count + 2, (int)(next_due(m, mm_clock_now()) * 1000) + 1) < 0 && errno != EINTR)
		usleep(10000);          /* out of memory in the kernel: not a spin */
	for (unsigned i = 0; i < count; i++)
		if (fds[i].revents != 0 && whose[i]->channel == fds[i].fd)
			read_notes(m, whose[i]);
	if (fds[count + 1].revents != 0)
		mm_control_turn(m->answers.control);
	if (fds[count].revents != 0)
		read_signals(m);
	reap_all(m);
	tick(m);
	m->is_over = m->is_stopping && count_states(m, MM_WORKER_LOADING, MM_WORKER_SERVING) 
		+ count_states(m, MM_WORKER_LEAVING, MM_WORKER_TRIAL) == 0;
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

static unsigned worker_count(const struct mm_config *c)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned count = c->workers == MM_WORKERS_AUTO ? (unsigned)(processors > 0 ? processors : 1)
		: (unsigned)c->workers;
	return count < MM_WORKERS_MAX ? count : MM_WORKERS_MAX;
}

static bool make(struct master *m, struct mm_host *host)
{
	m->host = host;
	m->look.host = host;
	m->log = mm_host_log(host);
	m->wanted = worker_count(mm_host_config(host));
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		m->workers[i].channel = -1;
	return mm_census_make(&m->census, MM_WORKFORCE_MAX) && take_signals(m)
		&& mm_answers_begin(&m->answers, host, &answers_calls, m);
}

int mm_master_serve(struct mm_host *host, struct mm_say say)
{
	struct master *m = calloc(1, sizeof *m);
	if (m == NULL || !make(m, host)) {
		fprintf(stderr, "moonmilter: out of memory or descriptors\n");
		return EX_OSERR;
	}
	m->say = say;
	m->phase = PREPARING;           /* the first generation needs no trial: nothing serves yet */
	m->phase_until = mm_clock_now() + MM_LOAD_TIMEOUT;
	mm_pace_ask(&m->pace);
	tick(m);
	while (!m->is_over)
		turn(m);
	int status = m->status;
	mm_answers_end(&m->answers);
	close(m->signals);
	mm_census_free(&m->census);
	mm_host_free(host);
	free(m);
	return status;
}
