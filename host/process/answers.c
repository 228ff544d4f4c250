#include "process/answers.h"

#include "process/events.h"
#include "process/stored.h"
#include "embed/exposed.h"
#include "story/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* How messages have ended since the host was started. */
static void say_counts(struct mm_answers *a, struct mm_control_client *client)
{
	struct mm_census_totals totals;
	char line[256];
	int at = 0;
	mm_host_add_up(a->host, a->calls->census != NULL ? a->calls->census(a->self) : NULL, &totals);
	for (int end = 0; end < MM_CENSUS_END_COUNT; end++)
		at += snprintf(line + at, sizeof line - (size_t)at, "%s%s=%llu", end > 0 ? " " : "",
			mm_census_end_name((enum mm_census_end)end), (unsigned long long)totals.ended[end]);
	mm_control_client_line(client, line);
}

static void answer_status(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	struct mm_answers_status s = { .last_failure = "" };
	char when[32] = "never";
	struct tm utc;
	(void)argument;
	a->calls->status(a->self, &s);
	bool has_failed = s.last_failure[0] != '\0';
	time_t at = (time_t)s.reloaded_at;
	if (at != 0)
		strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &utc));
	mm_control_client_say(client, "version=%s pid=%d uptime=%.0f workers=%u worker_deaths=%lu", mm_version(),
		(int)getpid(), mm_clock_now() - a->began_at, s.workers, s.worker_deaths);
	mm_control_client_say(client, "generation=%lu sessions=%u reload=%s reloaded_at=%s", s.generation, s.sessions,
		s.is_reloading ? "running" : has_failed ? "failed" : "ok", when);
	say_counts(a, client);
	if (has_failed)
		mm_control_client_say(client, "last failure: %s", s.last_failure);
	mm_host_describe_lost(a->host, (struct mm_say){ mm_control_client_line, client });
	if (a->calls->say_poison != NULL)
		a->calls->say_poison(a->self, client);
	a->calls->say_workers(a->self, client);
	mm_control_client_end(client, EX_OK, NULL);
}

static void answer_reload(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	a->calls->reload(a->self, client);
}

void mm_answers_end_reload(struct mm_control_client *client, unsigned long generation, const char *failure)
{
	if (failure == NULL)
		mm_control_client_say(client, "generation %lu serves", generation);
	mm_control_client_end(client, failure == NULL ? EX_OK : EX_CONFIG, failure);
}

static void answer_stop(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	mm_control_client_end(client, EX_OK, NULL);
	a->calls->stop(a->self);
}

static void answer_sessions(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	a->calls->list(a->self, client, MM_LIST_SESSIONS);
}

static void answer_end(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	a->calls->end(a->self, client, argument);
}

static void answer_generations(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	a->calls->list(a->self, client, MM_LIST_GENERATIONS);
}

static void answer_maps(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	a->calls->list(a->self, client, MM_LIST_MAPS);
}

static void answer_forget(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	if (a->calls->forget == NULL)
		mm_control_client_say(client, "one process serves alone (workers = 0): it remembers nothing");
	else
		mm_control_client_say(client, "forgot %u", a->calls->forget(a->self));
	mm_control_client_end(client, EX_OK, NULL);
}

static void answer_loglevel(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	enum mm_level level;
	if (!mm_log_level_of_name(argument, &level)) {
		mm_control_client_end(client, EX_USAGE, "loglevel: give debug, info, warn or error");
		return;
	}
	a->calls->set_log_level(a->self, level);
	mm_control_client_end(client, EX_OK, NULL);
}

static void answer_metrics(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	struct mm_buffer page = { 0 };
	const struct mm_census *census = a->calls->census != NULL ? a->calls->census(a->self) : NULL;
	int listing_fd = mm_listing_open();
	(void)argument;
	mm_host_show_figures(a->host);
	bool ok = listing_fd >= 0 && mm_host_expose(a->host, census, false, &page)
		&& write(listing_fd, page.bytes, page.size) == (ssize_t)page.size;
	if (ok)
		mm_control_client_give(client, listing_fd);
	if (listing_fd >= 0)
		close(listing_fd);
	mm_buffer_free(&page);
	mm_control_client_end(client, ok ? EX_OK : EX_OSERR, ok ? NULL : "out of memory or descriptors for the page");
}

static void answer_store(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	mm_stored_answer_store(a->host, client, argument);
}

static void answer_limit(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	mm_stored_answer_limit(a->host, client, argument);
}

static void answer_events(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	(void)argument;
	mm_events_answer(a->host, client);
}

/* The client reads the memory itself, so that a long list keeps no process busy but its own. */
static void answer_history(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	const struct mm_history *history = mm_host_history(a->host);
	(void)argument;
	if (history != NULL)
		mm_control_client_give(client, history->fd);
	mm_control_client_end(client, history != NULL ? EX_OK : EX_UNAVAILABLE, history != NULL ? NULL
		: "this host keeps no history; set history to the number of messages");
}

/* Each line is a datagram, so several processes can write to one reader, and none waits for it. */
static void answer_trace(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	int ends[2];
	struct mm_trace_filter filter;
	struct mm_fault why;
	if (!mm_trace_filter_read(&filter, argument, &why)) {
		mm_control_client_end(client, EX_USAGE, why.text);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
		mm_control_client_end(client, EX_OSERR, "out of descriptors for a trace");
		return;
	}
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &(int){ MM_TRACE_BUFFER }, sizeof(int));
	bool ok = a->calls->trace(a->self, argument, ends[1]);
	if (ok)
		mm_control_client_give(client, ends[0]);
	close(ends[0]);
	mm_control_client_end(client, ok ? EX_OK : EX_TEMPFAIL, ok ? NULL : "too many traces are under way");
}

/* "on" and "off", of one milter or of all. False: there is no such milter, or none has a shadow. */
static bool switch_shadow(struct mm_differences *d, const char *milter, bool is_on)
{
	bool has_any = false;
	for (unsigned i = 0; i < d->row_count; i++) {
		if (milter[0] != '\0' && strcmp(d->rows[i].milter, milter) != 0)
			continue;
		if (d->rows[i].state == MM_SHADOW_ABSENT)
			continue;
		mm_differences_switch(d, i, is_on);
		has_any = true;
	}
	return has_any;
}

static void give_text(struct mm_control_client *client, const struct mm_buffer *text)
{
	int listing_fd = mm_listing_open();
	bool ok = !text->failed && listing_fd >= 0 && write(listing_fd, text->bytes, text->size) == (ssize_t)text->size;
	if (ok)
		mm_control_client_give(client, listing_fd);
	if (listing_fd >= 0)
		close(listing_fd);
	mm_control_client_end(client, ok ? EX_OK : EX_OSERR, ok ? NULL : "out of memory or descriptors for the answer");
}

/* "show JSON|TEXT COUNT", "explain JSON|TEXT ID", "on MILTER", "off MILTER", with tabs in between. */
static void answer_shadow(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	struct mm_differences *d = mm_host_differences(a->host);
	struct mm_buffer text = { 0 };
	char words[256], *rest = words;
	snprintf(words, sizeof words, "%s", argument);
	const char *verb = strsep(&rest, "\t"), *second = rest != NULL ? strsep(&rest, "\t") : "";
	const char *third = rest != NULL ? rest : "";
	bool is_json = strcmp(second, "json") == 0;
	if (d == NULL) {
		mm_control_client_end(client, EX_UNAVAILABLE, "this host has no shadows");
	} else if (strcmp(verb, "show") == 0) {
		mm_differences_show(d, is_json, (unsigned)strtoul(third, NULL, 10), &text);
		give_text(client, &text);
	} else if (strcmp(verb, "explain") == 0) {
		mm_differences_explain(d, third, is_json, &text);
		give_text(client, &text);
	} else if (strcmp(verb, "on") == 0 || strcmp(verb, "off") == 0) {
		bool ok = switch_shadow(d, second, verb[1] == 'n');
		mm_control_client_end(client, ok ? EX_OK : EX_UNAVAILABLE, ok ? NULL
			: "no such milter has a shadow; moonmilter ctl shadow lists them");
	} else {
		mm_control_client_end(client, EX_USAGE, "shadow: write show, explain, on or off");
	}
	mm_buffer_free(&text);
}

static void answer_profile(struct mm_answers *a, struct mm_control_client *client, const char *argument)
{
	struct mm_profile_request request;
	if (!mm_profile_request_read(argument, &request))
		mm_control_client_end(client, EX_USAGE, "profile: seconds are from 0 to 3600, and samples need "
			"more than 0");
	else if (request.worker != 0 && !a->calls->has_worker(a->self, request.worker))
		mm_control_client_end(client, EX_USAGE, "there is no such worker; moonmilter ctl status lists them");
	else if (a->calls->is_profiling(a->self))
		mm_control_client_end(client, EX_TEMPFAIL, "a profile is already under way; ask again when it is over");
	else
		a->calls->profile(a->self, client, &request);
}

static void on_asked(void *self, struct mm_control_client *client, enum mm_request request, const char *argument)
{
	typedef void answer(struct mm_answers *, struct mm_control_client *, const char *argument);
	static answer *const answers[MM_REQUEST_COUNT] = {
#define X(name, argument, answer, about) answer_##name,
		MM_REQUESTS(X)
#undef X
	};
	answers[request](self, client, argument);
}

bool mm_answers_begin(struct mm_answers *a, struct mm_host *host, const struct mm_answers_calls *calls, void *self)
{
	struct mm_control_owner owner = { a, mm_host_control_readers(host), on_asked };
	*a = (struct mm_answers){ .host = host, .calls = calls, .self = self, .began_at = mm_clock_now() };
	if (mm_host_control(host) < 0)
		return true;
	a->control = mm_control_new(mm_host_control(host), owner);
	return a->control != NULL;
}

void mm_answers_end(struct mm_answers *a)
{
	mm_control_free(a->control);
	a->control = NULL;
}
