#include "state/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* An operation takes microseconds: whoever holds the lock longer does not run. On a machine with far more work than
 * processors that may also be a process whose turn is over. */
#define WAIT_NS     (100 * 1000000L)
#define PATIENT_NS  1000000000L         /* after a wait in vain nobody waits for this long */

/* What the file holds. `mark` is written last. */
struct shared {
	char            mark[8];
	uint32_t        mutex_size;     /* of this C library */
	uint32_t        guarded_size;
	pthread_mutex_t mutex;
	char            guarded[];
};

static const char mark[8] = "mmlock1";

struct mm_lock {
	struct shared   *shared;
	size_t           mapped;
	struct timespec  impatient_until;       /* monotonic */
	bool             was_abandoned;         /* the last take: its holder has died */
};

static bool make_mutex(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;
	bool good = pthread_mutexattr_init(&a) == 0
		&& pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED) == 0
		&& pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) == 0
		&& pthread_mutex_init(m, &a) == 0;
	pthread_mutexattr_destroy(&a);
	return good;
}

/* With the file locked (flock), so that one process prepares it. */
static bool prepare(struct mm_lock *l, int fd, size_t size, const char *path, struct mm_fault *why)
{
	l->mapped = sizeof *l->shared + size;
	struct stat is;
	int error = fstat(fd, &is) != 0 ? errno : 0;
	if (error == 0 && is.st_size < (off_t)l->mapped)
		error = posix_fallocate(fd, 0, (off_t)l->mapped);       /* a hole would be a SIGBUS later */
	if (error != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "%s: no room for it: %s", path, strerror(error));
	l->shared = mmap(NULL, l->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (l->shared == MAP_FAILED) {
		l->shared = NULL;
		return mm_fault_set(why, MM_FAULT_RESOURCE, "%s: cannot map it: %s", path, strerror(errno));
	}
	struct shared *s = l->shared;
	if (memcmp(s->mark, mark, sizeof mark) != 0) {
		if (!make_mutex(&s->mutex))
			return mm_fault_set(why, MM_FAULT_RESOURCE, "%s: this system has no robust locks between "
				"processes", path);
		s->mutex_size = sizeof s->mutex;
		s->guarded_size = (uint32_t)size;
		atomic_thread_fence(memory_order_release);
		memcpy(s->mark, mark, sizeof mark);
	}
	return (s->mutex_size == sizeof s->mutex && s->guarded_size == size)
		|| mm_fault_set(why, MM_FAULT_CONFIG, "%s was made by another version of moonmilter; stop every "
			"process that uses it and remove it", path);
}

struct mm_lock *mm_lock_open(const char *path, size_t size, struct mm_fault *why)
{
	struct mm_lock *l = calloc(1, sizeof *l);
	int fd = l != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
	if (fd < 0) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "%s: %s", path, l != NULL ? strerror(errno) : "out of memory");
		free(l);
		return NULL;
	}
	bool good = flock(fd, LOCK_EX) == 0 ? prepare(l, fd, size, path, why)
		: mm_fault_set(why, MM_FAULT_RESOURCE, "%s: %s", path, strerror(errno));
	flock(fd, LOCK_UN);             /* closing it is not enough: the mapping holds the file */
	close(fd);
	if (good)
		return l;
	mm_lock_close(l);
	return NULL;
}

void mm_lock_close(struct mm_lock *l)
{
	if (l != NULL && l->shared != NULL)
		munmap(l->shared, l->mapped);
	free(l);
}

void *mm_lock_guarded(const struct mm_lock *l)
{
	return l->shared->guarded;
}

static struct timespec later(long ns)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (t.tv_nsec + ns) / 1000000000L;
	t.tv_nsec = (t.tv_nsec + ns) % 1000000000L;
	return t;
}

static bool has_passed(struct timespec when)
{
	struct timespec now = later(0);
	return now.tv_sec > when.tv_sec || (now.tv_sec == when.tv_sec && now.tv_nsec >= when.tv_nsec);
}

/* One wait in vain is enough: whoever holds the lock has been stopped, and each operation of every session would wait
 * again. */
static int wait_for(struct mm_lock *l)
{
	if (!has_passed(l->impatient_until))
		return EBUSY;
	struct timespec until = later(WAIT_NS);
	int error = pthread_mutex_clocklock(&l->shared->mutex, CLOCK_MONOTONIC, &until);
	if (error == ETIMEDOUT)
		l->impatient_until = later(PATIENT_NS);
	return error;
}

bool mm_lock_take(struct mm_lock *l)
{
	int error = pthread_mutex_trylock(&l->shared->mutex);
	if (error == EBUSY)
		error = wait_for(l);
	l->was_abandoned = error == EOWNERDEAD;
	if (error == EOWNERDEAD)        /* killed in the middle: what it had not committed does not exist (store.c) */
		error = pthread_mutex_consistent(&l->shared->mutex);
	return error == 0;
}

bool mm_lock_was_abandoned(const struct mm_lock *l)
{
	return l->was_abandoned;
}

void mm_lock_give(struct mm_lock *l)
{
	pthread_mutex_unlock(&l->shared->mutex);
}
