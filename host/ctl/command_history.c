#include "ctl/command_history.h"

#include "base/clock.h"
#include "base/quote.h"
#include "base/terminal.h"
#include "ctl/client.h"
#include "ctl/command_shadow.h"
#include "story/filter.h"
#include "story/reader.h"
#include "story/show.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define LOOK_EVERY_US 200000    /* between two looks for new messages */
#define ASK_EVERY     25        /* looks after which the host is asked again: it may have been restarted */
#define ROWS_MOST     50u       /* rows of `history` when no count is given */
#define SHOWN_MOST    10u       /* messages of a session that `explain` shows */

struct asked {
	struct mm_ctl_query    query;
	struct mm_story_filter filter;
	const char            *verb;
	unsigned long          count;           /* 0: not given */
	bool                   is_json;
	int                    fd;              /* owned: the host's memory; -1: none came */
	struct mm_story_reader reader;
	double                 now;
};

/* ---- words ---- */

enum { FROM = 256, TO, IP, QUEUE_ID, VERDICT, SCRIPT, SINCE, UNTIL, COUNT, COLOR };

static void print_help(FILE *to)
{
	fputs("Usage: moonmilter ctl [-c FILE] [--control PATH] history [OPTION...]\n"
		"       moonmilter ctl [-c FILE] [--control PATH] tail [OPTION...]\n"
		"       moonmilter ctl [-c FILE] [--control PATH] explain [--json] QUEUE-ID|SESSION\n\n"
		"history lists the last messages that the host has handled, the newest last; tail lists each message "
		"as it\nends; explain shows what happened to one: stages, handlers, waits, edits, notes, verdict.\n\n"
		"Which messages (all that are given must agree):\n"
		"  --from TEXT       a part of the sender's address, in any case\n"
		"  --to TEXT         a part of a recipient's address\n"
		"  --ip NETWORK      clients: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32\n"
		"  --queue-id ID     queue id, or session\n"
		"  --verdict NAME    accept, continue, reject, tempfail, discard; none: the MTA gave it up;\n"
		"                    unfinished: its worker died; error: a script failed\n"
		"  --script NAME     a script that took part, with or without .lua\n"
		"  --since TIME      30s, 10m, 2h, 3d ago, 2026-11-30, 2026-11-30T16:20, @SECONDS since 1970\n"
		"  --until TIME      the same\n"
		"How:\n"
		"  --count N         history: the last N of them (default 50; 0: all); tail: end after N\n"
		"  --json            one JSON object for each message, on a line\n\n"
		"Exit status: 0 done, 1 explain knows no such message, 64 wrong words, 69 no host answers, or it "
		"keeps no history.\n", to);
}

static int wrong(const char *what, const char *value, const char *rule)
{
	fprintf(stderr, "moonmilter ctl: %s %s: %s\n", what, mm_quote(value, strlen(value)).text, rule);
	return EX_USAGE;
}

static int take_network(struct asked *a, const char *text)
{
	struct mm_fault why;
	a->filter.has_network = true;
	return mm_network_parse(text, &a->filter.network, &why) ? EX_OK : wrong("--ip", text, why.text);
}

static int take_time(const char *what, const char *text, double now, double *out)
{
	return mm_story_time(text, now, out) ? EX_OK : wrong(what, text, "write 30s, 10m, 2h, 3d, 2026-11-30, "
		"2026-11-30T16:20 or @SECONDS");
}

static int take_count(struct asked *a, const char *text)
{
	char *end;
	a->count = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0')
		return wrong("--count", text, "give a number");
	a->count = a->count == 0 ? MM_HISTORY_MAX : a->count;
	return EX_OK;
}

static int take_option(struct asked *a, int option, const char *value)
{
	switch (option) {
	case 'c':      a->query.config = value; return EX_OK;
	case 's':      a->query.path = value; return EX_OK;
	case 'j':      a->is_json = true; return EX_OK;
	case FROM:     a->filter.from = value; return EX_OK;
	case TO:       a->filter.to = value; return EX_OK;
	case QUEUE_ID: a->filter.id = value; return EX_OK;
	case SCRIPT:   a->filter.script = value; return EX_OK;
	case IP:       return take_network(a, value);
	case SINCE:    return take_time("--since", value, a->now, &a->filter.since);
	case UNTIL:    return take_time("--until", value, a->now, &a->filter.until);
	case COUNT:    return take_count(a, value);
	case COLOR:    return mm_terminal_set_colour(value) ? EX_OK
		: wrong("--color", value, "give auto, always or never");
	case VERDICT:
		a->filter.verdict = value;
		return mm_story_verdict_is_known(value) ? EX_OK : wrong("--verdict", value, "give accept, continue, "
			"reject, tempfail, discard, none, unfinished or error");
	default:
		fprintf(stderr, "see moonmilter ctl %s --help\n", a->verb);
		return EX_USAGE;
	}
}

static int take_words(struct asked *a, int argc, char **argv)
{
	bool takes_id = strcmp(a->verb, "explain") == 0;
	if (argc - optind != takes_id) {
		fprintf(stderr, takes_id ? "moonmilter ctl: explain takes one queue id or session\n"
			: "moonmilter ctl: %s takes options only; see moonmilter ctl history --help\n", a->verb);
		return EX_USAGE;
	}
	if (takes_id)
		a->filter.id = argv[optind];
	return EX_OK;
}

/* ---- the host ---- */

static void no_line(void *self, const char *text)
{
	(void)self;
	puts(text);
}

static void take_memory(void *self, int descriptor)
{
	struct asked *a = self;
	if (a->fd < 0)
		a->fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
}

static int ask(struct asked *a)
{
	struct mm_fault why;
	a->fd = -1;
	int status = mm_ctl_ask(&a->query, "history");
	if (status != EX_OK)
		return status;
	if (a->fd >= 0 && mm_story_reader_open(&a->reader, a->fd, &why))
		return EX_OK;
	fprintf(stderr, "moonmilter ctl: %s\n", a->fd >= 0 ? why.text : "the host gave no history");
	return EX_UNAVAILABLE;
}

/* ---- answers ---- */

static void print(struct mm_buffer *out)
{
	mm_buffer_print(out, stdout);
	mm_buffer_clear(out);
}

static void print_row(const struct asked *a, const struct mm_story *s, struct mm_buffer *out)
{
	if (a->is_json) {
		mm_story_json(s, true, out);
		mm_buffer_append(out, "\n", 1);
	} else {
		mm_story_row(s, out);
	}
	print(out);
}

/* The number from which on `count` stories are wanted. */
static uint64_t begin_of(struct asked *a, uint64_t first, uint64_t last, unsigned long count)
{
	struct mm_story s;
	uint64_t begin = last + 1;
	for (uint64_t n = last; n >= first && n > 0 && count > 0; n--) {
		if (!mm_story_reader_get(&a->reader, n, a->now, &s) || !mm_story_filter_wants(&a->filter, &s))
			continue;
		begin = n;
		count--;
	}
	return begin;
}

static int history(struct asked *a)
{
	struct mm_story s;
	struct mm_buffer out = { 0 };
	uint64_t last = mm_story_reader_last(&a->reader), first = mm_story_reader_first(&a->reader, last);
	uint64_t n = begin_of(a, first, last, a->count > 0 ? a->count : ROWS_MOST);
	if (!a->is_json)
		mm_story_row_head(&out);
	print(&out);
	for (; n <= last; n++)
		if (mm_story_reader_get(&a->reader, n, a->now, &s) && mm_story_filter_wants(&a->filter, &s))
			print_row(a, &s, &out);
	mm_buffer_free(&out);
	return EX_OK;
}

/* Another host answers now: its memory takes the place of the old one's. */
static int look_again(struct asked *a, uint64_t *next)
{
	struct stat before, after;
	int old = a->fd, status = ask(a);
	bool is_same = status == EX_OK && fstat(old, &before) == 0 && fstat(a->fd, &after) == 0
		&& before.st_ino == after.st_ino;
	close(old);
	if (!is_same)
		*next = 1;
	return status;
}

static int tail(struct asked *a)
{
	struct mm_story s;
	struct mm_buffer out = { 0 };
	uint64_t next = mm_story_reader_last(&a->reader) + 1;
	unsigned long shown = 0, most = a->count > 0 ? a->count : MM_HISTORY_MAX;
	int status = EX_OK;
	for (unsigned looks = 1; status == EX_OK && shown < most; looks++) {
		uint64_t last = mm_story_reader_last(&a->reader), first = mm_story_reader_first(&a->reader, last);
		if (next < first) {
			fprintf(stderr, "moonmilter ctl: %llu messages were overwritten before they could be shown\n",
				(unsigned long long)(first - next));
			next = first;
		}
		a->now = mm_clock_wall();
		for (; next <= last && shown < most; next++)
			if (mm_story_reader_get(&a->reader, next, a->now, &s)
			    && mm_story_filter_wants(&a->filter, &s)) {
				print_row(a, &s, &out);
				shown++;
			}
		fflush(stdout);
		if (shown >= most)
			break;
		usleep(LOOK_EVERY_US);
		if (looks % ASK_EVERY == 0)
			status = look_again(a, &next);
	}
	mm_buffer_free(&out);
	return status;
}

static void print_story(const struct asked *a, const struct mm_story *s, bool is_first, struct mm_buffer *out)
{
	if (a->is_json) {
		print_row(a, s, out);
		return;
	}
	if (!is_first)
		mm_buffer_append(out, "\n", 1);
	mm_story_show(s, out);
	print(out);
}

static int explain(struct asked *a)
{
	struct mm_story s;
	struct mm_buffer out = { 0 };
	bool is_first = true;
	uint64_t last = mm_story_reader_last(&a->reader), first = mm_story_reader_first(&a->reader, last);
	for (uint64_t n = begin_of(a, first, last, SHOWN_MOST); n <= last; n++)
		if (mm_story_reader_get(&a->reader, n, a->now, &s) && mm_story_filter_wants(&a->filter, &s)) {
			print_story(a, &s, is_first, &out);
			is_first = false;
		}
	for (uint32_t i = 0; i < mm_story_reader_places(&a->reader); i++)
		if (mm_story_reader_open_one(&a->reader, i, &s) && mm_story_filter_wants(&a->filter, &s)) {
			print_story(a, &s, is_first, &out);
			is_first = false;
		}
	mm_buffer_free(&out);
	if (!is_first) {
		mm_shadow_explain(a->query, a->filter.id, a->is_json);
		return EX_OK;
	}
	fprintf(stderr, "moonmilter ctl: the history has no message with the queue id or session %s; it may be older "
		"than the last %u messages, or belong to another host\n", mm_quote(a->filter.id,
		strlen(a->filter.id)).text, a->reader.head.capacity);
	return 1;
}

static int run(const char *verb, int (*answer)(struct asked *), int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "control", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' },
		{ "from", required_argument, NULL, FROM }, { "to", required_argument, NULL, TO },
		{ "ip", required_argument, NULL, IP }, { "queue-id", required_argument, NULL, QUEUE_ID },
		{ "verdict", required_argument, NULL, VERDICT }, { "script", required_argument, NULL, SCRIPT },
		{ "since", required_argument, NULL, SINCE }, { "until", required_argument, NULL, UNTIL },
		{ "count", required_argument, NULL, COUNT }, { "color", required_argument, NULL, COLOR },
		{ NULL, 0, NULL, 0 },
	};
	struct asked a = { .query = { .name = "moonmilter ctl", .line = no_line, .listing = take_memory },
		.verb = verb, .fd = -1, .now = mm_clock_wall() };
	a.query.self = &a;
	int status = EX_OK;
	optind = 0;
	for (int c; status == EX_OK && (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		if (c == 'h') {
			print_help(stdout);
			return EX_OK;
		}
		status = take_option(&a, c, optarg);
	}
	if (status == EX_OK)
		status = take_words(&a, argc, argv);
	if (status == EX_OK)
		status = ask(&a);
	if (status == EX_OK)
		status = answer(&a);
	if (a.fd >= 0)
		close(a.fd);
	return status;
}

int mm_command_history(int argc, char **argv)
{
	return run("history", history, argc, argv);
}

int mm_command_tail(int argc, char **argv)
{
	return run("tail", tail, argc, argv);
}

int mm_command_explain(int argc, char **argv)
{
	return run("explain", explain, argc, argv);
}
