/* process/control.h -- the unix socket that `moonmilter ctl` talks to: one request for each connection, answered by
 * notes (channel.h). Knows the names of the requests; the owner answers them (answers.h). Any loop can turn it: there
 * is one descriptor to watch. Root and the user we run as may ask all; members of the group `control_readers` only what
 * changes nothing. */
#ifndef MM_PROCESS_CONTROL_H
#define MM_PROCESS_CONTROL_H

#include "base/census.h"
#include "process/channel.h"

/* Which lines of key=value an answer has: about the host, about one item each, or none. `ctl --json` uses this. */
enum mm_answer_kind { MM_ANSWER_FIELDS, MM_ANSWER_ITEMS, MM_ANSWER_NOTES };

/* The requests of `moonmilter ctl`. A new request needs a row here and the function answer_NAME() in answers.c.
 * name            argument   answer   about */
#define MM_REQUESTS(X) \
	X(status,      NULL,      FIELDS,  "version, generation, last reload, a line for each worker") \
	X(reload,      NULL,      NOTES,   "reload the scripts; exit status 78 when they do not load and the old " \
		"ones serve on") \
	X(stop,        NULL,      NOTES,   "no new connections, let messages finish, end") \
	X(sessions,    NULL,      ITEMS,   "a line for each session: client, stage, age, what it waits for and where") \
	X(end,         "SESSION", ITEMS,   "end a session that ctl sessions lists; exit status 66 when it is unknown") \
	X(generations, NULL,      ITEMS,   "a line for each generation of scripts in memory") \
	X(maps,        NULL,      ITEMS,   "a line for each map of a file or service: entries, age, answers; what is " \
		"wrong") \
	X(loglevel,    "LEVEL",   NOTES,   "debug, info, warn or error, until the next reload") \
	X(forget,      NULL,      NOTES,   "try again what has killed workers and is refused since (poison_time)") \
	X(metrics,     NULL,      NOTES,   "the page that a Prometheus reads (metrics)") \
	X(store,       "WORDS",   ITEMS,   "list, or stat|get|delete|dump|clear STORE [KEY]: what is in stores, or " \
		"remove it") \
	X(limit,       "WORDS",   ITEMS,   "list, or show|top|reset LIMIT [KEY]: the buckets of limits, or fill one") \
	X(events,      NULL,      ITEMS,   "a line for each sink of events: how many wait, since when, sent, dropped") \
	X(history,     NULL,      NOTES,   "the last messages: who, when, the verdict and who decided") \
	X(trace,       "WHICH",   NOTES,   "watch sessions live: packets, handlers, waits, edits, verdicts, log") \
	X(shadow,      "REQUEST", NOTES,   "what the scripts of `shadow` would change; shadow off stops them") \
	X(profile,     "REQUEST", NOTES,   "what each handler costs, or each line")

enum mm_request {
#define X(name, argument, answer, about) MM_REQUEST_##name,
	MM_REQUESTS(X)
#undef X
	MM_REQUEST_COUNT
};

struct mm_request_row {
	const char         *name;
	const char         *argument;           /* its name in --help; NULL: it takes none */
	enum mm_answer_kind answer;
	const char         *about;              /* for people */
};

extern const struct mm_request_row mm_request_rows[MM_REQUEST_COUNT];

/* Which profile to take: the argument of `profile`, and the text of its MM_NOTE_LIST. */
struct mm_profile_request {
	bool     samples;               /* lines by the number of samples; otherwise calls and times of handlers */
	double   seconds;               /* measure for this long from now on; 0: report what was counted until now */
	bool     begins_anew;           /* reset the counts afterwards */
	unsigned worker;                /* process id; 0: all */
};

#define MM_PROFILE_SECONDS_MAX 3600.0
/* What was counted until now of all workers, and nothing is reset: mm_profile_request_write() writes it so. */
#define MM_PROFILE_LOOK "0 0.000 0 0"

/* False: the text is not a profile request, or its seconds are out of range. */
bool mm_profile_request_read(const char *text, struct mm_profile_request *);
void mm_profile_request_write(const struct mm_profile_request *, char *to, size_t size);

struct mm_control;
/* A client that waits for its answer. Lives until mm_control_client_end(), even when it has hung up. */
struct mm_control_client;

struct mm_control_owner {
	void  *self;
	unsigned readers;               /* group id: whose members may look; 0: no group */
	/* argument is "" when none was given; borrowed. */
	void (*asked)(void *self, struct mm_control_client *, enum mm_request, const char *argument);
};

/* listening is BORROWED. NULL: out of descriptors or memory. */
struct mm_control *mm_control_new(int listening, struct mm_control_owner);
void mm_control_free(struct mm_control *);
/* Readable when mm_control_turn() has something to do. */
int mm_control_descriptor(const struct mm_control *);
void mm_control_turn(struct mm_control *);

/* A line for stdout, without its newline. */
void mm_control_client_say(struct mm_control_client *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line, unchanged: the `line` of a struct mm_say whose self is a struct mm_control_client. */
void mm_control_client_line(void *self, const char *line);
/* A line about a serving process: the contents of its row. state NULL: the state in the row. */
void mm_control_client_say_worker(struct mm_control_client *, int pid, const char *state, const struct mm_census_row *);
/* The contents of a file in memory for stdout; BORROWED. */
void mm_control_client_give(struct mm_control_client *, int descriptor);
/* True: the client has hung up and reads no answer. */
bool mm_control_client_has_gone(const struct mm_control_client *);
/* The exit status, and a line for stderr or NULL. Frees the client. */
void mm_control_client_end(struct mm_control_client *, int status, const char *text);

#endif
