/* program/main.c -- reads argv only: which command, which options. moonmilter.h and the command
 * files do everything else. */
#include "moonmilter.h"

#include "bench/command_bench.h"
#include "program/dkim_key.h"
#include "program/eval.h"
#include "program/init.h"
#include "program/lookup.h"
#include "program/run.h"
#include "page/command_page.h"
#include "ctl/command_ctl.h"
#include "doctor/command_doctor.h"
#include "ctl/command_profile.h"
#include "trial/command_replay.h"
#include "trial/command_send.h"
#include "program/test.h"
#include "trial/command_try.h"
#include "base/quote.h"
#include "base/suggest.h"
#include "base/terminal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static int command_help(int argc, char **argv);

struct command {
	const char *name;
	int       (*run)(int argc, char **argv);
	const char *about;
};

static const struct command commands[] = {
	{ "run",   mm_command_run,   "serve milters in the foreground (the default)" },
	{ "check", mm_command_check, "load scripts and show what would be served and negotiated" },
	{ "init",  mm_command_init,  "write a new project: configuration, first filter, its spec" },
	{ "ctl",   mm_command_ctl,   "ask a running host: status, reload, stop, sessions, generations, "
		"forget, loglevel" },
	{ "page",  mm_command_page,  "serve a web page about a running host, to be read only" },
	{ "profile", mm_command_profile, "show what the handlers or lines of a running host cost" },
	{ "doctor", mm_command_doctor, "check whether the MTA can open the sockets and its settings fit" },
	{ "try",   mm_command_try,   "run a message file through scripts and show verdict and edited message" },
	{ "send",  mm_command_send,  "act as an MTA towards any milter" },
	{ "replay", mm_command_replay, "run recorded conversations through scripts and show what differs" },
	{ "eval",  mm_command_eval,  "run Lua as a handler would run it: a line, or a prompt" },
	{ "map",   mm_command_map,   "look keys up in tables, databases and services, as postmap -q does" },
	{ "test",  mm_command_test,  "run specs for filters, without an MTA" },
	{ "dkim-key", mm_command_dkim_key, "make a DKIM key, show its DNS record, ask whether DNS has it" },
	{ "bench", mm_command_bench, "put load on any milter and measure it" },
	{ "help",  command_help,     "this text; help config lists every key of moonmilter.conf" },
	{ NULL, NULL, NULL },
};

static void print_help(FILE *to)
{
	fprintf(to, "moonmilter %s: milters for Postfix and Sendmail, written in Lua\n\nUsage:\n", mm_version());
	fprintf(to, "  moonmilter [run] [-c FILE] [-s SPEC]... [SCRIPT|DIR]...\n  moonmilter COMMAND "
		"[OPTIONS]\n\nCommands:\n");
	for (const struct command *c = commands; c->name != NULL; c++)
		fprintf(to, "  %-8s %s\n", c->name, c->about);
	fprintf(to, "\nmoonmilter COMMAND --help shows more. Manual page: moonmilter(8).\n");
}

static int refuse_command(const char *word)
{
	const char *names[sizeof commands / sizeof *commands];
	size_t count = 0;
	for (const struct command *c = commands; c->name != NULL; c++)
		names[count++] = c->name;
	names[count] = NULL;
	const char *meant = mm_suggest(word, names);
	if (meant != NULL)
		fprintf(stderr, "moonmilter: there is no command %s; did you mean \"%s\"?\n",
			mm_quote(word, strlen(word)).text, meant);
	else
		fprintf(stderr, "moonmilter: %s is neither a command nor a script; see moonmilter --help\n",
			mm_quote(word, strlen(word)).text);
	return EX_USAGE;
}

/* getopt prints argv[0] before its error texts. */
static int run_command(const struct command *c, int argc, char **argv)
{
	static char name[64];
	snprintf(name, sizeof name, "moonmilter %s", c->name);
	argv[0] = name;
	return c->run(argc, argv);
}

/* moonmilter help COMMAND. */
static int help_about(const char *word)
{
	if (strcmp(word, "config") == 0)
		return mm_command_help_config();
	for (const struct command *c = commands; c->name != NULL; c++) {
		char *help[] = { NULL, (char *)"--help", NULL };
		if (strcmp(word, c->name) != 0)
			continue;
		if (c->run != command_help)
			return run_command(c, 2, help);
		print_help(stdout);
		return EX_OK;
	}
	return refuse_command(word);
}

static int command_help(int argc, char **argv)
{
	if (argc > 1 && argv[1][0] != '-')
		return help_about(argv[1]);
	print_help(stdout);
	return EX_OK;
}

/* `moonmilter chek scripts/` does not mean a script named chek: a first word that names neither a command nor a
 * file is a typing error. */
static bool is_slip(const char *word)
{
	return word[0] != '-' && strpbrk(word, "/.") == NULL && access(word, F_OK) != 0;
}

/* If one of them is closed when the program starts, a socket could become standard error, and the
 * log would go to an MTA. */
static void keep_standard_descriptors(void)
{
	int fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO)
		fd = dup(fd);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	keep_standard_descriptors();
	mm_terminal_guard();
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return command_help(argc - 1, argv + 1);
	if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
		printf("moonmilter %s\n", mm_version());
		return EX_OK;
	}
	for (const struct command *c = commands; argc > 1 && c->name != NULL; c++)
		if (strcmp(argv[1], c->name) == 0)
			return run_command(c, argc - 1, argv + 1);
	if (argc > 1 && is_slip(argv[1]))
		return refuse_command(argv[1]);
	return mm_command_run(argc, argv);
}
