#include "map/database_copy.h"

#include "map/image.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATH_SIZE 32

/* The libraries open files by their names only. False: the fault says why. The descriptor is the caller's. */
static bool as_file(struct mm_text bytes, int *fd, char path[PATH_SIZE], struct mm_fault *why)
{
	*fd = memfd_create("moonmilter map", MFD_CLOEXEC);
	for (size_t done = 0; *fd >= 0 && done < bytes.size;) {
		ssize_t n = write(*fd, bytes.bytes + done, bytes.size - done);
		if (n < 0 && errno != EINTR) {
			close(*fd);
			*fd = -1;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	snprintf(path, PATH_SIZE, "/proc/self/fd/%d", *fd);
	return *fd >= 0 || mm_fault_set(why, MM_FAULT_RESOURCE, "no memory for a copy: %s", strerror(errno));
}

static struct mm_text without_nul(const void *bytes, size_t size)
{
	const char *b = bytes;
	return (struct mm_text){ b, size > 0 && b[size - 1] == '\0' ? size - 1 : size };
}

static bool add(struct mm_image_writer *w, const void *key, size_t key_size, const void *value, size_t value_size,
	struct mm_fault *why)
{
	return mm_image_add(w, without_nul(key, key_size), without_nul(value, value_size), NULL, why);
}

/* ---- Berkeley DB ---- */

enum { TYPE_BTREE = 0, TYPE_HASH = 1, R_FIRST = 3, R_NEXT = 7 };

struct dbt {
	void  *data;
	size_t size;
};

struct db185 {
	int   type;
	int (*close)(struct db185 *);
	int (*del)(const struct db185 *, const struct dbt *, unsigned);
	int (*get)(const struct db185 *, const struct dbt *, struct dbt *, unsigned);
	int (*put)(const struct db185 *, struct dbt *, const struct dbt *, unsigned);
	int (*seq)(const struct db185 *, struct dbt *, struct dbt *, unsigned);
};

static struct db185 *(*open_db185)(const char *path, int flags, mode_t, int type, const void *info);

static void load_libdb(void)
{
	void *library = dlopen("libdb-5.3.so", RTLD_NOW | RTLD_LOCAL);
	void *function = library != NULL ? dlsym(library, "__db185_open") : NULL;
	memcpy(&open_db185, &function, sizeof function);
}

static bool has_libdb(struct mm_fault *why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, load_libdb);
	return open_db185 != NULL || mm_fault_set(why, MM_FAULT_CONFIG, "libdb 5.3 is not installed; install Debian's "
		"package libdb5.3 (from Debian 13 on libdb5.3t64)");
}

/* The first page: what kind of table it is, and whether all pages are there. The library believes that. */
static bool is_whole(struct mm_text file, uint32_t magic, struct mm_fault *why)
{
	uint32_t found = 0, page_size = 0, last_page = 0;
	if (file.size >= 512) {
		memcpy(&found, file.bytes + 12, sizeof found);
		memcpy(&page_size, file.bytes + 20, sizeof page_size);
		memcpy(&last_page, file.bytes + 32, sizeof last_page);
	}
	if (found != magic)
		return mm_fault_set(why, MM_FAULT_CONFIG, "it is not a table of this kind of Berkeley DB, made on a "
			"machine with this order of bytes");
	return (page_size >= 512 && ((uint64_t)last_page + 1) * page_size <= file.size)
		|| mm_fault_set(why, MM_FAULT_CONFIG, "it ends before its last page");
}

static bool copy_db(struct mm_text source, const char *path, int type, struct mm_image_writer *w,
	struct mm_fault *why)
{
	struct dbt key = { NULL, 0 }, value = { NULL, 0 };
	errno = 0;
	struct db185 *db = open_db185(path, O_RDONLY, 0, type, NULL);
	if (db == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "libdb cannot read it: %s", strerror(errno));
	int rc = db->seq(db, &key, &value, R_FIRST);
	bool is_good = true;
	/* A broken list of pages may have no end: no entry is shorter than a byte. */
	for (size_t n = 0; rc == 0 && is_good; n++) {
		is_good = n <= source.size ? add(w, key.data, key.size, value.data, value.size, why)
			: mm_fault_set(why, MM_FAULT_CONFIG, "its pages lead to each other");
		rc = is_good ? db->seq(db, &key, &value, R_NEXT) : 0;
	}
	if (rc < 0)
		is_good = mm_fault_set(why, MM_FAULT_CONFIG, "libdb cannot read it: %s", strerror(errno));
	db->close(db);
	return is_good;
}

static bool compile_db(struct mm_text source, int type, uint32_t magic, const struct mm_table_options *o,
	struct mm_image_writer *w, struct mm_fault *why)
{
	int fd;
	char path[PATH_SIZE];
	if (!has_libdb(why) || !is_whole(source, magic, why) || !as_file(source, &fd, path, why))
		return false;
	if (!o->keeps_case)
		mm_image_fold(w);
	bool is_good = copy_db(source, path, type, w, why);
	close(fd);
	return is_good;
}

static bool compile_hash(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	return compile_db(source, TYPE_HASH, 0x061561, o, w, why);
}

static bool compile_btree(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	return compile_db(source, TYPE_BTREE, 0x053162, o, w, why);
}

/* ---- LMDB ---- */

static bool fits(MDB_env *env, size_t size)
{
	MDB_envinfo info;
	MDB_stat stat;
	return mdb_env_info(env, &info) == 0 && mdb_env_stat(env, &stat) == 0
		&& (info.me_last_pgno + 1) * (uint64_t)stat.ms_psize <= size;
}

static int add_all(MDB_txn *t, struct mm_image_writer *w, struct mm_fault *why)
{
	MDB_dbi records;
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = mdb_dbi_open(t, NULL, 0, &records);
	if (rc != 0 || (rc = mdb_cursor_open(t, records, &cursor)) != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
		if (!add(w, key.mv_data, key.mv_size, value.mv_data, value.mv_size, why)) {
			rc = -1;
			break;
		}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* -1: the fault says why; else an error of LMDB. */
static int copy_lmdb(MDB_env *env, const char *path, size_t size, struct mm_image_writer *w, struct mm_fault *why)
{
	MDB_txn *t;
	int rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0);
	if (rc != 0)
		return rc;
	if (!fits(env, size)) {
		mm_fault_set(why, MM_FAULT_CONFIG, "it ends before its last page");
		return -1;
	}
	rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &t);
	if (rc != 0)
		return rc;
	rc = add_all(t, w, why);
	mdb_txn_abort(t);
	return rc;
}

static bool compile_lmdb(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	int fd;
	char path[PATH_SIZE];
	MDB_env *env = NULL;
	if (!as_file(source, &fd, path, why))
		return false;
	if (!o->keeps_case)
		mm_image_fold(w);
	int rc = mdb_env_create(&env);
	if (rc == 0)
		rc = copy_lmdb(env, path, source.size, w, why);
	if (env != NULL)
		mdb_env_close(env);
	close(fd);
	if (rc > 0 || rc < -1)
		mm_fault_set(why, MM_FAULT_CONFIG, "LMDB cannot read it: %s", mdb_strerror(rc));
	return rc == 0;
}

const struct mm_table_format mm_hash_format = { .name = "hash", .suffix = ".db", .compile = compile_hash };
const struct mm_table_format mm_btree_format = { .name = "btree", .suffix = ".db", .compile = compile_btree };
const struct mm_table_format mm_lmdb_format = { .name = "lmdb", .suffix = ".lmdb", .compile = compile_lmdb };
