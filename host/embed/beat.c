#include "embed/beat.h"

#include "base/bounds.h"
#include "embed/parts.h"

#include <ev.h>
#include <stdlib.h>
#include <unistd.h>

void mm_host_show_state(const struct mm_host *h, enum mm_census_state state)
{
	mm_census_set(h->row->generation, (uint32_t)h->generation);
	mm_census_set(h->row->state, state);
}

struct beat {
	ev_timer timer;
};

/* Beats while the loop turns; task/budget.c also beats when a long slice ends. */
static void on_beat(struct ev_loop *loop, ev_timer *t, int events)
{
	struct mm_host *h = t->data;
	(void)loop;
	(void)events;
	mm_census_add(h->row->beats, 1);
	mm_worker_look_at_loop(h->worker, MM_BEAT_EVERY);
	mm_worker_show_figures(h->worker);
	mm_census_set(h->row->lua_bytes, mm_worker_lua_bytes(h->worker));
	const struct mm_account_sum *held = &mm_worker_engines(h->worker)->held;
	mm_census_set(h->row->held_bytes, held->held);
	mm_census_set(h->row->held_peak, held->peak);
	mm_census_set(h->row->held_largest, held->largest);
	mm_census_set(h->row->older_sessions, mm_worker_older_sessions(h->worker));
	mm_census_set(h->row->log_lost, h->log.dropped_ever);
}

bool mm_host_begin_beating(struct mm_host *h)
{
	h->beat = calloc(1, sizeof *h->beat);
	if (h->beat == NULL)
		return false;
	mm_census_set(h->row->pid, (int32_t)getpid());
	ev_timer_init(&h->beat->timer, on_beat, 0., MM_BEAT_EVERY);
	h->beat->timer.data = h;
	ev_timer_start(h->loop, &h->beat->timer);
	ev_unref(h->loop);
	return true;
}

void mm_host_end_beating(struct mm_host *h)
{
	if (h->beat == NULL)
		return;
	ev_ref(h->loop);
	ev_timer_stop(h->loop, &h->beat->timer);
	free(h->beat);
	h->beat = NULL;
}
