#include "ctl/command_trace.h"

#include "base/quote.h"
#include "base/terminal.h"
#include "ctl/client.h"
#include "moonmilter.h"
#include "story/trace_show.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#define PRINT_AT 65536          /* bytes that are gathered while lines keep coming */

struct tracing {
	struct mm_ctl_query query;
	const char         *client, *from, *to, *session;       /* borrowed from argv; NULL: any */
	unsigned long       count;              /* messages after which it ends; 0: never */
	bool                is_json;
	int                 fd;                 /* owned; -1: none came */
	unsigned long       ended;              /* messages */
	struct mm_buffer    out;
};

/* ---- words ---- */

enum { CLIENT = 256, FROM, TO, SESSION, COUNT, COLOR };

static void print_help(void)
{
	fputs("Usage: moonmilter ctl [-c FILE] [--control PATH] trace [OPTION...]\n\n"
		"Shows sessions while they happen: each packet of the MTA with its size and arguments, handlers with "
		"their time,\nwaits with what they asked and what came back, edits, answers, verdicts, and log lines "
		"of every level of these sessions.\nCtrl-C ends it; it delays no mail.\n\n"
		"Which sessions (all that are given must agree; none: all sessions):\n"
		"  --client NETWORK  clients: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32\n"
		"  --from PATTERN    a part of the sender's address, in any case, or a pattern for all of it: "
		"\"*@example.org\"\n"
		"  --to PATTERN      the same of a recipient's address. With either, a trace begins where the message "
		"is known to\n                    be of interest, and ends with it\n"
		"  --session ID      one session, as ctl sessions lists it\n"
		"How:\n"
		"  --count N         end after N messages\n"
		"  --json            one JSON object for each line\n"
		"  --color WHEN      auto (the default: on a terminal, unless NO_COLOR is set), always, never\n\n"
		"What is personal is left out as history_redact says. Lines that come faster than they are read are "
		"lost, and counted.\n"
		"Exit status: 0 done, 64 wrong words, 69 no host answers, or it has ended, 75 four traces are under "
		"way.\n", stdout);
}

static int wrong(const char *what, const char *value, const char *rule)
{
	fprintf(stderr, "moonmilter ctl: %s %s: %s\n", what, mm_quote(value, strlen(value)).text, rule);
	return EX_USAGE;
}

static int take_pattern(const char **to, const char *what, const char *value)
{
	bool is_good = value[0] != '\0' && strlen(value) < 200 && strpbrk(value, "\t\n") == NULL;
	*to = value;
	return is_good ? EX_OK : wrong(what, value, "give 1 to 199 bytes, without tabs");
}

static int take_network(struct tracing *t, const char *value)
{
	struct mm_network network;
	struct mm_fault why;
	t->client = value;
	return mm_network_parse(value, &network, &why) ? EX_OK : wrong("--client", value, why.text);
}

static int take_count(struct tracing *t, const char *value)
{
	char *end;
	t->count = strtoul(value, &end, 10);
	bool is_good = value[0] >= '0' && value[0] <= '9' && *end == '\0' && t->count > 0;
	return is_good ? EX_OK : wrong("--count", value, "give a number from 1 on");
}

static int take_option(struct tracing *t, int option, const char *value)
{
	switch (option) {
	case 'c':     t->query.config = value; return EX_OK;
	case 's':     t->query.path = value; return EX_OK;
	case 'j':     t->is_json = true; return EX_OK;
	case CLIENT:  return take_network(t, value);
	case FROM:    return take_pattern(&t->from, "--from", value);
	case TO:      return take_pattern(&t->to, "--to", value);
	case SESSION: return take_pattern(&t->session, "--session", value);
	case COUNT:   return take_count(t, value);
	case COLOR:   return mm_terminal_set_colour(value) ? EX_OK
		: wrong("--color", value, "give auto, always or never");
	default:
		fprintf(stderr, "see moonmilter ctl trace --help\n");
		return EX_USAGE;
	}
}

/* ---- the host ---- */

static void no_line(void *self, const char *text)
{
	(void)self;
	puts(text);
}

static void take_socket(void *self, int descriptor)
{
	struct tracing *t = self;
	if (t->fd < 0)
		t->fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
}

static int ask(struct tracing *t)
{
	char request[MM_TRACE_REQUEST_MAX];
	const struct { const char *name, *value; } words[] = {
		{ "client", t->client }, { "from", t->from }, { "to", t->to }, { "session", t->session },
	};
	int used = snprintf(request, sizeof request, "trace all");
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (words[i].value != NULL)
			used += snprintf(request + used, sizeof request - (size_t)used, "\t%s=%s", words[i].name,
				words[i].value);
	int status = mm_ctl_ask(&t->query, request);
	if (status != EX_OK || t->fd >= 0)
		return status;
	fprintf(stderr, "moonmilter ctl: the host gave no trace; does moonmilter ctl have the same version as the "
		"host?\n");
	return EX_UNAVAILABLE;
}

/* ---- lines ---- */

static enum mm_paint paint_of(const struct mm_trace_line *l)
{
	bool is_bad = l->verdict == MM_VERDICT_reject || l->verdict == MM_VERDICT_tempfail
		|| l->verdict == MM_VERDICT_discard;
	switch (l->kind) {
	case MM_TRACE_COMMAND: return MM_PAINT_CYAN;
	case MM_TRACE_ERROR:   return MM_PAINT_RED;
	case MM_TRACE_MESSAGE: return is_bad && !l->is_open ? MM_PAINT_RED : MM_PAINT_GREEN;
	case MM_TRACE_ASIDE:   return is_bad ? MM_PAINT_RED : MM_PAINT_NONE;
	case MM_TRACE_LOG:     return l->level >= MM_LEVEL_WARN ? MM_PAINT_YELLOW : MM_PAINT_DIM;
	default:               return MM_PAINT_NONE;
	}
}

static void print(struct tracing *t)
{
	mm_buffer_print(&t->out, stdout);
	mm_buffer_clear(&t->out);
}

static void show(struct tracing *t, const struct mm_trace_line *l)
{
	enum mm_paint paint = t->is_json ? MM_PAINT_NONE : paint_of(l);
	if (t->is_json) {
		mm_trace_json(l, &t->out);
		return;
	}
	if (l->lost > 0)
		mm_trace_show_lost(l->lost, &t->out);
	if (paint != MM_PAINT_NONE && mm_terminal_has_colour(1)) {
		print(t);
		mm_terminal_paint(1, paint);
		mm_trace_show(l, true, &t->out);
		print(t);
		mm_terminal_paint(1, MM_PAINT_NONE);
		return;
	}
	mm_trace_show(l, true, &t->out);
}

/* True: it has shown as many messages as were asked for. */
static bool take_line(struct tracing *t, const void *bytes, size_t size)
{
	struct mm_trace_line l;
	if (!mm_trace_read(bytes, size, &l)) {
		fprintf(stderr, "moonmilter ctl: a line makes no sense; does moonmilter ctl have the same version as "
			"the host?\n");
		return false;
	}
	show(t, &l);
	if (t->out.size > PRINT_AT)
		print(t);
	t->ended += l.kind == MM_TRACE_MESSAGE;
	return t->count > 0 && t->ended >= t->count;
}

/* Prints when nothing is there to be read: as long as lines come, reading is what matters. */
static ssize_t receive(struct tracing *t, void *to, size_t size)
{
	ssize_t n = recv(t->fd, to, size, MSG_DONTWAIT);
	if (n >= 0 || errno != EAGAIN)
		return n;
	print(t);
	if (fflush(stdout) != 0)
		return 0;               /* nobody reads what we print */
	return recv(t->fd, to, size, 0);
}

static int follow(struct tracing *t)
{
	uint8_t bytes[MM_TRACE_LINE_MAX + 1];
	for (;;) {
		ssize_t n = receive(t, bytes, sizeof bytes);
		if (n < 0 && errno == EINTR)
			continue;
		bool is_over = n > 0 && take_line(t, bytes, (size_t)n);
		if (n > 0 && !is_over)
			continue;
		print(t);
		if (is_over || ferror(stdout))
			return EX_OK;
		fflush(stdout);
		fprintf(stderr, "moonmilter ctl: the host has ended\n");
		return EX_UNAVAILABLE;
	}
}

int mm_command_trace(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "control", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' },
		{ "client", required_argument, NULL, CLIENT }, { "from", required_argument, NULL, FROM },
		{ "to", required_argument, NULL, TO }, { "session", required_argument, NULL, SESSION },
		{ "count", required_argument, NULL, COUNT }, { "color", required_argument, NULL, COLOR },
		{ NULL, 0, NULL, 0 },
	};
	struct tracing t = { .query = { .name = "moonmilter ctl", .line = no_line, .listing = take_socket }, .fd = -1 };
	int status = EX_OK;
	t.query.self = &t;
	optind = 0;
	for (int c; status == EX_OK && (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		if (c == 'h') {
			print_help();
			return EX_OK;
		}
		status = take_option(&t, c, optarg);
	}
	if (status == EX_OK && optind != argc) {
		fprintf(stderr, "moonmilter ctl: trace takes options only; see moonmilter ctl trace --help\n");
		status = EX_USAGE;
	}
	if (status == EX_OK)
		status = ask(&t);
	if (status == EX_OK)
		status = follow(&t);
	if (t.fd >= 0)
		close(t.fd);
	mm_buffer_free(&t.out);
	return status;
}
