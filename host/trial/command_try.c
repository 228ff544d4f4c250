#include "trial/command_try.h"

#include "base/clock.h"
#include "trial/inside.h"
#include "trial/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

/* ---- the host as a transport ---- */

struct pipe {
	struct mm_host *host;           /* borrowed */
	struct mm_feed *session;        /* borrowed */
	size_t          lent;           /* bytes of output returned by the last read */
};

static bool feed(void *self, const void *bytes, size_t n, struct mm_fault *why)
{
	struct pipe *in = self;
	struct mm_error error;
	if (mm_feed_is_finished(in->session))
		return true;                    /* the reader reports the end, as with a socket */
	if (mm_feed_bytes(in->session, bytes, n, &error))
		return true;
	return mm_fault_set(why, MM_FAULT_PEER, "%s", error.text);
}

static bool take_output(void *self, double timeout_s, const void **bytes, size_t *n, struct mm_fault *why)
{
	struct pipe *in = self;
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
		mm_host_turn(in->host, MM_INSIDE_TURN_S);
	}
}

/* ---- the command ---- */

struct try {
	struct mm_trial  trial;
	struct mm_inside inside;
};

static bool take(void *self, int option, const char *argument, struct mm_fault *why)
{
	struct try *t = self;
	return option == 't' ? mm_trial_add_rcpt(&t->trial, argument, why)
		: mm_inside_take(&t->inside, option, argument, why);
}

static int help(void)
{
	printf("Usage: moonmilter try [OPTION]... MESSAGE.eml [SCRIPT|DIR]...\n"
		"\n"
		"Runs a message file (\"-\": standard input) through Lua scripts in this process, as if an MTA had "
		"received it, and shows\nthe verdict, what the SMTP client is told, the edits, and the message as the "
		"MTA would pass it on. moonmilter itself\nsends nothing anywhere, but scripts really look up DNS and "
		"write files. Without SCRIPT or DIR it runs the scripts of\nthe configuration file.\n\n"
		"  -t, --to ADDRESS\n"
		"        The same as --rcpt.\n"
		MM_INSIDE_HELP);
	mm_trial_help_options();
	printf("\n"
		"The exit status is 0 when there is a verdict, whatever it is; 1 when --expect is given and not met; "
		"64 for a usage\nerror, 65 when the file holds no message, 66 when it cannot be read, 73 when --output "
		"cannot be written, 76 when a\nhandler did not answer in time, and 78 when the configuration or a "
		"script does not load.\n");
	return 0;
}

static int run_session(struct try *t, char **file)
{
	struct mm_error error;
	struct mm_host *host = t->inside.host;
	struct pipe in = { .host = host, .session = mm_feed_open(host, t->inside.milter, &error) };
	if (in.session == NULL)
		return mm_trial_fail(&t->trial, EX_CONFIG, error.text);
	struct mm_dialogue_transport transport = { .self = &in, .write = feed, .read = take_output };
	int code = mm_trial_run(&t->trial, transport, "scripts", file, 1);
	mm_inside_end_session(&t->inside, in.session);
	return code;
}

static int run(struct try *t, char **operands)
{
	struct mm_error error;
	t->inside.is_quiet = t->trial.is_quiet;
	int code = mm_inside_start(&t->inside, operands + 1, true, &error) ? run_session(t, operands)
		: mm_trial_fail(&t->trial, EX_CONFIG, error.text);
	mm_inside_stop(&t->inside);
	return code;
}

int mm_command_try(int argc, char **argv)
{
	static const struct option own[] = {
		{ "to", required_argument, NULL, 't' }, MM_INSIDE_OPTIONS, { NULL, 0, NULL, 0 },
	};
	struct try t = { .inside = { .set_count = 0 } };
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
	else if (!mm_inside_has_scripts(&t.inside, argc - first))
		code = mm_trial_fail(&t.trial, EX_USAGE, "no scripts are given; name them after the message, or a "
			"configuration (-c). See --help");
	else
		code = run(&t, argv + first);
	mm_trial_free(&t.trial);
	return code;
}
