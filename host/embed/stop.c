#include "embed/stop.h"

#include "base/bounds.h"
#include "embed/beat.h"
#include "embed/listeners.h"
#include "embed/parts.h"
#include "embed/service.h"

#include <ev.h>

static void be_stopped(struct mm_host *h)
{
	mm_timer_stop(&h->drain_timer);
	h->is_stopped = true;
	ev_break(h->loop, EVBREAK_ALL);
}

void mm_host_on_drained(void *self)
{
	struct mm_host *h = self;
	if (!h->is_stopped)
		be_stopped(h);
}

static void on_flush_timeout(struct mm_timer *t)
{
	mm_host_on_drained(MM_OWNER_OF(t, struct mm_host, drain_timer));
}

static void set_drain_timer(struct mm_host *h, void (*fire)(struct mm_timer *), double seconds)
{
	mm_timer_stop(&h->drain_timer);
	mm_timer_init(&h->drain_timer, mm_worker_clock(h->worker), fire);
	mm_timer_start(&h->drain_timer, seconds);
}

/* Every session gets its last reply. The kernel may have taken only a part of it, so the MTA gets
 * another moment to read. */
static void halt(struct mm_host *h)
{
	if (h->is_stopped)
		return;
	h->is_stopping = true;
	mm_worker_shut_down(h->worker);
	if (h->is_stopped)                      /* no session was open */
		return;
	if (h->is_halting) {
		be_stopped(h);
		return;
	}
	h->is_halting = true;
	set_drain_timer(h, on_flush_timeout, MM_FLUSH_TIMEOUT);
	mm_worker_drain(h->worker);             /* reports when nothing is left */
}

static void on_drain_timer(struct mm_timer *t)
{
	struct mm_host *h = MM_OWNER_OF(t, struct mm_host, drain_timer);
	mm_log_say(&h->log, MM_LEVEL_WARN, "stop", "drain_timeout is over: %u sessions end with a temporary failure",
		mm_worker_session_count(h->worker));
	halt(h);
}

void mm_host_retire(struct mm_host *h)
{
	mm_host_show_state(h, MM_CENSUS_DRAINING);
	mm_worker_unwatch(h->worker);           /* before the descriptors close: the kernel reuses their numbers */
	mm_host_close_listeners(h);
	mm_worker_drain(h->worker);
}

static void begin_drain(struct mm_host *h)
{
	h->is_stopping = true;
	if (h->options.handle_signals && h->census == NULL)
		mm_service_stopping();
	mm_log_say(&h->log, MM_LEVEL_INFO, "stop", "no new connections; %u sessions may finish within %.0f s",
		mm_worker_session_count(h->worker), h->config.drain_timeout);
	set_drain_timer(h, on_drain_timer, h->config.drain_timeout);
	mm_host_retire(h);
}

void mm_host_stop(struct mm_host *h, enum mm_stop how)
{
	if (how == MM_STOP_NOW)
		halt(h);
	else if (!h->is_stopping)
		begin_drain(h);
}

void mm_host_stop_as_asked(struct mm_host *h)
{
	if (h->is_stopping && !h->is_stopped)
		mm_log_say(&h->log, MM_LEVEL_WARN, "stop", "asked again: stopping at once");
	mm_host_stop(h, h->is_stopping ? MM_STOP_NOW : MM_STOP_DRAIN);
}

bool mm_host_is_stopped(const struct mm_host *h)
{
	return h->is_stopped;
}

bool mm_host_is_stopping(const struct mm_host *h)
{
	return h->is_stopping;
}
