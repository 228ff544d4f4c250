#include "process/solo.h"

#include "base/list.h"
#include "base/say.h"
#include "process/control.h"
#include "process/look.h"
#include "process/measure.h"
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
	struct mm_control *control;             /* owned; NULL: none */
	struct mm_watch    asked;
	struct mm_look     look;
	struct mm_timer    look_timer;
	struct mm_measure  measure;
	struct mm_control_client *measurer;     /* waits for it; NULL: none is taken */
	double             alive_at;            /* the watchdog was fed */
	double             began_at;
	char               last_failure[sizeof((struct mm_fault *)0)->text];    /* of a reload; "": the last one was
	                                                                         * good */
};

/* ---- ctl ---- */

static void on_any_reload(void *self, bool ok, const struct mm_fault *why)
{
	struct solo *s = self;
	snprintf(s->last_failure, sizeof s->last_failure, "%s", ok ? "" : why->text);
	mm_service_status("generation %lu%s%s", mm_host_generation(s->host), ok ? "" : ", last reload failed: ",
		s->last_failure);
}

struct reload_client {
	struct solo     *solo;
	struct mm_control_client *client;
};

static void on_reloaded(void *self, bool ok, const struct mm_error *error)
{
	struct reload_client *r = self;
	if (ok)
		mm_control_client_say(r->client, "generation %lu serves", mm_host_generation(r->solo->host));
	mm_control_client_end(r->client, ok ? EX_OK : EX_CONFIG, ok ? NULL : error->text);
	free(r);
}

static void answer_reload(struct solo *s, struct mm_control_client *client, const char *argument)
{
	struct reload_client *r = malloc(sizeof *r);
	(void)argument;
	if (r == NULL || mm_host_is_stopping(s->host)) {
		free(r);
		mm_control_client_end(client, EX_TEMPFAIL, "the host is stopping");
		return;
	}
	*r = (struct reload_client){ s, client };
	mm_host_reload(s->host, on_reloaded, r);
}

static void answer_status(struct solo *s, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	mm_control_client_say(client, "version=%s pid=%d uptime=%.0f workers=0", mm_version(), (int)getpid(),
		mm_clock_now() - s->began_at);
	mm_control_client_say(client, "generation=%lu sessions=%u reload=%s", mm_host_generation(s->host),
		mm_host_session_count(s->host), s->last_failure[0] == '\0' ? "ok" : "failed");
	if (s->last_failure[0] != '\0')
		mm_control_client_say(client, "last failure: %s", s->last_failure);
	mm_host_describe_lost(s->host, (struct mm_say){ mm_control_client_line, client });
	mm_control_client_say_worker(client, (int)getpid(), NULL, mm_host_row(s->host));
	mm_control_client_end(client, EX_OK, NULL);
}

static void answer_stop(struct solo *s, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	mm_control_client_end(client, EX_OK, NULL);
	mm_host_stop_as_asked(s->host);
}

static void answer_listing(struct solo *s, struct mm_control_client *client, enum mm_listing what)
{
	int listing_fd = mm_listing_open();
	bool ok = listing_fd >= 0 && mm_host_list(s->host, what, listing_fd);
	if (ok)
		mm_control_client_give(client, listing_fd);
	if (listing_fd >= 0)
		close(listing_fd);
	mm_control_client_end(client, ok ? EX_OK : EX_OSERR, ok ? NULL
		: "out of memory or descriptors for the listing");
}

static void answer_sessions(struct solo *s, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	answer_listing(s, client, MM_LIST_SESSIONS);
}

static void answer_generations(struct solo *s, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	answer_listing(s, client, MM_LIST_GENERATIONS);
}

static void answer_log_level(struct solo *s, struct mm_control_client *client, const char *argument)
{
	enum mm_level level;
	if (!mm_log_level_of_name(argument, &level)) {
		mm_control_client_end(client, EX_USAGE, "loglevel: one of debug, info, warn, error");
		return;
	}
	mm_host_set_log_level(s->host, level);
	mm_control_client_end(client, EX_OK, NULL);
}

/* The lines that a master says for each worker: profiles are read by a program. */
static void on_measured(void *self, int listing_fd)
{
	struct solo *s = self;
	struct mm_control_client *client = s->measurer;
	s->measurer = NULL;
	mm_control_client_say(client, "worker pid=%d", (int)getpid());
	if (listing_fd >= 0)
		mm_control_client_give(client, listing_fd);
	mm_control_client_end(client, listing_fd >= 0 ? EX_OK : EX_OSERR, listing_fd >= 0 ? NULL : "out of memory or "
		"descriptors for the profile");
}

static void drop_measure(struct solo *s)
{
	mm_measure_drop(&s->measure);
	mm_control_client_end(s->measurer, EX_TEMPFAIL, "the host is stopping");
	s->measurer = NULL;
}

static void answer_profile(struct solo *s, struct mm_control_client *client, const char *argument)
{
	struct mm_profile_request request;
	if (s->measurer != NULL && mm_control_client_has_gone(s->measurer))
		drop_measure(s);
	if (!mm_profile_request_read(argument, &request)) {
		mm_control_client_end(client, EX_USAGE, MM_PROFILE_BAD_REQUEST);
	} else if (request.worker != 0 && request.worker != (unsigned)getpid()) {
		mm_control_client_end(client, EX_USAGE, "there is no such worker; moonmilter ctl status names them");
	} else if (s->measurer != NULL) {
		mm_control_client_end(client, EX_TEMPFAIL, MM_PROFILE_BUSY);
	} else {
		s->measurer = client;
		mm_measure_begin(&s->measure, &request);
	}
}

static void on_asked(void *self, struct mm_control_client *client, enum mm_request request, const char *argument)
{
	static void (*const answers[MM_REQUEST_COUNT])(struct solo *, struct mm_control_client *, const char *) = {
		[MM_REQUEST_STATUS] = answer_status, [MM_REQUEST_RELOAD] = answer_reload,
			[MM_REQUEST_STOP] = answer_stop,
		[MM_REQUEST_SESSIONS] = answer_sessions, [MM_REQUEST_GENERATIONS] = answer_generations,
		[MM_REQUEST_LOG_LEVEL] = answer_log_level, [MM_REQUEST_PROFILE] = answer_profile,
	};
	answers[request](self, client, argument);
}

static void on_control(struct mm_watch *watch, int ready)
{
	struct solo *s = MM_OWNER_OF(watch, struct solo, asked);
	(void)ready;
	mm_control_turn(s->control);
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
	if (s->measurer != NULL && mm_control_client_has_gone(s->measurer))
		drop_measure(s);
	if (every > 0 && mm_clock_now() - s->alive_at >= every - LOOK_EVERY) {
		s->alive_at = mm_clock_now();
		mm_service_alive();
	}
	mm_timer_start(&s->look_timer, LOOK_EVERY);
}

/* ---- life ---- */

static void begin_looking(struct solo *s)
{
	struct mm_control_owner owner = { s, on_asked };
	if (mm_host_control(s->host) >= 0)
		s->control = mm_control_new(mm_host_control(s->host), owner);
	if (s->control != NULL) {
		mm_watch_init(&s->asked, mm_host_clock(s->host), on_control);
		mm_watch_start(&s->asked, mm_control_descriptor(s->control), MM_READABLE);
	}
	mm_measure_init(&s->measure, s->host, on_measured, s);
	mm_timer_init(&s->look_timer, mm_host_clock(s->host), on_look);
	mm_timer_start(&s->look_timer, LOOK_EVERY);
}

static int fail(struct solo *s, const char *text)
{
	fprintf(stderr, "moonmilter: %s\n", text);
	mm_host_free(s->host);
	return EX_CONFIG;
}

int mm_solo_serve(struct mm_host *host, struct mm_say say)
{
	struct solo s = { .host = host, .look = { .host = host }, .began_at = mm_clock_now() };
	struct mm_fault why = { .class = MM_FAULT_NONE };
	struct mm_error error;
	if (!mm_host_raise(host, NULL, &why))
		return fail(&s, why.text);
	if (!mm_host_start(host, &error))
		return fail(&s, error.text);
	mm_host_on_reload(host, on_any_reload, &s);
	begin_looking(&s);
	mm_host_describe(host, say.line, say.self);
	say.line(say.self, "ready");
	mm_service_status("generation 1");
	mm_service_ready();
	mm_host_run(host);
	if (s.measurer != NULL)
		drop_measure(&s);
	if (s.control != NULL)
		mm_watch_stop(&s.asked);
	mm_control_free(s.control);
	mm_timer_stop(&s.look_timer);
	mm_host_free(host);
	return EX_OK;
}
