/* ctl/client.h -- the other end of control.h: finds the control socket of a running host, sends a request,
 * passes on the answer. */
#ifndef MM_CTL_CLIENT_H
#define MM_CTL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

struct mm_ctl_query {
	const char *name;               /* "moonmilter ctl", before error texts; static */
	const char *config;             /* the file that names the socket; NULL: the default one */
	const char *path;               /* of the socket; NULL: the one in the configuration */
	/* Gets the answer: a line without its newline, or a file in memory, BORROWED. */
	void      (*line)(void *self, const char *text);
	void      (*listing)(void *self, int descriptor);
	void      (*failed)(void *self, const char *why);       /* gets the text for standard error; may be NULL */
	void       *self;
	bool        is_silent;          /* standard error gets nothing: `failed` gets all */
	double      patience;           /* seconds for the whole answer; 0: as long as it takes */
};

/* `line` and `listing` of a query whose answer goes to standard output as it is; self is not used. */
void mm_ctl_print_line(void *self, const char *text);
void mm_ctl_print_listing(void *self, int descriptor);

/* The socket's path when no configuration names one. */
#define MM_CONTROL_DEFAULT_PATH   "/run/moonmilter/control.sock"

/* The path of the socket that a query means, at most size - 1 bytes. Writes failures as mm_ctl_ask() does; returns an
 * exit code of sysexits.h. */
int mm_ctl_find_socket(const struct mm_ctl_query *, char *to, size_t size);
/* request is one line of control.c. Writes failures to standard error; returns an exit code of sysexits.h. */
int mm_ctl_ask(const struct mm_ctl_query *, const char *request);

#endif
