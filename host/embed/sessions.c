/* embed/sessions.c -- the sessions of a host, those of feeds included, and what it has counted: mm_host_each_session()
 * and the like of moonmilter.h. */
#include "base/text.h"
#include "embed/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- looking ---- */

struct look {
	const struct mm_host *host;
	bool                (*each)(void *self, const struct mm_session_info *);
	void                 *self;
	bool                  are_feeds;
};

/* NULL: the text is empty. */
static const char *copy_of(struct mm_text text, char *to, size_t size)
{
	snprintf(to, size, "%.*s", (int)(text.size < size ? text.size : size - 1), text.bytes);
	return text.size > 0 ? to : NULL;
}

static bool show(void *self, const struct mm_engine *engine)
{
	const struct look *l = self;
	const struct mm_session *s = mm_engine_facts(engine);
	const struct mm_message *m = s->message;
	char queue_id[64], sender[512];
	double now = mm_clock_now(), since;
	enum mm_stage at = mm_engine_waits_at(engine, &since);
	struct mm_session_info info = {
		.size = sizeof info, .id = s->id, .milter = s->milter != NULL ? s->milter : l->host->milter_names[0],
		.mta = s->peer, .client_host = s->client_host, .client_address = s->client_address, .helo = s->helo,
		.queue_id = copy_of(mm_session_macro(s, "i"), queue_id, sizeof queue_id),
		.messages = (unsigned long)s->message_count,
		.waits_at = at < MM_STAGE_COUNT ? mm_stage_name(at) : NULL,
		.waited = at < MM_STAGE_COUNT ? now - since : 0, .age = now - s->began_at, .held = s->account.held,
		.is_negotiated = s->is_negotiated, .is_feed = l->are_feeds,
	};
	if (m != NULL) {
		copy_of(mm_address_bare(mm_message_text(m, m->sender)), sender, sizeof sender);
		info.sender = sender;
		info.recipients = m->recipient_count;
	}
	return l->each(l->self, &info);
}

void mm_host_each_session(const struct mm_host *h, bool (*each)(void *self, const struct mm_session_info *), void *self)
{
	struct look look = { h, each, self, true };
	for (const struct mm_feed *f = h->feeds; f != NULL; f = mm_feed_next(f))
		if (!mm_feed_is_finished(f) && !show(&look, mm_feed_engine(f)))
			return;
	look.are_feeds = false;
	mm_worker_each_session(h->worker, show, &look);
}

unsigned mm_host_session_count(const struct mm_host *h)
{
	unsigned feeds = 0;
	for (const struct mm_feed *f = h->feeds; f != NULL; f = mm_feed_next(f))
		feeds += !mm_feed_is_finished(f);
	return mm_worker_session_count(h->worker) + feeds;
}

/* ---- ending ---- */

static struct mm_feed *feed_of(const struct mm_host *h, const char *id)
{
	struct mm_feed *f = h->feeds;
	while (f != NULL && (mm_feed_is_finished(f) || strcmp(mm_engine_session(mm_feed_engine(f))->id, id) != 0))
		f = mm_feed_next(f);
	return f;
}

/* Handlers have returned: the engines that are ended here are not at work. */
static void on_end_timer(struct mm_timer *timer)
{
	struct mm_host *h = MM_OWNER_OF(timer, struct mm_host, end_timer);
	while (h->ending_count > 0) {
		char id[MM_SESSION_ID_SIZE];
		memcpy(id, h->ending[--h->ending_count], sizeof id);
		struct mm_feed *f = feed_of(h, id);
		if (f != NULL)
			mm_feed_shut_down(f);
		else
			mm_worker_end_session(h->worker, id);
	}
}

struct search {
	const char *id;
	bool        is_found;
};

static bool is_it(void *self, const struct mm_session_info *info)
{
	struct search *s = self;
	s->is_found = strcmp(info->id, s->id) == 0;
	return !s->is_found;
}

bool mm_host_end_session(struct mm_host *h, const char *id, struct mm_error *error)
{
	struct search search = { id, false };
	struct mm_fault why;
	mm_host_each_session(h, is_it, &search);
	if (!search.is_found) {
		mm_fault_because(&why, MM_REASON_IS_NOT_FOUND, "there is no session %.60s", id);
		return mm_fault_tell(&why, error);
	}
	void *more = realloc(h->ending, (h->ending_count + 1) * sizeof *h->ending);
	if (more == NULL) {
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory for the end of a session");
		return mm_fault_tell(&why, error);
	}
	h->ending = more;
	snprintf(h->ending[h->ending_count++], sizeof *h->ending, "%s", id);
	if (!mm_timer_is_running(&h->end_timer)) {
		mm_timer_init(&h->end_timer, mm_worker_clock(h->worker), on_end_timer);
		mm_timer_soon(&h->end_timer);
	}
	return true;
}

void mm_host_forget_ends(struct mm_host *h)
{
	mm_timer_stop(&h->end_timer);
	free(h->ending);
	h->ending = NULL;
	h->ending_count = 0;
}

/* ---- counts ---- */

void mm_host_statistics(const struct mm_host *h, struct mm_statistics *out)
{
	const struct mm_census_row *row = h->row;
	struct mm_statistics s = {
		.size = out->size, .seconds = mm_clock_wall() - h->started_at,
		.sessions = mm_host_session_count(h),
		.sessions_begun = (unsigned long)mm_worker_engines(h->worker)->sessions_begun,
		.messages = (unsigned long)mm_census_get(row->messages),
		.aborted = (unsigned long)mm_census_get(row->ended[MM_CENSUS_ABORTED]),
		.script_errors = (unsigned long)mm_census_get(row->script_errors), .generation = h->generation,
		.lua_bytes = (size_t)mm_worker_lua_bytes(h->worker),
		.held_bytes = mm_worker_engines(h->worker)->held.held,
	};
	for (int end = 0; end < MM_CENSUS_ABORTED; end++)
		s.verdicts[end] = (unsigned long)mm_census_get(row->ended[end]);
	memcpy(out, &s, s.size < sizeof s ? s.size : sizeof s);
}
