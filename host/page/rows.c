#include "page/rows.h"

#include "story/show.h"

#include <string.h>

/* ---- finding ---- */

void mm_rows_find(struct mm_rows *r, const struct mm_story_reader *reader, const struct mm_story_filter *f,
	uint64_t before, unsigned count, double now)
{
	struct mm_story s;
	uint64_t last = mm_story_reader_last(reader), first = mm_story_reader_first(reader, last);
	uint64_t n = before != 0 && before <= last ? before - 1 : last;
	unsigned looked_at = 0;
	r->count = 0;
	for (; n >= first && n > 0 && r->count < count && looked_at < MM_PAGE_LOOKED_AT; n--, looked_at++)
		if (mm_story_reader_get(reader, n, now, &s) && mm_story_filter_wants(f, &s))
			r->numbers[r->count++] = n;
	r->has_more = n >= first && n > 0;
	r->next = r->has_more ? n + 1 : 0;
}

/* ---- showing ---- */

static void put_decision(const struct mm_story *s, struct mm_buffer *out)
{
	struct mm_story_item aside;
	struct mm_text by = { s->decided_by, strlen(s->decided_by) }, reply = { s->reply, strlen(s->reply) };
	if (by.size == 0 && mm_story_last_aside(s, &aside, &by, &reply)) {
		mm_layout_verdict(out, mm_verdict_name((enum mm_verdict_kind)aside.verdict));
		mm_html_format(out, " <span class=\"dim\">at %s</span> ", mm_stage_name((enum mm_stage)aside.stage));
	}
	if (by.size > 0) {
		mm_html_put(out, "<code>");
		mm_html_text(out, by);
		mm_html_put(out, "</code> ");
	}
	if (reply.size > 0) {
		mm_html_put(out, "<bdi class=\"reply\">");
		mm_html_text(out, reply);
		mm_html_put(out, "</bdi>");
	}
	if (s->has_error)
		mm_html_put(out, " <span class=\"verdict stop\">script error</span>");
}

static void put_people(const struct mm_story *s, struct mm_buffer *out)
{
	mm_layout_address(out, s->has_message ? s->from[0] != '\0' ? s->from : "<>" : s->helo);
	if (s->to[0] != '\0') {
		mm_html_put(out, " <span class=\"dim\">→</span> ");
		mm_layout_address(out, s->to);
	}
	if (s->recipients > 1)
		mm_html_format(out, " <span class=\"dim\">+%u</span>", s->recipients - 1);
	if (s->subject[0] != '\0') {
		mm_html_put(out, "<div class=\"subject\"><bdi>");
		mm_html_string(out, s->subject);
		mm_html_put(out, "</bdi></div>");
	}
}

static void put_row(struct mm_screen *p, uint64_t number, const struct mm_story *s)
{
	struct mm_buffer *out = p->out;
	mm_html_format(out, "<tr data-n=\"%llu\"><td class=\"when\">", (unsigned long long)number);
	mm_layout_time(out, s->ended_at, p->now);
	mm_html_put(out, "</td><td class=\"what\">");
	mm_layout_verdict(out, mm_story_verdict_word(s));
	mm_html_format(out, " <span class=\"dim stage\">%s</span></td><td class=\"id\"><a class=\"row\" "
		"href=\"/message?id=",
		mm_stage_name((enum mm_stage)s->stage));
	mm_html_url(out, mm_text_of(mm_story_name(s)));
	mm_html_put(out, "\">");
	mm_html_string(out, mm_story_name(s));
	mm_html_put(out, "</a></td><td class=\"client\"><bdi>");
	mm_html_string(out, s->client[0] != '\0' ? s->client : "–");
	mm_html_put(out, "</bdi></td><td class=\"people\">");
	put_people(s, out);
	mm_html_put(out, "</td><td class=\"why\">");
	put_decision(s, out);
	mm_html_put(out, "</td></tr>\n");
}

void mm_rows_put_bare(const struct mm_rows *r, struct mm_screen *p, const struct mm_story_reader *reader)
{
	struct mm_story s;
	for (unsigned i = 0; i < r->count; i++)
		if (mm_story_reader_get(reader, r->numbers[i], p->now, &s))
			put_row(p, r->numbers[i], &s);
}

void mm_rows_put(const struct mm_rows *r, struct mm_screen *p, const struct mm_story_reader *reader)
{
	mm_html_put(p->out, "<table class=\"messages\"><caption class=\"hidden\">Messages, the newest "
		"first</caption><thead>"
		"<tr><th scope=\"col\">Time</th><th scope=\"col\">Verdict</th><th scope=\"col\">Message</th>"
		"<th scope=\"col\">Client</th><th scope=\"col\">From → to</th><th scope=\"col\">Who decided, reply</th>"
		"</tr></thead><tbody id=\"rows\">\n");
	mm_rows_put_bare(r, p, reader);
	mm_html_put(p->out, "</tbody></table>");
}

void mm_rows_json(const struct mm_rows *r, struct mm_buffer *out, const struct mm_story_reader *reader, double now)
{
	struct mm_story s;
	for (unsigned i = r->count; i > 0; i--) {
		if (!mm_story_reader_get(reader, r->numbers[i - 1], now, &s))
			continue;
		mm_story_json(&s, true, out);
		mm_buffer_append_u8(out, '\n');
	}
}
