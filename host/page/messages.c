/* page/messages.c -- the history: filters as a form that only asks, rows, the older ones a page further. */
#include "page/screens.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

static const struct field {
	enum mm_page_filter which;
	const char         *label, *hint;       /* hint: what to write; NULL: it is a choice */
} fields[] = {
	{ MM_PAGE_FILTER_from, "From", "part of the address" },
	{ MM_PAGE_FILTER_to, "To", "part of the address" },
	{ MM_PAGE_FILTER_ip, "Client", "192.0.2.7 or 192.0.2.0/24" },
	{ MM_PAGE_FILTER_id, "Queue id or session", "4f9K2Z1xyz" },
	{ MM_PAGE_FILTER_verdict, "Verdict", NULL },
	{ MM_PAGE_FILTER_script, "Script", "10-auth" },
	{ MM_PAGE_FILTER_since, "Since", "10m, 2h, 2026-11-30T16:20" },
	{ MM_PAGE_FILTER_until, "Until", "5m, 2026-11-30" },
};

static const struct { const char *name, *word; } verdicts[] = {
	{ "", "any" }, { "reject", "rejected" }, { "tempfail", "deferred" }, { "discard", "discarded" },
	{ "accept", "accepted" }, { "continue", "passed" }, { "none", "given up by the MTA" },
	{ "unfinished", "unfinished" }, { "error", "a script failed" },
};

static void put_choice(struct mm_buffer *out, const char *chosen)
{
	mm_html_put(out, "<select id=\"f-verdict\" name=\"verdict\">");
	for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++)
		mm_html_format(out, "<option value=\"%s\"%s>%s</option>", verdicts[i].name,
			strcmp(verdicts[i].name, chosen) == 0 ? " selected" : "", verdicts[i].word);
	mm_html_put(out, "</select>");
}

static void put_field(const struct mm_page_query *q, const struct field *f, struct mm_buffer *out)
{
	const char *name = mm_page_filter_names[f->which];
	mm_html_format(out, "<p><label for=\"f-%s\">%s</label>", name, f->label);
	if (f->hint == NULL) {
		put_choice(out, q->values[f->which]);
	} else {
		mm_html_format(out, "<input id=\"f-%s\" name=\"%s\" placeholder=\"%s\" maxlength=\"127\" "
			"autocomplete=\"off\" "
			"autocapitalize=\"none\" spellcheck=\"false\" value=\"", name, name, f->hint);
		mm_html_string(out, q->values[f->which]);
		mm_html_put(out, "\">");
	}
	mm_html_put(out, "</p>");
}

/* A touch on a quick filter leaves the form closed: on a phone it would stand before the rows. */
static bool is_open(const struct mm_page_query *q)
{
	for (int i = 0; i < MM_PAGE_FILTER_COUNT; i++)
		if (q->values[i][0] != '\0' && i != MM_PAGE_FILTER_verdict && i != MM_PAGE_FILTER_since)
			return true;
	return q->wrong[0] != '\0';
}

static void put_form(const struct mm_page_query *q, struct mm_buffer *out)
{
	mm_html_format(out, "<details class=\"filter\"%s><summary>Filter</summary><form method=\"get\" "
		"action=\"/messages\" "
		"role=\"search\" aria-label=\"Filter messages\">", is_open(q) ? " open" : "");
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		put_field(q, &fields[i], out);
	mm_html_put(out, "<p class=\"do\"><button type=\"submit\">Show</button> <a "
		"href=\"/messages\">Clear</a></p></form>"
		"</details>");
}

/* What is asked most often, one touch away. */
static void put_quick(const struct mm_page_query *q, struct mm_buffer *out)
{
	static const struct { const char *verdict, *word; } quick[] = {
		{ "", "All" }, { "reject", "Rejected" }, { "tempfail", "Deferred" }, { "error", "Script errors" },
		{ "unfinished", "Unfinished" },
	};
	const char *chosen = q->values[MM_PAGE_FILTER_verdict];
	mm_html_put(out, "<ul class=\"quick\" aria-label=\"Quick filters\">");
	for (size_t i = 0; i < sizeof quick / sizeof *quick; i++) {
		struct mm_page_query other = *q;
		memset(other.values[MM_PAGE_FILTER_verdict], 0, MM_PAGE_VALUE_SIZE);
		memcpy(other.values[MM_PAGE_FILTER_verdict], quick[i].verdict, strlen(quick[i].verdict));
		mm_html_put(out, "<li><a href=\"");
		mm_page_query_link(&other, "/messages", NULL, out);
		mm_html_format(out, "\"%s>%s</a></li>", strcmp(chosen, quick[i].verdict) == 0 ? " "
			"aria-current=\"true\"" : "",
			quick[i].word);
	}
	mm_html_put(out, "</ul>");
}

static void put_pages(const struct mm_page_query *q, const struct mm_rows *rows, struct mm_buffer *out)
{
	char more[64];
	if (!rows->has_more && q->before == 0)
		return;
	mm_html_put(out, "<nav class=\"pages\" aria-label=\"Pages\">");
	if (q->before != 0) {
		mm_html_put(out, "<a href=\"");
		mm_page_query_link(q, "/messages", NULL, out);
		mm_html_put(out, "\">Newest</a> ");
	}
	if (rows->has_more) {
		snprintf(more, sizeof more, "before=%llu", (unsigned long long)rows->next);
		mm_html_put(out, "<a rel=\"next\" href=\"");
		mm_page_query_link(q, "/messages", more, out);
		mm_html_put(out, rows->count > 0 ? "\">Older</a>" : "\">Look further back</a>");
	}
	mm_html_put(out, "</nav>");
}

static void put_none(const struct mm_page_query *q, const struct mm_rows *rows, struct mm_buffer *out)
{
	if (rows->has_more)
		mm_layout_empty(out, "None of the last 20000 messages fits. Look further back below.");
	else if (mm_page_query_has_filter(q))
		mm_layout_empty(out, "No message of the history fits. A part of an address is enough, and what is "
		"older than "
			"the history is in the log. <a href=\"/messages\">Show all</a>");
	else
		mm_layout_empty(out, "No mail yet. The MTA connects when it has some: <code>moonmilter doctor</code> "
		"checks "
			"whether it can.");
}

static void put_command(const struct mm_page_query *q, struct mm_buffer *out)
{
	mm_html_put(out, "ctl history");
	for (int i = 0; i < MM_PAGE_FILTER_COUNT; i++) {
		if (q->values[i][0] == '\0')
			continue;
		mm_html_format(out, " --%s ", mm_page_filter_options[i]);
		mm_html_shell(out, q->values[i]);
	}
}

static void put_history(struct mm_screen *s, const struct mm_story_reader *r)
{
	struct mm_rows rows;
	const struct mm_page_query *q = s->query;
	mm_rows_find(&rows, r, &q->filter, q->before, q->count, s->now);
	if (rows.count == 0)
		put_none(q, &rows, s->out);
	else
		mm_rows_put(&rows, s, r);
	put_pages(q, &rows, s->out);
}

void mm_screen_messages(struct mm_screen *s)
{
	const struct mm_page_query *q = s->query;
	struct mm_buffer live = { 0 }, command = { 0 };
	const struct mm_story_reader *r = mm_inquiry_history(s->source);
	char more[64];
	uint64_t last = r != NULL ? mm_story_reader_last(r) : 0;
	snprintf(more, sizeof more, "before=%llu", (unsigned long long)last + 1);       /* events begin after these
		rows */
	mm_page_query_link(q, "/live/messages", more, &live);
	mm_buffer_append_u8(&live, '\0');
	bool is_live = r != NULL && q->before == 0 && q->values[MM_PAGE_FILTER_until][0] == '\0' && !live.failed;
	mm_layout_begin(s, "Messages", is_live ? (const char *)live.bytes : NULL);
	mm_html_put(s->out, "<h1>Messages</h1>");
	put_quick(q, s->out);
	put_form(q, s->out);
	if (q->wrong[0] != '\0') {
		s->status = s->status == 200 ? 400 : s->status;
		mm_html_put(s->out, "<p class=\"alert\" role=\"alert\">");
		mm_html_string(s->out, q->wrong);
		mm_html_put(s->out, "</p>");
	} else if (r != NULL) {
		put_history(s, r);
	} else {
		mm_layout_empty(s->out, "This host keeps no history. Set <code>history = 10000</code> in "
			"<code>moonmilter.conf</code> and restart it.");
	}
	put_command(q, &command);
	mm_buffer_append_u8(&command, '\0');
	mm_layout_end(s, command.failed ? "ctl history" : (const char *)command.bytes);
	mm_buffer_free(&live);
	mm_buffer_free(&command);
}

const char *mm_screen_messages_json(struct mm_screen *s)
{
	struct mm_rows rows;
	const struct mm_story_reader *r = mm_inquiry_history(s->source);
	s->status = mm_inquiry_trouble(s->source) != NULL || r == NULL ? 503 : s->query->wrong[0] != '\0' ? 400 : 200;
	if (s->status == 400 || r == NULL) {
		struct mm_json j = { .out = s->out };
		mm_json_open(&j, '{');
		mm_json_key(&j, "error");
		mm_json_string(&j, s->status == 400 ? s->query->wrong : "the host keeps no history, or does not "
			"answer");
		mm_json_close(&j, '}');
		mm_html_put(s->out, "\n");
		return "application/json";
	}
	mm_rows_find(&rows, r, &s->query->filter, s->query->before, s->query->count, s->now);
	mm_rows_json(&rows, s->out, r, s->now);
	return "application/x-ndjson";
}
