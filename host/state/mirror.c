#include "state/mirror.h"

#include "base/buffer.h"
#include "state/file.h"
#include "state/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE    4096
#define SLICE_KEYS   256u               /* copied with the store's lock held: a fraction of a millisecond */
#define SLICE_SIZE   (1u << 20)         /* bytes; likewise */
#define LAST_TRIES   40                 /* until another copyist must have made a round */
#define LAST_WAIT_US 50000

/* A record on its way: sizes, then the key, then the record. */
struct item {
	uint32_t key_size, raw_size;
	uint32_t is_gone;
};

struct mm_mirror {
	/* of the thread */
	struct mm_store *store;         /* owned: its own view */
	MDB_env         *disk;          /* owned; NULL until it is the copyist */
	MDB_dbi          records;
	int              place;         /* owned descriptor: the copyist holds its flock */
	bool             is_copyist;
	struct mm_buffer slice;         /* owned: items */
	char             after[MM_STORE_KEY_MAX];       /* the last key of the slice */
	size_t           after_size;
	char             path[PATH_SIZE];
	char             reason[160];   /* why the store failed in this round; "": it did not */
	uint64_t         size_max;

	pthread_t        thread;
	/* guarded by mutex */
	pthread_mutex_t  mutex;
	pthread_cond_t   wake;
	bool             ends;
	bool             has_news, has_failed;
	char             news[256];
};

static bool path_of(char *to, const char *directory, const char *name, const char *suffix, struct mm_fault *why)
{
	return snprintf(to, PATH_SIZE, "%s/%s%s", directory, name, suffix) < PATH_SIZE
		|| mm_fault_set(why, MM_FAULT_CONFIG, "store %s: the path of its directory is too long", name);
}

/* ---- a round ---- */

static bool take_item(void *self, struct mm_text key, const struct mm_text *raw)
{
	struct mm_mirror *m = self;
	struct item i = { (uint32_t)key.size, raw != NULL ? (uint32_t)raw->size : 0, raw == NULL };
	if (m->slice.size > SLICE_SIZE)
		return false;
	size_t had = m->slice.size;
	mm_buffer_append(&m->slice, &i, sizeof i);
	mm_buffer_append(&m->slice, key.bytes, key.size);
	mm_buffer_append(&m->slice, raw != NULL ? raw->bytes : "", i.raw_size);
	if (m->slice.failed) {
		m->slice.size = had;            /* whole items only */
		return false;
	}
	memcpy(m->after, key.bytes, key.size);
	m->after_size = key.size;
	return true;
}

static int write_slice(struct mm_mirror *m, MDB_txn *t)
{
	int error = 0;
	for (const uint8_t *at = m->slice.bytes, *end = at + m->slice.size; at < end && error == 0;) {
		struct item i;
		memcpy(&i, at, sizeof i);
		at += sizeof i;
		MDB_val k = { i.key_size, (void *)(uintptr_t)at };
		MDB_val v = { i.raw_size, (void *)(uintptr_t)(at + i.key_size) };
		error = i.is_gone ? mdb_del(t, m->records, &k, NULL) : mdb_put(t, m->records, &k, &v, 0);
		if (error == MDB_NOTFOUND)
			error = 0;
		at += i.key_size + i.raw_size;
	}
	return error;
}

/* Copies what the round is about into the transaction. *result: of the store. */
static int copy_changes(struct mm_mirror *m, MDB_txn *t, bool is_full, enum mm_store_result *result)
{
	bool left = true;
	int error = is_full ? mdb_drop(t, m->records, 0) : 0;
	m->after_size = 0;
	while (left && error == 0) {
		size_t had = m->after_size;
		mm_buffer_clear(&m->slice);
		*result = mm_store_each_of_round(m->store, is_full, (struct mm_text){ m->after, had }, SLICE_KEYS,
			take_item, m, &left);
		if (*result != MM_STORE_DONE)
			return 0;
		if (m->slice.failed) {
			mm_buffer_free(&m->slice);
			return ENOMEM;
		}
		error = write_slice(m, t);
	}
	return error;
}

/* A store that is busy is asked again in the next round. */
static int error_of(struct mm_mirror *m, enum mm_store_result result)
{
	if (result == MM_STORE_BROKEN)
		snprintf(m->reason, sizeof m->reason, "%s", mm_store_result_text(m->store, MM_STORE_BROKEN));
	return result == MM_STORE_BROKEN ? EIO : result == MM_STORE_FULL ? MDB_MAP_FULL : 0;
}

static int run_round(struct mm_mirror *m)
{
	MDB_txn *t;
	bool is_full = false;
	m->reason[0] = '\0';
	if (mm_store_is_copied(m->store))
		return 0;
	enum mm_store_result result = mm_store_begin_round(m->store, &is_full);
	if (result != MM_STORE_DONE)
		return error_of(m, result);
	int error = mdb_txn_begin(m->disk, NULL, 0, &t);
	if (error != 0)
		return error;
	error = copy_changes(m, t, is_full, &result);
	if (error != 0 || result != MM_STORE_DONE) {
		mdb_txn_abort(t);
		return error != 0 ? error : error_of(m, result);
	}
	error = mdb_txn_commit(t);              /* waits for the disk */
	return error != 0 ? error : error_of(m, mm_store_end_round(m->store, is_full));
}

/* *is_new: nothing was ever copied there. */
static int open_records(struct mm_mirror *m, bool *is_new)
{
	MDB_txn *t;
	int error = mdb_txn_begin(m->disk, NULL, 0, &t);
	if (error != 0)
		return error;
	error = mdb_dbi_open(t, "records", 0, &m->records);
	*is_new = error == MDB_NOTFOUND;
	if (*is_new)
		error = mdb_dbi_open(t, "records", MDB_CREATE, &m->records);
	if (error == 0)
		return mdb_txn_commit(t);
	mdb_txn_abort(t);
	return error;
}

/* What is in memory is newer than the copies and whole: damaged ones are made again. */
static int set_damaged_aside(struct mm_mirror *m)
{
	char aside[PATH_SIZE + sizeof ".damaged"];
	int error = mm_file_drop_beginning(m->path);
	if (error != 0 || mm_file_is_absent(m->path) || mm_file_check(m->path) != MDB_CORRUPTED)
		return error;
	snprintf(aside, sizeof aside, "%s.damaged", m->path);
	return rename(m->path, aside) == 0 ? 0 : errno;
}

static int open_disk(struct mm_mirror *m)
{
	bool is_new = false;
	int error = set_damaged_aside(m);
	if (error == 0)
		error = mm_file_open(&m->disk, m->path, 4 * m->size_max + (8u << 20), 0);
	if (error == 0)
		error = open_records(m, &is_new);
	if (error == 0 && is_new)
		error = error_of(m, mm_store_copy_all(m->store));
	if (error == 0)
		return 0;
	if (m->disk != NULL)
		mdb_env_close(m->disk);
	m->disk = NULL;
	return error;
}

/* ---- the thread ---- */

static void tell(struct mm_mirror *m, int error)
{
	if ((error != 0) == m->has_failed)
		return;
	m->has_failed = error != 0;
	m->has_news = true;
	snprintf(m->news, sizeof m->news, "%s", error == 0 ? "" : m->reason[0] != '\0' ? m->reason
		: mdb_strerror(error));
}

static int copy_once(struct mm_mirror *m)
{
	if (!m->is_copyist)
		m->is_copyist = flock(m->place, LOCK_EX | LOCK_NB) == 0;
	if (!m->is_copyist)
		return 0;
	int error = m->disk == NULL ? open_disk(m) : 0;
	return error != 0 ? error : run_round(m);
}

/* The last rounds. Another process may be the copyist and end at the same time: it may not have seen our last changes.
 * So we wait until they are copied, by whichever process. */
static void copy_rest(struct mm_mirror *m)
{
	for (int i = 0; i == 0 || (i < LAST_TRIES && !mm_store_is_copied(m->store)); i++) {
		if (copy_once(m) != 0)
			return;
		if (!m->is_copyist)
			usleep(LAST_WAIT_US);
	}
}

static void *run(void *self)
{
	struct mm_mirror *m = self;
	pthread_mutex_lock(&m->mutex);
	while (!m->ends) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += (long)(MM_MIRROR_EVERY * 1e9);
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		while (!m->ends && pthread_cond_timedwait(&m->wake, &m->mutex, &until) != ETIMEDOUT) {}
		pthread_mutex_unlock(&m->mutex);
		int error = copy_once(m);
		pthread_mutex_lock(&m->mutex);
		tell(m, error);
	}
	pthread_mutex_unlock(&m->mutex);
	copy_rest(m);
	return NULL;
}

bool mm_mirror_has_news(struct mm_mirror *m, char *text, size_t size)
{
	if (pthread_mutex_trylock(&m->mutex) != 0)
		return false;
	bool has = m->has_news;
	m->has_news = false;
	if (has)
		snprintf(text, size, "%s", m->news);
	pthread_mutex_unlock(&m->mutex);
	return has;
}

/* ---- start and stop ---- */

static void free_mirror(struct mm_mirror *m)
{
	if (m->disk != NULL)
		mdb_env_close(m->disk);
	mm_store_close(m->store);
	mm_buffer_free(&m->slice);
	if (m->place >= 0)
		close(m->place);
	pthread_mutex_destroy(&m->mutex);
	pthread_cond_destroy(&m->wake);
	free(m);
}

/* The thread gets no signal: those are the loop's. */
static bool start_thread(struct mm_mirror *m)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	bool good = pthread_create(&m->thread, NULL, run, m) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return good;
}

struct mm_mirror *mm_mirror_start(const char *disk, const char *memory, const char *name,
	const struct mm_store_options *o, struct mm_fault *why)
{
	char place[PATH_SIZE];
	struct mm_mirror *m = calloc(1, sizeof *m);
	if (m == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "store %s: out of memory", name);
		return NULL;
	}
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&m->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&m->mutex, NULL);
	m->place = -1;
	m->size_max = o->size_max;
	bool good = path_of(m->path, disk, name, ".mdb", why) && path_of(place, disk, name, ".copyist", why);
	if (good && (m->place = open(place, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
		good = mm_fault_set(why, MM_FAULT_RESOURCE, "store %s: %s: %s", name, place, strerror(errno));
	struct mm_store_options view = *o;
	view.is_view = true;
	good = good && (m->store = mm_store_open(memory, name, &view, why)) != NULL;
	if (good && !start_thread(m))
		good = mm_fault_set(why, MM_FAULT_RESOURCE, "store %s: no thread for its copies", name);
	if (good)
		return m;
	free_mirror(m);
	return NULL;
}

void mm_mirror_stop(struct mm_mirror *m)
{
	if (m == NULL)
		return;
	pthread_mutex_lock(&m->mutex);
	m->ends = true;
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->mutex);
	pthread_join(m->thread, NULL);
	free_mirror(m);
}
