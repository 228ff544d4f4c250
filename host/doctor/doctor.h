/* doctor/doctor.h -- shared by the parts of `moonmilter doctor`: our configuration as a host would serve it, the macros
 * that the scripts ask for, and the questions that come up with every MTA. */
#ifndef MM_DOCTOR_DOCTOR_H
#define MM_DOCTOR_DOCTOR_H

#include "config/config.h"
#include "doctor/finding.h"
#include "doctor/reach.h"
#include "milter/stage.h"

struct mm_doctor_socket {
	struct mm_endpoint             spec;
	const struct mm_config_milter *milter;          /* borrowed: the owner */
	bool                           is_named;        /* an MTA's configuration names it */
};

struct mm_doctor {
	struct mm_findings       findings;
	const struct mm_config  *config;        /* borrowed */
	const char              *config_file;   /* borrowed; NULL: none was read */
	char                     ctl_option[512];       /* of ctl, to type after its name: "-c FILE ", or "" */
	struct mm_doctor_socket *sockets;       /* owned */
	size_t                   socket_count;
	bool                     has_unknown;   /* we listen on sockets whose address we do not know (systemd, fd) */
	char                    *macros[MM_MACRO_SET_COUNT];    /* owned: asked for, separated by blanks, or NULL */
	bool                     signs;         /* a script signs mail, so what changes it after us matters */
	char                    *macros_named;  /* owned: by scripts, separated by blanks, or NULL */
};

/* file: where the configuration was read, BORROWED until the close; NULL: there is none. False: why says what is wrong;
 * there is nothing to close. */
bool mm_doctor_open(struct mm_doctor *, const struct mm_config *, const char *file, struct mm_fault *why);
void mm_doctor_close(struct mm_doctor *);

/* Returns which of our sockets that is, BORROWED, and marks it as named by an MTA; NULL: none. */
struct mm_doctor_socket *mm_doctor_unix(struct mm_doctor *, const char *path);
struct mm_doctor_socket *mm_doctor_inet(struct mm_doctor *, const struct mm_endpoint *);

/* Checks that an MTA's time limit is longer than ours. False: it is not; the caller may add a remedy. */
bool mm_doctor_time(struct mm_doctor *, const char *theirs, double their_seconds, const char *key, double our_seconds);
/* Checks that the MTA does the same with mail when we are down as we do when a script fails. quoted: its setting.
 * False: it does not; the caller may add a remedy. */
bool mm_doctor_away(struct mm_doctor *, const struct mm_config_milter *, enum mm_verdict_kind theirs,
	const char *quoted);

/* "30s" "5m" "1h" "2d" "1w" "300": seconds. */
double mm_doctor_seconds(const char *text);
/* Runs a program, without a shell, and passes on its output, line by line without the newline; a line is BORROWED for
 * the call. Returns its exit status, or -1 when it cannot be run. Hides its standard error. */
int mm_doctor_run(char *const argv[], void (*line)(void *self, char *line), void *self);

/* The parts. */
/* check_argv: the arguments of `moonmilter check`; NULL: there are no scripts. */
void mm_doctor_host(struct mm_doctor *, char *const check_argv[]);
bool mm_doctor_postfix(struct mm_doctor *, const char *directory);      /* NULL: the default one. False: there is
                                                                         * none */
bool mm_doctor_sendmail(struct mm_doctor *, const char *file);          /* false: the file cannot be read */
void mm_doctor_unnamed(struct mm_doctor *);     /* called after the MTAs */

#endif
