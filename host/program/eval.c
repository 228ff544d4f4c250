/* program/eval.c -- the code to run goes to a module of ours, runtime/prompt.lua (program/runner.h). */
#include "program/eval.h"

#include "base/buffer.h"
#include "program/line_editor.h"
#include "program/runner.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define FAILED 1                                /* exit status: the code has raised an error */

/* How a piece of code ended: what runtime/prompt.lua answers. */
enum ended { ENDED_WELL, ENDED_BADLY, ENDED_TOO_EARLY /* the text is only the beginning of something */ };

static struct mm_runner runner = { .name = "eval", .module = "moonmilter.runtime.prompt" };

static void print_help(FILE *to)
{
	fprintf(to, "Usage: moonmilter eval [OPTION]... [CODE [ARGUMENT]...]\n\n"
		"Runs Lua as a handler runs it: dns, http, redis, sockets and timers wait as if they blocked. Prints "
		"what comes\nback. Every module of moonmilter is there under its own name: moonmilter eval "
		"'dns.mx(\"example.org\")'.\n\n"
		"Without CODE it reads lines from the terminal and runs each; Ctrl-C ends what runs, Ctrl-D the "
		"prompt. Where\nstandard input is no terminal, all of it is one piece of code.\n\n"
		MM_RUNNER_HELP "\n"
		"ARGUMENTs are the code's `...`. Exit status: 0; 1 when the code raises an error or does not compile; "
		"64 for a\nusage error; 78 when the configuration does not load.\n");
}

/* ---- running ---- */

/* The answer to the command: how the code ended, or a verdict that it has given itself. */
static enum ended read_reply(void)
{
	if (strncmp(runner.reply, "554 5.7.0 moonmilter eval", 25) == 0)
		return ENDED_BADLY;
	if (strncmp(runner.reply, "454 4.7.0 moonmilter eval", 25) == 0)
		return ENDED_TOO_EARLY;
	printf("verdict: %s\n", runner.reply);
	return ENDED_WELL;
}

/* name: of the chunk, for errors. */
static enum ended run_code(const char *name, struct mm_text code)
{
	struct mm_buffer text = { 0 };
	enum ended ended = ENDED_BADLY;
	if (code.size > MM_RUNNER_COMMAND_MAX - 512 || memchr(code.bytes, '\0', code.size) != NULL) {
		fprintf(stderr, "moonmilter eval: %s\n", code.size > MM_RUNNER_COMMAND_MAX - 512
			? "the code is longer than 64 KB; put it into a module and require that"
			: "the code has a NUL byte; write \\0 in a string");
		return ENDED_BADLY;
	}
	mm_buffer_append(&text, name, strlen(name));
	mm_buffer_append_u8(&text, '\n');
	mm_buffer_append(&text, code.bytes, code.size);
	if (!text.failed) {
		enum mm_runner_end end = mm_runner_run(&runner, (struct mm_text){ (char *)text.bytes, text.size });
		ended = end == MM_RUNNER_WELL ? ENDED_WELL : end == MM_RUNNER_REPLIED ? read_reply() : ENDED_BADLY;
	}
	mm_buffer_free(&text);
	fflush(stdout);
	return ended;
}

/* ---- where code comes from ---- */

/* The first line names the chunk, and has the sizes of the arguments that stand before the code. */
static int run_argument(char **words)
{
	struct mm_buffer code = { 0 };
	char name[512];
	size_t at = (size_t)snprintf(name, sizeof name, "eval");
	for (char **word = words + 1; *word != NULL && at < sizeof name; word++) {
		at += (size_t)snprintf(name + at, sizeof name - at, " %zu", strlen(*word));
		mm_buffer_append(&code, *word, strlen(*word));
	}
	mm_buffer_append(&code, words[0], strlen(words[0]));
	enum ended ended = ENDED_BADLY;
	if (at >= sizeof name)
		fprintf(stderr, "moonmilter eval: too many arguments\n");
	else
		ended = run_code(name, (struct mm_text){ (const char *)code.bytes, code.size });
	mm_buffer_free(&code);
	return ended == ENDED_WELL ? EX_OK : FAILED;
}

static int run_input(void)
{
	struct mm_buffer code = { 0 };
	char bytes[4096];
	for (size_t n; (n = fread(bytes, 1, sizeof bytes, stdin)) > 0 && code.size <= MM_RUNNER_COMMAND_MAX;)
		mm_buffer_append(&code, bytes, n);
	enum ended ended = run_code("stdin", (struct mm_text){ (const char *)code.bytes, code.size });
	mm_buffer_free(&code);
	return ended == ENDED_WELL ? EX_OK : FAILED;
}

static void turn_meanwhile(void)
{
	mm_runner_turn(&runner);
}

/* Lines until they are whole: "for i = 1, 3 do" is only a beginning. */
static void run_lines(void)
{
	struct mm_buffer code = { 0 };
	char *line;
	while ((line = mm_line_editor_read(code.size > 0 ? ">> " : "> ")) != NULL) {
		mm_buffer_append(&code, line, strlen(line));
		mm_buffer_append_u8(&code, '\n');
		bool is_empty = line[0] == '\0';
		free(line);
		/* an empty line ends what cannot be whole any more */
		const char *name = is_empty && code.size > 1 ? "whole" : "line";
		if (run_code(name, (struct mm_text){ (const char *)code.bytes, code.size }) != ENDED_TOO_EARLY)
			mm_buffer_clear(&code);
	}
	mm_buffer_free(&code);
	putchar('\n');
}

static void on_interrupt(int number)
{
	(void)number;
	runner.is_interrupted = 1;
}

static int run_prompt(void)
{
	struct sigaction action = { .sa_handler = on_interrupt };
	const char *package = mm_line_editor_begin(turn_meanwhile);
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	printf("moonmilter %s, Lua with waits; Ctrl-D ends%s%s%s\n", mm_version(), package != NULL
		? " (history and editing need the package " : "", package != NULL ? package : "", package != NULL ? ")"
		: "");
	run_lines();
	return EX_OK;
}

/* ---- life ---- */

int mm_command_eval(int argc, char **argv)
{
	static const struct option options[] = { MM_RUNNER_OPTIONS, { NULL, 0, NULL, 0 } };
	int status;
	mm_runner_init(&runner);
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "+c:s:vh", options, NULL)) != -1;)
		if (!mm_runner_take(&runner, c, print_help, &status))
			return status;
	status = mm_runner_start(&runner);
	if (status != EX_OK)
		return status;
	char **words = argv + optind;
	status = words[0] != NULL ? run_argument(words) : isatty(STDIN_FILENO) ? run_prompt() : run_input();
	mm_runner_stop(&runner);
	return status;
}
