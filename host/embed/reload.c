#include "embed/reload.h"

#include "embed/generations.h"
#include "embed/parts.h"
#include "embed/service.h"

#include <stdlib.h>

struct reload_waiter {
	void                 (*done)(void *self, bool ok, const struct mm_error *);
	void                  *self;
	struct reload_waiter  *next;
};

static void tell_waiters(struct mm_host *h, bool ok, const struct mm_fault *why)
{
	struct mm_error error = { .code = MM_ERROR_NONE };
	if (!ok)
		mm_fault_tell(why, &error);
	struct reload_waiter *told = h->waiters;
	h->waiters = NULL;                      /* a callback that asks again gets the result of the next reload */
	while (told != NULL) {
		struct reload_waiter *w = told;
		told = w->next;
		w->done(w->self, ok, &error);
		free(w);
	}
}

static void log_reload(struct mm_host *h, bool ok, const struct mm_fault *why)
{
	struct mm_log_line line;
	mm_log_begin(&line, &h->log, ok ? MM_LEVEL_INFO : MM_LEVEL_ERROR, "reload");
	mm_log_string(&line, "result", ok ? "ok" : "failed");
	mm_log_number(&line, "generation", (long long)h->generation);
	if (!ok)
		mm_log_string(&line, "error", why->text);
	mm_log_end(&line);
}

static void wait_for_pace(struct mm_host *h);

static void on_reload_timer(struct mm_timer *t)
{
	struct mm_host *h = MM_OWNER_OF(t, struct mm_host, reload_timer);
	if (mm_pace_is_due(&h->pace, mm_clock_now()))
		mm_host_reload(h, NULL, NULL);
	else
		wait_for_pace(h);
}

/* Begins a postponed reload when it is due. */
static void wait_for_pace(struct mm_host *h)
{
	double wait = mm_pace_wait(&h->pace, mm_clock_now());
	if (wait < 0 || mm_timer_is_running(&h->reload_timer))
		return;
	mm_timer_init(&h->reload_timer, mm_worker_clock(h->worker), on_reload_timer);
	mm_timer_start(&h->reload_timer, wait);
}

void mm_host_end_pace(struct mm_host *h, bool goes_on)
{
	bool is_owed = mm_pace_end(&h->pace, mm_clock_now());
	if (!goes_on)
		return;
	if (is_owed)
		mm_host_reload(h, NULL, NULL);
	else
		wait_for_pace(h);
}

static void on_reloaded(void *self, bool ok, const struct mm_fault *why)
{
	struct mm_host *h = self;
	struct mm_fault fault = *why;
	if (ok)
		ok = mm_host_commit(h, &fault);
	log_reload(h, ok, &fault);
	if (h->options.handle_signals)
		mm_service_ready();
	if (h->reload_ended != NULL)
		h->reload_ended(h->reload_ended_self, ok, &fault);
	tell_waiters(h, ok, &fault);
	mm_host_end_pace(h, true);
}

void mm_host_on_reload(struct mm_host *h, void (*ended)(void *self, bool ok, const struct mm_fault *), void *self)
{
	h->reload_ended = ended;
	h->reload_ended_self = self;
}

void mm_host_reload(struct mm_host *h, void (*done)(void *self, bool ok, const struct mm_error *), void *self)
{
	if (done != NULL) {
		struct reload_waiter *w = malloc(sizeof *w);
		if (w != NULL) {
			*w = (struct reload_waiter){ done, self, h->waiters };
			h->waiters = w;
		}
	}
	if (h->is_stopping || !mm_pace_ask(&h->pace))
		return;
	if (h->options.handle_signals)
		mm_service_reloading();
	mm_host_prepare(h, h->generation + 1, true, on_reloaded, h);
}

void mm_host_reload_soon(struct mm_host *h)
{
	if (mm_pace_ask_soon(&h->pace, mm_clock_now()))
		mm_host_reload(h, NULL, NULL);
	else
		wait_for_pace(h);
}

void mm_host_forget_reload(struct mm_host *h)
{
	mm_timer_stop(&h->reload_timer);
	while (h->waiters != NULL) {
		struct reload_waiter *w = h->waiters;
		h->waiters = w->next;
		free(w);
	}
}
