#include "page/inquiry.h"

#include "base/clock.h"
#include "ctl/client.h"
#include "ctl/columns.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define FRESH_FOR    1.0        /* seconds after which an answer is asked for again */
#define WANTED_FOR   4.0        /* seconds for which a kind is asked again without a reader who wants it */
#define FIRST_WAIT   1.5        /* seconds to wait for an answer when there is none at all */
#define NEXT_WAIT    0.4        /* and when there is an old one */
#define PATIENCE     4.0        /* seconds for one answer */
#define STUCK_AFTER  2.5        /* seconds: the host has been asked and says nothing */
#define TICKS        12         /* of the counts of the workers, one a second */
#define WORKERS_MAX  64

/* Counts of all workers at a moment. */
struct tick {
	double   at;
	unsigned count;
	struct { int pid; double values[MM_INQUIRY_RATES]; } workers[WORKERS_MAX];
};

struct mm_inquiry {
	struct mm_ctl_query      query;
	pthread_mutex_t          lock;
	pthread_cond_t           wanted, answered;
	/* under the lock */
	struct mm_inquiry_answer *fresh[MM_INQUIRY_COUNT];        /* owned: not taken yet */
	double                   wanted_at[MM_INQUIRY_COUNT];    /* mm_clock_real(); 0: never */
	double                   answered_at[MM_INQUIRY_COUNT];  /* 0: never */
	double                   asking_since;                  /* 0: it does not ask */
	char                     named[256];                    /* the request of MM_INQUIRY_NAMED */
	/* of the reader's thread */
	struct mm_inquiry_answer *held[MM_INQUIRY_COUNT];         /* owned */
	struct mm_story_reader   reader;
	int                      reader_fd;                     /* owned; -1: none */
	ino_t                    reader_inode;
	struct tick              ticks[TICKS];
	unsigned                 tick_count;                    /* so far */
	char                     trouble[1200];
};

static const struct { enum mm_request request; const char *argument; } requests[] = {
	[MM_INQUIRY_STATUS] = { MM_REQUEST_status, "" }, [MM_INQUIRY_SESSIONS] = { MM_REQUEST_sessions, "" },
	[MM_INQUIRY_GENERATIONS] = { MM_REQUEST_generations, "" }, [MM_INQUIRY_MAPS] = { MM_REQUEST_maps, "" },
	[MM_INQUIRY_METRICS] = { MM_REQUEST_metrics, "" },
	[MM_INQUIRY_PROFILE] = { MM_REQUEST_profile, " " MM_PROFILE_LOOK },
	[MM_INQUIRY_HISTORY] = { MM_REQUEST_history, "" }, [MM_INQUIRY_STORES] = { MM_REQUEST_store, " list" },
	[MM_INQUIRY_LIMITS] = { MM_REQUEST_limit, " list" },
};

/* ---- asking: in the thread ---- */

static void answer_free(struct mm_inquiry_answer *a)
{
	if (a == NULL)
		return;
	mm_answer_free(&a->lines);
	mm_profile_report_free(a->profile);
	free(a->json);
	free(a->error);
	if (a->fd >= 0)
		close(a->fd);
	free(a);
}

struct asking {
	struct mm_inquiry_answer *answer;
	enum mm_inquiry_kind      kind;
	int                      worker;
};

static void on_line(void *self, const char *text)
{
	struct asking *a = self;
	if (sscanf(text, "worker pid=%d", &a->worker) != 1 || a->kind != MM_INQUIRY_PROFILE)
		mm_answer_line(&a->answer->lines, text);
}

static void take_profile(struct asking *a, int descriptor)
{
	const char *why;
	int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
	FILE *from = copy >= 0 ? fdopen(copy, "r") : NULL;
	if (from == NULL && copy >= 0)
		close(copy);
	if (from == NULL)
		return;
	rewind(from);
	if (a->answer->profile != NULL)
		mm_profile_report_take(a->answer->profile, a->worker, from, &why);
	fclose(from);
}

static void on_listing(void *self, int descriptor)
{
	struct asking *a = self;
	if (a->kind == MM_INQUIRY_PROFILE)
		take_profile(a, descriptor);
	else if (a->kind != MM_INQUIRY_HISTORY)
		mm_answer_listing(&a->answer->lines, descriptor);
	else if (a->answer->fd < 0)
		a->answer->fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
}

static void on_failure(void *self, const char *why)
{
	struct asking *a = self;
	free(a->answer->error);
	a->answer->error = strdup(why);
}

static bool copy_lines(const struct mm_inquiry_answer *a, struct mm_answer_lines *to)
{
	*to = (struct mm_answer_lines){ .failed = a->lines.failed };
	for (size_t i = 0; i < a->lines.count; i++)
		mm_answer_line(to, a->lines.lines[i]);
	if (a->error != NULL)
		mm_answer_error(to, a->error);
	return !to->failed;
}

/* The same that `moonmilter ctl --json` prints. */
static char *json_of(const struct mm_inquiry_answer *a, enum mm_inquiry_kind kind, const char *named)
{
	char *text = NULL;
	size_t size;
	struct mm_answer_lines lines = { 0 };
	const struct mm_request_row *row = kind == MM_INQUIRY_NAMED
		? &mm_request_rows[named[0] == 'l' ? MM_REQUEST_limit : MM_REQUEST_store] :
		&mm_request_rows[requests[kind].request];
	if (kind == MM_INQUIRY_HISTORY || kind == MM_INQUIRY_METRICS)
		return NULL;
	FILE *to = open_memstream(&text, &size);
	if (to == NULL)
		return NULL;
	bool ok = true;
	if (kind == MM_INQUIRY_PROFILE && a->profile != NULL)
		mm_profile_report_json(a->profile, to);
	else if (copy_lines(a, &lines))
		ok = mm_answer_print(&lines, row, to);
	else
		ok = false;
	mm_answer_free(&lines);
	if (fclose(to) == 0 && ok)
		return text;
	free(text);
	return NULL;
}

static struct mm_inquiry_answer *ask(struct mm_inquiry *s, enum mm_inquiry_kind kind, const char *named)
{
	char request[300];
	struct mm_inquiry_answer *a = calloc(1, sizeof *a);
	struct asking asking = { .answer = a, .kind = kind };
	if (a == NULL)
		return NULL;
	a->fd = -1;
	a->asked_at = mm_clock_real();
	a->wall = mm_clock_wall();
	if (kind == MM_INQUIRY_PROFILE)
		a->profile = mm_profile_report_new();
	if (kind == MM_INQUIRY_NAMED)
		snprintf(request, sizeof request, "%s", named);
	else
		snprintf(request, sizeof request, "%s%s", mm_request_rows[requests[kind].request].name,
			requests[kind].argument);
	s->query.self = &asking;
	a->status = mm_ctl_ask(&s->query, request);
	a->json = json_of(a, kind, named);
	return a;
}

/* What is wanted and has waited for longest. -1: nothing is due; *in: seconds until something is. */
static int due(const struct mm_inquiry *s, double now, double *in)
{
	int found = -1;
	*in = 3600;
	for (int i = 0; i < MM_INQUIRY_COUNT; i++) {
		if (s->wanted_at[i] == 0 || now - s->wanted_at[i] > WANTED_FOR)
			continue;
		double age = s->answered_at[i] == 0 ? FRESH_FOR : now - s->answered_at[i];
		if (age < FRESH_FOR && FRESH_FOR - age < *in)
			*in = FRESH_FOR - age;
		if (age >= FRESH_FOR && (found < 0 || s->answered_at[i] < s->answered_at[found]))
			found = i;
	}
	return found;
}

static void wait_for(pthread_cond_t *what, pthread_mutex_t *lock, double seconds)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	double at = (double)until.tv_sec + (double)until.tv_nsec / 1e9 + seconds;
	until.tv_sec = (time_t)at;
	until.tv_nsec = (long)((at - (double)until.tv_sec) * 1e9);
	pthread_cond_timedwait(what, lock, &until);
}

static void *ask_on(void *self)
{
	struct mm_inquiry *s = self;
	char named[sizeof s->named];
	pthread_mutex_lock(&s->lock);
	for (;;) {
		double in;
		int kind = due(s, mm_clock_real(), &in);
		if (kind < 0) {
			wait_for(&s->wanted, &s->lock, in);
			continue;
		}
		memcpy(named, s->named, sizeof named);
		s->asking_since = mm_clock_real();
		pthread_mutex_unlock(&s->lock);
		struct mm_inquiry_answer *a = ask(s, (enum mm_inquiry_kind)kind, named);
		pthread_mutex_lock(&s->lock);
		s->asking_since = 0;
		s->answered_at[kind] = mm_clock_real();
		if (kind == MM_INQUIRY_NAMED && strcmp(named, s->named) != 0)
			s->answered_at[kind] = 0;       /* another has been wanted meanwhile */
		if (a != NULL) {
			answer_free(s->fresh[kind]);
			s->fresh[kind] = a;
		}
		pthread_cond_broadcast(&s->answered);
	}
	return NULL;
}

struct mm_inquiry *mm_inquiry_new(const char *path)
{
	pthread_t thread;
	pthread_condattr_t monotonic;
	sigset_t all, before;
	struct mm_inquiry *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->reader_fd = -1;
	s->query = (struct mm_ctl_query){ .name = "moonmilter page", .path = path, .line = on_line,
		.listing = on_listing, .failed = on_failure, .is_silent = true, .patience = PATIENCE };
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wanted, &monotonic);
	pthread_cond_init(&s->answered, &monotonic);
	sigfillset(&all);               /* signals are for the thread that serves */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&thread, NULL, ask_on, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed == 0)
		return s;
	free(s);
	return NULL;
}

/* ---- counts ---- */

static double value_of(const char *line, const char *key)
{
	char text[64];
	return mm_columns_value(line, key, text, sizeof text) != NULL ? strtod(text, NULL) : 0;
}

static void note_counts(struct mm_inquiry *s, const struct mm_inquiry_answer *a)
{
	static const char *const keys[MM_INQUIRY_RATES] = { "messages", "begun", "script_errors" };
	struct tick *t = &s->ticks[s->tick_count % TICKS];
	*t = (struct tick){ .at = a->asked_at };
	for (size_t i = 0; i < a->lines.count && t->count < WORKERS_MAX; i++) {
		const char *line = a->lines.lines[i];
		if (strncmp(line, "worker pid=", 11) != 0)
			continue;
		t->workers[t->count].pid = (int)value_of(line, "pid");
		for (int k = 0; k < MM_INQUIRY_RATES; k++)
			t->workers[t->count].values[k] = value_of(line, keys[k]);
		t->count++;
	}
	s->tick_count += t->count > 0;
}

static const struct tick *oldest(const struct mm_inquiry *s, double now)
{
	const struct tick *found = NULL;
	for (unsigned i = 0; i < TICKS && i < s->tick_count; i++) {
		const struct tick *t = &s->ticks[i];
		if (now - t->at < 30 && now - t->at > 0.5 && (found == NULL || t->at < found->at))
			found = t;
	}
	return found;
}

double mm_inquiry_rate(const struct mm_inquiry *s, int pid, enum mm_inquiry_rate which)
{
	if (s->tick_count == 0)
		return -1;
	const struct tick *now = &s->ticks[(s->tick_count - 1) % TICKS], *before = oldest(s, now->at);
	double sum = 0;
	if (before == NULL)
		return -1;
	for (unsigned i = 0; i < now->count; i++) {
		double value = now->workers[i].values[which];
		for (unsigned j = 0; j < before->count; j++)
			if (before->workers[j].pid == now->workers[i].pid && before->workers[j].values[which] <= value)
				value -= before->workers[j].values[which];
		if (pid == 0 || pid == now->workers[i].pid)
			sum += value;
	}
	return sum / (now->at - before->at);
}

/* ---- the reader's side ---- */

/* Another history than the one that is held: of a host that has been restarted. */
static void take_history(struct mm_inquiry *s, struct mm_inquiry_answer *a)
{
	struct stat file;
	struct mm_story_reader reader;
	struct mm_fault why;
	if (a->fd < 0 || fstat(a->fd, &file) != 0 || (s->reader_fd >= 0 && file.st_ino == s->reader_inode))
		return;
	if (!mm_story_reader_open(&reader, a->fd, &why)) {
		free(a->error);
		a->error = strdup(why.text);
		a->status = EX_UNAVAILABLE;
		return;
	}
	if (s->reader_fd >= 0)
		close(s->reader_fd);
	s->reader = reader;
	s->reader_fd = a->fd;
	s->reader_inode = file.st_ino;
	a->fd = -1;
}

/* The lock is held. */
static void take_fresh(struct mm_inquiry *s, enum mm_inquiry_kind kind)
{
	struct mm_inquiry_answer *a = s->fresh[kind], *old = s->held[kind];
	if (a == NULL)
		return;
	s->fresh[kind] = NULL;
	/* a host that is gone has said something before: that is still shown, with why there is nothing new */
	if (a->status != EX_OK && a->lines.count == 0 && old != NULL && old->lines.count > 0
	    && kind != MM_INQUIRY_NAMED) {
		free(old->error);
		old->error = a->error;
		old->status = a->status;
		a->error = NULL;
		answer_free(a);
		return;
	}
	s->held[kind] = a;
	answer_free(old);
	if (kind == MM_INQUIRY_STATUS && a->status == EX_OK)
		note_counts(s, a);
	if (kind == MM_INQUIRY_HISTORY)
		take_history(s, a);
}

static bool is_stuck(const struct mm_inquiry *s, double after)
{
	return s->asking_since != 0 && mm_clock_real() - s->asking_since > after;
}

/* The lock is held. Something is on its way, and the host does not keep us waiting. */
static bool is_worth_waiting(const struct mm_inquiry *s, enum mm_inquiry_kind kind)
{
	double age = mm_clock_real() - s->answered_at[kind];
	return (s->answered_at[kind] == 0 || age > 2 * FRESH_FOR) && !is_stuck(s, NEXT_WAIT);
}

static const struct mm_inquiry_answer *get(struct mm_inquiry *s, enum mm_inquiry_kind kind)
{
	s->wanted_at[kind] = mm_clock_real();
	double until = s->wanted_at[kind] + (s->answered_at[kind] == 0 ? FIRST_WAIT : NEXT_WAIT), left;
	if (s->answered_at[kind] == 0 || s->wanted_at[kind] - s->answered_at[kind] >= FRESH_FOR)
		pthread_cond_signal(&s->wanted);
	while (is_worth_waiting(s, kind) && (left = until - mm_clock_real()) > 0)
		wait_for(&s->answered, &s->lock, left);
	take_fresh(s, kind);
	return s->held[kind];
}

const struct mm_inquiry_answer *mm_inquiry_get(struct mm_inquiry *s, enum mm_inquiry_kind kind)
{
	pthread_mutex_lock(&s->lock);
	const struct mm_inquiry_answer *a = get(s, kind);
	pthread_mutex_unlock(&s->lock);
	return a;
}

const struct mm_inquiry_answer *mm_inquiry_get_named(struct mm_inquiry *s, const char *request)
{
	pthread_mutex_lock(&s->lock);
	if (strcmp(s->named, request) != 0) {
		snprintf(s->named, sizeof s->named, "%s", request);
		s->answered_at[MM_INQUIRY_NAMED] = 0;
		answer_free(s->fresh[MM_INQUIRY_NAMED]);
		answer_free(s->held[MM_INQUIRY_NAMED]);
		s->fresh[MM_INQUIRY_NAMED] = s->held[MM_INQUIRY_NAMED] = NULL;
	}
	const struct mm_inquiry_answer *a = get(s, MM_INQUIRY_NAMED);
	pthread_mutex_unlock(&s->lock);
	return a;
}

const char *mm_inquiry_trouble(struct mm_inquiry *s)
{
	pthread_mutex_lock(&s->lock);
	const struct mm_inquiry_answer *a = get(s, MM_INQUIRY_STATUS);
	double stuck = s->asking_since != 0 ? mm_clock_real() - s->asking_since : 0;
	pthread_mutex_unlock(&s->lock);
	if (a == NULL && stuck == 0)
		snprintf(s->trouble, sizeof s->trouble, "the host has not answered yet");
	else if (stuck > STUCK_AFTER || a == NULL)
		snprintf(s->trouble, sizeof s->trouble, "the host has not answered for %.0f s", stuck);
	else if (a->status != EX_OK)
		snprintf(s->trouble, sizeof s->trouble, "%s", a->error != NULL ? a->error : "the host does not answer");
	else
		return NULL;
	return s->trouble;
}

const struct mm_story_reader *mm_inquiry_history(struct mm_inquiry *s)
{
	mm_inquiry_get(s, MM_INQUIRY_HISTORY);
	return s->reader_fd >= 0 ? &s->reader : NULL;
}
