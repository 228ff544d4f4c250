/* Both libraries believe what is in a file, and die of one that is damaged. So a child process reads it: it writes the
 * entries into memory that it shares with us, and may crash. It does no more than these libraries and memory need,
 * because other threads of this process may hold locks that it will never get. */
#include "map/database_copy.h"

#include "map/image.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_SIZE   32
#define CPU_SECONDS 2                   /* of the child, and one more for each MiB: libdb may read in circles */
#define MEMORY_MORE (64u << 20)         /* bytes that the library may take of its own, besides twice the file */
#define PENDING     (64u << 10)         /* bytes that it gathers before it writes them */

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

/* ---- the child ---- */

/* Where its entries go: each as the sizes of key and value, two size_t, and their bytes. */
struct sink {
	int              fd;
	struct mm_buffer pending;
	uint64_t         left;          /* bytes that a sound table may still have */
};

static bool flush(struct sink *s)
{
	for (size_t done = 0; done < s->pending.size;) {
		ssize_t n = write(s->fd, s->pending.bytes + done, s->pending.size - done);
		if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	mm_buffer_clear(&s->pending);
	return true;
}

static bool add(struct sink *s, const void *key, size_t key_size, const void *value, size_t value_size,
	struct mm_fault *why)
{
	struct mm_text k = without_nul(key, key_size), v = without_nul(value, value_size);
	const size_t sizes[2] = { k.size, v.size };
	if (k.size > s->left || v.size > s->left - k.size)
		return mm_fault_set(why, MM_FAULT_CONFIG, "its pages lead to each other");
	s->left -= k.size + v.size;
	mm_buffer_append(&s->pending, sizes, sizeof sizes);
	mm_buffer_append(&s->pending, k.bytes, k.size);
	mm_buffer_append(&s->pending, v.bytes, v.size);
	return (!s->pending.failed && (s->pending.size < PENDING || flush(s)))
		|| mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for its entries");
}

struct reading {
	bool         (*read)(struct mm_text source, const char *path, int type, struct sink *, struct mm_fault *why);
	struct mm_text source;
	const char    *path;
	int            type;
	const char    *library;         /* for texts */
	rlim_t         data_max;        /* bytes of memory of the child, with what it has from us */
};

/* Bytes of data that this process has, as RLIMIT_DATA counts them; 0: not known. */
static rlim_t data_size(void)
{
	char text[256];
	unsigned long pages = 0;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return sscanf(text, "%*u %*u %*u %*u %*u %lu", &pages) == 1 ? pages * (rlim_t)sysconf(_SC_PAGESIZE) : 0;
}

struct reading_result {
	bool            is_good;
	struct mm_fault why;
};

static _Noreturn void be_reader(const struct reading *r, int entries, int result)
{
	static const struct rlimit none = { 0, 0 };
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
	const rlim_t seconds = CPU_SECONDS + r->source.size / (1u << 20);
	struct sink sink = { .fd = entries, .left = 2 * (uint64_t)r->source.size };
	struct reading_result said = { .is_good = false };
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_CPU, &(struct rlimit){ seconds, seconds });
	setrlimit(RLIMIT_DATA, &(struct rlimit){ r->data_max, r->data_max });
	for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
		signal(crashes[i], SIG_DFL);
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);  /* libraries would say why they abort */
	if (nowhere >= 0)
		dup2(nowhere, STDERR_FILENO);
	said.is_good = r->read(r->source, r->path, r->type, &sink, &said.why) && flush(&sink);
	_exit(write(result, &said, sizeof said) != sizeof said);
}

/* ---- the parent ---- */

static bool take_entries(int fd, struct mm_image_writer *w, struct mm_fault *why)
{
	struct stat is;
	size_t sizes[2];
	if (fstat(fd, &is) != 0 || is.st_size == 0)
		return is.st_size == 0 || mm_fault_set(why, MM_FAULT_RESOURCE, "%s", strerror(errno));
	char *bytes = mmap(NULL, (size_t)is.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "no memory for its entries: %s", strerror(errno));
	bool is_good = true;
	for (size_t at = 0, end = (size_t)is.st_size; at < end && is_good; at += sizes[0] + sizes[1]) {
		is_good = end - at >= sizeof sizes;
		if (is_good)
			memcpy(sizes, bytes + at, sizeof sizes);
		at += sizeof sizes;
		is_good = is_good && sizes[0] <= end - at && sizes[1] <= end - at - sizes[0];
		if (!is_good)
			mm_fault_set(why, MM_FAULT_CONFIG, "its entries cannot be read");
		is_good = is_good && mm_image_add(w, (struct mm_text){ bytes + at, sizes[0] },
			(struct mm_text){ bytes + at + sizes[0], sizes[1] }, NULL, why);
	}
	munmap(bytes, (size_t)is.st_size);
	return is_good;
}

/* The result comes through a pipe, because the application may have its own view of SIGCHLD. */
static bool run_reader(const struct reading *r, int entries, struct mm_fault *why)
{
	struct reading_result said;
	int ends[2];
	sigset_t all, before;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "%s", strerror(errno));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);            /* the child has the loop's handlers */
	pid_t child = fork();
	if (child == 0)
		be_reader(r, entries, ends[1]);
	int error = child < 0 ? errno : 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(ends[1]);
	ssize_t got = -1;
	while (error == 0 && (got = read(ends[0], &said, sizeof said)) < 0 && errno == EINTR) {}
	close(ends[0]);
	while (error == 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
	if (error != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "no process to read it: %s", strerror(error));
	if (got != (ssize_t)sizeof said)
		return mm_fault_set(why, MM_FAULT_CONFIG, "it is damaged: %s ended without an answer; make it anew",
			r->library);
	if (!said.is_good)
		*why = said.why;
	return said.is_good;
}

static bool read_safely(struct reading *r, struct mm_image_writer *w, struct mm_fault *why)
{
	rlim_t had = data_size();
	r->data_max = had > 0 ? had + MEMORY_MORE + 2 * (rlim_t)r->source.size : RLIM_INFINITY;
	int entries = memfd_create("moonmilter map entries", MFD_CLOEXEC);
	if (entries < 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "no memory for its entries: %s", strerror(errno));
	bool is_good = run_reader(r, entries, why) && take_entries(entries, w, why);
	close(entries);
	return is_good;
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

static bool copy_db(struct mm_text source, const char *path, int type, struct sink *to, struct mm_fault *why)
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
		is_good = n <= source.size ? add(to, key.data, key.size, value.data, value.size, why)
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
	bool is_good = read_safely(&(struct reading){ copy_db, source, path, type, "libdb", 0 }, w, why);
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

static int add_all(MDB_txn *t, struct sink *to, struct mm_fault *why)
{
	MDB_dbi records;
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = mdb_dbi_open(t, NULL, 0, &records);
	if (rc != 0 || (rc = mdb_cursor_open(t, records, &cursor)) != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
		if (!add(to, key.mv_data, key.mv_size, value.mv_data, value.mv_size, why)) {
			rc = -1;
			break;
		}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* -1: the fault says why; else an error of LMDB. */
static int copy_opened(MDB_env *env, const char *path, size_t size, struct sink *to, struct mm_fault *why)
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
	rc = add_all(t, to, why);
	mdb_txn_abort(t);
	return rc;
}

static bool copy_lmdb(struct mm_text source, const char *path, int type, struct sink *to, struct mm_fault *why)
{
	MDB_env *env = NULL;
	(void)type;
	int rc = mdb_env_create(&env);
	if (rc == 0)
		rc = copy_opened(env, path, source.size, to, why);
	if (env != NULL)
		mdb_env_close(env);
	if (rc > 0 || rc < -1)
		mm_fault_set(why, MM_FAULT_CONFIG, "LMDB cannot read it: %s", mdb_strerror(rc));
	return rc == 0;
}

static bool compile_lmdb(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	int fd;
	char path[PATH_SIZE];
	if (!as_file(source, &fd, path, why))
		return false;
	if (!o->keeps_case)
		mm_image_fold(w);
	bool is_good = read_safely(&(struct reading){ copy_lmdb, source, path, 0, "LMDB", 0 }, w, why);
	close(fd);
	return is_good;
}

const struct mm_table_format mm_hash_format = { .name = "hash", .suffix = ".db", .compile = compile_hash };
const struct mm_table_format mm_btree_format = { .name = "btree", .suffix = ".db", .compile = compile_btree };
const struct mm_table_format mm_lmdb_format = { .name = "lmdb", .suffix = ".lmdb", .compile = compile_lmdb };
