#include "trial/command_try.h"

#include "base/clock.h"
#include "moonmilter.h"
#include "trial/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#define TURN_S   0.05           /* seconds a turn of the loop may wait for something to happen */
#define CLOSE_S  5.0            /* seconds on_done and on_close may take when all is over */
#define SETS_MAX 64             /* --set */

/* ---- the host as a transport ---- */

struct inside {
	struct mm_host    *host;        /* borrowed */
	struct mm_feed *session;     /* borrowed */
	size_t             lent;        /* bytes of output given out by the last read */
};

static bool feed(void *self, const void *bytes, size_t n, struct mm_fault *why)
{
	struct inside *in = self;
	struct mm_error error;
	if (mm_feed_is_finished(in->session))
		return true;                    /* the reader tells of the end, as with a socket */
	if (mm_feed_bytes(in->session, bytes, n, &error))
		return true;
	return mm_fault_set(why, MM_FAULT_PEER, "%s", error.text);
}

static bool take_output(void *self, double timeout_s, const void **bytes, size_t *n, struct mm_fault *why)
{
	struct inside *in = self;
	double deadline = mm_clock_real() + timeout_s;
	mm_feed_consume(in->session, in->lent);
	for (in->lent = 0;;) {
		*bytes = mm_feed_output(in->session, n);
		in->lent = *n;
		if (*n > 0 || mm_feed_is_finished(in->session))
			return true;
		if (!mm_feed_is_waiting(in->session))
			return mm_fault_set(why, MM_FAULT_PEER, "no answer, and no handler waits for anything");
		if (mm_clock_real() >= deadline)
			return mm_fault_set(why, MM_FAULT_PEER, "no answer within %g seconds", timeout_s);
		mm_host_turn(in->host, TURN_S);
	}
}

/* Handlers that run behind the last reply, on_done and on_close, may wait too. */
static void settle(struct inside *in)
{
	double deadline = mm_clock_real() + CLOSE_S;
	mm_feed_hang_up(in->session);
	while (mm_feed_is_waiting(in->session) && mm_clock_real() < deadline)
		mm_host_turn(in->host, TURN_S);
}

/* ---- the command ---- */

struct try {
	struct mm_trial trial;
	const char     *config_file;            /* borrowed from argv, as all here */
	const char     *milter;
	const char     *sets[SETS_MAX + 1];
	unsigned        set_count;
	bool            is_verbose;
};

static bool take(void *self, int option, const char *argument, struct mm_fault *why)
{
	struct try *t = self;
	switch (option) {
	case 't':
		return mm_trial_add_rcpt(&t->trial, argument, why);
	case 'c':
		t->config_file = argument;
		return true;
	case 'm':
		t->milter = argument;
		return true;
	case 'v':
		t->is_verbose = true;
		return true;
	default:
		if (t->set_count == SETS_MAX)
			return mm_fault_set(why, MM_FAULT_CONFIG, "more than %d times --set", SETS_MAX);
		t->sets[t->set_count++] = argument;
		return true;
	}
}

static int help(void)
{
	printf("Usage: moonmilter try [OPTION]... MESSAGE.eml [SCRIPT|DIR]...\n"
		"\n"
		"Runs a message file (\"-\": standard input) through Lua scripts in this process, as if an MTA had "
		"received it, and shows\nthe verdict, what the SMTP client is told, the edits, and the message as the "
		"MTA would pass it on. Nothing is sent\nanywhere by moonmilter itself; a script that looks up DNS or "
		"writes a file does so. Without SCRIPT or DIR, the\nscripts of the configuration file are run.\n"
		"\n"
		"  -t, --to ADDRESS\n"
		"        The same as --rcpt.\n"
		"  -c, --config FILE\n"
		"        Read this configuration file.\n"
		"  -m, --milter NAME\n"
		"        Run the scripts of this milter of the configuration file. Default: the first.\n"
		"  -s, --set KEY=VALUE\n"
		"        Set a key of the configuration; may be given again.\n"
		"  -v, --verbose\n"
		"        Show every log line, not only warnings and errors.\n");
	mm_trial_help_options();
	printf("\n"
		"The exit status is 0 when there is a verdict, whatever it is; 1 when --expect is given and not met; "
		"64 for a usage\nerror, 65 when the file holds no message, 66 when it cannot be read, 73 when --output "
		"cannot be written, 76 when a\nhandler did not answer in time, and 78 when the configuration or a "
		"script does not load.\n");
	return 0;
}

static void show_log(void *self, enum mm_level level, const char *line, size_t size)
{
	const struct try *t = self;
	if (t->is_verbose || (level >= MM_LEVEL_WARN && !t->trial.is_quiet) || level >= MM_LEVEL_ERROR) {
		fflush(stdout);
		fprintf(stderr, "%.*s\n", (int)size, line);
	}
}

static int run_session(struct try *t, struct mm_host *host, char **file)
{
	struct mm_error error;
	struct inside in = { .host = host, .session = mm_feed_open(host, t->milter, &error) };
	if (in.session == NULL)
		return mm_trial_fail(&t->trial, EX_CONFIG, error.text);
	struct mm_dialogue_transport transport = { .self = &in, .write = feed, .read = take_output };
	int code = mm_trial_run(&t->trial, transport, "scripts", file, 1);
	settle(&in);
	mm_feed_close(in.session);
	return code;
}

static int run(struct try *t, char **operands, int count)
{
	struct mm_error error;
	struct mm_host_options options = {
		.size = sizeof options, .config_file = t->config_file, .no_sockets = true, .guard_scripts = true,
			.log = show_log,
		.log_self = t,
		.scripts = count > 1 ? (const char *const *)operands + 1 : NULL, .set = t->set_count > 0
		? t->sets : NULL,
	};
	struct mm_host *host = mm_host_new(&options, &error);
	if (host == NULL)
		return mm_trial_fail(&t->trial, EX_CONFIG, error.text);
	int code = mm_host_start(host, &error) ? run_session(t, host, operands)
		: mm_trial_fail(&t->trial, EX_CONFIG, error.text);
	mm_host_free(host);
	return code;
}

int mm_command_try(int argc, char **argv)
{
	static const struct option own[] = {
		{ "to", required_argument, NULL, 't' },     { "config", required_argument, NULL, 'c' },
		{ "milter", required_argument, NULL, 'm' }, { "set", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },      { NULL, 0, NULL, 0 },
	};
	struct try t = { .set_count = 0 };
	struct mm_fault why;
	int first, code;
	mm_trial_init(&t.trial, "try");
	if (!mm_trial_options(&t.trial, argc, argv, own, take, &t, &first, &why))
		code = mm_trial_fail(&t.trial, EX_USAGE, why.text);
	else if (t.trial.wants_help)
		code = help();
	else if (first == argc)
		code = mm_trial_fail(&t.trial, EX_USAGE, "no message file is given; \"-\" reads standard "
			"input. See --help");
	else if (argc - first == 1 && t.config_file == NULL && t.set_count == 0)
		code = mm_trial_fail(&t.trial, EX_USAGE, "no scripts are given; name them behind the message, or a "
			"configuration (-c). See --help");
	else
		code = run(&t, argv + first, argc - first);
	mm_trial_free(&t.trial);
	return code;
}
