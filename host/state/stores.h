/* state/stores.h -- the stores that this process has opened, by number, and where they lie.
 * Tables are below /dev/shm, in a directory of the user that serves, one for each host on the machine; copies of
 * durable ones are in state_dir. A store's file is named MILTER+NAME. A store stays open until the host ends, because
 * the next generation of scripts opens it again. */
#ifndef MM_STATE_STORES_H
#define MM_STATE_STORES_H

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "state/store.h"

struct mm_stores;

struct mm_stores_settings {
	struct mm_clock *clock;         /* borrowed */
	struct mm_log   *log;           /* borrowed */
	const char      *identity;      /* borrowed for the call: what tells this host from others of the same user on
	                                 * this machine; NULL: nothing is shared, and nothing remains */
	const char      *state_dir;     /* borrowed for the call; NULL: no store can be durable */
};

struct mm_stores *mm_stores_new(const struct mm_stores_settings *);     /* NULL: out of memory */
void mm_stores_free(struct mm_stores *);                /* NULL is fine; copies what has changed to the disk */

/* The directory for what outlives the host, made and checked; BORROWED. NULL: there is none, and the fault's text is
 * "" when none is wanted. */
const char *mm_stores_disk(const struct mm_stores *, struct mm_fault *why);

/* GIVES a store by its file name, MILTER+NAME, only if it was made before. NULL: the fault says why. */
struct mm_store *mm_stores_open_made(const char *identity, const char *file, struct mm_fault *why);
struct mm_buckets *mm_stores_open_made_buckets(const char *identity, const char *milter, struct mm_fault *why);
/* Calls each for the file names, MILTER+NAME, of the stores in memory that have been made. */
void mm_stores_each_made(const char *identity, void (*each)(void *self, const char *file), void *self);
/* The same for the milters whose limits have buckets. */
void mm_stores_each_made_buckets(const char *identity, void (*each)(void *self, const char *milter), void *self);
/* Removes the tables in memory of an identity that nobody uses any more. */
void mm_stores_remove(const char *identity);

/* The directory in memory that the processes of this host share, made when it is not there; BORROWED. "": nothing is
 * shared. NULL: the fault says why it cannot be used. */
const char *mm_stores_directory(const struct mm_stores *, struct mm_fault *why);

/* Opens a store, or finds it open; size_max and when_full of the first call in this process rule, and a store that was
 * asked for as durable once is. Gives its
 * number, 1 or more; 0: the fault says why, MM_FAULT_CONFIG for a mistake in names or settings. */
unsigned mm_stores_open(struct mm_stores *, const char *milter, const char *name, const struct mm_store_options *,
	struct mm_fault *why);
/* The buckets of all limits of a milter; BORROWED. NULL: the fault says why. */
struct mm_buckets;
struct mm_buckets *mm_stores_buckets(struct mm_stores *, const char *milter, struct mm_fault *why);
/* Opens the tally of a milter for a server by its name, or finds it open. Gives its number, 1 or more; 0: the fault
 * says why. */
unsigned mm_stores_open_tally(struct mm_stores *, const char *milter, struct mm_text server, struct mm_fault *why);
struct mm_tally;
struct mm_tally *mm_stores_tally(const struct mm_stores *, double number);      /* borrowed; NULL: no such number */
struct mm_store *mm_stores_get(struct mm_stores *, double number);        /* borrowed; NULL: no such number */
/* GIVES a descriptor of a file beside a store, for a flock: a place that one process has at a time. -1: the fault says
 * why; no store that is shared has this number. */
int mm_stores_open_place(const struct mm_stores *, double number, struct mm_fault *why);
/* Bytes for one call, BORROWED: cleared, and without a failure. */
struct mm_buffer *mm_stores_scratch(struct mm_stores *);
/* Logs that a store is full or broken, but not each time. */
void mm_stores_complain(struct mm_stores *, const struct mm_store *, const char *text);

#endif
