/* embed/host.h -- a host as process/ sees it, beyond moonmilter.h: its life is here, its parts are in the headers
 * below. A host starts in two halves, so that a process can fork in between: mm_host_bind() reads the
 * configuration, opens the log and the listeners and drops rights; mm_host_raise() adds a loop and a worker.
 * mm_host_new() does both. */
#ifndef MM_EMBED_HOST_H
#define MM_EMBED_HOST_H

#include "base/census.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "embed/generations.h"
#include "embed/listeners.h"
#include "embed/log_target.h"
#include "embed/reload.h"
#include "embed/stop.h"
#include "moonmilter.h"
#include "story/differences.h"
#include "story/history.h"

/* What a worker process gets from its master; all borrowed for the host's life. */
struct mm_host_member {
	struct mm_census     *census;
	struct mm_census_row *row;
	/* The worker asks to be replaced: too many sessions, or memory that it cannot free. May be NULL. */
	void                (*retire)(void *self, const char *why);
	void                 *self;
};

/* with_control: the process is the program that serves. It gives up what it has inherited (embed/inherited.h) and opens
 * the control socket of the configuration, too; the caller answers there (process/control.h). NULL: why gives the
 * reason. */
struct mm_host *mm_host_bind(const struct mm_host_options *, bool with_control, struct mm_fault *why);
/* In a child process that goes on as the host, between bind and raise: the parent keeps nothing of it. */
void mm_host_move(struct mm_host *);
/* member NULL: this process is the whole host. Otherwise the listeners' files belong to the
 * master, which removes them. */
bool mm_host_raise(struct mm_host *, const struct mm_host_member *, struct mm_fault *why);

/* As mm_host_new(), with a history of so many messages, which leaves nothing out. */
struct mm_host *mm_host_new_telling(const struct mm_host_options *, unsigned messages, struct mm_error *);
/* NULL: it keeps none. BORROWED. */
struct mm_history *mm_host_history(const struct mm_host *);
/* What shadows have found; NULL: there are none. BORROWED. */
struct mm_differences *mm_host_differences(const struct mm_host *);
/* What a worker had begun to tell is told as unfinished: it is dead. index: of its row in the census. */
void mm_host_recover_history(struct mm_host *, unsigned index);
/* Called now and then by the process that forks, or serves alone: forgets what is too old. */
void mm_host_sweep_history(struct mm_host *);

/* The worker of this process shows the sessions of a filter (story/trace.h) to whoever reads at the other end of fd,
 * a socket that keeps datagrams whole. TAKES fd in any case. False: there are too many traces, or the text is no
 * filter. */
bool mm_host_trace(struct mm_host *, const char *filter, int fd);

const struct mm_config *mm_host_config(const struct mm_host *);
struct mm_log *mm_host_log(struct mm_host *);
struct mm_clock *mm_host_clock(struct mm_host *);
const struct mm_census_row *mm_host_row(const struct mm_host *);         /* the row in which this process reports */
struct mm_profile *mm_host_profile(struct mm_host *);
const char *mm_host_config_file(const struct mm_host *);        /* NULL: none */

/* Calls say with a line for each doubt about who could change the host's files (embed/owners.h). */
void mm_host_describe_doubts(const struct mm_host *, struct mm_say say);

/* Calls say with a line for each thing that the first mail would find in the scripts, and for each directory without
 * scripts. Returns how many warnings there are, with those that the log has already. */
unsigned mm_host_describe_findings(const struct mm_host *, struct mm_say say);

/* Calls say with what would be shown of each shadow. False: one does not load; say gets why. */
bool mm_host_describe_shadows(const struct mm_host *, struct mm_say say);

/* The listings. ORDER LISTING */
enum mm_listing { MM_LIST_SCRIPTS, MM_LIST_SESSIONS, MM_LIST_GENERATIONS, MM_LIST_MAPS, MM_LIST_PROFILE,
	MM_LIST_ENDED, MM_LISTING_COUNT };

/* Writes a listing for people. False: writing failed. */
bool mm_host_list(const struct mm_host *, enum mm_listing, int fd);
/* Ends a session and writes a line about it; none when it is not here (MM_LIST_ENDED). */
void mm_host_end_listed(struct mm_host *, const char *id, int fd);

/* The name of the first milter; BORROWED. */
const char *mm_host_milter_name(const struct mm_host *);
struct mm_store;
/* GIVES a store of a file name (MILTER+NAME) that some worker has made; NULL: the fault says why. */
struct mm_store *mm_host_open_store(const struct mm_host *, const char *file, struct mm_fault *why);
/* Calls each for the file names of all stores that workers have made. */
void mm_host_each_store(const struct mm_host *, void (*each)(void *self, const char *file), void *self);
struct mm_buckets;
/* GIVES the buckets of a milter's limits, likewise. */
struct mm_buckets *mm_host_open_buckets(const struct mm_host *, const char *milter, struct mm_fault *why);
/* Calls each for the milters whose limits have buckets. */
void mm_host_each_buckets(const struct mm_host *, void (*each)(void *self, const char *milter), void *self);

#endif
