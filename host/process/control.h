/* process/control.h -- the unix socket that `moonmilter ctl` talks to: one request a connection, answered by notes
 * (channel.h). Knows the requests by name; what they mean is the owner's: solo.c or master.c. Any loop can turn it:
 * there is one descriptor to watch. Only root and the user we run as may ask. */
#ifndef MM_PROCESS_CONTROL_H
#define MM_PROCESS_CONTROL_H

#include "base/census.h"
#include "process/channel.h"

/* letter-case name           takes      about */
#define MM_REQUESTS(X) \
	X(STATUS,      "status",      NULL,      "version, generation, last reload, a line a worker") \
	X(RELOAD,      "reload",      NULL,      "load the scripts anew; exit status 78 when they do not load and " \
		"the old ones serve on") \
	X(STOP,        "stop",        NULL,      "no new connections, let messages finish, end") \
	X(SESSIONS,    "sessions",    NULL,      "a line a session: client, stage, age, what it waits for and where") \
	X(GENERATIONS, "generations", NULL,      "a line for each generation of scripts in memory") \
	X(LOG_LEVEL,   "loglevel",    "LEVEL",   "debug, info, warn or error, until the next reload") \
	X(PROFILE,     "profile",     "REQUEST", "what each handler costs, or which lines")

enum mm_request {
#define X(name, text, takes, about) MM_REQUEST_##name,
	MM_REQUESTS(X)
#undef X
	MM_REQUEST_COUNT
};

/* Which profile is asked for: the argument of `profile`, and the text of MM_NOTE_LIST for it. */
struct mm_profile_request {
	bool     samples;               /* lines by how often they were found; else calls and times of handlers */
	double   seconds;               /* look for so long from now on; 0: what was counted until now */
	bool     begins_anew;           /* count from nought afterwards */
	unsigned worker;                /* process id; 0: all */
};

#define MM_PROFILE_SECONDS_MAX 3600.0
#define MM_PROFILE_BAD_REQUEST "profile: seconds are from 0 to 3600, and samples take some"
#define MM_PROFILE_BUSY    "a profile is being taken already; ask again when it is over"

/* False: the text is none, or its seconds are out of range. */
bool mm_profile_request_read(const char *text, struct mm_profile_request *);
void mm_profile_request_write(const struct mm_profile_request *, char *to, size_t size);

struct mm_control;
/* A client that waits for its answer. Lives until mm_control_client_end(), also when it has hung up. */
struct mm_control_client;

struct mm_control_owner {
	void  *self;
	/* argument is "" when none was given; borrowed. */
	void (*asked)(void *self, struct mm_control_client *, enum mm_request, const char *argument);
};

/* listening is BORROWED. NULL: out of descriptors or memory. */
struct mm_control *mm_control_new(int listening, struct mm_control_owner);
void mm_control_free(struct mm_control *);
/* Readable when mm_control_turn() has something to do. */
int mm_control_descriptor(const struct mm_control *);
void mm_control_turn(struct mm_control *);

/* A line for stdout; without its newline. */
void mm_control_client_say(struct mm_control_client *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line as it is: the `line` of a struct mm_say whose self is a struct mm_control_client. */
void mm_control_client_line(void *self, const char *line);
/* A line about a process that serves: what its row says. state NULL: as the row has it. */
void mm_control_client_say_worker(struct mm_control_client *, int pid, const char *state, const struct mm_census_row *);
/* The contents of a file in memory for stdout; BORROWED. */
void mm_control_client_give(struct mm_control_client *, int descriptor);
/* The client has hung up and reads no answer. */
bool mm_control_client_has_gone(const struct mm_control_client *);
/* The exit status, and a line for stderr or NULL. Frees the client. */
void mm_control_client_end(struct mm_control_client *, int status, const char *text);

#endif
