/* ctl/client.h -- the other end of control.h: finds the control socket of a running host, asks,
 * hands on what it answers. */
#ifndef MM_CTL_CLIENT_H
#define MM_CTL_CLIENT_H

struct mm_ctl_query {
	const char *name;               /* "moonmilter ctl", before error texts; static */
	const char *config;             /* file that says where the socket is; NULL: the default one */
	const char *path;               /* of the socket; NULL: as the configuration says */
	/* What comes: a line without its newline, or a file in memory, BORROWED. */
	void      (*line)(void *self, const char *text);
	void      (*listing)(void *self, int descriptor);
	void      (*failed)(void *self, const char *why);       /* gets what standard error says; may be NULL */
	void       *self;
};

/* Where the socket is when no configuration says so. */
#define MM_CONTROL_DEFAULT_PATH   "/run/moonmilter/control.sock"

/* request is one line of control.c. What goes wrong stands on standard error; returns an exit code of sysexits.h. */
int mm_ctl_ask(const struct mm_ctl_query *, const char *request);

#endif
