/* program/runner.h -- runs a Lua module of ours for a command (`eval`, `map`): what it has to do goes to a session of a
 * host in this process, as SMTP commands that the MTA does not know. So it waits and ends as a handler does. The module
 * has run(ctx, command), prints what is to be seen, and answers with a verdict.
 * Ownership: texts are BORROWED from argv. */
#ifndef MM_PROGRAM_RUNNER_H
#define MM_PROGRAM_RUNNER_H

#include "base/bounds.h"
#include "base/text.h"
#include "trial/inside.h"

#include <signal.h>
#include <stdio.h>

#define MM_RUNNER_COMMAND_MAX (MM_PACKET_DATA_MAX - 600u)       /* bytes */

struct mm_runner {
	const char            *name;            /* of the command, for error texts: "eval" */
	const char            *module;          /* "moonmilter.runtime.prompt" */
	struct mm_inside       inside;
	struct mm_feed        *session;         /* owned; NULL: none is open */
	volatile sig_atomic_t  is_interrupted;  /* a signal has asked to end what runs */
	char                   reply[200];      /* the last one, without a NUL */
};

/* Rows for getopt_long(), and their help; their values are for mm_runner_take(). */
#define MM_RUNNER_OPTIONS \
	{ "config", required_argument, NULL, 'c' }, { "set", required_argument, NULL, 's' }, \
	{ "verbose", no_argument, NULL, 'v' }, { "help", no_argument, NULL, 'h' }

#define MM_RUNNER_HELP \
	"  -c, --config FILE\n" \
	"        Read this configuration file, but not its scripts: dns_servers, redis, settings, state_dir …\n" \
	"  -s, --set KEY=VALUE\n" \
	"        Set a key of the configuration; may be repeated.\n" \
	"  -v, --verbose\n" \
	"        Show every log line, down to log.debug, as the host would write it.\n" \
	"  -h, --help\n" \
	"        Show this text.\n"

/* Before options are taken: deadlines of mail do not hold for people. */
void mm_runner_init(struct mm_runner *);
/* Takes a letter of getopt_long(). False: the command ends with *status; what there is to say is printed. */
bool mm_runner_take(struct mm_runner *, int letter, void (*print_help)(FILE *to), int *status);
/* EX_OK, or an exit status; what is wrong is printed. */
int mm_runner_start(struct mm_runner *);

enum mm_runner_end {
	MM_RUNNER_WELL,         /* the module has given no verdict */
	MM_RUNNER_REPLIED,      /* it has: reply */
	MM_RUNNER_ENDED,        /* the host ended it, and the log says why */
	MM_RUNNER_INTERRUPTED,
	MM_RUNNER_IMPOSSIBLE,   /* it did not run; what is wrong is printed */
};

/* Runs it and waits until it has ended. The command has no NUL, and up to MM_RUNNER_COMMAND_MAX bytes. */
enum mm_runner_end mm_runner_run(struct mm_runner *, struct mm_text command);
/* What goes on between commands. */
void mm_runner_turn(struct mm_runner *);
void mm_runner_stop(struct mm_runner *);

#endif
