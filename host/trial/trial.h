/* trial/trial.h -- sends message files to a milter and shows the outcome: the part that `try` and `send` share. Runs
 * one dialogue over a given transport, as the options say (options.h); shows the outcome as text, diff or JSON; returns
 * the exit code. Knows no socket and no host: the commands bring the transport. Writes to stdout, faults to stderr. */
#ifndef MM_TRIAL_TRIAL_H
#define MM_TRIAL_TRIAL_H

#include "trial/options.h"

/* Sends the files ("-": standard input) to the filter through the transport and shows the outcome. Returns an exit
 * code: 0; 1 not as expected; EX_DATAERR no message; EX_NOINPUT no file; EX_PROTOCOL the filter broke the protocol. */
int mm_trial_run(struct mm_trial *, struct mm_dialogue_transport, const char *peer, char **files, size_t count);
/* Writes "moonmilter COMMAND: text" to stderr. Returns code. */
int mm_trial_fail(const struct mm_trial *, int code, const char *text);

#endif
