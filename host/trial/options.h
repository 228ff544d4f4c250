/* trial/options.h -- the options that `try` and `send` share, one row each, and the struct they fill. Help,
 * getopt_long() and "did you mean" use the same rows. Knows no socket and no host; each command adds its own options.
 * Ownership: a trial owns what it builds from arguments and borrows the rest from argv. */
#ifndef MM_TRIAL_OPTIONS_H
#define MM_TRIAL_OPTIONS_H

#include "mta/dialogue.h"

#include <getopt.h>

/* Options both commands know. letter: value for getopt_long().     argument  text of --help */
#define MM_TRIAL_OPTIONS(X) \
	X(FROM,          "from",           "ADDRESS", \
		"The envelope sender, with ESMTP parameters after a blank: \"ann@example.org SIZE=100\".\n" \
		"Default: Return-Path or From of the message.") \
	X(RCPT,          "rcpt",           "ADDRESS", \
		"An envelope recipient, with parameters in the same way; may be repeated.\n" \
		"Default: Delivered-To, or To and Cc of the message.") \
	X(HELO,          "helo",           "NAME", \
		"What the SMTP client says in EHLO; \"\" for a client that says nothing.") \
	X(CLIENT,        "client",         "IP[,NAME]", \
		"The SMTP client's address and verified host name, or a socket path, or \"unknown\".\n" \
		"Default: 192.0.2.1,client.example.org.") \
	X(AUTH,          "auth",           "USER", \
		"The client has authenticated: macros {auth_authen} and {auth_type}.") \
	X(MACRO,         "macro",          "NAME=VALUE", \
		"Sets a macro where the MTA sends it, or at a stage: \"rcpt:rcpt_host=mx.example.org\";\n" \
		"stages are connect helo mail rcpt data eoh eom; braces are optional. May be repeated.") \
	X(MTA,           "mta",            "NAME",     "Behave as postfix (the default) or as sendmail.") \
	X(MTA_NAME,      "mta-name",       "HOST",     "The MTA's own name, macro j. Default: mail.example.org.") \
	X(PROTOCOL,      "protocol",       "VERSION", \
		"Offer milter protocol 2, 3, 4 or 6 (the default), as MTAs of that version do.") \
	X(ACTIONS,       "actions",        "WORDS", \
		"Offer only these actions: words as in \"add_header,quarantine\", a number, all or none.") \
	X(STEPS,         "steps",          "WORDS", \
		"Offer only these protocol steps: words as in \"skip,no_helo\", a number, all or none.") \
	X(UNKNOWN,       "unknown",        "COMMAND", \
		"The client sends an SMTP command the MTA does not know, after EHLO.") \
	X(ABORT_AFTER,   "abort-after",    "STAGE", \
		"The client gives up each message after mail, rcpt, data, header, eoh or body.") \
	X(HANG_UP_AFTER, "hang-up-after",  "STAGE",    "The same, but the client just closes the connection.") \
	X(REPEAT,        "repeat",         "N",        "Send the messages N times over one connection.") \
	X(TIMEOUT,       "timeout",        "SECONDS", \
		"How long to wait for a reply. Default: as the MTA does: Postfix 30, and 300 from the header on; " \
		"Sendmail 10.") \
	X(EXPECT,        "expect",         "VERDICT[:CODE]", \
		"Exit with status 1 unless every message ends like this: accept reject tempfail discard\n" \
		"quarantine abort failed error (a script failed), or with the reply code: reject:550.") \
	X(DIFF,          "diff",           NULL,       "Show the changes of the message instead of all of it.") \
	X(JSON,          "json",           NULL,       "Show everything as JSON, one object on a line for " \
		"each message.") \
	X(EXPLAIN,       "explain",        NULL, \
		"Show what happened to each message as moonmilter ctl explain does: stages, handlers, waits, edits, "\
		"verdict.") \
	X(REPLIES,       "replies",        NULL,       "Show the reply to every command.") \
	X(TRACE,         "trace",          NULL,       "Show every packet as it goes over the wire, decoded.") \
	X(COLOR,         "color",          "WHEN", \
		"Colour the output: auto (the default: on a terminal, unless NO_COLOR is set), always, never.") \
	X(OUTPUT,        "output",         "FILE", \
		"Write the resulting message to FILE (\"-\": standard output, and nothing else there).") \
	X(QUIET,         "quiet",          NULL,       "Show nothing; for use with --expect.") \
	X(HELP,          "help",           NULL,       "Show this text.")

enum mm_trial_option {
	MM_TRIAL_NONE = 0x100,
#define X(name, word, argument, about) MM_TRIAL_##name,
	MM_TRIAL_OPTIONS(X)
#undef X
	MM_TRIAL_END            /* letters of a command's own options begin here */
};

struct mm_trial_run;

struct mm_trial {
	const char               *command;      /* "send", for messages; borrowed */
	struct mm_dialogue_plan   plan;
	struct mm_mta_macro     *macros;       /* owned; texts are borrowed from argv, except those in names */
	uint32_t                  macro_count, macro_capacity;
	char                    **owned;        /* owned, and what it points to: texts made from arguments */
	uint32_t                  owned_count, owned_capacity;
	unsigned long             script_errors;        /* of the messages tried so far */
	struct mm_trial_run      *run;          /* borrowed: the one under way; NULL: none */
	const char               *from;         /* borrowed from argv; NULL: from the message */
	const char              **rcpts;        /* owned array, borrowed from argv */
	uint32_t                  rcpt_count, rcpt_capacity;
	enum mm_stage             stop_after;   /* MM_STAGE_COUNT: do not abort */
	bool                      hangs_up;
	uint32_t                  repeat;
	const char               *expect;       /* borrowed; the verdict's word, up to ":" */
	unsigned                  expect_code;  /* 0: any */
	const char               *output;       /* borrowed; NULL: none */
	bool                      shows_diff, shows_json, explains, shows_replies, shows_trace, is_quiet, wants_help;
};

void mm_trial_init(struct mm_trial *, const char *command);
void mm_trial_free(struct mm_trial *);
/* Reads argv[1..] with getopt_long(): the shared options, and those of `own` (ended by a zeroed row) through
 * take(); their values are letters, which are also options of one letter, or numbers from MM_TRIAL_END on. *first:
 * index of the first operand; argv is permuted. False: the fault is for a usage line; for an unknown option it
 * suggests a known one. */
bool mm_trial_options(struct mm_trial *, int argc, char **argv, const struct option *own,
	bool (*take)(void *self, int option, const char *argument, struct mm_fault *why), void *self, int *first,
	struct mm_fault *why);
/* Adds one --rcpt. BORROWED. */
bool mm_trial_add_rcpt(struct mm_trial *, const char *value, struct mm_fault *why);
/* Prints the help of MM_TRIAL_OPTIONS to stdout. */
void mm_trial_help_options(void);

#endif
