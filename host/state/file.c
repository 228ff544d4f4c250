#include "state/file.h"

#include "state/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define METAS       2                   /* pages that a file begins with */
#define KEY_MAX     511u                /* bytes */
#define CPU_SECONDS 60u                 /* of the process that reads a file */

bool mm_file_is_absent(const char *path)
{
	struct stat is;
	return stat(path, &is) != 0 ? errno == ENOENT : is.st_size < METAS * (off_t)sysconf(_SC_PAGESIZE);
}

int mm_file_drop_beginning(const char *path)
{
	if (!mm_file_is_absent(path) || access(path, F_OK) != 0)
		return 0;
	return truncate(path, 0) == 0 ? 0 : errno;
}

int mm_file_open(MDB_env **env, const char *path, size_t map_size, unsigned flags)
{
	int error = mdb_env_create(env);
	if (error == 0)
		error = mdb_env_set_maxdbs(*env, 3);
	if (error == 0)
		error = mdb_env_set_mapsize(*env, map_size);
	return error == 0 ? mdb_env_open(*env, path, MDB_NOSUBDIR | MDB_NOLOCK | flags, 0600) : error;
}

/* ---- in a process of its own ---- */

/* An order that is wrong is an error, so that damaged pages cannot lead in circles. */
static int read_records(MDB_txn *from, MDB_txn *to)
{
	MDB_dbi had, has;
	MDB_cursor *c;
	MDB_val k, v, before = { 0, NULL };
	int error = mdb_dbi_open(from, "records", 0, &had);
	if (error == MDB_NOTFOUND)
		return 0;
	if (error == 0)
		error = mdb_dbi_open(to, "records", MDB_CREATE, &has);
	if (error == 0)
		error = mdb_cursor_open(from, had, &c);
	if (error != 0)
		return error;
	while (error == 0 && (error = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
		bool is_next = k.mv_size > 0 && k.mv_size <= KEY_MAX
			&& (before.mv_size == 0 || mdb_cmp(from, had, &before, &k) < 0);
		before = k;
		error = !is_next ? MDB_CORRUPTED : mdb_put(to, has, &k, &v, MDB_APPEND);
	}
	mdb_cursor_close(c);
	return error == MDB_NOTFOUND ? 0 : error;
}

static int read_file(const char *from, const char *to)
{
	MDB_env *disk = NULL, *memory = NULL;
	MDB_txn *reading = NULL, *writing = NULL;
	struct stat is;
	int error = stat(from, &is) == 0 ? 0 : errno;
	if (error == 0)
		error = mm_file_open(&disk, from, (size_t)is.st_size, MDB_RDONLY);
	if (error == 0)
		error = mdb_txn_begin(disk, NULL, MDB_RDONLY, &reading);
	if (error == 0)
		error = mm_file_open(&memory, to, 2 * (size_t)is.st_size + (8u << 20), MDB_NOSYNC);
	if (error == 0)
		error = mdb_txn_begin(memory, NULL, 0, &writing);
	if (error == 0)
		error = read_records(reading, writing);
	return error == 0 ? mdb_txn_commit(writing) : error;
}

static _Noreturn void be_reader(const char *from, const char *to, int result)
{
	static const struct rlimit most = { CPU_SECONDS, CPU_SECONDS }, none = { 0, 0 };
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE };
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_CPU, &most);
	for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
		signal(crashes[i], SIG_DFL);
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);  /* LMDB would say why it aborts */
	if (nowhere >= 0)
		dup2(nowhere, STDERR_FILENO);
	int error = read_file(from, to);
	_exit(write(result, &error, sizeof error) != sizeof error);
}

/* The result comes through a pipe, because the application may have its own view of SIGCHLD. */
static int read_safely(const char *from, const char *to)
{
	int ends[2], error = MDB_CORRUPTED;
	sigset_t all, before;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);            /* the child has the loop's handlers */
	pid_t child = fork();
	if (child == 0)
		be_reader(from, to, ends[1]);
	int forked = child < 0 ? errno : 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(ends[1]);
	ssize_t got = -1;
	while (forked == 0 && (got = read(ends[0], &error, sizeof error)) < 0 && errno == EINTR) {}
	close(ends[0]);
	while (forked == 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
	return forked != 0 ? forked : got == sizeof error && error != MDB_INVALID && error != MDB_PAGE_NOTFOUND ? error
		: MDB_CORRUPTED;
}

int mm_file_copy(const char *from, const char *to)
{
	int error = mm_file_check(from);
	return error == 0 ? read_safely(from, to) : error;
}

/* ---- here ---- */

int mm_file_check(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int error = fd >= 0 ? mm_pages_check(fd) : errno;
	if (fd >= 0)
		close(fd);
	return error;
}

int mm_file_fill_end(MDB_env *env, const char *path)
{
	MDB_envinfo info;
	MDB_stat pages;
	struct stat is;
	mdb_env_info(env, &info);
	mdb_env_stat(env, &pages);
	off_t size = (off_t)(info.me_last_pgno + 1) * pages.ms_psize;
	if (stat(path, &is) != 0)
		return errno;
	if (is.st_size >= size)
		return 0;
	int error = mm_file_check(path);
	return error != 0 ? error : truncate(path, size) == 0 ? 0 : errno;
}
