#include "trial/explained.h"

#include "trial/transcript.h"

#include <stdio.h>
#include <unistd.h>

struct telling {
	struct mm_story           *story;
	struct mm_session          session;     /* only its facts; owns nothing */
	const struct mm_mail_file *mail;
	uint8_t                    command;     /* the last one that was told */
	uint32_t                   nth;
	uint32_t                   now;         /* microseconds since the beginning */
};

static struct mm_story_item *item_at(struct mm_story *s, uint32_t at)
{
	return (struct mm_story_item *)(void *)(s->items + at);
}

/* What was written from `from` on, if it found room, happened now. */
static void stamp(struct telling *t, uint32_t from)
{
	if (t->story->used > from)
		item_at(t->story, from)->at = t->now;
}

static struct mm_text words_of(const struct telling *t, const struct mm_dialogue_reply *r)
{
	const struct mm_mail_file *m = t->mail;
	if (r->command == SMFIC_HELO)
		return mm_text_of(t->session.helo);
	if (r->command == SMFIC_MAIL)
		return mm_mail_text(m, m->sender);
	if (r->command == SMFIC_RCPT && r->nth < m->recipient_count)
		return mm_mail_text(m, m->recipients[r->nth].address);
	return mm_text_of("");
}

static void tell_stage(struct telling *t, const struct mm_dialogue_reply *r)
{
	uint32_t from = t->story->used;
	t->command = r->command;
	t->nth = r->nth;
	if (mm_story_joins(t->story, r->stage))
		return;
	mm_story_enter(t->story, &t->session, r->stage, words_of(t, r));
	stamp(t, from);
}

static void tell_edit(struct telling *t, const struct mm_mta_reply *reply)
{
	struct mm_story_place place = { .file = { "", 0 }, .stage = (uint8_t)t->story->stage };
	struct mm_buffer text = { .size = 0 };
	uint32_t from = t->story->used;
	mm_transcript_reply(&text, reply);
	mm_story_say(t->story, MM_STORY_EDIT, &place, (struct mm_text){ (const char *)text.bytes, text.size });
	stamp(t, from);
	t->story->edits++;
	mm_buffer_free(&text);
}

/* The answer as a wait: the MTA has waited for it. Plain ones at once are not worth a line. */
static void tell_answer(struct telling *t, const struct mm_dialogue_reply *r, const struct mm_mta_reply *reply)
{
	struct mm_story_place place = { .file = { "", 0 }, .stage = (uint8_t)r->stage };
	uint32_t took = r->seconds < 4000 ? (uint32_t)(r->seconds * 1e6) : MM_STORY_STILL - 1, from = t->story->used;
	uint32_t at = mm_story_ask(t->story, &t->session, &place, mm_text_of("the milter's answer"));
	if (at != 0) {
		mm_story_answer(t->story, at, mm_text_of(mm_mta_reply_word(reply)));
		item_at(t->story, at - 1)->took = took;
		stamp(t, from);
	}
	t->now += took;
	t->story->seconds_us += took;
	t->story->waited_us += took;
}

static void tell_verdict(struct telling *t, const struct mm_dialogue_result *result, const struct mm_dialogue_reply *r,
	const struct mm_mta_reply *reply)
{
	char by[sizeof t->story->decided_by];
	struct mm_text decided = mm_dialogue_text(result, r->decided_by);
	enum mm_verdict_kind kind = mm_verdict_of_name(mm_text_of(mm_mta_reply_word(reply)));
	uint32_t from = t->story->used;
	if (kind == MM_VERDICT_continue || kind == MM_VERDICT_skip || kind == MM_VERDICT_COUNT
	    || r->stage == MM_STAGE_eom)
		return;
	snprintf(by, sizeof by, "%.*s", (int)decided.size, decided.bytes);
	mm_story_aside(t->story, r->stage, kind, by, reply->first);
	stamp(t, from);
}

static void tell_replies(struct telling *t, const struct mm_dialogue_result *result)
{
	for (uint32_t i = 0; i < result->reply_count; i++) {
		const struct mm_dialogue_reply *r = &result->replies[i];
		struct mm_mta_reply reply;
		if (r->stage == MM_STAGE_negotiate || !mm_dialogue_reply_at(result, i, &reply))
			continue;
		if (r->command != t->command || r->nth != t->nth)
			tell_stage(t, r);
		if (mm_mta_action_of(r->letter) != 0)
			tell_edit(t, &reply);
		if (!reply.row->is_final)
			continue;
		tell_answer(t, r, &reply);
		tell_verdict(t, result, r, &reply);
	}
}

void mm_explained_tell(struct mm_story *s, const struct mm_dialogue_plan *p, const struct mm_mail_file *m,
	const struct mm_dialogue_result *opening, const struct mm_dialogue_result *result, unsigned number)
{
	struct telling t = { .story = s, .mail = m };
	char by[sizeof s->decided_by];
	struct mm_text decided = mm_dialogue_text(result, result->decided_by);
	/* the session only lends its texts, and none of them is changed */
	t.session.client_address = (char *)(uintptr_t)p->client_address;
	t.session.client_host = (char *)(uintptr_t)p->client_host;
	t.session.helo = (char *)(uintptr_t)p->helo;
	snprintf(t.session.id, sizeof t.session.id, "send");
	*s = (struct mm_story){ .joined = MM_STORY_TASK, .us_per_tick = 1, .began_at = mm_clock_wall(),
		.began_ticks = UINT64_MAX, .has_message = 1, .pid = (uint32_t)getpid(), .number = number };
	mm_story_take_facts(s, &t.session);
	snprintf(s->from, sizeof s->from, "%.*s", (int)mm_mail_text(m, m->sender).size,
		mm_mail_text(m, m->sender).bytes);
	s->recipients = m->recipient_count;
	s->refused = result->recipients_refused;
	tell_replies(&t, opening);
	tell_replies(&t, result);
	snprintf(by, sizeof by, "%.*s", (int)decided.size, decided.bytes);
	mm_story_end(s, &t.session, result->stage, result->verdict, !result->is_decided, by,
		mm_dialogue_text(result, result->text));
	s->ended_at = s->began_at + t.now / 1e6;
}
