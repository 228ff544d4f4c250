/* page/now.c -- the first screen: is something wrong, how much mail passes and how it ends, the workers, who waits for
 * what, the last messages. */
#include "page/screens.h"

#include "ctl/columns.h"
#include "story/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW       300.0      /* seconds of the counts of verdicts */
#define WINDOW_MAX   5000u      /* messages that are counted for them */
#define LAST_ROWS    8u
#define WAITING_MAX  40u

/* ---- what is wrong ---- */

static void put_wrong(struct mm_buffer *out, unsigned *count, const char *kind, const char *word)
{
	mm_html_put(out, (*count)++ == 0 ? "<section class=\"findings\" aria-label=\"What needs a look\"><ul>" : "");
	mm_html_format(out, "<li><span class=\"verdict %s\">%s</span> ", kind, word);
}

static double sum_of(const struct mm_inquiry_answer *a, const char *key)
{
	double sum = 0;
	for (size_t i = 0; i < a->lines.count; i++)
		if (mm_layout_is_worker(a->lines.lines[i]))
			sum += mm_layout_number(a->lines.lines[i], key);
	return sum;
}

/* Lines of the status without key=value are for people: a failed reload, a lost socket, a message that kills. */
static void put_notes(struct mm_buffer *out, const struct mm_inquiry_answer *a, unsigned *count)
{
	for (size_t i = 0; i < a->lines.count; i++) {
		const char *line = a->lines.lines[i];
		if (line[strcspn(line, "= ")] == '=' || mm_layout_is_worker(line))
			continue;
		put_wrong(out, count, "stop", "look");
		mm_html_string(out, line);
		mm_html_put(out, "</li>");
	}
}

static void put_counts(struct mm_buffer *out, const struct mm_inquiry_answer *a, unsigned *count)
{
	char text[32];
	double deaths = strtod(mm_layout_fact(a, "worker_deaths", text, sizeof text), NULL);
	double lost = sum_of(a, "log_lost"), errors = sum_of(a, "script_errors");
	if (deaths > 0) {
		put_wrong(out, count, "stop", "deaths");
		mm_layout_count(out, deaths);
		mm_html_put(out, deaths > 1 ? " workers have died since the start</li>" : " worker has died since the "
			"start</li>");
	}
	if (errors > 0) {
		put_wrong(out, count, "wait", "errors");
		mm_html_put(out, "<a href=\"/messages?verdict=error\">");
		mm_layout_count(out, errors);
		mm_html_put(out, errors > 1 ? " script errors</a> in the present workers</li>"
			: " script error</a> in the present workers</li>");
	}
	if (lost > 0) {
		put_wrong(out, count, "wait", "log");
		mm_layout_count(out, lost);
		mm_html_put(out, lost > 1 ? " log lines were lost</li>" : " log line was lost</li>");
	}
}

static void put_findings(struct mm_screen *s, const struct mm_inquiry_answer *a)
{
	unsigned count = 0;
	put_notes(s->out, a, &count);
	put_counts(s->out, a, &count);
	mm_html_put(s->out, count > 0 ? "</ul></section>"
		: "<p class=\"fine\"><span class=\"verdict pass\">quiet</span> No worker has died, no script has "
		"failed, no log line is lost.</p>");
}

/* ---- how mail ends ---- */

struct verdicts {
	unsigned pass, stop, wait, drop, none, error, all;
	double   seconds;               /* that they took */
};

static void count_one(struct verdicts *v, const struct mm_story *s)
{
	const char *name = mm_story_verdict_word(s);
	v->all++;
	v->error += s->has_error;
	if (strcmp(name, "continue") == 0 || strcmp(name, "accept") == 0)
		v->pass++;
	else if (strcmp(name, "reject") == 0)
		v->stop++;
	else if (strcmp(name, "tempfail") == 0)
		v->wait++;
	else if (strcmp(name, "discard") == 0)
		v->drop++;
	else
		v->none++;
}

static void count_all(struct verdicts *v, const struct mm_story_reader *r, double now)
{
	struct mm_story s;
	uint64_t last = mm_story_reader_last(r), first = mm_story_reader_first(r, last);
	*v = (struct verdicts){ .seconds = WINDOW };
	for (uint64_t n = last; n >= first && n > 0; n--) {
		if (!mm_story_reader_get(r, n, now, &s))
			continue;
		if (now - s.ended_at > WINDOW)
			return;
		count_one(v, &s);
		v->seconds = now - s.ended_at > 1 ? now - s.ended_at : 1;
		if (v->all == WINDOW_MAX)
			return;
	}
	v->seconds = WINDOW;
}

static void put_tile(struct mm_buffer *out, const char *kind, const char *word, unsigned count, const char *verdict)
{
	if (verdict != NULL)
		mm_html_format(out, "<li class=\"%s\"><a href=\"/messages?verdict=%s&amp;since=5m\"><b>", count > 0 ?
		kind
			: "zero", verdict);
	else
		mm_html_format(out, "<li class=\"%s\"><a href=\"/messages?since=5m\"><b>", count > 0 ? kind : "zero");
	mm_layout_count(out, count);
	mm_html_format(out, "</b> <span>%s</span></a></li>", word);
}

static void put_verdicts(struct mm_screen *s, const struct mm_story_reader *r)
{
	struct verdicts v;
	count_all(&v, r, s->now);
	mm_html_put(s->out, "<section><h2>Verdicts <span class=\"dim\">");
	if (v.all == WINDOW_MAX)
		mm_html_format(s->out, "of the last %u messages, in ", v.all);
	else
		mm_html_put(s->out, "in the last ");
	mm_layout_duration(s->out, v.all == WINDOW_MAX ? v.seconds : WINDOW);
	mm_html_put(s->out, "</span></h2><ul class=\"tiles\">");
	put_tile(s->out, "all", v.all == 1 ? "message" : "messages", v.all, NULL);
	put_tile(s->out, "pass", "passed", v.pass, "continue");
	put_tile(s->out, "stop", "rejected", v.stop, "reject");
	put_tile(s->out, "wait", "deferred", v.wait, "tempfail");
	put_tile(s->out, "drop", "discarded", v.drop, "discard");
	put_tile(s->out, "none", "given up", v.none, "none");
	put_tile(s->out, "stop", "script errors", v.error, "error");
	mm_html_put(s->out, "</ul></section>");
}

/* ---- workers ---- */

static void put_worker(struct mm_screen *s, const char *line)
{
	char state[32] = "?";
	int pid = (int)mm_layout_number(line, "pid");
	mm_columns_value(line, "state", state, sizeof state);
	mm_html_format(s->out, "<tr><th scope=\"row\">%d</th><td data-h=\"State\"><span class=\"verdict %s\">", pid,
		strcmp(state, "serving") == 0 ? "pass" : "wait");
	mm_html_string(s->out, state);
	mm_html_format(s->out, "</span></td><td class=\"n\" data-h=\"Generation\">%.0f</td>",
		mm_layout_number(line, "generation"));
	mm_layout_count_cell(s->out, "Sessions", mm_layout_number(line, "sessions"));
	mm_html_put(s->out, "<td class=\"n\" data-h=\"Messages/s\">");
	mm_layout_rate(s->out, mm_inquiry_rate(s->source, pid, MM_INQUIRY_MESSAGES));
	mm_html_put(s->out, "</td>");
	mm_layout_count_cell(s->out, "Messages", mm_layout_number(line, "messages"));
	mm_layout_count_cell(s->out, "Errors", mm_layout_number(line, "script_errors"));
	mm_layout_bytes_cell(s->out, "Lua", mm_layout_number(line, "lua_bytes"));
	mm_layout_bytes_cell(s->out, "Held", mm_layout_number(line, "held_bytes"));
	mm_html_put(s->out, "</tr>");
}

static void put_workers(struct mm_screen *s, const struct mm_inquiry_answer *a)
{
	mm_html_put(s->out, "<section><h2>Workers <span class=\"dim\">");
	mm_layout_rate(s->out, mm_inquiry_rate(s->source, 0, MM_INQUIRY_MESSAGES));
	mm_html_put(s->out, " messages/s, ");
	mm_layout_rate(s->out, mm_inquiry_rate(s->source, 0, MM_INQUIRY_BEGUN));
	mm_html_put(s->out, " new sessions/s</span></h2><table class=\"cards\"><thead><tr><th "
		"scope=\"col\">Process</th>"
		"<th scope=\"col\">State</th><th scope=\"col\" class=\"n\">Generation</th><th scope=\"col\" "
		"class=\"n\">"
		"Sessions</th><th scope=\"col\" class=\"n\">Messages/s</th><th scope=\"col\" class=\"n\">Messages</th>"
		"<th scope=\"col\" class=\"n\">Errors</th><th scope=\"col\" class=\"n\">Lua</th>"
		"<th scope=\"col\" class=\"n\">Held</th></tr></thead><tbody>");
	for (size_t i = 0; i < a->lines.count; i++)
		if (mm_layout_is_worker(a->lines.lines[i]))
			put_worker(s, a->lines.lines[i]);
	mm_html_put(s->out, "</tbody></table></section>");
}

/* ---- who waits ---- */

struct waiting {
	const char *line, *place;       /* borrowed; place: the innermost line of the script, NULL: not known */
	double      seconds;
};

static int by_seconds(const void *a, const void *b)
{
	const struct waiting *x = a, *y = b;
	return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : 0;
}

/* Keeps those that wait longest. */
static void keep(struct waiting *list, unsigned *count, struct waiting w)
{
	if (*count == WAITING_MAX && list[WAITING_MAX - 1].seconds >= w.seconds)
		return;
	if (*count < WAITING_MAX)
		(*count)++;
	list[*count - 1] = w;
	qsort(list, *count, sizeof *list, by_seconds);
}

static void put_value(struct mm_buffer *out, const char *line, const char *key, const char *before, const char *after)
{
	char value[256];
	if (mm_columns_value(line, key, value, sizeof value) == NULL)
		return;
	mm_html_put(out, before);
	mm_html_string(out, value);
	mm_html_put(out, after);
}

static void put_id(struct mm_buffer *out, const char *line)
{
	char id[64];
	if (mm_columns_value(line, "queue_id", id, sizeof id) == NULL)
		mm_columns_value(line, "session", id, sizeof id);
	mm_html_put(out, "<a class=\"row\" href=\"/message?id=");
	mm_html_url(out, mm_text_of(id));
	mm_html_put(out, "\">");
	mm_html_string(out, id);
	mm_html_put(out, "</a>");
}

static void put_waiting(struct mm_screen *s, const struct waiting *w)
{
	mm_html_put(s->out, "<tr><td class=\"n\" data-h=\"Waits\">");
	mm_layout_took(s->out, w->seconds);
	mm_html_put(s->out, "</td><td data-h=\"For\">");
	put_value(s->out, w->line, "waits_for", "<b>", "</b>");
	mm_html_put(s->out, "</td><td class=\"id\" data-h=\"Message\">");
	put_id(s->out, w->line);
	mm_html_put(s->out, "</td><td data-h=\"Client\"><bdi>");
	put_value(s->out, w->line, "address", "", "");
	mm_html_put(s->out, "</bdi></td><td data-h=\"Stage\">");
	put_value(s->out, w->line, "stage", "", "");
	mm_html_put(s->out, "</td><td data-h=\"Where\"><code>");
	if (w->place != NULL)
		mm_html_text(s->out, (struct mm_text){ w->place, strcspn(w->place, " ") > 0
			? strlen(w->place) - (strstr(w->place, ": in function") != NULL
			? strlen(strstr(w->place, ": in function")) : 0) : 0 });
	else
		put_value(s->out, w->line, "script", "", "");
	mm_html_put(s->out, "</code></td><td class=\"n\" data-h=\"Deadline in\">");
	mm_layout_took(s->out, mm_layout_number(w->line, "deadline_in"));
	mm_html_put(s->out, "</td></tr>");
}

static void put_sessions(struct mm_screen *s)
{
	struct waiting list[WAITING_MAX];
	unsigned count = 0, sessions = 0, waits = 0;
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_SESSIONS);
	for (size_t i = 0; a != NULL && i < a->lines.count; i++) {
		const char *line = a->lines.lines[i];
		char wait[64];
		if (strncmp(line, "session=", 8) != 0)
			continue;
		sessions++;
		if (mm_columns_value(line, "waits_for", wait, sizeof wait) == NULL)
			continue;
		waits++;
		const char *below = i + 1 < a->lines.count && a->lines.lines[i + 1][0] == ' ' ? a->lines.lines[i + 1] :
			NULL;
		keep(list, &count, (struct waiting){ line, below != NULL ? below + strspn(below, " ") : NULL,
			mm_layout_number(line, "waiting") });
	}
	mm_html_format(s->out, "<section><h2>Waiting <span class=\"dim\">%u of %u open sessions</span></h2>", waits,
		sessions);
	if (count == 0) {
		mm_layout_empty(s->out, "No session waits for anything.");
	} else {
		mm_html_put(s->out, "<table class=\"cards waiting\"><thead><tr><th scope=\"col\" class=\"n\">Waits</th>"
			"<th scope=\"col\">For</th><th scope=\"col\">Message</th><th scope=\"col\">Client</th>"
			"<th scope=\"col\">Stage</th><th scope=\"col\">Where</th><th scope=\"col\" class=\"n\">"
			"Deadline in</th></tr></thead><tbody>");
		for (unsigned i = 0; i < count; i++)
			put_waiting(s, &list[i]);
		mm_html_put(s->out, "</tbody></table>");
	}
	mm_html_put(s->out, "</section>");
}

/* ---- the screen ---- */

static void put_last(struct mm_screen *s, const struct mm_story_reader *r)
{
	struct mm_rows rows;
	struct mm_story_filter all = { 0 };
	mm_rows_find(&rows, r, &all, 0, LAST_ROWS, s->now);
	mm_html_put(s->out, "<section><h2>Last messages <a class=\"more\" href=\"/messages\">all</a></h2>");
	if (rows.count == 0)
		mm_layout_empty(s->out, "No mail yet. The MTA connects when it has some: <code>moonmilter "
		"doctor</code> "
			"checks whether it can.");
	else
		mm_rows_put(&rows, s, r);
	mm_html_put(s->out, "</section>");
}

void mm_screen_now_part(struct mm_screen *s)
{
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_STATUS);
	const struct mm_story_reader *r = mm_inquiry_history(s->source);
	if (a != NULL && a->lines.count > 0)
		put_findings(s, a);
	if (r != NULL)
		put_verdicts(s, r);
	put_sessions(s);
	if (r != NULL)
		put_last(s, r);
	if (a != NULL && a->lines.count > 0)
		put_workers(s, mm_inquiry_get(s->source, MM_INQUIRY_STATUS));
}

void mm_screen_now(struct mm_screen *s)
{
	mm_layout_begin(s, "Now", "/live/now");
	mm_html_put(s->out, "<h1>Now</h1><div id=\"part\">");
	mm_screen_now_part(s);
	mm_html_put(s->out, "</div>");
	mm_layout_end(s, "ctl status</code>, <code>ctl sessions</code>, <code>ctl top");
}

void mm_screen_member(struct mm_screen *s, const char *key, const struct mm_inquiry_answer *a, bool is_first)
{
	size_t size = a != NULL && a->json != NULL ? strcspn(a->json, "\n") : 0;
	mm_html_format(s->out, "%s\"%s\":", is_first ? "" : ",", key);
	if (size > 0)
		mm_buffer_append(s->out, a->json, size);
	else
		mm_html_put(s->out, "null");
}

const char *mm_screen_now_json(struct mm_screen *s)
{
	s->status = mm_inquiry_trouble(s->source) != NULL ? 503 : 200;
	mm_html_put(s->out, "{");
	mm_screen_member(s, "status", mm_inquiry_get(s->source, MM_INQUIRY_STATUS), true);
	mm_screen_member(s, "sessions", mm_inquiry_get(s->source, MM_INQUIRY_SESSIONS), false);
	mm_html_put(s->out, "}\n");
	return "application/json";
}
