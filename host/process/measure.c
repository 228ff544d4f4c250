#include "process/measure.h"

#include "task/profile.h"
#include "task/sampler.h"

#include <fcntl.h>
#include <unistd.h>

static void stop(struct mm_measure *m)
{
	m->is_running = false;
	mm_timer_stop(&m->timer);
	mm_profile_close_window(mm_host_profile(m->host));
	mm_sampler_end();
}

/* why NULL: writes the result. */
static void deliver(struct mm_measure *m, const char *why)
{
	int listing_fd = mm_listing_open();
	int copy = listing_fd >= 0 ? fcntl(listing_fd, F_DUPFD_CLOEXEC, 0) : -1;
	FILE *to = copy >= 0 ? fdopen(copy, "w") : NULL;
	if (to == NULL && copy >= 0)
		close(copy);
	if (to != NULL && why != NULL)
		fprintf(to, "failed\t%s\n", why);
	else if (to != NULL && m->request.samples)
		mm_sampler_write(to);
	else if (to != NULL)
		mm_profile_write(mm_host_profile(m->host), m->request.seconds > 0, to);
	if (to != NULL)
		fclose(to);
	m->done(m->self, to != NULL ? listing_fd : -1);
	if (listing_fd >= 0)
		close(listing_fd);
}

static void finish(struct mm_measure *m)
{
	stop(m);
	deliver(m, NULL);
	mm_sampler_free();
	if (m->request.begins_anew)
		mm_profile_begin_anew(mm_host_profile(m->host));
}

static void on_time(struct mm_timer *timer)
{
	finish(MM_OWNER_OF(timer, struct mm_measure, timer));
}

void mm_measure_init(struct mm_measure *m, struct mm_host *host, void (*done)(void *self, int listing_fd), void *self)
{
	*m = (struct mm_measure){ .host = host, .done = done, .self = self };
	mm_timer_init(&m->timer, mm_host_clock(host), on_time);
}

void mm_measure_begin(struct mm_measure *m, const struct mm_profile_request *request)
{
	struct mm_fault why;
	mm_measure_drop(m);
	m->request = *request;
	if (request->samples && !mm_sampler_begin(&why)) {
		deliver(m, why.text);
		return;
	}
	if (request->seconds == 0) {
		finish(m);
		return;
	}
	m->is_running = true;
	if (!request->samples)
		mm_profile_open_window(mm_host_profile(m->host));
	mm_timer_start(&m->timer, request->seconds);
}

void mm_measure_drop(struct mm_measure *m)
{
	if (!m->is_running)
		return;
	stop(m);
	mm_sampler_free();
}
