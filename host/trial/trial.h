/* trial/trial.h -- message files put before a milter, and what came of it: the part that `try` and `send` share. One
 * dialogue over a given transport, as the options say (options.h); the outcome as text, diff or JSON; the exit code.
 * Knows no socket and no host: the commands bring the transport. Writes to stdout, faults to stderr. */
#ifndef MM_TRIAL_TRIAL_H
#define MM_TRIAL_TRIAL_H

#include "trial/options.h"

/* Puts the files ("-": standard input) before the filter behind the transport and shows the outcome. Returns an exit
 * code: 0; 1 not as expected; EX_DATAERR no message; EX_NOINPUT no file; EX_PROTOCOL the filter failed as a filter. */
int mm_trial_run(struct mm_trial *, struct mm_dialogue_transport, const char *peer, char **files, size_t count);
/* "moonmilter COMMAND: text" to stderr. Returns code. */
int mm_trial_fail(const struct mm_trial *, int code, const char *text);

#endif
