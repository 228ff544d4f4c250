#include "process/solo.h"

#include "base/say.h"
#include "process/answers.h"
#include "process/exporter.h"
#include "process/look.h"
#include "process/measure.h"
#include "embed/exposed.h"
#include "embed/service.h"
#include "base/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define LOOK_EVERY 0.5          /* seconds: files, sockets, the manager's watchdog */

struct solo {
	struct mm_host    *host;                /* owned */
	struct mm_answers  answers;
	struct mm_watch    asked;
	struct mm_look     look;
	struct mm_exporter exporter;
	struct mm_timer    look_timer;
	struct mm_measure  measure;
	struct mm_control_client *profile_client;       /* waits for the profile; NULL: none runs */
	double             alive_at;            /* when the watchdog was fed */
	double             reloaded_at;         /* wall clock; 0: never */
	char               last_failure[sizeof((struct mm_fault *)0)->text];    /* of the last reload; "": it
	                                                                         * succeeded */
};

/* ---- ctl ---- */

static void on_any_reload(void *self, bool ok, const struct mm_fault *why)
{
	struct solo *s = self;
	s->reloaded_at = mm_clock_wall();
	mm_figures_count(mm_host_figures(s->host), MM_FIGURE_reloads, ok ? "ok" : "failed", NULL);
	snprintf(s->last_failure, sizeof s->last_failure, "%s", ok ? "" : why->text);
	mm_service_status("generation %lu%s%s", mm_host_generation(s->host), ok ? "" : ", last reload failed: ",
		s->last_failure);
}

struct reload_client {
	struct solo              *solo;
	struct mm_control_client *client;
};

static void on_reloaded(void *self, bool ok, const struct mm_error *error)
{
	struct reload_client *r = self;
	mm_answers_end_reload(r->client, mm_host_generation(r->solo->host), ok ? NULL : error->text);
	free(r);
}

static void reload(void *self, struct mm_control_client *client)
{
	struct solo *s = self;
	struct reload_client *r = malloc(sizeof *r);
	if (r == NULL || mm_host_is_stopping(s->host)) {
		free(r);
		mm_control_client_end(client, EX_TEMPFAIL, MM_ANSWERS_STOPPING);
		return;
	}
	*r = (struct reload_client){ s, client };
	mm_host_reload(s->host, on_reloaded, r);
}

static void report_status(void *self, struct mm_answers_status *out)
{
	const struct solo *s = self;
	out->generation = mm_host_generation(s->host);
	out->sessions = mm_host_session_count(s->host);
	out->reloaded_at = s->reloaded_at;
	out->last_failure = s->last_failure;
}

static void say_workers(void *self, struct mm_control_client *client)
{
	const struct solo *s = self;
	mm_control_client_say_worker(client, (int)getpid(), NULL, mm_host_row(s->host));
}

static void stop(void *self)
{
	struct solo *s = self;
	mm_host_stop_as_asked(s->host);
}

static bool trace(void *self, const char *filter, int fd)
{
	struct solo *s = self;
	return mm_host_trace(s->host, filter, fd);
}

static void set_log_level(void *self, enum mm_level level)
{
	struct solo *s = self;
	mm_host_set_log_level(s->host, level);
}

static void list(void *self, struct mm_control_client *client, enum mm_listing what)
{
	const struct solo *s = self;
	int listing_fd = mm_listing_open();
	bool ok = listing_fd >= 0 && mm_host_list(s->host, what, listing_fd);
	if (ok)
		mm_control_client_give(client, listing_fd);
	if (listing_fd >= 0)
		close(listing_fd);
	mm_control_client_end(client, ok ? EX_OK : EX_OSERR, ok ? NULL
		: "out of memory or descriptors for the listing");
}

static void end_session(void *self, struct mm_control_client *client, const char *id)
{
	const struct solo *s = self;
	if (mm_host_end_session(s->host, id, NULL))
		mm_control_client_say(client, "session=%s state=ended", id);
	mm_control_client_end(client, EX_OK, NULL);
}

/* The lines that a master writes for each worker: a program reads profiles. */
static void on_measured(void *self, int listing_fd)
{
	struct solo *s = self;
	struct mm_control_client *client = s->profile_client;
	s->profile_client = NULL;
	mm_control_client_say(client, "worker pid=%d", (int)getpid());
	if (listing_fd >= 0)
		mm_control_client_give(client, listing_fd);
	mm_control_client_end(client, listing_fd >= 0 ? EX_OK : EX_OSERR, listing_fd >= 0 ? NULL : "out of memory or "
		"descriptors for the profile");
}

static void drop_profile(struct solo *s)
{
	mm_measure_drop(&s->measure);
	mm_control_client_end(s->profile_client, EX_TEMPFAIL, MM_ANSWERS_STOPPING);
	s->profile_client = NULL;
}

static void drop_unwanted_profile(struct solo *s)
{
	if (s->profile_client != NULL && mm_control_client_has_gone(s->profile_client))
		drop_profile(s);
}

static bool is_profiling(void *self)
{
	struct solo *s = self;
	drop_unwanted_profile(s);
	return s->profile_client != NULL;
}

static bool has_worker(void *self, unsigned pid)
{
	(void)self;
	return pid == (unsigned)getpid();
}

static void profile(void *self, struct mm_control_client *client, const struct mm_profile_request *request)
{
	struct solo *s = self;
	s->profile_client = client;
	mm_measure_begin(&s->measure, request);
}

static const struct mm_answers_calls answers_calls = {
	.status = report_status, .say_workers = say_workers, .has_worker = has_worker, .is_profiling = is_profiling,
	.set_log_level = set_log_level, .trace = trace,
	.stop = stop, .reload = reload, .list = list, .end = end_session,
	.profile = profile,
};

static void on_control(struct mm_watch *watch, int ready)
{
	struct solo *s = MM_OWNER_OF(watch, struct solo, asked);
	(void)ready;
	mm_control_turn(s->answers.control);
}

/* ---- a look around, twice a second ---- */

static void on_look(struct mm_timer *timer)
{
	struct solo *s = MM_OWNER_OF(timer, struct solo, look_timer);
	double every = mm_service_alive_every();
	if (!mm_host_is_stopping(s->host)) {
		if (mm_look_at_files(&s->look))
			mm_host_reload(s->host, NULL, NULL);
		mm_look_at_sockets(&s->look, NULL, NULL);
	}
	drop_unwanted_profile(s);
	mm_host_sweep_history(s->host);
	mm_exporter_look(&s->exporter);
	mm_exporter_keep(&s->exporter);
	if (every > 0 && mm_clock_now() - s->alive_at >= every - LOOK_EVERY) {
		s->alive_at = mm_clock_now();
		mm_service_alive();
	}
	mm_timer_start(&s->look_timer, LOOK_EVERY);
}

/* ---- life ---- */

static void begin_looking(struct solo *s)
{
	if (s->answers.control != NULL) {
		mm_watch_init(&s->asked, mm_host_clock(s->host), on_control);
		mm_watch_start(&s->asked, mm_control_descriptor(s->answers.control), MM_READABLE);
	}
	mm_measure_init(&s->measure, s->host, on_measured, s);
	mm_timer_init(&s->look_timer, mm_host_clock(s->host), on_look);
	mm_timer_start(&s->look_timer, LOOK_EVERY);
}

static int fail(struct solo *s, int status, const char *text)
{
	fprintf(stderr, "moonmilter: %s\n", text);
	mm_answers_end(&s->answers);
	mm_exporter_stop(&s->exporter);
	mm_host_free(s->host);
	return status;
}

int mm_solo_serve(struct mm_host *host, struct mm_say say, struct mm_detached *detached)
{
	struct solo s = { .host = host, .look = { .host = host }, .exporter = { .host = host } };
	struct mm_fault why = { .class = MM_FAULT_NONE };
	struct mm_error error;
	if (!mm_answers_begin(&s.answers, host, &answers_calls, &s))
		return fail(&s, EX_OSERR, "out of memory or descriptors");
	mm_look_at_files(&s.look);              /* before they are read: a later change is noticed */
	mm_exporter_keep(&s.exporter);          /* before there are scripts in memory */
	if (!mm_host_raise(host, NULL, &why))
		return fail(&s, mm_fault_status(&why), why.text);
	if (!mm_host_start(host, &error))
		return fail(&s, mm_error_status(&error), error.text);
	mm_host_on_reload(host, on_any_reload, &s);
	begin_looking(&s);
	mm_host_describe(host, say.line, say.self);
	say.line(say.self, "ready");
	mm_service_status("generation 1");
	mm_service_ready();
	mm_detached_serves(detached);
	mm_host_run(host);
	if (s.profile_client != NULL)
		drop_profile(&s);
	if (s.answers.control != NULL)
		mm_watch_stop(&s.asked);
	mm_answers_end(&s.answers);
	mm_timer_stop(&s.look_timer);
	mm_exporter_stop(&s.exporter);
	mm_host_free(host);
	return EX_OK;
}
