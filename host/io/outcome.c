#include "io/outcome.h"

#include "base/figures.h"

#include <stdio.h>
#include <string.h>

/* The first fields of a line about a verdict. */
static void begin_verdict(struct mm_log_line *line, struct mm_log *log, const char *event,
	const struct mm_outcome_report *r)
{
	const struct mm_session *s = r->session;
	struct mm_text queue_id = mm_session_macro(s, "i");
	mm_log_begin(line, log, MM_LEVEL_INFO, event);
	mm_log_may_wait(line);
	mm_log_caused_by(line, s->peer, false);
	mm_log_string(line, "milter", s->milter);
	mm_log_word(line, "session", s->id);
	if (s->message != NULL)
		mm_log_number(line, "message", (long long)s->message->number);
	if (s->message != NULL && queue_id.size > 0)
		mm_log_text(line, "queue_id", queue_id);
	mm_log_word(line, "verdict", r->is_aborted ? "none" : mm_verdict_name(r->verdict));
	mm_log_word(line, "stage", mm_stage_name(r->stage));
	if (r->is_aborted)
		mm_log_string(line, "aborted", "yes");
	if (r->reply.size > 0)
		mm_log_text(line, "reply", r->reply);
	mm_log_string(line, "decided_by", r->decided_by);
	mm_log_string(line, "client", s->client_address);
}

/* The name of the script in "10-check.lua:12", "10-check on_eom" or "error (10-check)"; else the first word. */
static void script_of(const char *by, char *to, size_t size)
{
	const char *open = strchr(by, '(');
	if (open != NULL)
		by = open + 1;
	size_t n = strcspn(by, " :)");
	if (n > 4 && strncmp(by + n - 4, ".lua", 4) == 0)
		n -= 4;
	snprintf(to, size, "%.*s", (int)n, by);
}

_Static_assert((int)MM_CENSUS_DISCARD == (int)MM_VERDICT_discard, "ORDER VERDICT");

void mm_count_outcome(struct mm_census_row *row, const struct mm_outcome_report *r)
{
	char script[40];
	struct mm_figures *f = r->session->figures;
	const char *by = r->decided_by != NULL && !r->is_aborted ? r->decided_by : "";
	int verdict = r->is_aborted ? -1 : (int)r->verdict;
	mm_census_note_end(row, r->is_aborted ? MM_CENSUS_ABORTED : (enum mm_census_end)r->verdict);
	if (f == NULL)
		return;
	if (f->last_series == NULL || f->last_verdict != verdict || strcmp(f->last_by, by) != 0) {
		script_of(by, script, sizeof script);
		f->last_series = mm_figures_series(f, MM_FIGURE_messages, r->is_aborted ? "aborted"
			: mm_verdict_name(r->verdict), script);
		f->last_verdict = verdict;
		snprintf(f->last_by, sizeof f->last_by, "%s", by);
	}
	mm_meter_number_add(f->last_series, 1);
}

static void say_part(struct mm_log_line *line, const char *key, double seconds)
{
	if (seconds >= 0.0005)                  /* else it would read 0.000 */
		mm_log_seconds(line, key, seconds);
}

void mm_log_outcome(struct mm_log *log, const struct mm_profile *profile, const struct mm_outcome_report *r)
{
	struct mm_log_line line;
	const struct mm_message *m = r->session->message;
	if (!mm_log_wants(log, MM_LEVEL_INFO))
		return;
	begin_verdict(&line, log, "message", r);
	mm_log_caused_by(&line, r->session->peer, !r->is_aborted);
	mm_log_text(&line, "from", mm_message_text(m, m->sender));
	if (m->recipient_count > 0)
		mm_log_number(&line, "recipients", m->recipient_count);
	if (m->refused_count > 0)
		mm_log_number(&line, "refused", m->refused_count);
	if (r->edits > 0) {
		mm_log_number(&line, "edits", r->edits);
		mm_log_word(&line, "mta_kind", mm_mta_kind_name(r->mta));
	}
	if (r->session->is_canary)
		mm_log_string(&line, "canary", "yes");
	mm_log_seconds(&line, "seconds", r->seconds);
	say_part(&line, "waited", r->waited);
	if (m->busy > 0)
		say_part(&line, "computed", mm_profile_seconds(profile, m->busy));
	if (m->log_fields != NULL)
		mm_pairs_log(m->log_fields, &line);    /* last: if the line is cut, only they are */
	mm_log_end(&line);
}

void mm_log_aside(struct mm_log *log, const struct mm_outcome_report *r)
{
	struct mm_log_line line;
	const struct mm_message *m = r->session->message;
	bool is_recipient = r->stage == MM_STAGE_rcpt && m != NULL && m->recipient_count > 0;
	if (!mm_log_wants(log, MM_LEVEL_INFO))
		return;
	begin_verdict(&line, log, r->stage == MM_STAGE_rcpt ? "recipient" : "client", r);
	mm_log_string(&line, "helo", r->session->helo);
	if (m != NULL)
		mm_log_text(&line, "from", mm_message_text(m, m->sender));
	if (is_recipient && !m->last_is_unkept)
		mm_log_text(&line, "to", mm_message_text(m, m->recipients[m->recipient_count - 1].address));
	say_part(&line, "waited", r->waited);
	mm_log_end(&line);
}

/* ---- the history ---- */

static uint32_t microseconds(double seconds)
{
	return seconds > 0 && seconds < 4000 ? (uint32_t)(seconds * 1e6) : seconds > 0 ? UINT32_MAX : 0;
}

static void tell(struct mm_desk *desk, struct mm_session *session, const struct mm_outcome_report *r)
{
	struct mm_story *s = session->story;
	mm_story_end(s, session, r->stage, r->verdict, r->is_aborted, r->decided_by, r->reply);
	s->waited_us = microseconds(r->waited);
	session->story = NULL;
	mm_desk_tell(desk, s);
}

void mm_tell_outcome(struct mm_desk *desk, struct mm_session *session, const struct mm_outcome_report *r)
{
	if (desk != NULL && session->story == NULL)
		session->story = mm_desk_take(desk);    /* it was decided before any script was asked */
	if (session->story == NULL)
		return;
	session->story->seconds_us = microseconds(r->seconds);
	session->story->computed_us = (uint32_t)((double)session->message->busy * session->story->us_per_tick);
	tell(desk, session, r);
}

void mm_tell_aside(struct mm_desk *desk, struct mm_session *session, const struct mm_outcome_report *r)
{
	bool refuses = r->verdict == MM_VERDICT_reject || r->verdict == MM_VERDICT_tempfail;
	if (session->story == NULL)
		return;
	mm_story_aside(session->story, r->stage, r->verdict, r->decided_by, r->reply);
	if (refuses && session->message == NULL && MM_STAGES_OF_CLIENT & 1u << r->stage)
		tell(desk, session, r);
}

void mm_log_fault(struct mm_log *log, const struct mm_session *s, const struct mm_fault *why)
{
	struct mm_log_line line;
	mm_log_begin(&line, log, MM_LEVEL_WARN, "connection_closed");
	mm_log_caused_by(&line, s->peer, false);
	mm_log_string(&line, "milter", s->milter);
	mm_log_string(&line, "session", s->id);
	mm_log_string(&line, "mta", s->peer);
	mm_log_string(&line, "cause", mm_fault_class_name(why->class));
	mm_log_string(&line, "error", why->text);
	if (s->peer != NULL)
		mm_log_alike(&line, s->peer, strcspn(s->peer, ":"));    /* its port differs each time */
	mm_log_alike(&line, why->text, strcspn(why->text, "0123456789"));
	mm_log_end(&line);
}

void mm_log_mta(struct mm_log *log, const struct mm_session *s, const char *text)
{
	struct mm_log_line line;
	mm_log_begin(&line, log, MM_LEVEL_WARN, "mta");
	mm_log_caused_by(&line, s->peer, false);
	mm_log_string(&line, "milter", s->milter);
	mm_log_string(&line, "session", s->id);
	mm_log_string(&line, "mta", s->peer);
	mm_log_string(&line, "text", text);
	if (s->peer != NULL)
		mm_log_alike(&line, s->peer, strcspn(s->peer, ":"));
	mm_log_alike(&line, text, strlen(text));
	mm_log_end(&line);
}
