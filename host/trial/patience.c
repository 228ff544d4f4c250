#include "trial/patience.h"

#include "base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

#define FIRST_SIGN_S 2.0
#define SIGN_GROWS   2.5        /* 2, 5, 12, 31 seconds … */
#define GRACE_S      0.5        /* a caller with a limit of its own comes first */
#define FAR_S        1e9

/* A process has one trial, so one of these. */
static struct {
	struct mm_patience_report report;
	pthread_mutex_t           lock;
	pthread_cond_t            changed;
	bool                      is_watching;
	double                    since, limit;         /* mm_clock_real(); seconds */
	double                    sign_at;              /* seconds after since */
} patience = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* With the lock held. -> seconds until there is something to do */
static double look(void)
{
	double waited = mm_clock_real() - patience.since;
	if (!patience.is_watching)
		return FAR_S;
	if (waited >= patience.limit + GRACE_S)
		patience.report.overdue(patience.report.self, patience.limit);
	if (waited >= patience.sign_at) {
		patience.report.still_waiting(patience.report.self, waited, patience.limit);
		patience.sign_at *= SIGN_GROWS;
	}
	double next = patience.limit + GRACE_S < patience.sign_at ? patience.limit + GRACE_S : patience.sign_at;
	return next - waited;
}

static void *watch(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&patience.lock);
	for (;;) {
		struct timespec until;
		double left = look();
		clock_gettime(CLOCK_MONOTONIC, &until);
		left = left < 0.01 ? 0.01 : left;
		double end = (double)until.tv_sec + (double)until.tv_nsec / 1e9 + left;
		until.tv_sec = (time_t)end;
		until.tv_nsec = (long)((end - (double)until.tv_sec) * 1e9);
		pthread_cond_timedwait(&patience.changed, &patience.lock, &until);
	}
	return NULL;
}

bool mm_patience_start(struct mm_patience_report report)
{
	pthread_t thread;
	pthread_condattr_t attributes;
	sigset_t all, before;
	patience.report = report;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&patience.changed, &attributes);
	pthread_condattr_destroy(&attributes);
	sigfillset(&all);                       /* those of the budget belong to the thread that runs scripts */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	bool ok = pthread_create(&thread, NULL, watch, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ok && pthread_detach(thread) == 0;
}

void mm_patience_watch(double limit)
{
	pthread_mutex_lock(&patience.lock);
	patience.is_watching = true;
	patience.since = mm_clock_real();
	patience.limit = limit;
	patience.sign_at = FIRST_SIGN_S;
	pthread_cond_signal(&patience.changed);
	pthread_mutex_unlock(&patience.lock);
}

void mm_patience_rest(void)
{
	pthread_mutex_lock(&patience.lock);
	patience.is_watching = false;
	pthread_mutex_unlock(&patience.lock);
}
