#include "base/watch.h"

#include <ev.h>
#include <stdint.h>
#include <string.h>

_Static_assert(sizeof(ev_io) <= sizeof(((struct mm_watch *)0)->watcher), "an ev_io must fit");

static struct ev_loop *loop_of(const struct mm_watch *w)
{
	return w->clock->loop;
}

static ev_io *watcher_of(const struct mm_watch *w)
{
	return (ev_io *)(void *)(uintptr_t)&w->watcher;
}

static void on_ready(struct ev_loop *loop, ev_io *io, int events)
{
	(void)loop;
	struct mm_watch *w = io->data;
	w->fire(w, (events & EV_READ ? MM_READABLE : 0) | (events & EV_WRITE ? MM_WRITABLE : 0));
}

void mm_watch_init(struct mm_watch *w, struct mm_clock *clock, void (*fire)(struct mm_watch *, int ready))
{
	memset(w, 0, sizeof *w);
	w->clock = clock;
	w->fire = fire;
	ev_io *io = watcher_of(w);
	ev_init(io, on_ready);
	ev_io_set(io, -1, 0);
	io->data = w;
}

void mm_watch_start(struct mm_watch *w, int descriptor, int readiness)
{
	ev_io *io = watcher_of(w);
	int events = (readiness & MM_READABLE ? EV_READ : 0) | (readiness & MM_WRITABLE ? EV_WRITE : 0);
	if (ev_is_active(io) && io->fd == descriptor && (io->events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(loop_of(w), io);
	if (events == 0)
		return;
	ev_io_set(io, descriptor, events);
	ev_io_start(loop_of(w), io);
}

void mm_watch_stop(struct mm_watch *w)
{
	if (w->clock != NULL)
		ev_io_stop(loop_of(w), watcher_of(w));
}
