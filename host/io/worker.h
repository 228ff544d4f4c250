/* io/worker.h -- one loop, its connections, and the generation of scripts that new ones get. The only file that knows
 * both io and script. A reload is prepared (loaded, perhaps slowly, while the old generation serves on) and then
 * committed or discarded as a whole: several workers can prepare together and commit together or not at all. A session
 * stays with the generation it began with. */
#ifndef MM_IO_WORKER_H
#define MM_IO_WORKER_H

#include "base/census.h"
#include "base/figures.h"
#include "base/say.h"
#include "io/connection.h"
#include "io/next.h"
#include "async/dns.h"
#include "base/network.h"
#include "task/profile.h"
#include "script/generation.h"
#include "state/stores.h"
#include "story/tracer.h"

struct mm_worker;

struct mm_worker_options {
	void                      *loop;                /* struct ev_loop, borrowed */
	struct mm_log             *log;                 /* borrowed */
	struct mm_census          *census;              /* borrowed; NULL: no other workers to share connections with */
	struct mm_census_row      *row;                 /* this worker's; borrowed */
	unsigned                   milter_count;
	struct mm_differences     *differences;         /* borrowed; NULL: milters have no shadows */
	struct mm_history         *history;             /* borrowed; NULL: what happens to messages is not told */
	unsigned                   writer;              /* which of its writers this worker is, from 1 */
	const struct mm_recorder_options *record;       /* borrowed for the call; NULL: nothing is recorded */
	const char                *identity, *state_dir;        /* borrowed for the call (state/stores.h) */
	const char *const         *milter_names;        /* borrowed for the worker's life */
	/* The runtime for new sessions of a milter; NULL: its scripts' (mm_generation_runtime()). */
	struct mm_runtime        (*runtime)(void *self, unsigned milter);
	struct mm_meters          *meters;              /* borrowed */
	/* The last session of a draining worker has ended; may be NULL. */
	void                     (*drained)(void *self);
	/* A fresh worker should replace this one; called once; may be NULL. */
	void                     (*retire)(void *self, const char *why);
	void                      *self;
};

struct mm_worker_limits {
	unsigned                   max_sessions, max_sessions_per_mta;
	unsigned                   recycle_sessions;    /* 0: never */
	size_t                     held;        /* bytes that all sessions and their like may hold; 0: any number */
	struct mm_connection_times times;
};

struct mm_worker *mm_worker_new(const struct mm_worker_options *, struct mm_fault *why);
/* Sets how names are looked up from now on, for all generations. False: why says what is wrong; nothing changes. */
bool mm_worker_set_dns(struct mm_worker *, const struct mm_dns_settings *, struct mm_fault *why);
/* Closes everything; sessions get no further events. */
void mm_worker_free(struct mm_worker *);

/* Loads a new generation, with one mm_generation_options for each milter; `next`, one for each milter or NULL, has what
 * comes next, and whether that loads decides nothing. Calls done once, during this call or later. Only one load at a
 * time. */
void mm_worker_prepare(struct mm_worker *, const struct mm_generation_options *options, struct mm_next_order *next,
	void (*done)(void *self, bool ok, const struct mm_fault *why), void *self);
/* The prepared generation becomes current. */
void mm_worker_commit(struct mm_worker *);
void mm_worker_discard(struct mm_worker *);             /* allowed while it still loads: then done is not called */
/* The current generation of a milter, or the prepared one when there is none yet; NULL: none. Borrowed. */
struct mm_generation *mm_worker_generation(const struct mm_worker *, unsigned milter);
struct mm_generation *mm_worker_prepared(const struct mm_worker *, unsigned milter);

/* BORROWED; NULL: milters have no shadows. */
struct mm_next *mm_worker_next(const struct mm_worker *);
/* The runtime for a new session of a milter; and what mm_shadow_open() needs for it, or NULL. */
struct mm_runtime mm_worker_runtime(struct mm_worker *, unsigned milter, const struct mm_shadow_of **shadow);

/* Serves connections of a listening descriptor (borrowed) with a milter's scripts. */
bool mm_worker_watch(struct mm_worker *, unsigned milter, int fd, struct mm_fault *why);
/* Stops watching listening descriptors; they may be closed afterwards. */
void mm_worker_unwatch(struct mm_worker *);
/* Both may change while the worker serves; times also apply to open sessions. */
void mm_worker_tune(struct mm_worker *, const struct mm_worker_limits *);
/* The networks that may connect to a milter over TCP, besides this machine; borrowed until the next call. count 0:
 * all. */
void mm_worker_allow(struct mm_worker *, unsigned milter, const struct mm_network *networks, size_t count);
/* Asks for a successor, once. */
void mm_worker_retire(struct mm_worker *, const char *why);
/* Accepts no more connections; calls drained from the loop when the last one is gone. */
void mm_worker_drain(struct mm_worker *);
/* The sessions of milter connections (io/connection.h). */
void mm_worker_each_session(const struct mm_worker *, mm_each_engine *, void *self);
bool mm_worker_end_session(struct mm_worker *, const char *id);
/* Ends all sessions: a handler that waits is answered with a temporary failure. */
void mm_worker_shut_down(struct mm_worker *);
/* What was gathered for metrics goes to the shared table. */
void mm_worker_show_figures(struct mm_worker *);
/* Called by a timer of the loop every so many seconds: finds turns of the loop that take long. */
void mm_worker_look_at_loop(struct mm_worker *, double every);
unsigned mm_worker_session_count(const struct mm_worker *);
void mm_worker_close_copies(struct mm_worker *);        /* see mm_connections_close_copies(); also of tables */
uint64_t mm_worker_lua_bytes(const struct mm_worker *);
unsigned mm_worker_older_sessions(const struct mm_worker *);    /* that use an older generation */
/* For people: a line for each session with the traceback of where it waits; a line for each generation in memory;
 * a line for each map of a file or service. */
void mm_worker_list_sessions(const struct mm_worker *, struct mm_say say);
void mm_worker_list_generations(const struct mm_worker *, struct mm_say say);
void mm_worker_list_maps(const struct mm_worker *, struct mm_say say);
/* All are BORROWED. All engines of the worker share them, including those that are fed bytes without a socket: */
struct mm_engine_shared *mm_worker_engines(struct mm_worker *);
struct mm_profile *mm_worker_profile(struct mm_worker *);
struct mm_figures *mm_worker_figures(struct mm_worker *, unsigned milter);
struct mm_clock *mm_worker_clock(struct mm_worker *);
struct mm_desk *mm_worker_desk(struct mm_worker *);     /* NULL: there is no history */
/* Begins a trace (story/tracer.h). TAKES fd in any case. False: there are too many. */
bool mm_worker_trace(struct mm_worker *, const struct mm_trace_filter *, enum mm_story_redact, int fd);

#endif
