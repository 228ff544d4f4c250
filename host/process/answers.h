/* process/answers.h -- answers `moonmilter ctl`: one answer for each request of MM_REQUESTS (control.h), the same for a
 * host in one process (solo.c) and for one with workers (master.c). Owns the control socket. Knows texts and exit
 * codes; struct mm_answers_calls holds what the two kinds of host do differently. */
#ifndef MM_PROCESS_ANSWERS_H
#define MM_PROCESS_ANSWERS_H

#include "process/control.h"
#include "embed/host.h"

/* The answer to a request that comes too late. */
#define MM_ANSWERS_STOPPING "the host is stopping"

/* What `status` reports in addition to the worker lines. */
struct mm_answers_status {
	unsigned      workers;                  /* configured; 0: one process serves alone */
	unsigned long worker_deaths;
	unsigned long generation;               /* the one that serves */
	unsigned      sessions;                 /* open now in all processes */
	bool          is_reloading;
	double        reloaded_at;              /* wall clock; 0: never */
	const char   *last_failure;             /* BORROWED; "": the last reload was good */
};

struct mm_answers_calls {
	void (*status)(void *self, struct mm_answers_status *out);              /* the caller zeroes out before */
	void (*say_workers)(void *self, struct mm_control_client *);            /* a line for each process */
	/* A line for each message that has killed a worker; how many were forgotten. NULL: no process remembers. */
	void (*say_poison)(void *self, struct mm_control_client *);
	unsigned (*forget)(void *self);
	const struct mm_census *(*census)(void *self);  /* BORROWED; NULL: the process serves alone */
	bool (*has_worker)(void *self, unsigned pid);
	bool (*is_profiling)(void *self);                                       /* for a client that still waits */
	void (*set_log_level)(void *self, enum mm_level);
	void (*stop)(void *self);
	/* Begins a trace in all processes that serve, now and later. TAKES fd in any case. False: too many. */
	bool (*trace)(void *self, const char *filter, int fd);
	/* These calls end the client, now or later. */
	void (*reload)(void *self, struct mm_control_client *);
	void (*list)(void *self, struct mm_control_client *, enum mm_listing);
	void (*end)(void *self, struct mm_control_client *, const char *session);
	void (*profile)(void *self, struct mm_control_client *, const struct mm_profile_request *);
};

struct mm_answers {
	struct mm_host                *host;            /* borrowed */
	struct mm_control             *control;         /* owned; NULL: the configuration sets none */
	const struct mm_answers_calls *calls;           /* borrowed */
	void                          *self;
	double                         began_at;
};

/* Ends a client of reload(). failure NULL: the generation serves. */
void mm_answers_end_reload(struct mm_control_client *, unsigned long generation, const char *failure);

/* Begins to watch the control socket of the configuration, if there is one. False: out of memory or descriptors. */
bool mm_answers_begin(struct mm_answers *, struct mm_host *, const struct mm_answers_calls *, void *self);
/* Hangs up on clients that still wait. */
void mm_answers_end(struct mm_answers *);

#endif
