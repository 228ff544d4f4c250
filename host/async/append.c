#include "async/append.h"

#include "base/safe_path.h"
#include "base/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define STACK_SIZE (256 * 1024)

/* Loop and thread share it; whoever is last frees it. */
struct mm_append {
	/* of the loop */
	struct mm_watch  watch;
	mm_append_done  *done;
	void            *self;          /* borrowed */
	/* of the thread, of the loop when it is over */
	struct mm_fault  why;           /* text "": it is done */
	/* guarded by mutex */
	pthread_mutex_t  mutex;
	bool             is_left;       /* the loop does not wait any more */
	bool             is_over;       /* the thread has ended its work */
	int              event;         /* owned by the loop */
	size_t           size;
	char            *bytes;         /* within data */
	char             data[];        /* path, NUL, bytes */
};

static void free_append(struct mm_append *a)
{
	pthread_mutex_destroy(&a->mutex);
	free(a);
}

/* ---- the thread ---- */

static bool fail(struct mm_append *a, int error)
{
	return mm_fault_set(&a->why, MM_FAULT_RESOURCE, "%s: %s", a->data, strerror(error));
}

static bool write_all(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, bytes, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		size -= (size_t)n;
	}
	return true;
}

/* The last line has its end; an empty file has none. */
static bool is_whole(int fd, off_t size)
{
	char last = '\n';
	return size == 0 || (pread(fd, &last, 1, size - 1) == 1 && last == '\n');
}

static bool append_to(struct mm_append *a, int fd)
{
	struct stat is;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return mm_fault_set(&a->why, MM_FAULT_RESOURCE, "%s: another process writes to it", a->data);
	if (fstat(fd, &is) != 0)
		return fail(a, errno);
	if (!S_ISREG(is.st_mode))
		return mm_fault_set(&a->why, MM_FAULT_RESOURCE, "%s: it is not a regular file", a->data);
	bool good = (is_whole(fd, is.st_size) || write_all(fd, "\n", 1)) && write_all(fd, a->bytes, a->size)
		&& fdatasync(fd) == 0;
	int error = errno;
	if (good)
		return true;
	/* If this fails, too, a part stays, which the next line does not join. */
	return fail(a, ftruncate(fd, is.st_size) == 0 ? error : errno);
}

/* A FIFO or a device must not hold the thread: it is opened without waiting, and refused later. */
static bool append(struct mm_append *a)
{
	struct mm_safe_path p;
	if (!mm_safe_path_open(&p, a->data, &a->why))
		return false;
	int fd = openat(p.directory, p.name, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
		| mm_safe_path_flags(&p), 0640);
	int error = errno;
	mm_safe_path_close(&p);
	if (fd < 0)
		return fail(a, error);
	bool good = append_to(a, fd);
	close(fd);
	return good;
}

static void *run(void *self)
{
	struct mm_append *a = self;
	uint64_t one = 1;
	if (append(a))
		a->why.text[0] = '\0';
	pthread_mutex_lock(&a->mutex);
	a->is_over = true;
	bool is_left = a->is_left;
	if (!is_left && write(a->event, &one, sizeof one) < 0)
		a->why.class = MM_FAULT_BUG;    /* an eventfd takes any one below its maximum */
	pthread_mutex_unlock(&a->mutex);
	if (is_left)
		free_append(a);
	return NULL;
}

/* Signals are for the loop. */
static bool start_thread(struct mm_append *a)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, had;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &had);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int rc = pthread_create(&thread, &attributes, run, a);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &had, NULL);
	return rc == 0;
}

/* ---- the loop ---- */

void mm_append_leave(struct mm_append *a)
{
	mm_watch_stop(&a->watch);
	pthread_mutex_lock(&a->mutex);
	a->is_left = true;
	bool is_over = a->is_over;
	close(a->event);
	pthread_mutex_unlock(&a->mutex);        /* the thread may free it now, unless it is over */
	if (is_over)
		free_append(a);
}

static void on_ready(struct mm_watch *watch, int ready)
{
	struct mm_append *a = MM_OWNER_OF(watch, struct mm_append, watch);
	mm_append_done *done = a->done;
	void *self = a->self;
	(void)ready;
	pthread_mutex_lock(&a->mutex);
	struct mm_fault why = a->why;
	pthread_mutex_unlock(&a->mutex);
	mm_append_leave(a);
	done(self, why.text[0] != '\0' ? why.text : NULL);
}

struct mm_append *mm_append_start(struct mm_clock *clock, const char *path, struct mm_text bytes, mm_append_done *done,
	void *self, struct mm_fault *why)
{
	size_t path_size = strlen(path) + 1;
	struct mm_append *a = calloc(1, sizeof *a + path_size + bytes.size);
	int event = a != NULL ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (event < 0) {
		free(a);
		mm_fault_set(why, MM_FAULT_RESOURCE, "no memory or descriptor to write to a file");
		return NULL;
	}
	memcpy(a->data, path, path_size);
	a->bytes = a->data + path_size;
	a->size = bytes.size;
	memcpy(a->bytes, bytes.bytes, bytes.size);
	a->done = done;
	a->self = self;
	a->event = event;
	pthread_mutex_init(&a->mutex, NULL);
	mm_watch_init(&a->watch, clock, on_ready);
	if (start_thread(a)) {
		mm_watch_start(&a->watch, event, MM_READABLE);
		return a;
	}
	close(event);
	free_append(a);
	mm_fault_set(why, MM_FAULT_RESOURCE, "no thread to write to a file");
	return NULL;
}
