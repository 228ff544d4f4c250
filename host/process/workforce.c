#include "process/workforce.h"

#include "process/follower.h"
#include "embed/exposed.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define STOP_GRACE      5.0     /* seconds beyond drain_timeout until a worker is killed */
#define HALT_GRACE      3.0     /* seconds from an order to end now to the kill */
#define ABORT_GRACE     2.0     /* seconds that a core dump may take */
#define STUCK_AFTER     5.0     /* seconds after SIGKILL that a process may take to die */
#define NOTES_A_TURN    64      /* that are read from one worker before the others have their turn */
#define STEADY_AFTER    10.0    /* seconds after which a worker's death does not count as a failed start */
#define BACK_OFF_FIRST  0.1     /* seconds, doubled with each quick death */
#define BACK_OFF_MAX    30.0
/* the longest delay when no worker is left: one fork a second costs less than unfiltered mail */
#define BACK_OFF_ALONE  1.0

static unsigned worker_count(const struct mm_config *c)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned count = c->workers == MM_WORKERS_AUTO ? (unsigned)(processors > 0 ? processors : 1)
		: (unsigned)c->workers;
	return count < MM_WORKERS_MAX ? count : MM_WORKERS_MAX;
}

bool mm_workforce_init(struct mm_workforce *w, struct mm_host *host, struct mm_workforce_owner owner)
{
	*w = (struct mm_workforce){ .host = host, .owner = owner, .wanted = worker_count(mm_host_config(host)) };
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		w->workers[i].channel = -1;
	if (!mm_census_make(&w->census, MM_WORKFORCE_MAX))
		return false;
	w->suspects.poison = w->census.poison;
	return true;
}

void mm_workforce_free(struct mm_workforce *w)
{
	mm_census_free(&w->census);
}

/* ---- notes to workers ---- */

void mm_worker_process_tell(struct mm_worker_process *worker, enum mm_note_kind kind, uint32_t number)
{
	if (worker->channel >= 0)
		mm_channel_post(worker->channel, kind, number, NULL);
}

void mm_worker_process_prepare(struct mm_worker_process *worker, uint32_t generation, bool rereads)
{
	struct mm_note note = { .kind = MM_NOTE_PREPARE, .number = generation, .ticket = rereads };
	worker->prepared = 0;
	if (worker->channel >= 0)
		mm_channel_send(worker->channel, &note, -1);
}

void mm_worker_process_commit(struct mm_worker_process *worker, uint32_t generation)
{
	mm_worker_process_tell(worker, MM_NOTE_COMMIT, generation);
	worker->prepared = 0;
	if (worker->state == MM_WORKER_LOADING)
		worker->served_at = mm_clock_now();
	worker->state = MM_WORKER_SERVING;
}

void mm_worker_process_stop(struct mm_worker_process *worker)
{
	worker->state = MM_WORKER_LEAVING;
	mm_worker_process_tell(worker, MM_NOTE_HALT, 0);
	worker->kill_at = mm_clock_now() + HALT_GRACE;
}

void mm_workforce_tell(struct mm_workforce *w, enum mm_note_kind kind, uint32_t number)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		mm_worker_process_tell(&w->workers[i], kind, number);
}

unsigned mm_workforce_send(struct mm_workforce *w, const struct mm_note *note, int descriptor)
{
	unsigned count = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (mm_worker_process_takes_part(&w->workers[i]) && w->workers[i].channel >= 0)
			count += mm_channel_send(w->workers[i].channel, note, descriptor);
	return count;
}

void mm_workforce_prepare(struct mm_workforce *w, uint32_t generation, bool rereads)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (mm_worker_process_takes_part(&w->workers[i]))
			mm_worker_process_prepare(&w->workers[i], generation, rereads);
}

void mm_workforce_commit(struct mm_workforce *w, uint32_t generation)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (mm_worker_process_takes_part(&w->workers[i]))
			mm_worker_process_commit(&w->workers[i], generation);
}

void mm_workforce_end_trial(struct mm_workforce *w)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (w->workers[i].state == MM_WORKER_TRIAL)
			mm_worker_process_stop(&w->workers[i]);
}

void mm_workforce_stop(struct mm_workforce *w, bool at_once)
{
	w->is_stopping = true;
	w->kill_all_at = mm_clock_now()
		+ (at_once ? HALT_GRACE : mm_host_config(w->host)->drain_timeout + STOP_GRACE);
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		bool halts = at_once || w->workers[i].state == MM_WORKER_TRIAL;
		mm_worker_process_tell(&w->workers[i], halts ? MM_NOTE_HALT : MM_NOTE_DRAIN, 0);
	}
}

/* ---- counting ---- */

bool mm_worker_process_takes_part(const struct mm_worker_process *worker)
{
	return worker->state == MM_WORKER_LOADING || worker->state == MM_WORKER_SERVING;
}

const char *mm_worker_process_trouble(const struct mm_worker_process *worker)
{
	return worker->is_stopped ? "stopped" : worker->is_stuck ? "stuck" : worker->is_hung ? "hung" : NULL;
}

bool mm_worker_process_has_sessions(const struct mm_worker_process *worker)
{
	return worker->state == MM_WORKER_SERVING || worker->state == MM_WORKER_LEAVING;
}

unsigned mm_workforce_count(const struct mm_workforce *w, enum mm_worker_state state)
{
	unsigned count = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		count += w->workers[i].state == state;
	return count;
}

unsigned mm_workforce_taking_part(const struct mm_workforce *w)
{
	return mm_workforce_count(w, MM_WORKER_LOADING) + mm_workforce_count(w, MM_WORKER_SERVING);
}

bool mm_workforce_is_empty(const struct mm_workforce *w)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (w->workers[i].state != MM_WORKER_FREE && !w->workers[i].is_stuck)
			return false;           /* a stuck one may never end */
	return true;
}

unsigned mm_workforce_sessions(const struct mm_workforce *w)
{
	unsigned sessions = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (w->workers[i].state != MM_WORKER_FREE)
			sessions += mm_census_get(w->workers[i].row->sessions);
	return sessions;
}

uint64_t mm_workforce_refused_unseen(const struct mm_workforce *w)
{
	uint64_t refused = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (w->workers[i].state != MM_WORKER_FREE)
			refused += mm_census_get(w->workers[i].row->refused_unseen);
	return refused;
}

bool mm_workforce_has(const struct mm_workforce *w, unsigned pid)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (mm_worker_process_has_sessions(&w->workers[i]) && (unsigned)w->workers[i].pid == pid)
			return true;
	return false;
}

bool mm_workforce_is_ready(const struct mm_workforce *w, uint32_t generation)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (mm_worker_process_takes_part(&w->workers[i]) && w->workers[i].prepared != generation)
			return false;
	return mm_workforce_taking_part(w) > 0;
}

bool mm_workforce_all_have(const struct mm_workforce *w, uint32_t generation)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (w->workers[i].state == MM_WORKER_SERVING
		    && mm_census_get(w->workers[i].row->generation) < generation)
			return false;
	return true;
}

/* ---- forking ---- */

/* In the child: closes what belongs to the master. Never returns. */
static void be_worker(struct mm_workforce *w, struct mm_census_row *row, int channel, int master)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (w->workers[i].channel >= 0)
			close(w->workers[i].channel);
	w->owner.in_child(w->owner.self);
	mm_poison_protect(w->census.poison);
	exit(mm_follow(w->host, &w->census, row, channel, master));
}

static struct mm_worker_process *free_slot(struct mm_workforce *w)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (w->workers[i].state == MM_WORKER_FREE)
			return &w->workers[i];
	return NULL;
}

struct mm_worker_process *mm_workforce_spawn(struct mm_workforce *w, enum mm_worker_state state)
{
	struct mm_log *log = mm_host_log(w->host);
	struct mm_fault why;
	int ends[2], master = (int)getpid();
	struct mm_worker_process *worker = free_slot(w);
	if (worker == NULL)
		return NULL;
	struct mm_census_row *row = mm_census_take(&w->census, (unsigned)(worker - w->workers));
	if (!mm_channel_make(ends, &why)) {
		mm_log_say(log, MM_LEVEL_ERROR, "worker", "%s", why.text);
		mm_census_give_back(row);
		return NULL;
	}
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		be_worker(w, row, ends[1], master);
	}
	close(ends[1]);
	if (pid < 0) {
		mm_log_say(log, MM_LEVEL_ERROR, "worker", "fork: %s", strerror(errno));
		close(ends[0]);
		mm_census_give_back(row);
		return NULL;
	}
	*worker = (struct mm_worker_process){ .state = state, .pid = pid, .channel = ends[0], .row = row };
	return worker;
}

struct mm_worker_process *mm_workforce_spawn_missing(struct mm_workforce *w, double now)
{
	if (w->is_stopping || now < w->spawn_at || mm_workforce_taking_part(w) >= w->wanted)
		return NULL;
	struct mm_worker_process *worker = mm_workforce_spawn(w, MM_WORKER_LOADING);
	if (worker == NULL)
		w->spawn_at = now + 1;
	return worker;
}

double mm_workforce_spawn_wait(const struct mm_workforce *w, double now)
{
	return !w->is_stopping && w->spawn_at > now ? w->spawn_at - now : 0;
}

/* A worker has died or was set aside: the next starts at once after a long life, else after ever longer delays. */
static void plan_respawn(struct mm_workforce *w, const struct mm_worker_process *dead, double now)
{
	bool was_steady = dead->served_at != 0 && now - dead->served_at >= STEADY_AFTER;
	if (was_steady || now - w->died_at > BACK_OFF_MAX)
		w->quick_deaths = 0;
	w->died_at = now;
	double wait = w->quick_deaths == 0
		? 0 : BACK_OFF_FIRST * (double)(1u << (w->quick_deaths < 10 ? w->quick_deaths - 1 : 9));
	double most = mm_workforce_taking_part(w) > 0 ? BACK_OFF_MAX : BACK_OFF_ALONE;
	if (wait > most)
		wait = most;
	if (!was_steady)
		w->quick_deaths++;
	if (wait >= 1)
		mm_log_say(mm_host_log(w->host), MM_LEVEL_WARN, "worker", "workers die as soon as they serve; the next "
			"one starts in %.1f s", wait);
	w->spawn_at = now + wait;
}

/* ---- notes from workers ---- */

static void read_notes(struct mm_workforce *w, struct mm_worker_process *worker)
{
	struct mm_note note;
	int descriptor;
	enum mm_channel_state got = MM_CHANNEL_NOTHING;
	for (int i = 0; i < NOTES_A_TURN && worker->channel >= 0
	    && (got = mm_channel_receive(worker->channel, &note, &descriptor)) == MM_CHANNEL_NOTE; i++) {
		w->owner.note(w->owner.self, worker, &note, descriptor);
		if (descriptor >= 0)
			close(descriptor);
	}
	if (got != MM_CHANNEL_GONE || worker->channel < 0)
		return;
	close(worker->channel);         /* it ends; waitpid() will say how */
	worker->channel = -1;
}

unsigned mm_workforce_poll(struct mm_workforce *w, struct pollfd *fds)
{
	unsigned count = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		if (w->workers[i].state == MM_WORKER_FREE || w->workers[i].channel < 0)
			continue;
		w->polled[count] = &w->workers[i];
		fds[count++] = (struct pollfd){ .fd = w->workers[i].channel, .events = POLLIN };
	}
	return count;
}

void mm_workforce_read(struct mm_workforce *w, const struct pollfd *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (fds[i].revents != 0 && w->polled[i]->channel == fds[i].fd)
			read_notes(w, w->polled[i]);
}

/* ---- deaths ---- */

static void log_whereabouts(struct mm_log_line *line, const struct mm_whereabouts *at)
{
	mm_log_string(line, "script", at->script[0] != '\0' ? at->script : NULL);
	mm_log_string(line, "handler", at->handler[0] != '\0' ? at->handler : NULL);
	mm_log_string(line, "session", at->session[0] != '\0' ? at->session : NULL);
	mm_log_string(line, "queue_id", at->queue_id[0] != '\0' ? at->queue_id : NULL);
}

static void log_death(struct mm_workforce *w, const struct mm_worker_process *worker, int status, bool is_expected,
	const struct mm_whereabouts *at)
{
	struct mm_log_line line;
	unsigned lost = mm_census_get(worker->row->sessions);
	bool is_clean = WIFEXITED(status) && WEXITSTATUS(status) == EX_OK;
	mm_log_begin(&line, mm_host_log(w->host), is_expected && is_clean ? MM_LEVEL_DEBUG : MM_LEVEL_ERROR,
		"worker_ended");
	mm_log_number(&line, "pid", worker->pid);
	if (WIFSIGNALED(status))
		mm_log_string(&line, "signal", strsignal(WTERMSIG(status)));
	else
		mm_log_number(&line, "exit", WEXITSTATUS(status));
	if (worker->is_hung)
		mm_log_string(&line, "cause", "its loop stopped turning (hang_timeout)");
	if (!is_clean)
		mm_log_number(&line, "sessions_lost", lost);
	if (!is_clean)
		log_whereabouts(&line, at);
	mm_log_end(&line);
}

/* Why a process died while it loaded scripts, and which script was at fault. */
static void explain_load(const struct mm_worker_process *worker, int status, const struct mm_whereabouts *at,
	char *to, size_t size)
{
	const char *script = at->script[0] != '\0' ? at->script : "a script";
	if (worker->is_hung)
		snprintf(to, size, "%s: hangs in a C function while it loads (hang_timeout); the process that tried it "
			"was killed", script);
	else if (WIFSIGNALED(status))
		snprintf(to, size, "%s: the process that loaded it died: %s", script, strsignal(WTERMSIG(status)));
	else
		snprintf(to, size, "%s: the process that loaded it ended with status %d", script, WEXITSTATUS(status));
}

/* Signals that a process gets from what it does itself; others come from outside. */
static bool is_of_its_own(int number)
{
	static const int numbers[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (numbers[i] == number)
			return true;
	return false;
}

/* Remembers the event that was at work, so that it is refused when the MTA brings it again. */
static void suspect(struct mm_workforce *w, const struct mm_worker_process *dead, int status,
	const struct mm_whereabouts *at)
{
	double now = mm_clock_now();
	bool is_certain = dead->is_hung || WIFEXITED(status) || is_of_its_own(WTERMSIG(status));
	double seconds = mm_suspects_add(&w->suspects, mm_census_get(dead->row->at_work), is_certain, at,
		mm_host_config(w->host)->poison_time, now);
	if (seconds <= 0)
		return;
	struct mm_log_line line;
	mm_log_begin(&line, mm_host_log(w->host), MM_LEVEL_WARN, "poison");
	mm_log_number(&line, "pid", dead->pid);
	mm_log_seconds(&line, "refused_for", seconds);
	mm_log_string(&line, "text", "what the worker died of is answered with a temporary failure (poison_time)");
	mm_log_string(&line, "from", at->sender[0] != '\0' ? at->sender : NULL);
	mm_log_number(&line, "size", (long long)at->size);
	log_whereabouts(&line, at);
	mm_log_end(&line);
}

static void reap(struct mm_workforce *w, struct mm_worker_process *worker, int status)
{
	char why[512];
	struct mm_whereabouts at = mm_whereabouts_read(worker->row);
	if (worker->channel >= 0)
		read_notes(w, worker);          /* its last note may give the reason */
	struct mm_worker_process dead = *worker;
	bool is_expected = w->is_stopping || !mm_worker_process_takes_part(&dead);
	explain_load(worker, status, &at, why, sizeof why);
	mm_log_inherit(mm_host_log(w->host), &worker->row->log_lines);
	log_death(w, worker, status, is_expected, &at);
	if (at.shadow != 0 && !is_expected)
		mm_differences_blame(mm_host_differences(w->host), at.shadow - 1, at.generation);
	suspect(w, worker, status, &at);
	if (worker->channel >= 0)
		close(worker->channel);
	mm_host_recover_history(w->host, (unsigned)(worker - w->workers));
	mm_census_give_back(worker->row);
	mm_host_recover_meters(w->host, (unsigned)(worker - w->workers));
	*worker = (struct mm_worker_process){ .state = MM_WORKER_FREE, .channel = -1 };
	if (!is_expected) {
		w->deaths++;
		mm_figures_count(mm_host_figures(w->host), MM_FIGURE_deaths, NULL, NULL);
		plan_respawn(w, &dead, mm_clock_now());
	}
	w->owner.ended(w->owner.self, (unsigned)(worker - w->workers), &dead, why);
}

static struct mm_worker_process *worker_of(struct mm_workforce *w, pid_t pid)
{
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (w->workers[i].state != MM_WORKER_FREE && w->workers[i].pid == pid)
			return &w->workers[i];
	return NULL;
}

void mm_workforce_reap(struct mm_workforce *w)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		struct mm_worker_process *worker = worker_of(w, pid);
		if (worker != NULL)
			reap(w, worker, status);
		else
			w->owner.stranger(w->owner.self, pid, status);
	}
}

/* ---- hangs, stops ---- */

/* Stopped (SIGSTOP, SIGTTIN, a debugger): silent, but healthy. */
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

/* Keeps a place free: the worker that has been stopped for longest is killed when too many are. */
static void limit_stopped(struct mm_workforce *w)
{
	struct mm_worker_process *oldest = NULL;
	unsigned count = 0;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		struct mm_worker_process *worker = &w->workers[i];
		if (worker->state == MM_WORKER_FREE || !worker->is_stopped)
			continue;
		count++;
		if (oldest == NULL || worker->held_ticks > oldest->held_ticks)
			oldest = worker;
	}
	if (count > w->wanted)
		kill(oldest->pid, SIGKILL);
}

/* A fresh worker takes its place. If it goes on, it finds that it is out, and ends after its sessions: it never serves
 * new ones with the scripts of then. */
static void set_aside(struct mm_workforce *w, struct mm_worker_process *worker, double now, const char *text)
{
	enum mm_worker_state before = worker->state;
	bool takes_part = mm_worker_process_takes_part(worker);
	struct mm_log_line line;
	mm_log_begin(&line, mm_host_log(w->host), MM_LEVEL_WARN,
		worker->is_stopped ? "worker_stopped" : "worker_stuck");
	mm_log_number(&line, "pid", worker->pid);
	mm_log_number(&line, "sessions", mm_census_get(worker->row->sessions));
	mm_log_string(&line, "text", text);
	mm_log_end(&line);
	mm_census_set(worker->row->is_out, 1);
	if (before == MM_WORKER_SERVING) {
		worker->state = MM_WORKER_LEAVING;
		mm_worker_process_tell(worker, MM_NOTE_DRAIN, 1);       /* 1: its sessions may take their time */
	} else if (before != MM_WORKER_LEAVING) {
		mm_worker_process_stop(worker);
	}
	if (takes_part && !w->is_stopping)
		plan_respawn(w, worker, now);
	limit_stopped(w);
	w->owner.set_aside(w->owner.self, worker, before);
}

static void watch_stop(struct mm_workforce *w, struct mm_worker_process *worker, double now)
{
	worker->silent_ticks = 0;
	if (++worker->held_ticks * MM_WORKFORCE_TICK < MM_STOPPED_AFTER || worker->is_stopped)
		return;
	worker->is_stopped = true;
	set_aside(w, worker, now, "it is stopped (SIGSTOP, a terminal, a debugger); another worker takes its place, "
		"and its sessions wait for SIGCONT");
}

static void note_beat(struct mm_workforce *w, struct mm_worker_process *worker, uint64_t beats)
{
	worker->beats = beats;
	worker->silent_ticks = worker->held_ticks = 0;
	if (!worker->is_stopped)
		return;
	worker->is_stopped = false;
	mm_log_say(mm_host_log(w->host), MM_LEVEL_INFO, "worker", "pid %d goes on; it ends after its sessions, "
		"because another has taken its place", (int)worker->pid);
}

static void check_heartbeat(struct mm_workforce *w, struct mm_worker_process *worker, double now)
{
	uint64_t beats = mm_census_get(worker->row->beats);
	/* a loading worker may compute for cpu_session, which takes longer on a busy machine */
	double hang_timeout = mm_host_config(w->host)->hang_timeout * (worker->state == MM_WORKER_SERVING ? 1 : 2);
	if (beats != worker->beats) {
		note_beat(w, worker, beats);
		return;
	}
	if (is_held(worker->pid)) {
		watch_stop(w, worker, now);
		return;
	}
	worker->held_ticks = 0;
	/* count ticks, not time: the worker is not to blame when we or the machine were stopped */
	if (++worker->silent_ticks * MM_WORKFORCE_TICK < hang_timeout || worker->is_hung)
		return;
	worker->is_hung = true;
	worker->kill_at = now + ABORT_GRACE;
	kill(worker->pid, SIGABRT);     /* writes a core dump, if those are enabled */
}

static void kill_late(struct mm_workforce *w, struct mm_worker_process *worker, double now)
{
	kill(worker->pid, SIGKILL);
	if (worker->killed_at == 0)
		worker->killed_at = now;
	if (worker->is_stuck || now < worker->killed_at + STUCK_AFTER)
		return;
	worker->is_stuck = true;
	set_aside(w, worker, now, "the kernel does not let it die (a disk or a network file system that does not "
		"answer?); another worker takes its place");
}

void mm_workforce_watch(struct mm_workforce *w, double now)
{
	bool is_over = w->kill_all_at != 0 && now >= w->kill_all_at;
	mm_suspects_sweep(&w->suspects, now);
	for (int i = 0; i < MM_WORKFORCE_MAX; i++) {
		struct mm_worker_process *worker = &w->workers[i];
		if (worker->state == MM_WORKER_FREE)
			continue;
		check_heartbeat(w, worker, now);
		if (is_over || (worker->kill_at != 0 && now >= worker->kill_at))
			kill_late(w, worker, now);
	}
}

bool mm_workforce_serves(const struct mm_workforce *w)
{
	double hang_timeout = mm_host_config(w->host)->hang_timeout;
	for (int i = 0; i < MM_WORKFORCE_MAX; i++)
		if (w->workers[i].state == MM_WORKER_SERVING && w->workers[i].held_ticks == 0
		    && w->workers[i].silent_ticks * MM_WORKFORCE_TICK <= hang_timeout)
			return true;
	return false;
}
