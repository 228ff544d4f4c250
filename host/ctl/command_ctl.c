#include "ctl/command_ctl.h"

#include "ctl/answer_json.h"
#include "ctl/command_profile.h"
#include "config/config.h"
#include "process/control.h"
#include "ctl/client.h"
#include "base/quote.h"
#include "base/suggest.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static bool is_profile(const char *name)
{
	return strcmp(name, mm_request_rows[MM_REQUEST_profile].name) == 0;
}

/* Requests that take several words, which are sent with tabs in between. */
static bool takes_words(const struct mm_request_row *row)
{
	return row->argument != NULL && strcmp(row->argument, "WORDS") == 0;
}

static void print_help(FILE *to)
{
	fprintf(to, "Usage: moonmilter ctl [-c FILE] [--control PATH] [--json] REQUEST\n\nSends REQUEST to the host "
		"that listens on the control socket: PATH, or the one named in FILE\n(default: %s), or %s.\n\n",
		MM_CONFIG_DEFAULT_PATH, MM_CONTROL_DEFAULT_PATH);
	for (int i = 0; i < MM_REQUEST_COUNT; i++) {
		char words[32];
		const struct mm_request_row *row = &mm_request_rows[i];
		const char *argument = i == MM_REQUEST_profile || row->argument == NULL || takes_words(row) ? ""
			: row->argument;
		snprintf(words, sizeof words, "%s%s%s", row->name, argument[0] != '\0' ? " " : "", argument);
		fprintf(to, "  %-16s %s\n", words, row->about);
	}
	fprintf(to, "\n--json prints one JSON object instead of lines. moonmilter ctl profile --help lists its "
		"options.\nExit status: 0 done, 64 no such request, 69 no host answers, 75 not possible now, 78 the "
		"scripts do not load.\n");
}

static void print_line(void *self, const char *text)
{
	(void)self;
	puts(text);
}

static void print_listing(void *self, int descriptor)
{
	char bytes[8192];
	off_t at = 0;
	(void)self;
	for (ssize_t n; (n = pread(descriptor, bytes, sizeof bytes, at)) > 0; at += n)
		fwrite(bytes, 1, (size_t)n, stdout);
}

static void keep_line(void *self, const char *text)
{
	mm_answer_line(self, text);
}

static void keep_listing(void *self, int descriptor)
{
	mm_answer_listing(self, descriptor);
}

static void keep_error(void *self, const char *why)
{
	mm_answer_error(self, why);
}

static int ask_for_json(struct mm_ctl_query *client, const char *request, const struct mm_request_row *row)
{
	struct mm_answer_lines lines = { 0 };
	client->line = keep_line;
	client->listing = keep_listing;
	client->failed = keep_error;
	client->self = &lines;
	int status = mm_ctl_ask(client, request);
	return mm_answer_print(&lines, row, stdout) ? status : EX_OSERR;
}

static void complain_of(const char *name)
{
	const char *names[MM_REQUEST_COUNT + 1] = { NULL };
	for (int i = 0; i < MM_REQUEST_COUNT; i++)
		names[i] = mm_request_rows[i].name;
	const char *meant = mm_suggest(name, names);
	fprintf(stderr, "moonmilter ctl: there is no request %s%s%s%s\n", mm_quote(name, strlen(name)).text,
		meant != NULL ? "; did you mean \"" : "", meant != NULL ? meant : "", meant != NULL ? "\"?" : "");
}

/* NULL: the words are not a request; standard error says why. */
static const struct mm_request_row *request_of(int count, char *const *words)
{
	if (count == 0) {
		fprintf(stderr, "moonmilter ctl: no request is given; see moonmilter ctl --help\n");
		return NULL;
	}
	for (int i = 0; i < MM_REQUEST_COUNT; i++) {
		const struct mm_request_row *row = &mm_request_rows[i];
		bool takes = row->argument != NULL;
		if (strcmp(row->name, words[0]) != 0)
			continue;
		if (count == 1 + takes || (takes_words(row) && count > 1))
			return row;
		fprintf(stderr, "moonmilter ctl: %s takes %s%s\n", words[0], takes ? "one argument, " : "no argument",
			takes_words(row) ? row->about : takes ? row->argument : "");
		return NULL;
	}
	complain_of(words[0]);
	return NULL;
}

/* `ctl … profile …` is `profile … …`: at is the index of its name. */
static int ask_profile(int argc, char **argv, int at)
{
	static char name[] = "moonmilter profile";
	memmove(argv + 1, argv, (size_t)at * sizeof *argv);
	argv[1] = name;
	opterr = 1;
	return mm_command_profile(argc - 1, argv + 1);
}

int mm_command_ctl(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "control", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	bool is_json = false;
	struct mm_ctl_query client = { .name = "moonmilter ctl", .line = print_line, .listing = print_listing };
	char request[900];
	optind = 1;
	opterr = 0;                     /* we report the fault below, once */
	/* "+": the options after "profile" belong to it */
	for (int c; (c = getopt_long(argc, argv, "+c:h", options, NULL)) != -1 || optind < argc;) {
		if (c == -1 && is_profile(argv[optind]))
			return ask_profile(argc, argv, optind);
		if (c == -1)
			break;
	}
	opterr = 1;
	optind = 0;                     /* from the start: options may also follow the other requests */
	for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		switch (c) {
		case 'c': client.config = optarg; break;
		case 's': client.path = optarg; break;
		case 'j': is_json = true; break;
		case 'h': print_help(stdout); return EX_OK;
		default:  print_help(stderr); return EX_USAGE;
		}
	}
	int words = argc - optind;
	const struct mm_request_row *row = request_of(words, argv + optind);
	if (row == NULL) {
		print_help(stderr);
		return EX_USAGE;
	}
	size_t used = 0;
	for (int i = 0; i < words && used < sizeof request; i++)
		used += (size_t)snprintf(request + used, sizeof request - used, "%s%s",
			i == 0 ? "" : i == 1 ? " " : "\t", argv[optind + i]);
	if (used >= sizeof request) {
		fprintf(stderr, "moonmilter ctl: the request is too long\n");
		return EX_USAGE;
	}
	return is_json ? ask_for_json(&client, request, row) : mm_ctl_ask(&client, request);
}
