#include "ctl/command_ctl.h"

#include "ctl/answer_json.h"
#include "ctl/columns.h"
#include "ctl/command_history.h"
#include "ctl/command_profile.h"
#include "ctl/command_shadow.h"
#include "ctl/command_top.h"
#include "ctl/command_trace.h"
#include "config/config.h"
#include "process/control.h"
#include "ctl/client.h"
#include "base/quote.h"
#include "base/suggest.h"
#include "base/terminal.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* Words that are commands of their own, with options of their own. */
static const struct own_command {
	const char *name, *whole;               /* whole: for error texts */
	int       (*run)(int argc, char **argv);
	const char *about;                      /* NULL: the host's requests have it */
} own_commands[] = {
	{ "profile", "moonmilter profile", mm_command_profile, NULL },
	{ "history", "moonmilter ctl history", mm_command_history, NULL },
	{ "tail", "moonmilter ctl tail", mm_command_tail, "the same, each message as it ends" },
	{ "explain", "moonmilter ctl explain", mm_command_explain, "ID: the time line of one message, by queue id or "
		"session" },
	{ "trace", "moonmilter ctl trace", mm_command_trace, NULL },
	{ "shadow", "moonmilter ctl shadow", mm_command_shadow, NULL },
	{ "top", "moonmilter ctl top", mm_command_top, "watch workers, sessions, messages a second, the busiest "
		"handlers; q ends" },
};

#define OWN_COUNT (sizeof own_commands / sizeof *own_commands)

static const struct own_command *own_command(const char *name)
{
	for (size_t i = 0; i < OWN_COUNT; i++)
		if (strcmp(own_commands[i].name, name) == 0)
			return &own_commands[i];
	return NULL;
}

/* Requests that take several words, which are sent with tabs in between. */
static bool takes_words(const struct mm_request_row *row)
{
	return row->argument != NULL && strcmp(row->argument, "WORDS") == 0;
}

static void print_help(FILE *to)
{
	fprintf(to, "Usage: moonmilter ctl [-c FILE] [--control PATH] [--json] [--color WHEN] REQUEST\n\n"
		"Sends REQUEST to the host that listens on the control socket: PATH, or the one named in FILE\n"
		"(default: %s), or %s.\n\n",
		MM_CONFIG_DEFAULT_PATH, MM_CONTROL_DEFAULT_PATH);
	for (int i = 0; i < MM_REQUEST_COUNT; i++) {
		char words[32];
		const struct mm_request_row *row = &mm_request_rows[i];
		const char *argument = own_command(row->name) != NULL || row->argument == NULL
			|| takes_words(row) ? "" : row->argument;
		snprintf(words, sizeof words, "%s%s%s", row->name, argument[0] != '\0' ? " " : "", argument);
		fprintf(to, "  %-16s %s\n", words, row->about);
	}
	for (size_t i = 0; i < OWN_COUNT; i++)
		if (own_commands[i].about != NULL)
			fprintf(to, "  %-16s %s\n", own_commands[i].name, own_commands[i].about);
	fprintf(to, "\nOn a terminal, status, sessions, generations and maps are tables; a pipe gets lines of "
		"key=value.\n"
		"  -c, --config FILE, --control PATH\n"
		"                   the configuration that names the control socket, or the socket\n"
		"  --json           print one JSON object instead\n"
		"  --color WHEN     auto (the default: on a terminal, unless NO_COLOR is set), always, never\n"
		"profile, top, trace, history, tail and explain have options of their own: ctl history --help.\n"
		"Exit status: 0 done, 64 no such request, 66 no such session, 69 no host answers, 75 not possible "
		"now,\n78 the scripts do not load.\n");
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

/* The whole answer, then printed as JSON, or as columns of a terminal. */
static int ask_for_whole(struct mm_ctl_query *client, const char *request, const struct mm_request_row *row,
	bool is_json, unsigned width)
{
	struct mm_answer_lines lines = { 0 };
	client->line = keep_line;
	client->listing = keep_listing;
	client->failed = keep_error;
	client->self = &lines;
	int status = mm_ctl_ask(client, request);
	bool ok = is_json ? mm_answer_print(&lines, row, stdout) : mm_columns_print(&lines, row, width);
	return ok ? status : EX_OSERR;
}

static int ask(struct mm_ctl_query *client, const char *request, const struct mm_request_row *row, bool is_json)
{
	unsigned width = 0, height;
	if (is_json || (mm_terminal_size(STDOUT_FILENO, &width, &height) && mm_columns_has(row)))
		return ask_for_whole(client, request, row, is_json, width);
	return mm_ctl_ask(client, request);
}

/* No worker has the session: its answer has no line about it. */
static int ask_to_end(struct mm_ctl_query *client, const char *request, const struct mm_request_row *row, bool is_json)
{
	struct mm_answer_lines lines = { 0 };
	bool is_found = false;
	client->line = keep_line;
	client->listing = keep_listing;
	client->self = &lines;
	int status = mm_ctl_ask(client, request);
	for (size_t i = 0; i < lines.count; i++) {
		bool is_it = strncmp(lines.lines[i], "session=", 8) == 0;
		is_found |= is_it;
		if (is_it && !is_json)
			puts(lines.lines[i]);
	}
	static const char unknown[] = "there is no such session; moonmilter ctl sessions lists them";
	if (status == EX_OK && !is_found && is_json)
		mm_answer_error(&lines, unknown);
	else if (status == EX_OK && !is_found)
		fprintf(stderr, "moonmilter ctl: %s\n", unknown);
	bool ok = !is_json || mm_answer_print(&lines, row, stdout);
	if (!is_json)
		mm_answer_free(&lines);
	return !ok ? EX_OSERR : status == EX_OK && !is_found ? EX_NOINPUT : status;
}

static void complain_of(const char *name)
{
	const char *names[MM_REQUEST_COUNT + OWN_COUNT + 1] = { NULL };
	for (int i = 0; i < MM_REQUEST_COUNT; i++)
		names[i] = mm_request_rows[i].name;
	for (size_t i = 0; i < OWN_COUNT; i++)
		names[MM_REQUEST_COUNT + i] = own_commands[i].name;
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
static int run_own(const struct own_command *command, int argc, char **argv, int at)
{
	static char name[32];
	snprintf(name, sizeof name, "%s", command->whole);
	memmove(argv + 1, argv, (size_t)at * sizeof *argv);
	argv[1] = name;
	opterr = 1;
	return command->run(argc - 1, argv + 1);
}

int mm_command_ctl(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "control", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' }, { "color", required_argument, NULL, 'C' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	bool is_json = false;
	struct mm_ctl_query client = { .name = "moonmilter ctl", .line = mm_ctl_print_line,
		.listing = mm_ctl_print_listing };
	char request[900];
	optind = 1;
	opterr = 0;                     /* we report the fault below, once */
	/* "+": the options after "profile" and the like belong to it */
	for (int c; (c = getopt_long(argc, argv, "+c:h", options, NULL)) != -1 || optind < argc;) {
		const struct own_command *own = c == -1 ? own_command(argv[optind]) : NULL;
		if (own != NULL)
			return run_own(own, argc, argv, optind);
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
		case 'C':
			if (mm_terminal_set_colour(optarg))
				break;
			fprintf(stderr, "moonmilter ctl: --color: give auto, always or never\n");
			return EX_USAGE;
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
	if (row == &mm_request_rows[MM_REQUEST_end])
		return ask_to_end(&client, request, row, is_json);
	return ask(&client, request, row, is_json);
}
