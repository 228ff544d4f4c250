/* doctor/doctor.h -- what the parts of `moonmilter doctor` share: our configuration as it would be served, what the
 * scripts ask for, and the questions that come up with every MTA. */
#ifndef MM_DOCTOR_DOCTOR_H
#define MM_DOCTOR_DOCTOR_H

#include "config/config.h"
#include "doctor/finding.h"
#include "doctor/reach.h"
#include "milter/stage.h"

struct mm_doctor_socket {
	struct mm_endpoint             spec;
	const struct mm_config_milter *milter;          /* borrowed: whose */
	bool                           is_named;        /* an MTA's configuration names it */
};

struct mm_doctor {
	struct mm_findings       findings;
	const struct mm_config  *config;        /* borrowed */
	struct mm_doctor_socket *sockets;       /* owned */
	size_t                   socket_count;
	bool                     has_unknown;   /* we listen on sockets whose address others know (systemd, fd) */
	char                    *macros[MM_MACRO_SET_COUNT];    /* owned: names with blanks between, or NULL */
};

/* False: why says what is wrong, and there is nothing to close. */
bool mm_doctor_open(struct mm_doctor *, const struct mm_config *, struct mm_fault *why);
void mm_doctor_close(struct mm_doctor *);

/* Which of ours that is, BORROWED, and notes that it is named; NULL: none. */
struct mm_doctor_socket *mm_doctor_unix(struct mm_doctor *, const char *path);
struct mm_doctor_socket *mm_doctor_inet(struct mm_doctor *, const struct mm_endpoint *);

/* An MTA's time for something must be longer than ours. False: it is not; then a remedy may follow. */
bool mm_doctor_time(struct mm_doctor *, const char *theirs, double their_seconds, const char *key, double our_seconds);
/* What the MTA does with mail when we are away should be what we do with it when a script fails. quoted: its setting.
 * False: it is not; then a remedy may follow. */
bool mm_doctor_away(struct mm_doctor *, const struct mm_config_milter *, enum mm_verdict_kind theirs,
	const char *quoted);

/* "30s" "5m" "1h" "2d" "1w" "300": seconds. */
double mm_doctor_seconds(const char *text);
/* Runs a program, no shell, and hands over what it prints, line by line without the newline; a line is BORROWED for the
 * call. Returns its exit status, -1 when it cannot be run. What it says on standard error is not shown. */
int mm_doctor_run(char *const argv[], void (*line)(void *self, char *line), void *self);

/* The parts. */
/* check_argv: of `moonmilter check`; NULL: there are no scripts. */
void mm_doctor_host(struct mm_doctor *, char *const check_argv[]);
bool mm_doctor_postfix(struct mm_doctor *, const char *directory);      /* NULL: the usual one. False: there is none */
bool mm_doctor_sendmail(struct mm_doctor *, const char *file);          /* false: it cannot be read */
void mm_doctor_unnamed(struct mm_doctor *);     /* after the MTAs */

#endif
