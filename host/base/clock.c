#include "base/clock.h"

#include <ev.h>
#include <stdint.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

_Static_assert(sizeof(ev_timer) <= sizeof(((struct mm_timer *)0)->watcher), "an ev_timer must fit");

static struct ev_loop *loop_of(struct mm_clock *c)
{
	return c->loop;
}

static ev_timer *watcher_of(const struct mm_timer *t)
{
	return (ev_timer *)(void *)(uintptr_t)&t->watcher;
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	struct mm_timer *t = w->data;
	t->fire(t);
}

void mm_timer_init(struct mm_timer *t, struct mm_clock *clock, void (*fire)(struct mm_timer *))
{
	memset(t, 0, sizeof *t);
	t->clock = clock;
	t->fire = fire;
	ev_timer *w = watcher_of(t);
	ev_init(w, on_timer);
	w->data = t;
}

void mm_timer_start(struct mm_timer *t, double after)
{
	struct ev_loop *loop = loop_of(t->clock);
	ev_now_update(loop);
	ev_timer_stop(loop, watcher_of(t));
	ev_timer_set(watcher_of(t), after > 0 ? after : 0, 0.);
	ev_timer_start(loop, watcher_of(t));
}

void mm_timer_soon(struct mm_timer *t)
{
	struct ev_loop *loop = loop_of(t->clock);
	ev_timer_stop(loop, watcher_of(t));
	ev_timer_set(watcher_of(t), 0., 0.);
	ev_timer_start(loop, watcher_of(t));
}

void mm_timer_stop(struct mm_timer *t)
{
	if (t->clock != NULL)
		ev_timer_stop(loop_of(t->clock), watcher_of(t));
}

bool mm_timer_is_running(const struct mm_timer *t)
{
	return t->clock != NULL && ev_is_active(watcher_of(t));
}

/* ---- the time ---- */

/* Times of the virtual clock are nanoseconds: doubles would lose the last digits, which libev compares. */
static _Thread_local struct {
	unsigned users;
	int64_t  monotonic, wall;
} virtual;

/* libev has called us: it is our own copy and follows the virtual clock. */
static _Thread_local bool libev_follows;

/* Set while mm_clock_look() turns a loop that must not wait. */
static _Thread_local struct mm_clock_wait *look;

#define NS_PER_S 1000000000LL

static int64_t real_ns(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static double seconds_of(clockid_t id)
{
	int64_t ns = virtual.users == 0 ? real_ns(id) : id == CLOCK_REALTIME ? virtual.wall : virtual.monotonic;
	return (double)ns / 1e9;
}

double mm_clock_now(void)
{
	return seconds_of(CLOCK_MONOTONIC);
}

double mm_clock_real(void)
{
	return (double)real_ns(CLOCK_MONOTONIC) / 1e9;
}

double mm_clock_wall(void)
{
	return seconds_of(CLOCK_REALTIME);
}

double mm_clock_cpu(void)
{
	return (double)real_ns(CLOCK_THREAD_CPUTIME_ID) / 1e9;
}

/* The first loop of a process finds out what the system has, and keeps that in plain variables of libev: hosts on
 * several threads must not do so at once. */
void *mm_clock_new_loop(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock(&mutex);
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	pthread_mutex_unlock(&mutex);
	return loop;
}

void mm_clock_adopt(void)
{
	struct ev_loop *first = mm_clock_new_loop();
	if (first != NULL)
		ev_loop_destroy(first);
}

bool mm_clock_make_virtual(double wall)
{
	libev_follows = false;
	mm_clock_adopt();
	if (!libev_follows)
		return false;
	if (virtual.users++ == 0) {
		virtual.monotonic = real_ns(CLOCK_MONOTONIC);
		virtual.wall = real_ns(CLOCK_REALTIME);
	}
	if (wall > 0)
		virtual.wall = llround(wall * 1e9);
	return true;
}

void mm_clock_make_real(void)
{
	virtual.users -= virtual.users > 0;
}

/* libev calls these for clock_gettime() and epoll_wait(). */
int mm_ev_clock_gettime(clockid_t, struct timespec *);
int mm_ev_epoll_wait(int, struct epoll_event *, int, int);

int mm_ev_clock_gettime(clockid_t id, struct timespec *out)
{
	libev_follows = true;
	if (virtual.users == 0 || (id != CLOCK_MONOTONIC && id != CLOCK_REALTIME))
		return clock_gettime(id, out);
	int64_t ns = id == CLOCK_REALTIME ? virtual.wall : virtual.monotonic;
	*out = (struct timespec){ ns / NS_PER_S, ns % NS_PER_S };
	return 0;
}

int mm_ev_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
	if (look != NULL) {
		look->fd = fd;
		look->timeout = timeout_ms / 1e3;
		return epoll_wait(fd, events, max, 0);
	}
	if (virtual.users == 0)
		return epoll_wait(fd, events, max, timeout_ms);
	int n = epoll_wait(fd, events, max, 0);
	if (n == 0 && timeout_ms >= 0) {        /* nothing happens until then */
		/* and a moment more: for libev a timer is due after its time, not at its time */
		int64_t ns = timeout_ms * 1000000LL + 1000;
		virtual.monotonic += ns;
		virtual.wall += ns;
	}
	return n;
}

/* ---- waiting in the loop's place ---- */

static void leave_pending(struct ev_loop *loop)
{
	(void)loop;
}

struct mm_clock_wait mm_clock_look(struct mm_clock *c)
{
	struct mm_clock_wait found = { -1, 0 };
	struct ev_loop *loop = loop_of(c);
	ev_set_invoke_pending_cb(loop, leave_pending);
	look = &found;
	ev_ref(loop);                           /* with nothing that keeps it running, libev would not ask for a wait */
	ev_run(loop, EVRUN_ONCE);
	ev_unref(loop);
	look = NULL;
	ev_set_invoke_pending_cb(loop, ev_invoke_pending);
	if (ev_pending_count(loop) > 1)         /* more than the prepare watcher */
		found.timeout = 0;
	return found;
}
