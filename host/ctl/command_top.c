#include "ctl/command_top.h"

#include "base/clock.h"
#include "base/terminal.h"
#include "ctl/answer_json.h"
#include "ctl/client.h"
#include "ctl/columns.h"
#include "ctl/figure.h"
#include "ctl/profile_report.h"
#include "ctl/screen.h"
#include "process/control.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define LINES_MAX 200           /* of a picture */

/* What the host answered at one moment. */
struct look {
	struct mm_answer_lines    status;       /* owned */
	struct mm_profile_report *handlers;     /* owned; NULL: there is none at this moment */
	double                    at;           /* mm_clock_now() */
	int                       result;       /* of sysexits.h */
};

struct top {
	struct mm_ctl_query   client;
	double                every;            /* seconds */
	struct look           before, now;
	struct mm_screen_line lines[LINES_MAX];
	unsigned              line_count;
	char                  failure[256];     /* "": none */
};

static void print_help(FILE *to)
{
	fprintf(to, "Usage: moonmilter ctl [-c FILE] [--control PATH] top [OPTIONS]\n\nShows what a running host does "
		"now: messages, sessions and failures a second, each worker, and the handlers that\ntake most of the "
		"time. On a terminal it draws anew until q or Ctrl-C; elsewhere it prints one picture and ends.\n\n"
		"  --every SECONDS  time from one picture to the next: 0.2 to 60, default 1\n"
		"  --color WHEN     auto (the default: on a terminal, unless NO_COLOR is set), always, never\n"
		"  -c, --config FILE, --control PATH\n"
		"                   the host: its control socket, or the configuration that names it\n"
		"  -h, --help       this text\n\n"
		"busy: the part of the time in which the handler ran; waits: how many of its calls wait now, and for "
		"how long a\ncall has waited on average. Exit status: 0, 64 wrong usage, 69 no host answers.\n");
}

/* ---- asking ---- */

static void on_line(void *self, const char *text)
{
	struct top *t = self;
	mm_answer_line(&t->now.status, text);
}

static void on_failure(void *self, const char *why)
{
	struct top *t = self;
	snprintf(t->failure, sizeof t->failure, "%s", why);
}

static void no_listing(void *self, int descriptor)
{
	(void)self;
	(void)descriptor;
}

static void no_line(void *self, const char *text)
{
	(void)self;
	(void)text;
}

static void on_profile(void *self, int descriptor)
{
	struct top *t = self;
	const char *why;
	int copy = dup(descriptor);
	FILE *from = copy >= 0 ? fdopen(copy, "r") : NULL;
	if (from == NULL && copy >= 0)
		close(copy);
	if (from == NULL)
		return;
	rewind(from);
	mm_profile_report_take(t->now.handlers, 0, from, &why);
	fclose(from);
}

static void look_free(struct look *look)
{
	mm_answer_free(&look->status);
	mm_profile_report_free(look->handlers);
	*look = (struct look){ 0 };
}

static void look_anew(struct top *t)
{
	struct mm_profile_request all = { .samples = false };
	char argument[64], request[96];
	look_free(&t->before);
	t->before = t->now;
	t->now = (struct look){ .at = mm_clock_now(), .handlers = mm_profile_report_new() };
	t->failure[0] = '\0';
	t->client.line = on_line;
	t->client.listing = no_listing;
	t->now.result = mm_ctl_ask(&t->client, "status");
	if (t->now.result != EX_OK || t->now.handlers == NULL)
		return;
	mm_profile_request_write(&all, argument, sizeof argument);
	snprintf(request, sizeof request, "profile %s", argument);
	t->client.line = no_line;
	t->client.listing = on_profile;
	mm_ctl_ask(&t->client, request);
}

/* ---- the picture ---- */

__attribute__((format(printf, 3, 4)))
static void draw(struct top *t, bool is_head, const char *format, ...)
{
	if (t->line_count == LINES_MAX)
		return;
	struct mm_screen_line *line = &t->lines[t->line_count++];
	va_list list;
	line->is_head = is_head;
	va_start(list, format);
	vsnprintf(line->text, sizeof line->text, format, list);
	va_end(list);
}

static double number_of(const char *line, const char *key)
{
	char value[64];
	return mm_columns_value(line, key, value, sizeof value) != NULL ? strtod(value, NULL) : 0;
}

static bool is_worker(const char *line)
{
	return strncmp(line, "worker pid=", 11) == 0;
}

/* The same worker's line in the look before; "": it is new. */
static const char *line_before(const struct top *t, double pid)
{
	for (size_t i = 0; i < t->before.status.count; i++) {
		const char *line = t->before.status.lines[i];
		if (is_worker(line) && number_of(line, "pid") == pid)
			return line;
	}
	return "";
}

/* A second. A worker that is new has counted since it began: later than our last look. */
static double rate_of(const struct top *t, const char *line, const char *key)
{
	double seconds = t->now.at - t->before.at, before = number_of(line_before(t, number_of(line, "pid")), key);
	double more = number_of(line, key) - before;
	return seconds > 0 && t->before.at > 0 && more > 0 ? more / seconds : 0;
}

/* The value of a single fact of the status; "" when there is none. */
static const char *fact(const struct top *t, const char *key, char *to, size_t size)
{
	to[0] = '\0';
	for (size_t i = 0; i < t->now.status.count; i++)
		if (!is_worker(t->now.status.lines[i])
		    && mm_columns_value(t->now.status.lines[i], key, to, size) != NULL)
			return to;
	return to;
}

static void draw_sums(struct top *t)
{
	double messages = 0, begun = 0, errors = 0, sessions = 0;
	unsigned workers = 0;
	char version[64], pid[32], uptime[32], generation[32], reload[32], deaths[32];
	char up[MM_FIGURE_MAX], rate[MM_FIGURE_MAX], opened[MM_FIGURE_MAX], failed[MM_FIGURE_MAX];
	for (size_t i = 0; i < t->now.status.count; i++) {
		const char *line = t->now.status.lines[i];
		if (!is_worker(line))
			continue;
		workers++;
		messages += rate_of(t, line, "messages");
		begun += rate_of(t, line, "begun");
		errors += rate_of(t, line, "script_errors");
		sessions += number_of(line, "sessions");
	}
	mm_figure_seconds(strtod(fact(t, "uptime", uptime, sizeof uptime), NULL), up);
	draw(t, false, "moonmilter %s  pid %s  up %s  generation %s  reload %s", fact(t, "version", version,
		sizeof version), fact(t, "pid", pid, sizeof pid), up, fact(t, "generation", generation,
		sizeof generation), fact(t, "reload", reload, sizeof reload));
	draw(t, false, "messages %s/s  sessions %.0f, %s/s new  script errors %s/s  processes %u, deaths %s",
		mm_figure_rate(messages, rate), sessions, mm_figure_rate(begun, opened),
		mm_figure_rate(errors, failed), workers, fact(t, "worker_deaths", deaths, sizeof deaths));
	for (size_t i = 0; i < t->now.status.count; i++)
		if (strncmp(t->now.status.lines[i], "last failure: ", 14) == 0)
			draw(t, false, "%s", t->now.status.lines[i]);
}

static void draw_workers(struct top *t)
{
	draw(t, false, "%s", "");
	draw(t, true, "%8s %-9s %8s %10s %8s %8s %10s %10s", "PID", "STATE", "SESSIONS", "MESSAGES/S", "NEW/S",
		"ERRORS/S", "LUA", "HELD");
	for (size_t i = 0; i < t->now.status.count; i++) {
		const char *line = t->now.status.lines[i];
		char state[16], rate[MM_FIGURE_MAX], opened[MM_FIGURE_MAX], failed[MM_FIGURE_MAX], lua[MM_FIGURE_MAX],
			held[MM_FIGURE_MAX];
		if (!is_worker(line))
			continue;
		draw(t, false, "%8.0f %-9s %8.0f %10s %8s %8s %10s %10s", number_of(line, "pid"),
			mm_columns_value(line, "state", state, sizeof state) != NULL ? state : "?",
			number_of(line, "sessions"), mm_figure_rate(rate_of(t, line, "messages"), rate),
			mm_figure_rate(rate_of(t, line, "begun"), opened),
			mm_figure_rate(rate_of(t, line, "script_errors"), failed),
			mm_figure_bytes(number_of(line, "lua_bytes"), lua),
			mm_figure_bytes(number_of(line, "held_bytes"), held));
	}
}

/* ---- handlers ---- */

struct handler {
	struct mm_profile_report_row row;
	double                       calls, errors, busy, waited;       /* since the look before */
};

static void since_before(const struct top *t, struct handler *h)
{
	struct mm_profile_report_row old = { 0 };
	for (unsigned i = 0; t->before.handlers != NULL && mm_profile_report_row(t->before.handlers, i, &old); i++)
		if (strcmp(old.handler, h->row.handler) == 0 && strcmp(old.script, h->row.script) == 0
		    && strcmp(old.milter, h->row.milter) == 0)
			break;
		else
			old = (struct mm_profile_report_row){ 0 };
	bool is_anew = h->row.calls < old.calls;        /* somebody has reset the counts, or a worker has ended */
	h->calls = (double)(h->row.calls - (is_anew ? 0 : old.calls));
	h->errors = h->row.errors >= old.errors ? (double)(h->row.errors - old.errors) : 0;
	h->busy = h->row.busy - (is_anew ? 0 : old.busy);
	h->waited = h->row.waited - (is_anew ? 0 : old.waited);
}

static int by_time(const void *a, const void *b)
{
	const struct handler *x = a, *y = b;
	double most = (y->busy + y->waited) - (x->busy + x->waited);
	return most > 0 ? 1 : most < 0 ? -1 : y->row.busy > x->row.busy ? 1 : y->row.busy < x->row.busy ? -1 : 0;
}

static void draw_handler(struct top *t, const struct handler *h, double seconds)
{
	char calls[MM_FIGURE_MAX], mean[MM_FIGURE_MAX] = "-", each[MM_FIGURE_MAX] = "-", name[96];
	const char *slash = strrchr(h->row.script, '/'), *script = slash != NULL ? slash + 1 : h->row.script;
	double waited = h->waited > 0 ? h->waited : 0, busy = h->busy > 0 ? h->busy : 0;
	snprintf(name, sizeof name, "%.60s %.30s", script, h->row.handler);
	if (h->calls > 0) {
		mm_figure_seconds(busy / h->calls, each);
		mm_figure_seconds(waited / h->calls, mean);
	}
	draw(t, false, "%-31.31s %8s %6.1f%% %8s %9s %5llu %6.0f", name, mm_figure_rate(h->calls / seconds, calls),
		100 * busy / seconds, each, mean, h->row.waiting_now, h->errors);
}

static void draw_handlers(struct top *t)
{
	double seconds = t->now.at - t->before.at;
	unsigned count = 0;
	struct mm_profile_report_row row;
	while (t->now.handlers != NULL && mm_profile_report_row(t->now.handlers, count, &row))
		count++;
	struct handler *all = count > 0 ? calloc(count, sizeof *all) : NULL;
	draw(t, false, "%s", "");
	draw(t, true, "%-31s %8s %7s %8s %9s %5s %6s", "HANDLER", "CALLS/S", "BUSY", "A CALL", "WAITED", "NOW",
		"ERRORS");
	if (all == NULL || t->before.at == 0 || seconds <= 0) {
		draw(t, false, "%s", count == 0 ? "no handler has been called" : "");
		free(all);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		mm_profile_report_row(t->now.handlers, i, &all[i].row);
		since_before(t, &all[i]);
	}
	qsort(all, count, sizeof *all, by_time);
	for (unsigned i = 0; i < count; i++)
		draw_handler(t, &all[i], seconds);
	free(all);
}

static void draw_all(struct top *t)
{
	t->line_count = 0;
	if (t->failure[0] != '\0')
		draw(t, true, "%s", t->failure);
	if (t->now.result != EX_OK)
		return;
	draw_sums(t);
	draw_workers(t);
	draw_handlers(t);
}

/* ---- time ---- */

static int print_one(struct top *t)
{
	struct timespec time = { .tv_sec = (time_t)t->every,
		.tv_nsec = (long)((t->every - (double)(time_t)t->every) * 1e9) };
	nanosleep(&time, NULL);
	look_anew(t);
	draw_all(t);
	for (unsigned i = 0; i < t->line_count && t->now.result == EX_OK; i++)
		puts(t->lines[i].text);
	if (t->now.result != EX_OK)
		fprintf(stderr, "%s: %s\n", t->client.name, t->failure);
	return t->now.result;
}

static int watch(struct top *t)
{
	enum mm_screen_input input = MM_SCREEN_REDRAW;
	double due = mm_clock_now() + (t->every < 0.2 ? t->every : 0.2);        /* rates soon, then at leisure */
	while (input != MM_SCREEN_END) {
		double left = due - mm_clock_now();
		if (input == MM_SCREEN_TIME) {
			look_anew(t);
			due = mm_clock_now() + t->every;
			left = t->every;
		}
		draw_all(t);
		mm_screen_draw(t->lines, t->line_count);
		input = mm_screen_wait(left > 0 ? left : 0);
	}
	mm_screen_end();
	return EX_OK;
}

static int run(struct top *t)
{
	look_anew(t);
	if (t->now.result != EX_OK) {
		fprintf(stderr, "%s: %s\n", t->client.name, t->failure);
		return t->now.result;
	}
	return mm_screen_begin() ? watch(t) : print_one(t);
}

int mm_command_top(int argc, char **argv)
{
	enum { CONTROL = 256, EVERY, COLOR };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "control", required_argument, NULL, CONTROL },
		{ "every", required_argument, NULL, EVERY }, { "color", required_argument, NULL, COLOR },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	static struct top t;
	char *end;
	t.client = (struct mm_ctl_query){ .name = "moonmilter ctl top", .failed = on_failure, .self = &t,
		.is_silent = true };
	t.every = 1;
	optind = 0;
	for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		switch (c) {
		case 'c':     t.client.config = optarg; break;
		case CONTROL: t.client.path = optarg; break;
		case 'h':     print_help(stdout); return EX_OK;
		case COLOR:
			if (mm_terminal_set_colour(optarg))
				break;
			fprintf(stderr, "moonmilter ctl top: --color: give auto, always or never\n");
			return EX_USAGE;
		case EVERY:
			t.every = strtod(optarg, &end);
			if (end != optarg && *end == '\0' && t.every >= 0.2 && t.every <= 60)
				break;
			fprintf(stderr, "moonmilter ctl top: --every: give a number of seconds from 0.2 to 60\n");
			return EX_USAGE;
		default:      print_help(stderr); return EX_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "moonmilter ctl top: only options are allowed; see moonmilter ctl top --help\n");
		return EX_USAGE;
	}
	int status = run(&t);
	look_free(&t.before);
	look_free(&t.now);
	return status;
}
