/* A. A library closes its socket when it likes, and another thread may get the number at once. So what is guarded is a
 *    duplicate: shutting it down ends the connection of both.
 * B. OpenSSL frees its tables when the process ends, by atexit(3). Whoever begins TLS later than that crashes; so an
 *    exit waits for these threads first, which needs a place behind OpenSSL's own in the list of atexit(3). */
#include "async/handshake.h"

#include "async/tls.h"
#include "base/bounds.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STACK_SIZE = 512 * 1024, EXIT_WAIT_SECONDS = 1 };

struct mm_handshake {
	struct mm_handshake            *next, *previous;
	const struct mm_handshake_work *work;
	void                           *job;            /* owned */
	double                          deadline;
	/* guarded by the mutex */
	enum mm_handshake_state         state;
	void                           *connection;     /* owned */
	struct mm_fault                 why;            /* of FAILED */
	bool                            is_left;        /* the thread frees this */
	int                             guarded;        /* owned; -1: none */
	int                             event;          /* owned by the loop: written to while is_left is false */
};

static struct {
	pthread_mutex_t      mutex;
	pthread_cond_t       ended;
	struct mm_handshake *running;
	unsigned             count;
	bool                 sees_exit;
} all = { .mutex = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER };

static void free_handshake(struct mm_handshake *h)
{
	h->work->free_job(h->job);
	free(h);
}

/* With the mutex. */
static void shut_down(struct mm_handshake *h)
{
	h->is_left = true;
	if (h->guarded >= 0)
		shutdown(h->guarded, SHUT_RDWR);
}

/* Note B. */
static void on_exit_of_process(void)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += EXIT_WAIT_SECONDS;
	pthread_mutex_lock(&all.mutex);
	for (struct mm_handshake *h = all.running; h != NULL; h = h->next)
		shut_down(h);
	while (all.running != NULL && pthread_cond_timedwait(&all.ended, &all.mutex, &until) == 0)
		continue;
	pthread_mutex_unlock(&all.mutex);
}

/* ---- the thread ---- */

static void replace_guarded(struct mm_handshake *h, int fd)
{
	if (h->guarded >= 0)
		close(h->guarded);
	h->guarded = fd;
}

void mm_handshake_guard(struct mm_handshake *h, int fd)
{
	int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;        /* note A */
	pthread_mutex_lock(&all.mutex);
	replace_guarded(h, copy);
	if (h->is_left)
		shut_down(h);
	pthread_mutex_unlock(&all.mutex);
}

static bool is_left(struct mm_handshake *h)
{
	pthread_mutex_lock(&all.mutex);
	bool left = h->is_left;
	pthread_mutex_unlock(&all.mutex);
	return left;
}

double mm_handshake_seconds(const struct mm_handshake *h)
{
	double left = h->deadline - mm_clock_real();
	return left > 0.001 ? left : 0.001;
}

int mm_handshake_wait(struct mm_handshake *h, int fd, int readiness)
{
	struct pollfd p = { .fd = fd, .events = (short)(((readiness & MM_READABLE) != 0 ? POLLIN : 0)
		| ((readiness & MM_WRITABLE) != 0 ? POLLOUT : 0)) };
	mm_handshake_guard(h, fd);
	int count;
	do
		count = is_left(h) || mm_clock_real() >= h->deadline ? 0
			: poll(&p, 1, (int)(mm_handshake_seconds(h) * 1000) + 1);
	while (count < 0 && errno == EINTR);
	if (count <= 0 || is_left(h))
		return 0;
	int ready = ((p.revents & POLLIN) != 0 ? MM_READABLE : 0) | ((p.revents & POLLOUT) != 0 ? MM_WRITABLE : 0);
	return ready != 0 ? ready & readiness : readiness;      /* an error concerns whatever is waited for */
}

/* Frees it unless the loop still knows it. */
static void end(struct mm_handshake *h, void *connection, const struct mm_fault *why)
{
	static const uint64_t one = 1;
	pthread_mutex_lock(&all.mutex);
	replace_guarded(h, -1);
	bool left = h->is_left;
	if (left && connection != NULL) {
		pthread_mutex_unlock(&all.mutex);
		h->work->close(h->job, connection);
		pthread_mutex_lock(&all.mutex);
	}
	MM_LIST_REMOVE(all.running, h);
	all.count--;
	if (!left) {
		h->connection = connection;
		h->why = *why;
		h->state = connection != NULL ? MM_HANDSHAKE_DONE : MM_HANDSHAKE_FAILED;
		ssize_t n = write(h->event, &one, sizeof one);  /* an eventfd takes any one below its maximum */
		(void)n;
	}
	pthread_cond_broadcast(&all.ended);
	pthread_mutex_unlock(&all.mutex);
	if (left)
		free_handshake(h);
}

static void *run(void *self)
{
	struct mm_handshake *h = self;
	struct mm_fault why;
	mm_fault_clear(&why);
	void *connection = h->work->run(h, h->job, &why);
	end(h, connection, &why);
	return NULL;
}

/* ---- the loop ---- */

/* Signals are for the loop. */
static bool start_thread(struct mm_handshake *h)
{
	pthread_attr_t a;
	pthread_t thread;
	sigset_t every, had;
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &had);
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, STACK_SIZE);
	pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
	int rc = pthread_create(&thread, &a, run, h);
	pthread_attr_destroy(&a);
	pthread_sigmask(SIG_SETMASK, &had, NULL);
	return rc == 0;
}

static bool enlist(struct mm_handshake *h)
{
	pthread_mutex_lock(&all.mutex);
	bool has_place = all.count < MM_HANDSHAKES_MAX;
	if (has_place) {
		all.count++;
		MM_LIST_PUSH(all.running, h);
	}
	if (!all.sees_exit && mm_tls_begin())           /* note B */
		all.sees_exit = atexit(on_exit_of_process) == 0;
	pthread_mutex_unlock(&all.mutex);
	return has_place;
}

struct mm_handshake *mm_handshake_start(const struct mm_handshake_work *work, void *job, double seconds,
	struct mm_fault *why)
{
	struct mm_handshake *h = calloc(1, sizeof *h);
	int event = h != NULL ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	const char *text = "no memory or descriptor for a connection";
	if (event < 0)
		goto failed;
	*h = (struct mm_handshake){ .work = work, .job = job, .deadline = mm_clock_real() + seconds, .guarded = -1,
		.event = event };
	text = "too many connections begin at the same time";
	if (!enlist(h))
		goto failed;
	if (start_thread(h))
		return h;
	text = "no thread for a connection";
	pthread_mutex_lock(&all.mutex);
	MM_LIST_REMOVE(all.running, h);
	all.count--;
	pthread_mutex_unlock(&all.mutex);
failed:
	mm_fault_set(why, MM_FAULT_RESOURCE, "%s", text);
	work->free_job(job);
	if (event >= 0)
		close(event);
	free(h);
	return NULL;
}

int mm_handshake_descriptor(const struct mm_handshake *h)
{
	return h->event;
}

enum mm_handshake_state mm_handshake_look(struct mm_handshake *h, void **connection, struct mm_fault *why)
{
	pthread_mutex_lock(&all.mutex);
	enum mm_handshake_state state = h->state;
	if (state == MM_HANDSHAKE_DONE) {
		*connection = h->connection;
		h->connection = NULL;
	} else if (state == MM_HANDSHAKE_FAILED) {
		*why = h->why;
	}
	pthread_mutex_unlock(&all.mutex);
	return state;
}

void mm_handshake_leave(struct mm_handshake *h)
{
	if (h == NULL)
		return;
	pthread_mutex_lock(&all.mutex);
	bool runs = h->state == MM_HANDSHAKE_RUNS;
	if (runs)
		shut_down(h);
	close(h->event);
	pthread_mutex_unlock(&all.mutex);       /* the thread frees it if it runs */
	if (runs)
		return;
	if (h->connection != NULL)
		h->work->close(h->job, h->connection);
	free_handshake(h);
}
