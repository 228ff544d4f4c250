/* embed/parts.h -- the fields of a host, for the files of embed/ only (spec/lint/rooms.lua). To every other folder
 * struct mm_host is opaque (embed/host.h). Each group of fields names the file that writes it. */
#ifndef MM_EMBED_PARTS_H
#define MM_EMBED_PARTS_H

#include "base/census.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/watch.h"
#include "config/config.h"
#include "embed/owners.h"
#include "embed/pace.h"
#include "embed/pid_file.h"
#include "io/listener.h"
#include "io/worker.h"
#include "moonmilter.h"
#include "story/differences.h"
#include "story/history.h"

#include <sys/types.h>

struct mm_host {
	/* host.c */
	struct mm_host_options options;         /* lists are owned copies */
	struct mm_config       config;
	struct mm_owners       owners;
	struct mm_log          log;
	double                 started_at;      /* seconds since 1970 */
	unsigned               number;          /* of hosts that this process has bound before */
	pid_t                  bound_by;        /* the process that will end last: workers are its children */
	void                  *loop;            /* struct ev_loop; NULL between bind and raise */
	bool                   owns_loop;
	int                    waits_on;        /* borrowed: what our own loop waits with; -1: not known */
	double                 stands_at;       /* seconds since 1970, for tests; 0: real time */
	bool                   is_virtual;      /* we have stopped this thread's clock */
	bool                   guards;          /* CPU budgets */
	struct mm_worker      *worker;          /* owned */
	const char           **milter_names;    /* owned array of borrowed names */
	char                 **kept_names;      /* owned names */

	/* the last messages: host.c */
	struct mm_history     *history;         /* owned: each process has its mapping; NULL: none are kept */

	struct mm_differences *differences;     /* owned: likewise */

	/* filter.c */
	struct mm_filtered    *filtered;        /* owned, one a milter; NULL: there are no filters in C */

	/* the census: host.c, beat.c */
	struct mm_census      *census;          /* borrowed; NULL: we are the whole host */
	struct mm_census_row  *row;             /* borrowed, or the row of own; never NULL once raised */
	void                 (*retire)(void *self, const char *why);    /* called to ask for a successor; may be NULL */
	void                  *retire_self;
	struct mm_census       own;             /* owned: of one row, for a host in one process */
	struct mm_meters      *meters;          /* owned, shared with the processes forked later */
	struct mm_figures     *figures;         /* owned: of the host */
	struct mm_buffer       page;            /* owned: for tests */
	struct beat           *beat;            /* owned; NULL: not begun */

	/* listeners.c */
	struct listening      *listeners;       /* owned */
	unsigned               listener_count;
	struct mm_listener     control;         /* fd -1: none */
	struct mm_listener     metrics[MM_METRICS_MAX];
	unsigned               metrics_count;

	/* host.c, listeners.c */
	struct mm_pid_file     pid_file;        /* fd -1: none */

	/* generations.c; host.c stores how the first load ended */
	unsigned long          generation;
	unsigned long          next_generation; /* being prepared, or prepared */
	bool                   is_loading;
	bool                   has_next_config; /* next_config belongs to the prepared generation */
	struct mm_config       next_config;
	void                 (*prepared)(void *self, bool ok, const struct mm_fault *);
	void                  *prepared_self;
	bool                   load_ok;
	struct mm_fault        load_fault;

	/* reload.c */
	struct mm_pace         pace;
	struct mm_timer        reload_timer;    /* a SIGHUP came soon after another */
	struct reload_waiter  *waiters;         /* owned */
	void                 (*reload_ended)(void *self, bool ok, const struct mm_fault *);
	void                  *reload_ended_self;

	/* stop.c, signals.c */
	bool                   is_stopping;
	bool                   is_halting;      /* every session is over, but some last bytes may be unsent */
	bool                   is_stopped;
	struct mm_timer        drain_timer;
	struct signal_watch   *signals;         /* owned; NULL: none */

	/* wake.c */
	int                    wake_fd;         /* an eventfd, for other threads and signal handlers; -1: not made */
	struct mm_watch        wake_watch;
	void                 (*take_signals)(struct mm_host *); /* signals.c: obeys what was caught; NULL: nothing is */

	/* feeder.c */
	struct mm_feed        *feeds;           /* owned list of milter connections without a socket */

	/* sessions.c */
	char                 (*ending)[MM_SESSION_ID_SIZE];     /* owned: sessions to end in the loop's next turn */
	size_t                 ending_count;
	struct mm_timer        end_timer;
};

struct mm_feed *mm_feed_next(const struct mm_feed *);    /* of host.feeds */
struct mm_engine *mm_feed_engine(const struct mm_feed *);       /* BORROWED */
/* Answers a command that waits with a temporary failure, and ends the feed. */
void mm_feed_shut_down(struct mm_feed *);
/* The sessions that were to end (sessions.c) are ended by something else. */
void mm_host_forget_ends(struct mm_host *);
/* Copies options into the host, so that a reload can read them again. When memory is out for a list, the
 * list counts as absent. */
void mm_host_copy_options(struct mm_host *, const struct mm_host_options *);
void mm_host_free_options(struct mm_host *);
/* Reads the file, then applies the options: the same at start and at every reload. False: the config is empty. */
bool mm_host_read_config(const struct mm_host_options *, struct mm_config *, struct mm_fault *why);

#endif
