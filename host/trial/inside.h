/* trial/inside.h -- a host without sockets in this process, for `try` and `replay`, which run scripts themselves:
 * chooses configuration and scripts, logs to standard error, ends sessions.
 * Ownership: texts are BORROWED from argv. */
#ifndef MM_TRIAL_INSIDE_H
#define MM_TRIAL_INSIDE_H

#include "base/buffer.h"
#include "base/fault.h"
#include "moonmilter.h"

#include <getopt.h>

#define MM_INSIDE_SETS_MAX 64           /* --set */
#define MM_INSIDE_TURN_S   0.05         /* seconds that one turn of the loop may wait for an event */

struct mm_inside {
	const char     *config_file;    /* NULL: the default file, if no scripts are given */
	const char     *milter;         /* NULL: the first */
	const char     *sets[MM_INSIDE_SETS_MAX + 3];   /* the first two are ours */
	unsigned        set_count;
	bool            is_verbose;     /* shows every log line as it is, not only warnings and errors */
	bool            shows_scripts;  /* shows what scripts say and warnings, in short */
	bool            is_quiet;       /* shows errors only */
	bool            tells;          /* keeps the stories of messages, for mm_inside_explain() */
	uint64_t        explained;      /* stories shown so far */
	struct mm_host *host;           /* owned; NULL: not started */
};

/* Rows for getopt_long(); their values are for mm_inside_take(). */
#define MM_INSIDE_OPTIONS \
	{ "config", required_argument, NULL, 'c' }, { "milter", required_argument, NULL, 'm' }, \
	{ "set", required_argument, NULL, 's' }, { "verbose", no_argument, NULL, 'v' }

#define MM_INSIDE_HELP \
	"  -c, --config FILE\n" \
	"        Read this configuration file.\n" \
	"  -m, --milter NAME\n" \
	"        Run the scripts of this milter of the configuration file. Default: the first.\n" \
	"  -s, --set KEY=VALUE\n" \
	"        Set a key of the configuration; may be repeated.\n" \
	"  -v, --verbose\n" \
	"        Show every log line, down to log.debug, as the host would write it.\n"

/* False: the option was given too often. */
bool mm_inside_take(struct mm_inside *, int letter, const char *argument, struct mm_fault *why);
/* True: an option, or an operand after the first, says which scripts to run. */
bool mm_inside_has_scripts(const struct mm_inside *, int operand_count);
/* scripts: ended by NULL; an empty list means those of the configuration. guard: as guard_scripts in moonmilter.h. */
bool mm_inside_start(struct mm_inside *, char **scripts, bool guard, struct mm_error *);
/* Hangs up, gives on_done and on_close some time, since they may wait, and frees the session. */
void mm_inside_end_session(struct mm_inside *, struct mm_feed *);
void mm_inside_stop(struct mm_inside *);
/* Appends the stories of messages that have ended since the last call. */
void mm_inside_explain(struct mm_inside *, bool is_json, struct mm_buffer *out);

#endif
