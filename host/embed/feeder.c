/* embed/feeder.c -- milter connections without a socket, mm_feed_* of moonmilter.h: the embedder brings the MTA's bytes
 * and takes the replies. */
#include "base/buffer.h"
#include "base/list.h"
#include "embed/filter.h"
#include "embed/parts.h"
#include "io/outcome.h"

#include <stdlib.h>
#include <string.h>

struct mm_feed {
	struct mm_host   *host;                 /* borrowed */
	struct mm_engine *engine;               /* owned */
	struct mm_shadow *shadow;               /* owned; NULL: it has none */
	struct mm_buffer  out;
	struct mm_timer   more;                 /* begins the next turn, when packets are left */
	size_t            declared;             /* for the account of its session */
	struct mm_feed    *next, *previous;
};

static void declare(struct mm_feed *f, size_t bytes)
{
	mm_account_declare(&mm_engine_session(f->engine)->account, &f->declared, bytes);
}

/* Output waits in out until the embedder asks for it. Packets that are left when the turn is over are served in
 * mm_host_turn(), between those of other sessions. */
static void settle(struct mm_feed *f)
{
	declare(f, f->out.capacity);
	if (mm_engine_has_more(f->engine) && !mm_timer_is_running(&f->more))
		mm_timer_soon(&f->more);
}

static void on_more(struct mm_timer *timer)
{
	struct mm_feed *f = MM_OWNER_OF(timer, struct mm_feed, more);
	struct mm_fault why;
	mm_engine_go_on(f->engine, &why);
	settle(f);
}

static void on_feeder_wake(void *self)
{
	settle(self);
}

static void on_feeder_report(void *self, const struct mm_outcome_report *r)
{
	struct mm_feed *f = self;
	mm_tell_outcome(mm_worker_desk(f->host->worker), mm_engine_session(f->engine), r);
	mm_count_outcome(f->host->row, r);
	mm_log_outcome(&f->host->log, mm_worker_profile(f->host->worker), r);
	mm_log_flush(&f->host->log);            /* no turn of the loop need follow */
	mm_shadow_report(f->shadow, r);
}

static void on_feeder_aside(void *self, const struct mm_outcome_report *r)
{
	struct mm_feed *f = self;
	mm_tell_aside(mm_worker_desk(f->host->worker), mm_engine_session(f->engine), r);
	mm_log_aside(&f->host->log, r);
	mm_log_flush(&f->host->log);
	mm_shadow_aside(f->shadow, r);
}

static void on_feeder_edits(void *self)
{
	struct mm_feed *f = self;
	mm_shadow_edits(f->shadow, mm_engine_session(f->engine));
}

static void on_feeder_fault(void *self, const struct mm_fault *why)
{
	struct mm_feed *f = self;
	mm_log_fault(&f->host->log, mm_engine_session(f->engine), why);
}

static void on_feeder_note(void *self, const char *text)
{
	struct mm_feed *f = self;
	mm_log_mta(&f->host->log, mm_engine_session(f->engine), text);
}

struct mm_feed *mm_feed_open(struct mm_host *h, const char *milter, struct mm_error *error)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	unsigned at = 0;
	while (milter != NULL && at < h->config.milter_count && strcmp(h->milter_names[at], milter) != 0)
		at++;
	struct mm_generation *g = at < h->config.milter_count ? mm_worker_generation(h->worker, at) : NULL;
	if (g == NULL) {
		mm_fault_because(&why, MM_REASON_IS_NOT_FOUND, at < h->config.milter_count ? "no scripts are loaded yet"
			: "there is no milter \"%s\"", milter != NULL ? milter : "");
		mm_fault_tell(&why, error);
		return NULL;
	}
	const struct mm_shadow_of *shadow = NULL;
	struct mm_feed *f = calloc(1, sizeof *f);
	if (f != NULL) {
		static const struct mm_engine_owner ops = { on_feeder_wake, on_feeder_report, on_feeder_fault,
			on_feeder_aside, on_feeder_note, on_feeder_edits };
		f->engine = mm_engine_new(mm_worker_engines(h->worker), mm_worker_runtime(h->worker, at, &shadow),
			&ops, f, &f->out);
	}
	if (f == NULL || f->engine == NULL) {
		free(f);
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory for a session");
		mm_fault_tell(&why, error);
		return NULL;
	}
	mm_engine_session(f->engine)->figures = mm_worker_figures(h->worker, at);
	mm_engine_session(f->engine)->milter = h->config.milter_count > 1 ? h->milter_names[at] : NULL;
	if (shadow != NULL)
		f->shadow = mm_shadow_open(shadow, mm_engine_session(f->engine),
			mm_joint_wanted(mm_engine_runtime_session(f->engine)));
	f->host = h;
	mm_timer_init(&f->more, mm_worker_clock(h->worker), on_more);
	MM_LIST_PUSH(h->feeds, f);
	mm_census_set(h->row->sessions_begun, mm_worker_engines(h->worker)->sessions_begun);
	return f;
}

bool mm_feed_bytes(struct mm_feed *f, const void *bytes, size_t size, struct mm_error *error)
{
	struct mm_fault why;
	bool ok = mm_engine_feed(f->engine, bytes, size, &why);
	mm_shadow_feed(f->shadow, bytes, size);
	settle(f);
	return ok || mm_fault_tell(&why, error);
}

const void *mm_feed_output(const struct mm_feed *f, size_t *size)
{
	*size = f->out.size;
	return f->out.bytes;
}

void mm_feed_consume(struct mm_feed *f, size_t size)
{
	mm_buffer_consume(&f->out, size < f->out.size ? size : f->out.size);
}

bool mm_feed_is_waiting(const struct mm_feed *f)
{
	return mm_engine_is_waiting(f->engine) || mm_engine_has_more(f->engine);
}

bool mm_feed_is_finished(const struct mm_feed *f)
{
	return mm_engine_is_finished(f->engine);
}

const char *mm_feed_decided_by(const struct mm_feed *f)
{
	return mm_engine_answered_by(f->engine);
}

struct mm_engine *mm_feed_engine(const struct mm_feed *f)
{
	return f->engine;
}

/* The output stays until it is taken. */
void mm_feed_shut_down(struct mm_feed *f)
{
	mm_engine_shut_down(f->engine);
	settle(f);
}

struct mm_feed *mm_feed_next(const struct mm_feed *f)
{
	return f->next;
}

void mm_feed_hang_up(struct mm_feed *f)
{
	mm_engine_end(f->engine, MM_CANCEL_DISCONNECT);
}

void mm_feed_close(struct mm_feed *f)
{
	mm_engine_end(f->engine, MM_CANCEL_DISCONNECT);
	mm_timer_stop(&f->more);
	MM_LIST_REMOVE(f->host->feeds, f);
	declare(f, 0);
	mm_engine_free(f->engine);
	mm_shadow_leave(f->shadow);
	mm_buffer_free(&f->out);
	free(f);
}
