#include "clock.h"

#include <ev.h>
#include <stdint.h>
#include <string.h>
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

double mm_clock_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double mm_clock_wall(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double mm_clock_cpu(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
