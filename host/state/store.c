#include "state/store.h"

#include "state/file.h"
#include "state/lock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGES_SPARE    1024u            /* of the map beyond size_max: LMDB copies pages before it frees them */
#define SWEEP_EACH     2u               /* records that each change looks at, whether they have ended */
#define SWEEP_FULL     64u              /* the same when the table is full */
#define EVICT_TRIES    16u              /* records that make room for a large one: a millisecond */

/* What the mirror has to copy. The order of the changes is lost, so each value is safe against a crash after it. */
enum copying {
	COPY_CHANGED,                   /* the keys that are noted */
	COPY_ALL_SOON,                  /* everything: nothing is noted now */
	COPY_ALL_NOW,                   /* everything, which is under way; what changes meanwhile is noted */
};

/* Guarded by the lock, for all processes. */
struct guarded {
	uint64_t changes, refused, evicted, ended;
	uint32_t changed_table;         /* 0 or 1: where changed keys are noted now */
	uint32_t hand_size;
	uint32_t is_mirrored;           /* somebody copies it: all note what they change */
	uint32_t copying;               /* enum copying */
	uint32_t is_suspect;            /* the file may be damaged: whoever is next looks */
	uint32_t incarnation;           /* of the file: it was made again so often */
	int64_t  left_at;               /* nanoseconds: when the last of us has written to it */
	uint8_t  hand[MM_STORE_KEY_MAX + 1];    /* the key that the sweep looks at next */
};

struct mm_store {
	struct mm_store_options options;
	struct mm_lock *lock;           /* owned */
	struct guarded *shared;         /* borrowed from it */
	MDB_env        *env;            /* owned */
	MDB_txn        *reading;        /* owned: reset between reads; NULL: none yet */
	MDB_dbi         records, changed[2];
	unsigned        page_size;
	char           *path, *copy;    /* owned; copy NULL: none */
	int             place;          /* owned descriptor: its flock says that somebody uses the table */
	uint32_t        incarnation;    /* of the file that env has open */
	bool            is_stale;       /* LMDB has given env up */
	int64_t         looked_at;      /* nanoseconds: a step of the coarse clock */
	char            news[640];      /* "": none */
	char           *kept;           /* owned: what was read last, key and record */
	size_t          kept_capacity;
	char            why[160];
};

/* ---- files ---- */

bool mm_store_is_name(const char *name)
{
	size_t size = strlen(name);
	if (size == 0 || size > MM_STORE_NAME_MAX || name[0] == '.')
		return false;
	for (const char *c = name; *c != '\0'; c++)
		if (!isalnum((unsigned char)*c) && strchr("_-.", *c) == NULL)
			return false;
	return true;
}

static bool open_tables(struct mm_store *s, int *error)
{
	static const char *const names[] = { "changed0", "changed1" };
	MDB_txn *t = NULL;
	*error = mdb_txn_begin(s->env, NULL, 0, &t);
	if (*error == 0)
		*error = mdb_dbi_open(t, "records", MDB_CREATE, &s->records);
	for (int i = 0; i < 2 && *error == 0; i++)
		*error = mdb_dbi_open(t, names[i], MDB_CREATE, &s->changed[i]);
	MDB_stat stat;
	if (*error == 0)
		*error = mdb_stat(t, s->records, &stat);
	if (*error == 0)
		s->page_size = stat.ms_psize;
	if (*error == 0)
		return (*error = mdb_txn_commit(t)) == 0;
	if (t != NULL)
		mdb_txn_abort(t);
	return false;
}

/* To open a store is worth some seconds. */
static bool take_patiently(struct mm_lock *lock)
{
	for (int i = 0; i < 50; i++) {
		if (mm_lock_take(lock))
			return true;
		usleep(100000);
	}
	return false;
}

static void close_env(struct mm_store *s)
{
	if (s->reading != NULL)
		mdb_txn_abort(s->reading);
	if (s->env != NULL)
		mdb_env_close(s->env);
	s->reading = NULL;
	s->env = NULL;
}

/* Our lock replaces LMDB's. NOSYNC gives up a whole file after a power cut, which a file in memory cannot have anyway.
 */
static int open_env(struct mm_store *s)
{
	close_env(s);
	int error = mm_file_drop_beginning(s->path);
	if (error == 0)
		error = mm_file_open(&s->env, s->path, 2 * s->options.size_max + PAGES_SPARE * 4096,
			MDB_NOSYNC | MDB_NOMEMINIT);
	if (error == 0)
		error = mm_file_fill_end(s->env, s->path);
	if (error == 0 && open_tables(s, &error)) {
		s->incarnation = s->shared->incarnation;
		s->is_stale = false;
	}
	return error;
}

/* ---- damage ---- */

static bool is_damage(int error)
{
	return error == MDB_CORRUPTED || error == MDB_INVALID || error == MDB_PAGE_NOTFOUND || error == MDB_PANIC
		|| error == MDB_CURSOR_FULL || error == MDB_PAGE_FULL || error == MDB_INCOMPATIBLE
		|| error == MDB_BAD_DBI || error == MDB_BAD_TXN || error == MDB_VERSION_MISMATCH;
}

/* Lays the copy where a new table is to be. One that is damaged, or that the disk cannot read, is set aside. */
static int lay_copy(struct mm_store *s)
{
	char aside[4096], draft[4096];
	if (s->copy == NULL || mm_file_is_absent(s->copy))
		return 0;
	if (snprintf(aside, sizeof aside, "%s.damaged", s->copy) >= (int)sizeof aside
	    || snprintf(draft, sizeof draft, "%s.draft", s->path) >= (int)sizeof draft)
		return ENAMETOOLONG;
	unlink(draft);
	int error = mm_file_copy(s->copy, draft);
	if (error == 0)
		error = rename(draft, s->path) == 0 ? 0 : errno;
	unlink(draft);
	if (!is_damage(error) && error != EIO)
		return error;
	size_t had = strlen(s->news);
	snprintf(s->news + had, sizeof s->news - had, "%sits copy %s is damaged (%s) and was renamed to *.damaged; the "
		"store begins empty", had > 0 ? "; " : "", s->copy, mdb_strerror(error));
	return rename(s->copy, aside) == 0 ? 0 : errno;
}

/* Others have the old file open and see by `incarnation` that there is another. Notes of what has changed are gone. */
static int remove_damaged(struct mm_store *s)
{
	struct guarded *g = s->shared;
	if (unlink(s->path) != 0 && errno != ENOENT)
		return errno;
	g->incarnation++;
	g->hand_size = g->changed_table = 0;
	g->copying = COPY_ALL_SOON;
	snprintf(s->news, sizeof s->news, "the table in memory was damaged, by another program or by a fault, and was "
		"made again%s", s->copy != NULL ? " from its copy: the changes of the last second are lost"
		: ", empty: what it held is lost");
	return 0;
}

static int look_over(struct mm_store *s)
{
	int error = 0;
	if (access(s->path, F_OK) == 0) {
		bool is_cut = mm_file_is_absent(s->path);
		error = is_cut ? 0 : mm_file_check(s->path);
		if (error == MDB_CORRUPTED && !s->options.is_view)
			error = remove_damaged(s);
		else if (is_cut && s->env != NULL)      /* it was whole when we opened it */
			error = remove_damaged(s);
	}
	if (error == 0 && mm_file_is_absent(s->path) && !s->options.is_view)
		error = lay_copy(s);
	return error;
}

/* When the file was written to: another program is not heard of in another way. */
static int64_t written_at(const struct mm_store *s)
{
	struct stat is;
	int fd;
	return mdb_env_get_fd(s->env, &fd) == 0 && fstat(fd, &is) == 0
		? is.st_mtim.tv_sec * INT64_C(1000000000) + is.st_mtim.tv_nsec : -1;
}

/* With the lock. */
static int mend(struct mm_store *s)
{
	struct guarded *g = s->shared;
	int error = g->is_suspect ? look_over(s) : 0;
	if (error == 0)
		g->is_suspect = false;
	if (error == 0 && (s->env == NULL || s->is_stale || s->incarnation != g->incarnation))
		error = open_env(s);
	if (error == 0)
		g->left_at = written_at(s);
	return error;
}

bool mm_store_has_news(struct mm_store *s, char *text, size_t size)
{
	if (s->news[0] == '\0')
		return false;
	snprintf(text, size, "%s", s->news);
	s->news[0] = '\0';
	return true;
}

bool mm_store_set_copy(struct mm_store *s, const char *path)
{
	char *copy = strdup(path);
	if (copy == NULL)
		return false;
	free(s->copy);
	s->copy = copy;
	return true;
}

/* ---- open and close ---- */

/* With the lock: of two processes that make the file, the second would begin it again. */
static bool open_table(struct mm_store *s, struct mm_fault *why)
{
	if (!take_patiently(s->lock))
		return mm_fault_set(why, MM_FAULT_RESOURCE, "store %s: another process holds its lock and does not run",
			s->path);
	s->shared->is_mirrored |= s->options.is_mirrored;
	if (flock(s->place, LOCK_EX | LOCK_NB) == 0)    /* nobody uses it: who knows what has happened since then */
		s->shared->is_suspect = true;
	int error = mend(s);
	flock(s->place, LOCK_SH | LOCK_NB);
	mm_lock_give(s->lock);
	if (is_damage(error))
		return mm_fault_set(why, MM_FAULT_RESOURCE, "store %s: the file is damaged (%s); stop every process "
			"that uses it and remove it", s->path, mdb_strerror(error));
	return error == 0 || mm_fault_set(why, MM_FAULT_RESOURCE, "store %s: %s", s->path, mdb_strerror(error));
}

static char *path_of(const char *directory, const char *name, const char *suffix)
{
	char path[4096];
	return snprintf(path, sizeof path, "%s/%s%s", directory, name, suffix) < (int)sizeof path ? strdup(path) : NULL;
}

static bool open_files(struct mm_store *s, const char *directory, const char *name, struct mm_fault *why)
{
	char *lock = path_of(directory, name, ".lock"), *users = path_of(directory, name, ".users");
	s->path = path_of(directory, name, ".mdb");
	bool good = (lock != NULL && users != NULL && s->path != NULL
		&& (s->options.copy == NULL || mm_store_set_copy(s, s->options.copy)))
		|| mm_fault_set(why, MM_FAULT_CONFIG, "store %s: out of memory, or the path of its directory is too "
			"long", name);
	s->options.copy = NULL;
	good = good && (s->lock = mm_lock_open(lock, sizeof(struct guarded), why)) != NULL;
	if (good && (s->place = open(users, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
		good = mm_fault_set(why, MM_FAULT_RESOURCE, "store %s: %s: %s", name, users, strerror(errno));
	free(lock);
	free(users);
	return good;
}

struct mm_store *mm_store_open(const char *directory, const char *name, const struct mm_store_options *o,
	struct mm_fault *why)
{
	struct mm_store *s = calloc(1, sizeof *s);
	if (s == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "store %s: out of memory", name);
		return NULL;
	}
	s->options = *o;
	s->place = -1;
	bool good = open_files(s, directory, name, why);
	if (good) {
		s->shared = mm_lock_guarded(s->lock);
		good = open_table(s, why);
	}
	if (good)
		return s;
	mm_store_close(s);
	return NULL;
}

void mm_store_close(struct mm_store *s)
{
	if (s == NULL)
		return;
	close_env(s);
	mm_lock_close(s->lock);
	if (s->place >= 0)
		close(s->place);
	free(s->path);
	free(s->copy);
	free(s->kept);
	free(s);
}

const char *mm_store_result_text(const struct mm_store *s, enum mm_store_result result)
{
	static const char *const texts[] = {
		[MM_STORE_DONE] = "done", [MM_STORE_NONE] = "there is no such key",
		[MM_STORE_BUSY] = "another process holds the store and does not run",
		[MM_STORE_FULL] = "the store is full",
		[MM_STORE_KEY] = "the key is empty, or longer than 511 bytes", [MM_STORE_BROKEN] = "",
	};
	return result == MM_STORE_BROKEN ? s->why : texts[result];
}

/* ---- transactions ---- */

static enum mm_store_result fail(struct mm_store *s, int error)
{
	if (error == MDB_NOTFOUND)
		return MM_STORE_NONE;
	if (error == MDB_MAP_FULL)
		return MM_STORE_FULL;
	snprintf(s->why, sizeof s->why, "%s", mdb_strerror(error));
	if (is_damage(error)) {
		s->is_stale = true;
		s->shared->is_suspect = true;   /* a hint, so that it needs no lock */
	}
	return MM_STORE_BROKEN;
}

/* Whether somebody else has written to the file. Looks once in each step of the clock that the kernel gives files their
 * times by: within one nothing could be told anyway. */
static bool is_foreign(struct mm_store *s)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	int64_t step = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	if (step == s->looked_at)
		return false;
	s->looked_at = step;
	return written_at(s) != s->shared->left_at;
}

/* Takes the lock. A process that has died with it was killed, or LMDB has met damaged pages. */
static enum mm_store_result begin(struct mm_store *s)
{
	if (!mm_lock_take(s->lock))
		return MM_STORE_BUSY;
	struct guarded *g = s->shared;
	bool is_open = s->env != NULL && !s->is_stale && s->incarnation == g->incarnation;
	if (mm_lock_was_abandoned(s->lock) || (is_open && is_foreign(s)))
		g->is_suspect = true;
	if (is_open && !g->is_suspect)
		return MM_STORE_DONE;
	int error = mend(s);
	if (error == 0)
		return MM_STORE_DONE;
	mm_lock_give(s->lock);
	return fail(s, error);
}

static int begin_reading_txn(struct mm_store *s)
{
	return s->reading != NULL ? mdb_txn_renew(s->reading) : mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reading);
}

/* Takes the lock and begins to read. */
static enum mm_store_result begin_reading(struct mm_store *s)
{
	enum mm_store_result r = begin(s);
	if (r != MM_STORE_DONE)
		return r;
	int error = begin_reading_txn(s);
	if (error == MDB_MAP_RESIZED) {         /* another process allows the table more */
		mdb_env_set_mapsize(s->env, 0);
		error = begin_reading_txn(s);
	}
	if (error == 0)
		return MM_STORE_DONE;
	mm_lock_give(s->lock);
	return fail(s, error);
}

static void end_reading(struct mm_store *s)
{
	mdb_txn_reset(s->reading);
	mm_lock_give(s->lock);
}

static enum mm_store_result begin_change(struct mm_store *s, MDB_txn **t)
{
	enum mm_store_result r = begin(s);
	if (r != MM_STORE_DONE)
		return r;
	int error = mdb_txn_begin(s->env, NULL, 0, t);
	if (error == MDB_MAP_RESIZED) {
		mdb_env_set_mapsize(s->env, 0);
		error = mdb_txn_begin(s->env, NULL, 0, t);
	}
	if (error == 0)
		return MM_STORE_DONE;
	mm_lock_give(s->lock);
	return fail(s, error);
}

static enum mm_store_result end_change(struct mm_store *s, MDB_txn *t, int error)
{
	if (error == 0)
		error = mdb_txn_commit(t);
	else
		mdb_txn_abort(t);               /* a large one may have written, too */
	s->shared->left_at = written_at(s);
	mm_lock_give(s->lock);
	return error == 0 ? MM_STORE_DONE : fail(s, error);
}

/* ---- records: eight bytes of time, then what the caller gave ---- */

static struct mm_record record_of(const MDB_val *v)
{
	struct mm_record r = { { "", 0 }, 0 };
	if (v->mv_size >= sizeof r.ends_at) {
		memcpy(&r.ends_at, v->mv_data, sizeof r.ends_at);
		r.bytes.bytes = (const char *)v->mv_data + sizeof r.ends_at;
		r.bytes.size = v->mv_size - sizeof r.ends_at;
	}
	return r;
}

static bool has_ended(const MDB_val *v, double now)
{
	double ends_at = record_of(v).ends_at;
	return ends_at != 0 && ends_at <= now;
}

static MDB_val val(struct mm_text t)
{
	return (MDB_val){ t.size, (void *)(uintptr_t)t.bytes };
}

static bool is_key(struct mm_text key)
{
	return key.size > 0 && key.size <= MM_STORE_KEY_MAX;
}

/* Copies what is in the map, because another process may change the map as soon as the lock is given. */
static bool keep(struct mm_store *s, const MDB_val *k, const MDB_val *v, struct mm_text *key, struct mm_record *r)
{
	size_t size = k->mv_size + v->mv_size;
	if (size > s->kept_capacity) {
		char *grown = realloc(s->kept, size * 2);
		if (grown == NULL)
			return false;
		s->kept = grown;
		s->kept_capacity = size * 2;
	}
	memcpy(s->kept, k->mv_data, k->mv_size);
	memcpy(s->kept + k->mv_size, v->mv_data, v->mv_size);
	if (key != NULL)
		*key = (struct mm_text){ s->kept, k->mv_size };
	*r = record_of(&(MDB_val){ v->mv_size, s->kept + k->mv_size });
	return true;
}

static enum mm_store_result out_of_memory(struct mm_store *s)
{
	snprintf(s->why, sizeof s->why, "out of memory");
	return MM_STORE_BROKEN;
}

enum mm_store_result mm_store_get(struct mm_store *s, struct mm_text key, double now, struct mm_record *out)
{
	if (!is_key(key))
		return MM_STORE_KEY;
	enum mm_store_result r = begin_reading(s);
	if (r != MM_STORE_DONE)
		return r;
	MDB_val k = val(key), v;
	int error = mdb_get(s->reading, s->records, &k, &v);
	if (error != 0)
		r = fail(s, error);
	else if (has_ended(&v, now))
		r = MM_STORE_NONE;
	else if (!keep(s, &(MDB_val){ 0, "" }, &v, NULL, out))
		r = out_of_memory(s);
	end_reading(s);
	return r;
}

static bool begins_with(const MDB_val *k, struct mm_text prefix)
{
	return prefix.size == 0
		|| (k->mv_size >= prefix.size && memcmp(k->mv_data, prefix.bytes, prefix.size) == 0);
}

/* Only a damaged file has longer keys. */
static int move(MDB_cursor *c, MDB_val *k, MDB_val *v, MDB_cursor_op op)
{
	int error = mdb_cursor_get(c, k, v, op);
	return error == 0 && (k->mv_size == 0 || k->mv_size > MM_STORE_KEY_MAX) ? MDB_CORRUPTED : error;
}

/* The first key at or after a key; with is_after, after it. An empty key: the first of all. */
static int seek(MDB_cursor *c, struct mm_text from, bool is_after, MDB_val *k, MDB_val *v)
{
	*k = val(from);
	if (from.size == 0)
		return move(c, k, v, MDB_FIRST);
	int error = move(c, k, v, MDB_SET_RANGE);
	if (error == 0 && is_after && k->mv_size == from.size && memcmp(k->mv_data, from.bytes, from.size) == 0)
		error = move(c, k, v, MDB_NEXT);
	return error;
}

enum mm_store_result mm_store_next(struct mm_store *s, struct mm_text after, struct mm_text prefix, double now,
	struct mm_text *key, struct mm_record *out)
{
	if (after.size > MM_STORE_KEY_MAX || prefix.size > MM_STORE_KEY_MAX)
		return MM_STORE_KEY;
	enum mm_store_result r = begin_reading(s);
	if (r != MM_STORE_DONE)
		return r;
	MDB_cursor *c;
	int error = mdb_cursor_open(s->reading, s->records, &c);
	if (error != 0) {
		end_reading(s);
		return fail(s, error);
	}
	MDB_val k, v;
	error = seek(c, after.size > 0 ? after : prefix, after.size > 0, &k, &v);
	while (error == 0 && begins_with(&k, prefix) && has_ended(&v, now))
		error = move(c, &k, &v, MDB_NEXT);
	if (error != 0)
		r = fail(s, error);
	else if (!begins_with(&k, prefix))
		r = MM_STORE_NONE;
	else if (!keep(s, &k, &v, key, out))
		r = out_of_memory(s);
	mdb_cursor_close(c);
	end_reading(s);
	return r;
}

/* ---- changes ---- */

static uint64_t size_of(struct mm_store *s, MDB_txn *t, MDB_dbi table)
{
	MDB_stat stat;
	if (mdb_stat(t, table, &stat) != 0)
		return 0;
	return (uint64_t)(stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * s->page_size;
}

/* The mirror will copy everything: which keys have changed need not be known. */
static int plan_full_copy(struct mm_store *s, MDB_txn *t)
{
	s->shared->copying = COPY_ALL_SOON;
	int error = mdb_drop(t, s->changed[0], 0);
	return error == 0 ? mdb_drop(t, s->changed[1], 0) : error;
}

/* While the disk is full, or nobody copies, the noted keys must not take the room of the records. */
static int note_change(struct mm_store *s, MDB_txn *t, MDB_val *k)
{
	MDB_val nothing = { 0, "" };
	MDB_dbi table = s->changed[s->shared->changed_table & 1];
	if (!s->shared->is_mirrored || s->shared->copying == COPY_ALL_SOON)
		return 0;
	if (size_of(s, t, table) > s->options.size_max / 8)
		return plan_full_copy(s, t);
	return mdb_put(t, table, k, &nothing, 0);
}

static int remove_key(struct mm_store *s, MDB_txn *t, struct mm_text key)
{
	MDB_val k = val(key);
	int error = mdb_del(t, s->records, &k, NULL);
	return error == 0 ? note_change(s, t, &k) : error;
}

struct swept {
	char     victim[MM_STORE_KEY_MAX];
	size_t   victim_size;           /* 0: none */
	double   victim_ends_at;
	unsigned ended;
};

/* One record of the sweep: an ended one goes; of the others the one that ends first may have to make room. */
static int sweep_one(struct mm_store *s, MDB_txn *t, const MDB_val *k, const MDB_val *v, double now, struct swept *w)
{
	char key[MM_STORE_KEY_MAX];
	size_t size = k->mv_size;
	memcpy(key, k->mv_data, size);          /* the map moves under a deletion */
	double ends_at = record_of(v).ends_at;
	if (has_ended(v, now)) {
		w->ended++;
		return remove_key(s, t, (struct mm_text){ key, size });
	}
	ends_at = ends_at == 0 ? INFINITY : ends_at;
	if (w->victim_size == 0 || ends_at < w->victim_ends_at) {
		memcpy(w->victim, key, size);
		w->victim_size = size;
		w->victim_ends_at = ends_at;
	}
	return 0;
}

/* Looks at some records from the hand on and moves it, around the table. */
static int sweep(struct mm_store *s, MDB_txn *t, unsigned count, double now, struct swept *w)
{
	struct guarded *g = s->shared;
	MDB_cursor *c;
	MDB_val k, v;
	int error = mdb_cursor_open(t, s->records, &c);
	if (error != 0)
		return error;
	struct mm_text hand = { (const char *)g->hand, g->hand_size % sizeof g->hand };
	error = seek(c, hand, false, &k, &v);
	for (unsigned i = 0; i < count && error == 0; i++) {
		char at[MM_STORE_KEY_MAX];
		size_t size = k.mv_size;
		memcpy(at, k.mv_data, size);
		error = sweep_one(s, t, &k, &v, now, w);
		if (error == 0)
			error = seek(c, (struct mm_text){ at, size }, true, &k, &v);
	}
	g->hand_size = error == 0 ? (uint32_t)k.mv_size : 0;
	if (error == 0)
		memcpy(g->hand, k.mv_data, k.mv_size);
	mdb_cursor_close(c);
	g->ended += w->ended;
	return error == MDB_NOTFOUND ? 0 : error;
}

/* Pages that a record takes beside those of small ones. */
static uint64_t pages_of(const struct mm_store *s, const struct mm_record *next)
{
	size_t size = next->bytes.size + sizeof next->ends_at;
	return size > s->page_size / 4 ? (size / s->page_size + 1) * s->page_size : 0;
}

/* Before a record is added or grows: removes ended ones, and when the table is full others, if that is its rule. A
 * small one that goes frees no page, but the room for another small one: so a table that is full may be an eighth
 * larger than size_max, and beyond that each small one that comes removes several. */
static int make_room(struct mm_store *s, MDB_txn *t, double now, bool is_there, const struct mm_record *next)
{
	uint64_t full = s->options.size_max, more = pages_of(s, next);
	struct swept w = { .victim_size = 0 };
	int error = is_there ? 0 : sweep(s, t, SWEEP_EACH, now, &w);
	for (unsigned i = 0; error == 0; i++) {
		if (size_of(s, t, s->records) + more < full + (i > 0 || is_there ? full / 8 : 0))
			return 0;
		w = (struct swept){ .victim_size = 0 };
		error = sweep(s, t, SWEEP_FULL, now, &w);
		if (error != 0 || (w.ended > 0 && i < EVICT_TRIES))
			continue;
		if (i == EVICT_TRIES && more == 0)
			return 0;
		if (s->options.when_full == MM_FULL_REFUSE || w.victim_size == 0 || i == EVICT_TRIES) {
			s->shared->refused++;
			return MDB_MAP_FULL;
		}
		s->shared->evicted++;
		error = remove_key(s, t, (struct mm_text){ w.victim, w.victim_size });
	}
	return error;
}

static int put(struct mm_store *s, MDB_txn *t, struct mm_text key, const struct mm_record *next)
{
	MDB_val k = val(key), v = { sizeof next->ends_at + next->bytes.size, NULL };
	int error = mdb_put(t, s->records, &k, &v, MDB_RESERVE);
	if (error != 0)
		return error;
	memcpy(v.mv_data, &next->ends_at, sizeof next->ends_at);
	memcpy((char *)v.mv_data + sizeof next->ends_at, next->bytes.bytes, next->bytes.size);
	return note_change(s, t, &k);
}

struct to_do {
	enum mm_change   what;
	bool             is_there, grows;
	struct mm_record next;
};

static int apply(struct mm_store *s, MDB_txn *t, struct mm_text key, double now, const struct to_do *d)
{
	if (d->what == MM_CHANGE_DELETE)
		return d->is_there ? remove_key(s, t, key) : 0;
	int error = d->is_there && !d->grows ? 0 : make_room(s, t, now, d->is_there, &d->next);
	return error == 0 ? put(s, t, key, &d->next) : error;
}

/* What one entry may take: LMDB keeps a large one in pages of its own, in a row. */
static bool is_too_large(const struct mm_store *s, const struct mm_record *next)
{
	return next->bytes.size > s->options.size_max / 8;
}

enum mm_store_result mm_store_change(struct mm_store *s, struct mm_text key, double now, mm_store_decide *decide,
	void *self)
{
	if (!is_key(key))
		return MM_STORE_KEY;
	MDB_txn *t = NULL;
	enum mm_store_result r = begin_change(s, &t);
	if (r != MM_STORE_DONE)
		return r;
	MDB_val k = val(key), v;
	int error = mdb_get(t, s->records, &k, &v);
	bool is_there = error == 0;
	if (!is_there && error != MDB_NOTFOUND)
		return end_change(s, t, error);
	struct mm_record old = { { NULL, 0 }, 0 };
	struct to_do d = { .is_there = is_there, .next = { { "", 0 }, 0 } };
	if (is_there)
		old = record_of(&v);
	size_t had = old.bytes.size;
	bool is_live = is_there && !has_ended(&v, now);
	if (is_live && !keep(s, &(MDB_val){ 0, "" }, &v, NULL, &old)) {
		end_change(s, t, MDB_NOTFOUND);
		return out_of_memory(s);
	}
	d.what = decide(self, is_live ? &old : NULL, &d.next);
	d.grows = d.next.bytes.size > had;
	if (d.what == MM_CHANGE_NOTHING) {
		end_change(s, t, MDB_NOTFOUND);
		return MM_STORE_DONE;
	}
	if (d.what == MM_CHANGE_PUT && is_too_large(s, &d.next))
		return end_change(s, t, MDB_MAP_FULL);
	s->shared->changes++;
	return end_change(s, t, apply(s, t, key, now, &d));
}

static enum mm_change decide_delete(void *self, const struct mm_record *old, struct mm_record *next)
{
	(void)next;
	*(bool *)self = old != NULL;
	return MM_CHANGE_DELETE;
}

enum mm_store_result mm_store_delete(struct mm_store *s, struct mm_text key, double now)
{
	bool was_there = false;
	enum mm_store_result result = mm_store_change(s, key, now, decide_delete, &was_there);
	return result == MM_STORE_DONE && !was_there ? MM_STORE_NONE : result;
}

static int put_one(struct mm_store *s, MDB_txn *t, struct mm_text key, const struct mm_record *r, double now)
{
	if (is_too_large(s, r))
		return MDB_MAP_FULL;
	bool has_room = size_of(s, t, s->records) + pages_of(s, r) < s->options.size_max;
	int error = has_room ? 0 : make_room(s, t, now, false, r);
	return error == 0 ? put(s, t, key, r) : error;
}

enum mm_store_result mm_store_put_each(struct mm_store *s, const struct mm_text *keys, const struct mm_record *records,
	unsigned count, double now)
{
	MDB_txn *t = NULL;
	enum mm_store_result r = begin_change(s, &t);
	if (r != MM_STORE_DONE)
		return r;
	int error = 0;
	for (unsigned i = 0; i < count && error == 0; i++)
		error = is_key(keys[i]) ? put_one(s, t, keys[i], &records[i], now) : MDB_BAD_VALSIZE;
	s->shared->changes += count;
	return end_change(s, t, error);
}

enum mm_store_result mm_store_delete_each(struct mm_store *s, const struct mm_text *keys, unsigned count)
{
	MDB_txn *t = NULL;
	enum mm_store_result r = begin_change(s, &t);
	if (r != MM_STORE_DONE)
		return r;
	int error = 0;
	for (unsigned i = 0; i < count && error == 0; i++) {
		error = is_key(keys[i]) ? remove_key(s, t, keys[i]) : MDB_NOTFOUND;
		if (error == MDB_NOTFOUND)
			error = 0;
	}
	s->shared->changes++;
	return end_change(s, t, error);
}

enum mm_store_result mm_store_remove_some(struct mm_store *s, struct mm_text prefix, unsigned count, bool *left)
{
	*left = false;
	MDB_txn *t = NULL;
	enum mm_store_result r = prefix.size > MM_STORE_KEY_MAX ? MM_STORE_KEY : begin_change(s, &t);
	if (r != MM_STORE_DONE)
		return r;
	MDB_cursor *c;
	MDB_val k, v;
	int error = mdb_cursor_open(t, s->records, &c);
	if (error != 0)
		return end_change(s, t, error);
	error = seek(c, prefix, false, &k, &v);
	for (; error == 0 && begins_with(&k, prefix) && count > 0; count--) {
		error = note_change(s, t, &k);
		if (error == 0)
			error = mdb_cursor_del(c, 0);
		if (error == 0)
			error = seek(c, prefix, false, &k, &v);
	}
	*left = error == 0 && begins_with(&k, prefix);
	mdb_cursor_close(c);
	return end_change(s, t, error == MDB_NOTFOUND ? 0 : error);
}

enum mm_store_result mm_store_measure(struct mm_store *s, struct mm_store_figures *out)
{
	enum mm_store_result r = begin_reading(s);
	if (r != MM_STORE_DONE)
		return r;
	MDB_stat stat = { 0 };
	int error = mdb_stat(s->reading, s->records, &stat);
	*out = (struct mm_store_figures){
		.count = stat.ms_entries, .size = size_of(s, s->reading, s->records), .size_max = s->options.size_max,
		.changes = s->shared->changes, .refused = s->shared->refused,
		.evicted = s->shared->evicted, .ended = s->shared->ended,
	};
	end_reading(s);
	return error == 0 ? MM_STORE_DONE : fail(s, error);
}

/* ---- what the mirror copies ---- */

/* The keys noted so far are looked at, while changes are noted in the other table. What a mirror that was killed has
 * left goes first. */
static int turn_table(struct mm_store *s, MDB_txn *t)
{
	MDB_stat stat;
	uint32_t now = s->shared->changed_table & 1;
	int error = mdb_stat(t, s->changed[now ^ 1], &stat);
	if (error == 0 && stat.ms_entries == 0)
		s->shared->changed_table = now ^ 1;
	return error;
}

enum mm_store_result mm_store_begin_round(struct mm_store *s, bool *is_full)
{
	MDB_txn *t = NULL;
	enum mm_store_result r = begin_change(s, &t);
	if (r != MM_STORE_DONE)
		return r;
	*is_full = s->shared->copying != COPY_CHANGED;
	if (!*is_full) {
		int error = turn_table(s, t);
		r = end_change(s, t, MDB_NOTFOUND);             /* nothing to write */
		return error == 0 ? MM_STORE_DONE : fail(s, error);
	}
	r = end_change(s, t, plan_full_copy(s, t));
	if (r == MM_STORE_DONE)
		r = mm_lock_take(s->lock) ? MM_STORE_DONE : MM_STORE_BUSY;
	if (r == MM_STORE_DONE) {
		s->shared->copying = COPY_ALL_NOW;
		mm_lock_give(s->lock);
	}
	return r;
}

enum mm_store_result mm_store_each_of_round(struct mm_store *s, bool is_full, struct mm_text after, unsigned count,
	mm_store_copy *copy, void *self, bool *left)
{
	*left = false;
	enum mm_store_result r = begin_reading(s);
	if (r != MM_STORE_DONE)
		return r;
	MDB_cursor *c = NULL;
	MDB_val k, v, found;
	int error = mdb_cursor_open(s->reading, is_full ? s->records : s->changed[(s->shared->changed_table & 1) ^ 1],
		&c);
	if (error == 0)
		error = seek(c, after, true, &k, &v);
	while (error == 0 && count-- > 0) {
		int missing = mdb_get(s->reading, s->records, &k, &found);
		struct mm_text key = { k.mv_data, k.mv_size }, raw = { found.mv_data, found.mv_size };
		if (!copy(self, key, missing == 0 ? &raw : NULL))
			break;
		error = move(c, &k, &v, MDB_NEXT);
	}
	*left = error == 0;
	if (c != NULL)
		mdb_cursor_close(c);
	end_reading(s);
	return error == 0 || error == MDB_NOTFOUND ? MM_STORE_DONE : fail(s, error);
}

enum mm_store_result mm_store_end_round(struct mm_store *s, bool is_full)
{
	MDB_txn *t = NULL;
	enum mm_store_result r = begin_change(s, &t);
	if (r != MM_STORE_DONE)
		return r;
	if (!is_full)
		return end_change(s, t, mdb_drop(t, s->changed[(s->shared->changed_table & 1) ^ 1], 0));
	if (s->shared->copying == COPY_ALL_NOW)         /* else so much has changed meanwhile that it is due again */
		s->shared->copying = COPY_CHANGED;
	end_change(s, t, MDB_NOTFOUND);
	return MM_STORE_DONE;
}

enum mm_store_result mm_store_copy_all(struct mm_store *s)
{
	MDB_txn *t = NULL;
	enum mm_store_result r = begin_change(s, &t);
	return r != MM_STORE_DONE ? r : end_change(s, t, plan_full_copy(s, t));
}

bool mm_store_is_copied(struct mm_store *s)
{
	MDB_stat stat[2] = { { 0 }, { 0 } };
	if (begin_reading(s) != MM_STORE_DONE)
		return true;
	for (int i = 0; i < 2; i++)
		if (mdb_stat(s->reading, s->changed[i], &stat[i]) != 0)
			stat[i].ms_entries = 0;
	bool is_copied = s->shared->copying == COPY_CHANGED && stat[0].ms_entries + stat[1].ms_entries == 0;
	end_reading(s);
	return is_copied;
}
