/* state/store.h -- a table that the processes of a host share: keys and records of bytes; a record may end at a time.
 *
 * LMDB on a file system in memory, without its own locks, beside a lock of ours (state/lock.h): one lock for readers
 * and writers, because an operation takes a few microseconds. A process that is killed inside an operation leaves the
 * table as it was before it. Nothing waits for a disk: a thread copies what is to survive the host (state/mirror.h).
 *
 * The first process that opens the file checks it, and so does the next one after a process has died inside an
 * operation or another program has written to the file. A damaged table is made again, from its copy if it has one.
 *
 * Records that have ended are never seen; each change of the table removes a few of them, so that the table needs no
 * pass over all. Knows no Lua and nothing of what the bytes mean. */
#ifndef MM_STATE_STORE_H
#define MM_STATE_STORE_H

#include "base/fault.h"
#include "base/text.h"

#include <stdint.h>

#define MM_STORE_KEY_MAX        511u            /* bytes; LMDB's own limit */
#define MM_STORE_NAME_MAX       64u             /* bytes: of letters, digits, _ - . */

struct mm_store;

enum mm_when_full {
	MM_FULL_REFUSE,                 /* a new record is refused */
	MM_FULL_EVICT,                  /* a record that ends early makes room */
};

struct mm_store_options {
	uint64_t          size_max;     /* bytes of the table, with its overhead */
	enum mm_when_full when_full;
	bool              is_mirrored;  /* note which keys change (state/mirror.h) */
	const char       *copy;         /* borrowed for the call: a file that a new table begins with; NULL: it is
	                                 * empty */
	bool              is_view;      /* leaves a damaged table to others and fails */
};

struct mm_record {
	struct mm_text bytes;
	double         ends_at;         /* seconds since 1970; 0: never */
};

/* ORDER STORE_RESULT: texts in store.c, codes in bind/store.c, exit statuses in process/stored.c */
enum mm_store_result {
	MM_STORE_DONE,
	MM_STORE_NONE,                  /* there is no such record */
	MM_STORE_BUSY,                  /* another process holds the lock and does not run */
	MM_STORE_FULL,
	MM_STORE_KEY,                   /* the key is empty, or longer than MM_STORE_KEY_MAX */
	MM_STORE_BROKEN,                /* the file system is full, or the file is damaged */
};

struct mm_store_figures {
	uint64_t count;                 /* records, ended ones that are not removed yet included */
	uint64_t size, size_max;        /* bytes */
	uint64_t changes, refused, evicted, ended;      /* since the table was made */
};

/* Opens DIRECTORY/NAME.mdb and .lock. NULL: the fault says why. */
struct mm_store *mm_store_open(const char *directory, const char *name, const struct mm_store_options *,
	struct mm_fault *why);
void mm_store_close(struct mm_store *);                 /* NULL is fine */
/* From now on it has this copy. False: out of memory. */
bool mm_store_set_copy(struct mm_store *, const char *path);
/* True once after the table was damaged, or its copy: what has happened to it, for the log. */
bool mm_store_has_news(struct mm_store *, char *text, size_t size);
/* True for a name that may be a store's. */
bool mm_store_is_name(const char *name);

/* The record of a key; its bytes are BORROWED until the next call with this store. now: seconds since 1970. */
enum mm_store_result mm_store_get(struct mm_store *, struct mm_text key, double now, struct mm_record *);
/* The first record whose key is greater than `after` and begins with `prefix`; key as well is BORROWED likewise. */
enum mm_store_result mm_store_next(struct mm_store *, struct mm_text after, struct mm_text prefix, double now,
	struct mm_text *key, struct mm_record *);

/* Changes one record as `decide` says, with nobody else in between. `old` is NULL when there is none, and is BORROWED
 * during the call, as the bytes of *next are until mm_store_change() returns. decide runs at most once and holds up
 * other processes: it only computes. */
enum mm_change { MM_CHANGE_NOTHING, MM_CHANGE_PUT, MM_CHANGE_DELETE };
typedef enum mm_change mm_store_decide(void *self, const struct mm_record *old, struct mm_record *next);
enum mm_store_result mm_store_change(struct mm_store *, struct mm_text key, double now, mm_store_decide *decide,
	void *self);

/* Removes one record. MM_STORE_NONE: there was none. */
enum mm_store_result mm_store_delete(struct mm_store *, struct mm_text key, double now);
/* Puts several records at once, all or none of them: one transaction costs about as much as one record. */
enum mm_store_result mm_store_put_each(struct mm_store *, const struct mm_text *keys, const struct mm_record *records,
	unsigned count, double now);
/* Removes several records at once; those that are not there are passed over. */
enum mm_store_result mm_store_delete_each(struct mm_store *, const struct mm_text *keys, unsigned count);
/* Removes up to `count` records whose keys begin with prefix. *left: some remain. */
enum mm_store_result mm_store_remove_some(struct mm_store *, struct mm_text prefix, unsigned count, bool *left);
enum mm_store_result mm_store_measure(struct mm_store *, struct mm_store_figures *);
/* What a result of the last call says, for people; BORROWED until the next call. */
const char *mm_store_result_text(const struct mm_store *, enum mm_store_result);

/* ---- for state/mirror.h ---- */

/* A round copies the keys that have changed since the last one, or everything (is_full): when the copies are new, or
 * when more has changed than is worth noting because the copies failed. A round that is not ended is done again. */
enum mm_store_result mm_store_begin_round(struct mm_store *, bool *is_full);
/* Calls `copy` for up to `count` keys of the round after a key; raw is NULL when the record is gone. *left: more
 * remain. Stops when copy returns false. */
typedef bool mm_store_copy(void *self, struct mm_text key, const struct mm_text *raw);
enum mm_store_result mm_store_each_of_round(struct mm_store *, bool is_full, struct mm_text after, unsigned count,
	mm_store_copy *copy, void *self, bool *left);
/* The round is on the disk. */
enum mm_store_result mm_store_end_round(struct mm_store *, bool is_full);
/* The next round copies everything. */
enum mm_store_result mm_store_copy_all(struct mm_store *);
/* Nothing has changed since the last round; also true when this cannot be found out. */
bool mm_store_is_copied(struct mm_store *);

#endif
