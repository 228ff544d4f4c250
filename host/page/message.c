/* page/message.c -- one message, or those of one session: who decided and why first, then the facts, then the time line
 * with bars that show where the time went. */
#include "page/screens.h"

#include "story/show.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN_MOST  10u         /* messages of a session */

/* ---- the head ---- */

static void put_fact(struct mm_buffer *out, const char *name, const char *value)
{
	if (value[0] == '\0')
		return;
	mm_html_format(out, "<dt>%s</dt><dd>", name);
	mm_layout_address(out, value);
	mm_html_put(out, "</dd>");
}

static void put_decision(const struct mm_story *s, struct mm_buffer *out)
{
	struct mm_story_item aside;
	struct mm_text by, reply;
	mm_html_put(out, "<p class=\"decision\">");
	mm_layout_verdict(out, mm_story_verdict_word(s));
	mm_html_format(out, " at <b>%s</b>", mm_stage_name((enum mm_stage)s->stage));
	if (s->decided_by[0] != '\0') {
		mm_html_put(out, " by <code>");
		mm_html_string(out, s->decided_by);
		mm_html_put(out, "</code>");
	} else if (!s->is_unfinished && !s->is_aborted) {
		mm_html_put(out, "; no script objected");
	}
	mm_html_put(out, s->is_unfinished ? ": its worker has ended, or it is under way" : s->is_aborted
		? ": the MTA gave the message up" : "");
	mm_html_put(out, "</p>");
	if (s->reply[0] != '\0') {
		mm_html_put(out, "<p class=\"answer\"><bdi>");
		mm_html_string(out, s->reply);
		mm_html_put(out, "</bdi></p>");
	}
	if (s->decided_by[0] == '\0' && mm_story_last_aside(s, &aside, &by, &reply)) {
		mm_html_put(out, "<p class=\"decision\">Before that, one was ");
		mm_layout_verdict(out, mm_verdict_name((enum mm_verdict_kind)aside.verdict));
		mm_html_format(out, " at <b>%s</b> by <code>", mm_stage_name((enum mm_stage)aside.stage));
		mm_html_text(out, by);
		mm_html_put(out, "</code></p>");
		if (reply.size > 0) {
			mm_html_put(out, "<p class=\"answer\"><bdi>");
			mm_html_text(out, reply);
			mm_html_put(out, "</bdi></p>");
		}
	}
}

static void put_took(const struct mm_story *s, struct mm_buffer *out)
{
	mm_html_put(out, "<dt>Took</dt><dd>");
	mm_layout_took(out, s->seconds_us / 1e6);
	mm_html_put(out, " <span class=\"dim\">waited ");
	mm_layout_took(out, s->waited_us / 1e6);
	mm_html_put(out, ", computed ");
	mm_layout_took(out, s->computed_us / 1e6);
	mm_html_put(out, "</span></dd>");
}

static void put_facts(const struct mm_story *s, double now, struct mm_buffer *out)
{
	mm_html_put(out, "<dl class=\"facts\">");
	put_fact(out, "From", s->has_message && s->from[0] == '\0' ? "<>" : s->from);
	put_fact(out, "To", s->to);
	if (s->recipients > 1 || s->refused > 0)
		mm_html_format(out, "<dt>Recipients</dt><dd>%u, of them refused: %u</dd>", s->recipients, s->refused);
	put_fact(out, "Subject", s->subject);
	put_fact(out, "Client", s->client);
	put_fact(out, "Name", s->host);
	put_fact(out, "HELO", s->helo);
	put_fact(out, "MTA", s->peer);
	put_fact(out, "Milter", s->milter);
	mm_html_put(out, "<dt>Began</dt><dd>");
	mm_layout_time(out, s->began_at, now);
	mm_html_put(out, "</dd>");
	put_took(s, out);
	mm_html_put(out, "<dt>Session</dt><dd><a href=\"/message?id=");
	mm_html_url(out, mm_text_of(s->session));
	mm_html_put(out, "\">");
	mm_html_string(out, s->session);
	mm_html_format(out, "</a> <span class=\"dim\">message %u in it, worker %u, generation %u</span></dd></dl>",
		s->number, s->pid, s->generation);
}

/* ---- the time line ---- */

static void put_place(const struct mm_story *s, const struct mm_story_item *item, struct mm_buffer *out)
{
	if (item->file == MM_STORY_NO_FILE)
		return;
	mm_html_put(out, "<code>");
	mm_html_text(out, mm_story_file(s, item->file));
	mm_html_put(out, ".lua");
	if (item->line > 0)
		mm_html_format(out, ":%u", item->line);
	mm_html_put(out, "</code> ");
}

static void put_words(struct mm_buffer *out, struct mm_text text)
{
	mm_html_put(out, "<bdi>");
	mm_html_text(out, text);
	mm_html_put(out, "</bdi>");
}

/* The parts of a text of two. */
static void split(struct mm_text text, struct mm_text *first, struct mm_text *second)
{
	size_t size = strnlen(text.bytes, text.size), after = size + (size < text.size);
	*first = (struct mm_text){ text.bytes, size };
	*second = (struct mm_text){ text.bytes + after, strnlen(text.bytes + after, text.size - after) };
}

static void put_stage(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	(void)s;
	mm_html_format(out, "<b>%s</b> ", mm_stage_name((enum mm_stage)l->item.stage));
	put_words(out, l->text);
	if (l->item.count > 1)
		mm_html_format(out, " <span class=\"dim\">%u times</span>", l->item.count);
}

static void put_handler(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	put_place(s, &l->item, out);
	mm_html_put(out, l->item.stage == MM_STORY_TASK ? "task" : mm_stage_handler((enum mm_stage)l->item.stage));
	if (l->item.count > 1)
		mm_html_format(out, " <span class=\"dim\">in %u runs</span>", l->item.count);
}

static void put_wait(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	struct mm_text asked, answer;
	split(l->text, &asked, &answer);
	put_place(s, &l->item, out);
	put_words(out, asked);
	if (l->item.took == MM_STORY_STILL)
		mm_html_put(out, " <span class=\"verdict wait\">no answer yet</span>");
	if (answer.size > 0) {
		mm_html_put(out, " <span class=\"dim\">→</span> ");
		put_words(out, answer);
	}
}

static void put_said(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	put_place(s, &l->item, out);
	put_words(out, l->text);
}

static void put_verdict(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	struct mm_text by, reply;
	(void)s;
	split(l->text, &by, &reply);
	mm_layout_verdict(out, mm_verdict_name((enum mm_verdict_kind)l->item.verdict));
	if (by.size > 0) {
		mm_html_put(out, " by <code>");
		mm_html_text(out, by);
		mm_html_put(out, "</code> ");
	}
	put_words(out, reply);
}

static const struct {
	const char *name, *word;        /* of the class, of the column */
	void      (*put)(const struct mm_story *, const struct mm_story_line *, struct mm_buffer *);
} kinds[MM_STORY_KIND_COUNT] = {
	[MM_STORY_STAGE] = { "stage", "stage", put_stage }, [MM_STORY_HANDLER] = { "handler", "handler", put_handler },
	[MM_STORY_WAIT] = { "waits", "wait", put_wait }, [MM_STORY_EDIT] = { "edit", "edit", put_said },
	[MM_STORY_NOTE] = { "note", "note", put_said }, [MM_STORY_ERROR] = { "error", "error", put_said },
	[MM_STORY_VERDICT] = { "decided", "verdict", put_verdict },
};

/* When it was, within the whole: attributes of a drawing, because a strict policy allows no style. */
static void put_bar(const struct mm_story *s, const struct mm_story_item *item, struct mm_buffer *out)
{
	double whole = s->seconds_us > 0 ? s->seconds_us : 1, at = item->at / whole * 1000;
	bool has_length = item->kind == MM_STORY_HANDLER || item->kind == MM_STORY_WAIT;
	double took = !has_length ? 0 : item->took == MM_STORY_STILL ? 1000 : item->took / whole * 1000;
	at = at > 994 ? 994 : at;
	took = took < 6 ? 6 : at + took > 1000 ? 1000 - at : took;
	mm_html_format(out, "<svg class=\"bar\" viewBox=\"0 0 1000 8\" preserveAspectRatio=\"none\" "
		"aria-hidden=\"true\" "
		"focusable=\"false\"><rect x=\"%.0f\" y=\"0\" width=\"%.0f\" height=\"8\"></rect></svg>", at, took);
}

static void put_line(const struct mm_story *s, const struct mm_story_line *l, struct mm_buffer *out)
{
	const struct mm_story_item *item = &l->item;
	mm_html_format(out, "<tr class=\"%s\"><td class=\"n at\">%.1f<span class=\"dim\"> ms</span></td>"
		"<td class=\"kind\">%s</td><td class=\"said\">", kinds[item->kind].name, item->at / 1e3,
		kinds[item->kind].word);
	kinds[item->kind].put(s, l, out);
	mm_html_put(out, "</td><td class=\"n took\">");
	if ((item->kind == MM_STORY_HANDLER || item->kind == MM_STORY_WAIT) && item->took != MM_STORY_STILL)
		mm_layout_took(out, item->took / 1e6);
	mm_html_put(out, "</td><td class=\"drawn\">");
	if (item->kind != MM_STORY_STAGE)
		put_bar(s, item, out);
	mm_html_put(out, "</td></tr>\n");
}

static void put_story(struct mm_screen *p, const struct mm_story *s)
{
	struct mm_story_line lines[MM_STORY_LINES_MAX];
	unsigned count = mm_story_lines(s, lines);
	mm_html_put(p->out, "<article><h2>");
	mm_html_put(p->out, s->has_message ? "Message " : "Client, session ");
	mm_html_string(p->out, mm_story_name(s));
	mm_html_put(p->out, "</h2>");
	put_decision(s, p->out);
	put_facts(s, p->now, p->out);
	mm_html_put(p->out, "<h3>Time line</h3><table class=\"line\"><thead><tr><th scope=\"col\" "
		"class=\"n\">After</th>"
		"<th scope=\"col\">Kind</th><th scope=\"col\">What</th><th scope=\"col\" class=\"n\">Took</th>"
		"<th scope=\"col\"><span class=\"hidden\">When, drawn</span></th></tr></thead><tbody>");
	for (unsigned i = 0; i < count; i++)
		put_line(s, &lines[i], p->out);
	mm_html_put(p->out, "</tbody></table>");
	if (s->lost > 0)
		mm_html_format(p->out, "<p class=\"dim\">%u further items did not fit.</p>", s->lost);
	mm_html_put(p->out, "</article>");
}

/* ---- finding ---- */

/* Calls show for each message with the id, the oldest first; those under way come last. */
static unsigned each(struct mm_screen *p, const struct mm_story_reader *r, void (*show)(struct mm_screen *,
	const struct mm_story *))
{
	struct mm_story s;
	struct mm_rows rows;
	struct mm_story_filter by_id = { .id = p->query->filter.id };
	uint64_t before = 0;
	unsigned count = 0;
	do {
		mm_rows_find(&rows, r, &by_id, before, SHOWN_MOST, p->now);
		before = rows.next;
	} while (rows.count == 0 && rows.has_more);
	for (unsigned i = rows.count; i > 0; i--)
		if (mm_story_reader_get(r, rows.numbers[i - 1], p->now, &s)) {
			show(p, &s);
			count++;
		}
	for (uint32_t i = 0; i < mm_story_reader_places(r) && count < 2 * SHOWN_MOST; i++)
		if (mm_story_reader_open_one(r, i, &s) && mm_story_filter_wants(&by_id, &s)) {
			show(p, &s);
			count++;
		}
	return count;
}

static void put_unknown(struct mm_screen *s, const struct mm_story_reader *r)
{
	s->status = s->status == 200 ? 404 : s->status;
	if (r == NULL) {
		mm_layout_empty(s->out, "This host keeps no history. Set <code>history = 10000</code> in "
			"<code>moonmilter.conf</code> and restart it.");
		return;
	}
	mm_html_put(s->out, "<p class=\"empty\">The history has no message ");
	mm_html_string(s->out, s->query->filter.id != NULL ? s->query->filter.id : "without a queue id or session");
	mm_html_format(s->out, ". It may be older than the last %u messages, or belong to another host.</p>",
		r->head.capacity);
}

static void put_search(const struct mm_page_query *q, struct mm_buffer *out)
{
	mm_html_put(out, "<form class=\"find\" method=\"get\" action=\"/message\" role=\"search\"><label "
		"for=\"id\">Queue id or "
		"session</label> <input id=\"id\" name=\"id\" maxlength=\"127\" autocomplete=\"off\" "
		"autocapitalize=\"none\" "
		"spellcheck=\"false\" required value=\"");
	mm_html_string(out, q->values[MM_PAGE_FILTER_id]);
	mm_html_put(out, "\"> <button type=\"submit\">Explain</button></form>");
}

void mm_screen_message(struct mm_screen *s)
{
	struct mm_buffer command = { 0 };
	const char *id = s->query->filter.id;
	const struct mm_story_reader *r = mm_inquiry_history(s->source);
	mm_layout_begin(s, "Message", NULL);
	mm_html_put(s->out, "<p class=\"back\"><a href=\"/messages\">Messages</a></p><h1 "
		"class=\"hidden\">Explained</h1>");
	if (r == NULL || id == NULL || each(s, r, put_story) == 0)
		put_unknown(s, r);
	put_search(s->query, s->out);
	mm_html_put(&command, "ctl explain ");
	mm_html_shell(&command, id != NULL ? id : "QUEUE-ID");
	mm_buffer_append_u8(&command, '\0');
	mm_layout_end(s, command.failed ? NULL : (const char *)command.bytes);
	mm_buffer_free(&command);
}

static void put_json(struct mm_screen *p, const struct mm_story *s)
{
	mm_story_json(s, true, p->out);
	mm_buffer_append_u8(p->out, '\n');
}

const char *mm_screen_message_json(struct mm_screen *s)
{
	const struct mm_story_reader *r = mm_inquiry_history(s->source);
	s->status = mm_inquiry_trouble(s->source) != NULL || r == NULL ? 503 : 200;
	if (r != NULL && s->query->filter.id != NULL && each(s, r, put_json) > 0)
		return "application/x-ndjson";
	s->status = s->status == 200 ? 404 : s->status;
	mm_html_put(s->out, "{\"error\":\"the history has no such message\"}\n");
	return "application/json";
}
