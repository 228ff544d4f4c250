/* program/eval.c -- the code to run goes to a script of ours (runtime/prompt.lua) as an SMTP command that the MTA does
 * not know: so it runs in a session, waits as a handler does, and ends as one does. */
#include "program/eval.h"

#include "base/bounds.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/text.h"
#include "program/line_editor.h"
#include "trial/inside.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define CODE_MAX  (MM_PACKET_DATA_MAX - 600u)    /* bytes; with its name it has to fit into a packet */
#define FAILED    1                             /* exit status: the code has raised an error */

/* How a piece of code ended: what runtime/prompt.lua answers. */
enum ended { ENDED_WELL, ENDED_BADLY, ENDED_TOO_EARLY /* the text is only the beginning of something */ };

static struct mm_inside inside = { .shows_scripts = true };
static struct mm_feed *session;
static volatile sig_atomic_t is_interrupted;

static void print_help(FILE *to)
{
	fprintf(to, "Usage: moonmilter eval [OPTION]... [CODE [ARGUMENT]...]\n\n"
		"Runs Lua as a handler runs it: dns, http, redis, sockets and timers wait as if they blocked. Prints "
		"what comes\nback. Every module of moonmilter is there under its own name: moonmilter eval "
		"'dns.mx(\"example.org\")'.\n\n"
		"Without CODE it reads lines from the terminal and runs each; Ctrl-C ends what runs, Ctrl-D the "
		"prompt. Where\nstandard input is no terminal, all of it is one piece of code.\n\n"
		"  -c, --config FILE\n"
		"        Read this configuration file, but not its scripts: dns_servers, redis, settings, state_dir …\n"
		"  -s, --set KEY=VALUE\n"
		"        Set a key of the configuration; may be repeated.\n"
		"  -v, --verbose\n"
		"        Show every log line, down to log.debug, as the host would write it.\n"
		"  -h, --help\n"
		"        Show this text.\n\n"
		"ARGUMENTs are the code's `...`. Exit status: 0; 1 when the code raises an error or does not compile; "
		"64 for a\nusage error; 78 when the configuration does not load.\n");
}

/* ---- the script ---- */

/* A file that can be loaded, in a directory of its own: a host loads files. */
struct script {
	char directory[64], path[96];
};

static void remove_script(const struct script *s)
{
	if (s->path[0] != '\0')
		unlink(s->path);
	if (s->directory[0] != '\0')
		rmdir(s->directory);
}

static bool write_script(struct script *s, struct mm_fault *why)
{
	static const char text[] = "local prompt = require \"moonmilter.runtime.prompt\"\n"
		"function on_unknown(ctx, command) return prompt.run(ctx, command) end\n"
		"options = { facts = { \"client\" } }\n";
	*s = (struct script){ .directory = "/tmp/moonmilter-eval-XXXXXX" };
	if (mkdtemp(s->directory) == NULL) {
		s->directory[0] = '\0';
		return mm_fault_set(why, MM_FAULT_RESOURCE, "no directory in /tmp: %s", strerror(errno));
	}
	snprintf(s->path, sizeof s->path, "%s/eval.lua", s->directory);
	FILE *f = fopen(s->path, "wxe");
	bool ok = f != NULL && fputs(text, f) >= 0;
	ok = f != NULL && fclose(f) == 0 && ok;
	return ok || mm_fault_set(why, MM_FAULT_RESOURCE, "%s: %s", s->path, strerror(errno));
}

/* ---- the session ---- */

static void add_packet(struct mm_buffer *b, char letter, const void *data, size_t size)
{
	mm_buffer_append_u32(b, (uint32_t)size + 1);
	mm_buffer_append_u8(b, (uint8_t)letter);
	mm_buffer_append(b, data, size);
}

static bool turn_until_done(void)
{
	while (mm_feed_is_waiting(session) && !is_interrupted)
		mm_host_turn(inside.host, MM_INSIDE_TURN_S);
	return !is_interrupted;
}

static void drop_output(void)
{
	size_t size;
	mm_feed_output(session, &size);
	mm_feed_consume(session, size);
}

static bool open_session(struct mm_error *error)
{
	struct mm_buffer b = { 0 }, offer = { 0 };
	static const char client[] = "localhost\0" "4\0\0" "127.0.0.1";
	session = mm_feed_open(inside.host, NULL, error);
	if (session == NULL)
		return false;
	mm_buffer_append_u32(&offer, MM_PROTOCOL_MAX);
	mm_buffer_append_u32(&offer, 0x1ff);            /* every action of version 6 */
	mm_buffer_append_u32(&offer, 0x1fffff);         /* every step */
	add_packet(&b, 'O', offer.bytes, offer.size);
	add_packet(&b, 'C', client, sizeof client);
	bool ok = !b.failed && !offer.failed && mm_feed_bytes(session, b.bytes, b.size, error);
	mm_buffer_free(&b);
	mm_buffer_free(&offer);
	turn_until_done();
	drop_output();
	return ok;
}

static void close_session(void)
{
	if (session != NULL)
		mm_inside_end_session(&inside, session);
	session = NULL;
}

/* The answer to the command: how the code ended, or a verdict that it has given itself. */
static enum ended read_answer(void)
{
	size_t size;
	const uint8_t *bytes = mm_feed_output(session, &size);
	enum ended ended = ENDED_WELL;
	if (size > 5 && bytes[4] == 'y' && size > 8) {
		const char *reply = (const char *)bytes + 5;
		int length = (int)strnlen(reply, size - 5);
		if (strncmp(reply, "554 5.7.0 moonmilter eval", 25) == 0)
			ended = ENDED_BADLY;
		else if (strncmp(reply, "454 4.7.0 moonmilter eval", 25) == 0)
			ended = ENDED_TOO_EARLY;
		else if (strncmp(reply, "451 4.3.0", 9) == 0)
			ended = ENDED_BADLY;    /* the host ended it, and the log says why */
		else
			printf("verdict: %.*s\n", length, reply);
	} else if (size > 4 && bytes[4] == 't') {
		ended = ENDED_BADLY;
	}
	mm_feed_consume(session, size);
	return ended;
}

/* name: of the chunk, for errors. */
static enum ended run_code(const char *name, struct mm_text code)
{
	struct mm_buffer text = { 0 }, packet = { 0 };
	struct mm_error error;
	enum ended ended = ENDED_BADLY;
	is_interrupted = 0;
	if (code.size > CODE_MAX || memchr(code.bytes, '\0', code.size) != NULL) {
		fprintf(stderr, "moonmilter eval: %s\n", code.size > CODE_MAX ? "the code is longer than 64 KB; put it "
			"into a module and require that" : "the code has a NUL byte; write \\0 in a string");
		return ENDED_BADLY;
	}
	mm_buffer_append(&text, name, strlen(name));
	mm_buffer_append_u8(&text, '\n');
	mm_buffer_append(&text, code.bytes, code.size);
	mm_buffer_append_u8(&text, '\0');
	add_packet(&packet, 'U', text.bytes, text.size);
	fflush(stdout);
	if (text.failed || packet.failed || (session == NULL && !open_session(&error)))
		fprintf(stderr, "moonmilter eval: no session can be opened\n");
	else if (!mm_feed_bytes(session, packet.bytes, packet.size, &error))
		fprintf(stderr, "moonmilter eval: %s\n", error.text);
	else if (turn_until_done())
		ended = read_answer();
	else
		close_session();                /* what waits is told, and ends */
	mm_buffer_free(&text);
	mm_buffer_free(&packet);
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
	for (size_t n; (n = fread(bytes, 1, sizeof bytes, stdin)) > 0 && code.size <= CODE_MAX;)
		mm_buffer_append(&code, bytes, n);
	enum ended ended = run_code("stdin", (struct mm_text){ (const char *)code.bytes, code.size });
	mm_buffer_free(&code);
	return ended == ENDED_WELL ? EX_OK : FAILED;
}

static void turn_meanwhile(void)
{
	mm_host_turn(inside.host, MM_INSIDE_TURN_S);
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
	is_interrupted = 1;
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

static int run(char **words)
{
	struct script script;
	struct mm_fault why;
	struct mm_error error;
	if (!write_script(&script, &why)) {
		remove_script(&script);
		fprintf(stderr, "moonmilter eval: %s\n", why.text);
		return EX_CANTCREAT;
	}
	char *scripts[] = { script.path, NULL };
	bool is_started = mm_inside_start(&inside, scripts, true, &error);
	remove_script(&script);
	if (!is_started) {
		fprintf(stderr, "moonmilter eval: %s\n", error.text);
		mm_inside_stop(&inside);
		return EX_CONFIG;
	}
	int status = words[0] != NULL ? run_argument(words) : isatty(STDIN_FILENO) ? run_prompt() : run_input();
	close_session();
	mm_inside_stop(&inside);
	return status;
}

int mm_command_eval(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "set", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	struct mm_fault why;
	/* the deadlines of mail do not hold for people; that of a handler without a wait does */
	mm_inside_take(&inside, 's', "stage_deadline=7200", &why);
	mm_inside_take(&inside, 's', "cpu_session=3600", &why);
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "+c:s:vh", options, NULL)) != -1;) {
		if (c == 'h') {
			print_help(stdout);
			return EX_OK;
		}
		if (c == '?') {
			fprintf(stderr, "see moonmilter eval --help\n");
			return EX_USAGE;
		}
		if (!mm_inside_take(&inside, c, optarg, &why)) {
			fprintf(stderr, "moonmilter eval: %s\n", why.text);
			return EX_USAGE;
		}
	}
	return run(argv + optind);
}
