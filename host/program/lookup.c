/* program/lookup.c -- the specs and each key go to a module of ours, runtime/lookup.lua (program/runner.h). */
#include "program/lookup.h"

#include "base/buffer.h"
#include "program/runner.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define NOT_THERE 1             /* exit status */

static struct mm_runner runner = { .name = "map", .module = "moonmilter.runtime.lookup" };

static void print_help(FILE *to)
{
	fprintf(to, "Usage: moonmilter map [OPTION]... QUERY SPEC...\n\n"
		"Looks QUERY up in a map, as moonmilter.map does for a script and postmap -q for Postfix, and prints "
		"its value.\nA SPEC is KIND:ARGUMENT: texthash:/etc/postfix/access, cidr:nets, "
		"pgsql:/etc/postfix/users.cf, dns:a:zen.example …\nOf several, the first that has the key answers. "
		"Relative file names start here.\n\n"
		"QUERY - reads keys from standard input, one a line, and prints KEY, a tab and the value of each that "
		"is there.\n\n"
		"  --address\n"
		"        QUERY is a mailbox: look up user+ext@domain, user@domain, user+ext, user, @domain, domain, "
		".parent.\n"
		"  --network\n"
		"        QUERY is an IP address: look it up, then without its last number, and so on.\n"
		MM_RUNNER_HELP "\n"
		"Exit status: 0 when QUERY, or a key of standard input, is there; 1 when it is not; 75 when the map "
		"cannot be\nopened or cannot answer, and standard error says why; 64 for a usage error; 78 when the "
		"configuration does not load.\n");
}

/* ---- commands to the module ---- */

/* An exit status: what the module answers. */
static int ask(const struct mm_buffer *command)
{
	if (command->failed || command->size > MM_RUNNER_COMMAND_MAX) {
		fprintf(stderr, "moonmilter map: a key or specs of more than 64 KB\n");
		return EX_TEMPFAIL;
	}
	switch (mm_runner_run(&runner, (struct mm_text){ (const char *)command->bytes, command->size })) {
	case MM_RUNNER_WELL:
		return EX_OK;
	case MM_RUNNER_REPLIED:
		if (strcmp(runner.reply, "554 5.7.0 moonmilter map: none") == 0)
			return NOT_THERE;
		return strcmp(runner.reply, "554 5.7.0 moonmilter map: usage") == 0 ? EX_USAGE : EX_TEMPFAIL;
	default:
		return EX_TEMPFAIL;
	}
}

/* "open METHOD SIZE...", LF, the specs. */
static int open_map(const char *method, char **specs)
{
	struct mm_buffer command = { 0 };
	char size[32];
	mm_buffer_append(&command, "open ", 5);
	mm_buffer_append(&command, method, strlen(method));
	for (char **spec = specs; *spec != NULL; spec++)
		mm_buffer_append(&command, size, (size_t)snprintf(size, sizeof size, " %zu", strlen(*spec)));
	mm_buffer_append_u8(&command, '\n');
	for (char **spec = specs; *spec != NULL; spec++)
		mm_buffer_append(&command, *spec, strlen(*spec));
	int status = ask(&command);
	mm_buffer_free(&command);
	return status;
}

static int look_up(const char *verb, const char *key, size_t size)
{
	struct mm_buffer command = { 0 };
	if (memchr(key, '\0', size) != NULL) {
		fprintf(stderr, "moonmilter map: a key with a NUL byte; no map has one\n");
		return EX_TEMPFAIL;
	}
	mm_buffer_append(&command, verb, strlen(verb));
	mm_buffer_append_u8(&command, '\n');
	mm_buffer_append(&command, key, size);
	int status = ask(&command);
	mm_buffer_free(&command);
	return status;
}

/* Ends at the first failure, as postmap does. */
static int look_up_lines(void)
{
	char *line = NULL;
	size_t room = 0;
	int status = NOT_THERE;
	for (ssize_t n; (n = getline(&line, &room, stdin)) >= 0;) {
		int one = look_up("line", line, (size_t)n - (n > 0 && line[n - 1] == '\n'));
		if (one == EX_OK || one == EX_TEMPFAIL)
			status = one;
		if (one == EX_TEMPFAIL)
			break;
	}
	free(line);
	return status;
}

/* ---- life ---- */

static int run(const char *method, char **words)
{
	int status = mm_runner_start(&runner);
	if (status != EX_OK)
		return status;
	status = open_map(method, words + 1);
	if (status == EX_OK)
		status = strcmp(words[0], "-") == 0 ? look_up_lines() : look_up("key", words[0], strlen(words[0]));
	mm_runner_stop(&runner);
	return status;
}

int mm_command_map(int argc, char **argv)
{
	static const struct option options[] = { { "address", no_argument, NULL, 'a' },
		{ "network", no_argument, NULL, 'n' }, MM_RUNNER_OPTIONS, { NULL, 0, NULL, 0 } };
	const char *method = "get";
	int status;
	mm_runner_init(&runner);
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "+c:s:vh", options, NULL)) != -1;) {
		if (c == 'a' || c == 'n')
			method = c == 'a' ? "address" : "network";
		else if (!mm_runner_take(&runner, c, print_help, &status))
			return status;
	}
	if (optind + 2 <= argc)
		return run(method, argv + optind);
	fprintf(stderr, "moonmilter map: write QUERY SPEC..., as in: moonmilter map ann@example.org "
		"texthash:/etc/postfix/access\nsee moonmilter map --help\n");
	return EX_USAGE;
}
