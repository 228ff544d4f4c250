#include "trial/command_try.h"

#include "base/array.h"
#include "base/clock.h"
#include "trial/inside.h"
#include "trial/patience.h"
#include "trial/trial.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define LOAD_S 300.0            /* seconds that loading and ending may take, unless --timeout says less */

struct try {
	struct mm_trial   trial;
	struct mm_inside  inside;
	struct mm_mailbox box;
	char            **scripts;      /* owned array of borrowed operands, ended by NULL */
	uint32_t          script_count, script_capacity;
	/* the host as a transport */
	struct mm_feed   *session;      /* borrowed; NULL: none is open */
	size_t            lent;         /* bytes of output returned by the last read */
	const char       *doing;        /* for the thread that watches: static */
};

/* ---- the host as a transport ---- */

/* How long the answer that is due may take is said by the read; a call that feeds bytes may run handlers, too. */
static double limit_of(const struct try *t)
{
	return t->trial.plan.content_timeout_s > 0 ? t->trial.plan.content_timeout_s : LOAD_S;
}

static bool feed(void *self, const void *bytes, size_t n, struct mm_fault *why)
{
	struct try *t = self;
	struct mm_error error;
	if (mm_feed_is_finished(t->session))
		return true;                    /* the reader reports the end, as with a socket */
	mm_patience_watch(limit_of(t));
	bool ok = mm_feed_bytes(t->session, bytes, n, &error);
	mm_patience_rest();
	return ok || mm_fault_set(why, MM_FAULT_PEER, "%s", error.text);
}

/* True: *bytes and *n are the answer, or the end. False with *why empty: there is none yet. */
static bool has_output(struct try *t, const void **bytes, size_t *n)
{
	*bytes = mm_feed_output(t->session, n);
	t->lent = *n;
	return *n > 0 || mm_feed_is_finished(t->session);
}

static bool take_output(void *self, double timeout_s, const void **bytes, size_t *n, struct mm_fault *why)
{
	struct try *t = self;
	bool ok = true, has_answer;
	double deadline = mm_clock_real() + timeout_s;
	mm_feed_consume(t->session, t->lent);
	t->lent = 0;
	if (has_output(t, bytes, n))
		return true;
	mm_patience_watch(timeout_s);
	while (!(has_answer = has_output(t, bytes, n)) && ok) {
		if (!mm_feed_is_waiting(t->session))
			ok = mm_fault_set(why, MM_FAULT_PEER, "no answer, and no handler waits for anything");
		else if (mm_clock_real() >= deadline)
			ok = mm_fault_set(why, MM_FAULT_PEER, "no answer within %g seconds", timeout_s);
		else
			mm_host_turn(t->inside.host, MM_INSIDE_TURN_S);
	}
	mm_patience_rest();
	return has_answer;
}

static const char *decided_by(void *self)
{
	const struct try *t = self;
	return mm_feed_decided_by(t->session);
}

static unsigned long script_errors(void *self)
{
	const struct try *t = self;
	return mm_host_script_errors(t->inside.host);
}

static void explain(void *self, bool is_json, struct mm_buffer *out)
{
	struct try *t = self;
	mm_inside_explain(&t->inside, is_json, out);
}

static bool open_session(void *self, struct mm_fault *why)
{
	struct try *t = self;
	struct mm_error error;
	if (t->session != NULL)
		mm_inside_end_session(&t->inside, t->session);
	t->lent = 0;
	t->session = mm_feed_open(t->inside.host, t->inside.milter, &error);
	return t->session != NULL || mm_fault_set(why, MM_FAULT_CONFIG, "%s", error.text);
}

/* ---- patience: called from its thread ---- */

static void still_waiting(void *self, double seconds, double limit)
{
	const struct try *t = self;
	char where[256];
	if (t->trial.is_quiet)
		return;
	if (t->inside.host != NULL && mm_host_busy_with(t->inside.host, where, sizeof where)[0] != '\0')
		fprintf(stderr, "moonmilter try: %s for %.0f s, at most %g s (--timeout); the last to run long: %s\n",
			t->doing, seconds, limit, where);
	else
		fprintf(stderr, "moonmilter try: %s for %.0f s, at most %g s (--timeout)\n", t->doing, seconds, limit);
}

/* The script that does not come back may hold the lock of a stream. */
static void give_up(int number)
{
	(void)number;
	_exit(EX_PROTOCOL);
}

static void overdue(void *self, double limit)
{
	struct try *t = self;
	char where[256] = "", text[512];
	sigset_t alarm_only;
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	signal(SIGALRM, give_up);
	pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
	alarm(2);
	if (t->inside.host != NULL)
		mm_host_busy_with(t->inside.host, where, sizeof where);
	snprintf(text, sizeof text, "no answer within %g seconds: %s%sa C function that the script called does "
		"not return", limit, where, where[0] != '\0' ? ": " : "");
	int code = mm_trial_overdue(&t->trial, text);
	fflush(stdout);
	_exit(code);
}

/* ---- the command ---- */

static bool take(void *self, int option, const char *argument, struct mm_fault *why)
{
	struct try *t = self;
	return option == 't' ? mm_trial_add_rcpt(&t->trial, argument, why)
		: mm_inside_take(&t->inside, option, argument, why);
}

static int help(void)
{
	printf("Usage: moonmilter try [OPTION]... MESSAGE... [SCRIPT|DIR]...\n"
		"\n"
		"Runs messages through Lua scripts in this process, as if an MTA had received them, and shows what "
		"scripts print and\nlog, the verdict and which line decided it, what the SMTP client is told, the "
		"edits, and the message as the MTA would\npass it on. moonmilter itself sends nothing anywhere, but "
		"scripts really look up DNS and write files.\n\n"
		"MESSAGE is a file, an mbox, a maildir, a directory of message files, or \"-\": standard input. "
		"SCRIPT ends with .lua; DIR\nholds such files. They may stand in any order. Without SCRIPT or DIR it "
		"runs the scripts of the configuration file.\n\n"
		"  -t, --to ADDRESS\n"
		"        The same as --rcpt.\n"
		MM_INSIDE_HELP);
	mm_trial_help_options();
	printf("\n"
		"The exit status is 0 when there is a verdict, whatever it is; 1 when --expect is given and not met; "
		"64 for a usage\nerror, 65 when a file holds no message, 66 when it cannot be read, 70 when a script "
		"failed (unless --expect error), 73\nwhen --output cannot be written, 76 when a handler did not answer "
		"in time, and 78 when the configuration or a script\ndoes not load.\n");
	return 0;
}

static int run_messages(struct try *t)
{
	struct mm_fault why;
	if (!open_session(t, &why))
		return mm_trial_fail(&t->trial, EX_CONFIG, why.text);
	struct mm_trial_peer peer = {
		.transport = { .self = t, .write = feed, .read = take_output, .decided_by = decided_by },
		.name = "scripts", .self = t, .reopen = open_session, .explain = explain,
		.script_errors = script_errors,
	};
	t->doing = "a handler has not answered";
	int code = mm_trial_run(&t->trial, &peer, &t->box);
	t->doing = "the scripts have been ending";
	mm_patience_watch(limit_of(t));
	mm_inside_end_session(&t->inside, t->session);
	mm_patience_rest();
	/* in on_done, on_close, or a task: after the message's verdict was shown */
	bool has_failed = mm_host_script_errors(t->inside.host) > t->trial.script_errors;
	return has_failed && code < EX_SOFTWARE ? mm_trial_fail(&t->trial, EX_SOFTWARE, "a script failed after the "
		"messages: see the error above") : code;
}

static int run(struct try *t)
{
	struct mm_error error;
	t->inside.is_quiet = t->trial.is_quiet;
	t->inside.tells = t->trial.explains;
	t->inside.shows_scripts = true;
	t->doing = "the scripts have been loading";
	mm_patience_start((struct mm_patience_report){ t, still_waiting, overdue });
	mm_patience_watch(limit_of(t));
	bool ok = mm_inside_start(&t->inside, t->scripts, true, &error);
	mm_patience_rest();
	int code = ok ? run_messages(t) : mm_trial_fail(&t->trial, EX_CONFIG, error.text);
	mm_patience_watch(limit_of(t));
	mm_inside_stop(&t->inside);
	mm_patience_rest();
	return code;
}

/* Tells messages from scripts. -1: go on; else the exit code. */
static int sort_operands(struct try *t, char **operands)
{
	struct mm_fault why;
	for (; *operands != NULL; operands++) {
		if (mm_operand_of(*operands, t->box.count > 0) == MM_OPERAND_SCRIPTS) {
			if (!mm_array_grow(&t->scripts, t->script_count + 1, &t->script_capacity, sizeof *t->scripts))
				return mm_trial_fail(&t->trial, EX_OSERR, "out of memory");
			t->scripts[t->script_count++] = *operands;
			t->scripts[t->script_count] = NULL;
		} else if (!mm_mailbox_add(&t->box, *operands, &why)) {
			return mm_trial_fail(&t->trial, EX_NOINPUT, why.text);
		}
	}
	return -1;
}

/* -1: go on; else the exit code. */
static int check_operands(const struct try *t)
{
	if (t->box.count == 0)
		return mm_trial_fail(&t->trial, EX_USAGE, "no message is given: name a file, an mbox, a maildir, or "
			"\"-\" for standard input. See --help");
	if (t->script_count == 0 && !mm_inside_has_scripts(&t->inside, 0))
		return mm_trial_fail(&t->trial, EX_USAGE, "no scripts are given: name a file that ends with .lua, a "
			"directory of such files, or a configuration (-c). See --help");
	if (t->trial.output != NULL && strcmp(t->trial.output, "-") != 0 && t->box.count > 1)
		return mm_trial_fail(&t->trial, EX_USAGE, "--output FILE takes one message; several go to standard "
			"output with \"-\"");
	return -1;
}

int mm_command_try(int argc, char **argv)
{
	static const struct option own[] = {
		{ "to", required_argument, NULL, 't' }, MM_INSIDE_OPTIONS, { NULL, 0, NULL, 0 },
	};
	static char *no_scripts[] = { NULL };
	struct try t = { .inside = { .set_count = 0 } };
	struct mm_fault why;
	int first, code = -1;
	mm_trial_init(&t.trial, "try");
	if (!mm_trial_options(&t.trial, argc, argv, own, take, &t, &first, &why))
		code = mm_trial_fail(&t.trial, EX_USAGE, why.text);
	else if (t.trial.wants_help)
		code = help();
	if (code < 0)
		code = sort_operands(&t, argv + first);
	if (code < 0)
		code = check_operands(&t);
	bool owns_scripts = t.scripts != NULL;
	if (!owns_scripts)
		t.scripts = no_scripts;
	if (code < 0)
		code = run(&t);
	if (owns_scripts)
		free(t.scripts);
	mm_mailbox_free(&t.box);
	mm_trial_free(&t.trial);
	return code;
}
