/* trial/trial.h -- sends messages to a milter and shows the outcome: the part that `try` and `send` share. Runs
 * one dialogue over a given transport, as the options say (options.h); shows the outcome as text, diff or JSON; returns
 * the exit code. Knows no socket and no host: the commands bring the transport. Writes to stdout, faults to stderr. */
#ifndef MM_TRIAL_TRIAL_H
#define MM_TRIAL_TRIAL_H

#include "trial/mailbox.h"
#include "trial/options.h"

/* The milter, as a command reaches it. Everything is BORROWED for the run. */
struct mm_trial_peer {
	struct mm_dialogue_transport transport;
	const char                  *name;              /* for the line that says what was negotiated */
	void                        *self;
	/* Begins a new session after one that failed. NULL: there is only one. */
	bool                       (*reopen)(void *self, struct mm_fault *why);
	/* Appends the stories (story/show.h) of messages that have ended since the last call, each as a JSON object on
	 * a line or for people. NULL: only the MTA's side knows what happened. */
	void                       (*explain)(void *self, bool is_json, struct mm_buffer *out);
	/* How many handlers and tasks have failed so far. NULL: not known. */
	unsigned long              (*script_errors)(void *self);
};

/* Sends the messages to the filter and shows the outcome. Returns an exit code: 0; 1 not as expected; EX_SOFTWARE a
 * script failed; EX_DATAERR no message; EX_NOINPUT no file; EX_PROTOCOL the filter broke the protocol. */
int mm_trial_run(struct mm_trial *, const struct mm_trial_peer *, struct mm_mailbox *);
/* For another thread, while the filter does not return from a call of the transport and never may: shows the message
 * that is being tried as failed. Returns the exit code; the process must end. */
int mm_trial_overdue(struct mm_trial *, const char *text);
/* Writes "moonmilter COMMAND: text" to stderr. Returns code. */
int mm_trial_fail(const struct mm_trial *, int code, const char *text);

#endif
