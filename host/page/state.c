/* page/state.c -- what lasts longer than a message: generations, maps, limits and stores, reloads, deaths, losses. */
#include "page/screens.h"

#include "ctl/columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- counts of the host ---- */

static const struct fact {
	const char *metric, *label, *value;     /* with this value of this label; NULL: without one */
	const char *word;
	bool        is_alarming;                /* above 0 */
	bool        is_bytes;
} facts[] = {
	{ "moonmilter_reloads_total", "result", "ok", "Reloads", false, false },
	{ "moonmilter_reloads_total", "result", "failed", "Failed reloads", true, false },
	{ "moonmilter_worker_deaths_total", NULL, NULL, "Worker deaths", true, false },
	{ "moonmilter_poison_refusals_total", NULL, NULL, "Refused: has killed a worker", true, false },
	{ "moonmilter_script_errors_total", NULL, NULL, "Script errors", true, false },
	{ "moonmilter_log_lines_dropped_total", NULL, NULL, "Log lines lost", true, false },
	{ "moonmilter_sessions_of_older_scripts", NULL, NULL, "Sessions of older scripts", false, false },
	{ "moonmilter_lua_memory_bytes", NULL, NULL, "Memory of Lua", false, true },
	{ "moonmilter_held_memory_bytes", NULL, NULL, "Memory held for mail", false, true },
};

static double find(const struct mm_inquiry_answer *a, const struct fact *f)
{
	struct mm_sample sample;
	for (size_t i = 0; a != NULL && i < a->lines.count; i++)
		if (mm_layout_sample(a->lines.lines[i], &sample) && strcmp(sample.name, f->metric) == 0
		    && (f->label == NULL || strcmp(mm_layout_label(&sample, f->label), f->value) == 0))
			return sample.value;
	return 0;
}

static void put_counts(struct mm_screen *s, const struct mm_inquiry_answer *a)
{
	mm_html_put(s->out, "<section><h2>Counts <span class=\"dim\">since the start</span></h2><dl "
		"class=\"figures\">");
	for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
		double value = find(a, &facts[i]);
		mm_html_format(s->out, "<div%s><dt>%s</dt><dd>", facts[i].is_alarming && value > 0 ? " "
			"class=\"alarming\"" : "",
			facts[i].word);
		if (facts[i].is_bytes)
			mm_layout_bytes(s->out, value);
		else
			mm_layout_count(s->out, value);
		mm_html_put(s->out, "</dd></div>");
	}
	mm_html_put(s->out, "</dl></section>");
}

/* ---- limits ---- */

static void put_fallbacks(struct mm_screen *s, const struct mm_inquiry_answer *a)
{
	struct mm_sample sample;
	unsigned count = 0;
	for (size_t i = 0; a != NULL && i < a->lines.count; i++) {
		if (strncmp(a->lines.lines[i], "moonmilter_limit_fallbacks_total{", 33) != 0
		    || !mm_layout_sample(a->lines.lines[i], &sample) || sample.value == 0)
			continue;
		if (count++ == 0)
			mm_html_put(s->out, "<table class=\"cards\"><caption>Limits that could not ask their server "
			"or table"
				"</caption><thead><tr><th scope=\"col\">Limit</th><th scope=\"col\">Milter</th>"
				"<th scope=\"col\">Then</th><th scope=\"col\" "
				"class=\"n\">Answers</th></tr></thead><tbody>");
		mm_html_put(s->out, "<tr><th scope=\"row\">");
		mm_html_string(s->out, mm_layout_label(&sample, "limit"));
		mm_html_put(s->out, "</th><td data-h=\"Milter\">");
		mm_html_string(s->out, mm_layout_label(&sample, "milter"));
		mm_html_put(s->out, "</td><td data-h=\"Then\"><span class=\"verdict wait\">");
		mm_html_string(s->out, strcmp(mm_layout_label(&sample, "state"), "local") == 0 ? "counted locally"
			: "on_down decided");
		mm_html_put(s->out, "</span></td>");
		mm_layout_count_cell(s->out, "Answers", sample.value);
		mm_html_put(s->out, "</tr>");
	}
	mm_html_put(s->out, count > 0 ? "</tbody></table>" : "<p class=\"dim\">No limit has fallen back.</p>");
}

static void put_named_row(struct mm_buffer *out, const char *line)
{
	mm_html_put(out, "<li>");
	while (*line != '\0') {
		size_t word = strcspn(line, " "), equals = strcspn(line, "= ");
		if (line[equals] == '=') {
			mm_html_put(out, "<span class=\"dim\">");
			mm_html_text(out, (struct mm_text){ line, equals });
			mm_html_put(out, "</span> <bdi>");
			mm_html_text(out, (struct mm_text){ line + equals + 1, word - equals - 1 });
			mm_html_put(out, "</bdi> ");
		} else {
			mm_html_text(out, (struct mm_text){ line, word });
			mm_html_put(out, " ");
		}
		line += word + strspn(line + word, " ");
	}
	mm_html_put(out, "</li>");
}

static void put_named(struct mm_screen *s)
{
	char request[256];
	const struct mm_page_query *q = s->query;
	if (q->name[0] == '\0')
		return;
	snprintf(request, sizeof request, "%s\t%.120s", q->is_store ? "store stat" : "limit top", q->name);
	for (char *c = request + 10; *c != '\0'; c++)           /* one word of the request */
		*c = *c == '\t' && c > strchr(request, '\t') ? ' ' : *c;
	const struct mm_inquiry_answer *a = mm_inquiry_get_named(s->source, request);
	mm_html_format(s->out, "<h3>%s ", q->is_store ? "Store" : "Limit");
	mm_html_string(s->out, q->name);
	mm_html_put(s->out, "</h3>");
	if (a == NULL || a->error != NULL) {
		mm_html_put(s->out, "<p class=\"empty\">");
		mm_html_string(s->out, a != NULL ? a->error : "no answer yet");
		mm_html_put(s->out, "</p>");
		return;
	}
	if (a->lines.count == 0)
		mm_layout_empty(s->out, "No key has taken anything.");
	mm_html_put(s->out, "<ul class=\"pairs\">");
	for (size_t i = 0; i < a->lines.count; i++)
		put_named_row(s->out, a->lines.lines[i]);
	mm_html_put(s->out, "</ul>");
}

static void put_question(struct mm_buffer *out, const char *what, const char *label, const char *value)
{
	mm_html_format(out, "<form class=\"find\" method=\"get\" action=\"/state\"><label for=\"q-%s\">%s</label> "
		"<input id=\"q-%s\" "
		"name=\"%s\" maxlength=\"120\" autocomplete=\"off\" autocapitalize=\"none\" spellcheck=\"false\" "
		"required value=\"",
		what, label, what, what);
	mm_html_string(out, value);
	mm_html_put(out, "\"> <button type=\"submit\">Look</button></form>");
}

static void put_store(struct mm_buffer *out, const char *line, const char *name)
{
	mm_html_string(out, name);
	mm_html_put(out, "</th>");
	mm_layout_count_cell(out, "Keys", mm_layout_number(line, "keys"));
	mm_layout_bytes_cell(out, "Size", mm_layout_number(line, "bytes"));
	mm_layout_count_cell(out, "Refused", mm_layout_number(line, "refused"));
}

static void put_limit(struct mm_buffer *out, const char *line, const char *name)
{
	char shared[16] = "";
	mm_html_put(out, "<a href=\"/state?limit=");
	mm_html_url(out, mm_text_of(name));
	mm_html_put(out, "\">");
	mm_html_string(out, name);
	mm_html_put(out, "</a></th><td data-h=\"Shared by\">");
	mm_columns_value(line, "shared", shared, sizeof shared);
	mm_html_put(out, strcmp(shared, "hosts") == 0 ? "all hosts" : "this host");
	mm_html_put(out, "</td>");
	mm_layout_count_cell(out, "Keys", mm_layout_number(line, "keys"));
	mm_layout_count_cell(out, "Crossed", mm_layout_number(line, "crossed"));
}

/* What the host lists of a kind that has names: the key that names one, and the cells behind it. */
static const struct listing {
	enum mm_inquiry_kind kind;
	const char          *key, *head;
	void               (*put)(struct mm_buffer *, const char *line, const char *name);
} listings[] = {
	{ MM_INQUIRY_LIMITS, "limit", "<caption>Limits in use</caption><thead><tr><th scope=\"col\">Limit</th>"
		"<th scope=\"col\">Shared by</th><th scope=\"col\" class=\"n\">Keys</th>"
		"<th scope=\"col\" class=\"n\">Crossed</th></tr></thead>", put_limit },
	{ MM_INQUIRY_STORES, "store", "<caption>Stores</caption><thead><tr><th scope=\"col\">Store</th>"
		"<th scope=\"col\" class=\"n\">Keys</th><th scope=\"col\" class=\"n\">Size</th>"
		"<th scope=\"col\" class=\"n\">Refused</th></tr></thead>", put_store },
};

static void put_listing(struct mm_screen *s, const struct listing *l)
{
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, l->kind);
	unsigned count = 0;
	for (size_t i = 0; a != NULL && i < a->lines.count; i++) {
		const char *line = a->lines.lines[i];
		char name[256];
		if (mm_columns_value(line, l->key, name, sizeof name) == NULL)
			continue;
		if (count++ == 0)
			mm_html_format(s->out, "<table class=\"cards\">%s<tbody>", l->head);
		mm_html_put(s->out, "<tr><th scope=\"row\">");
		l->put(s->out, line, name);
		mm_html_put(s->out, "</tr>");
	}
	mm_html_put(s->out, count > 0 ? "</tbody></table>" : "");
}

static void put_limits(struct mm_screen *s, const struct mm_inquiry_answer *metrics)
{
	const struct mm_page_query *q = s->query;
	mm_html_put(s->out, "<section><h2>Limits and stores</h2>");
	put_fallbacks(s, metrics);
	for (size_t i = 0; i < sizeof listings / sizeof *listings; i++)
		put_listing(s, &listings[i]);
	mm_html_put(s->out, "<div class=\"questions\">");
	put_question(s->out, "limit", "Fullest keys of a limit", q->is_store ? "" : q->name);
	put_question(s->out, "store", "Size of a store", q->is_store ? q->name : "");
	mm_html_put(s->out, "</div>");
	put_named(s);
	mm_html_put(s->out, "</section>");
}

/* ---- maps ---- */

static void put_cell(struct mm_buffer *out, const char *line, const char *key, const char *head, const char *class)
{
	char value[512];
	mm_html_format(out, "<td class=\"%s\" data-h=\"%s\">", class, head);
	if (mm_columns_value(line, key, value, sizeof value) == NULL)
		mm_html_put(out, "–");
	else if (strcmp(key, "age") == 0 || strcmp(key, "asked") == 0)
		mm_layout_duration(out, strtod(value, NULL));
	else if (strcmp(key, "latency_us") == 0)
		mm_layout_took(out, strtod(value, NULL) / 1e6);
	else if (class[0] == 'n')
		mm_layout_count(out, strtod(value, NULL));
	else
		mm_html_string(out, value);
	mm_html_put(out, "</td>");
}

/* Maps of files and services have a table each: the key that names one, and its columns. */
struct maps_table {
	const char *key, *head;
	struct { const char *key, *head, *class; } columns[6];
};

static const struct maps_table maps_tables[] = {
	{ "path", "File", { { "kind", "Kind", "" }, { "entries", "Entries", "n" }, { "age", "Age", "n" },
		{ "versions", "Versions", "n" } } },
	{ "service", "Service", { { "kind", "Kind", "" }, { "state", "State", "" }, { "answers", "Answers", "n" },
		{ "failures", "Failures", "n" }, { "latency_us", "Time of an answer", "n" },
		{ "asked", "Asked", "n" } } },
};

#define MAPS_COLUMNS (sizeof maps_tables->columns / sizeof *maps_tables->columns)

static void put_map(struct mm_buffer *out, const struct maps_table *t, const char *name, const char *line,
	const char *error)
{
	mm_html_put(out, "<tr><th scope=\"row\"><code>");
	mm_html_string(out, name);
	mm_html_put(out, "</code>");
	if (error != NULL) {
		mm_html_put(out, "<p class=\"below\"><span class=\"verdict stop\">error</span> ");
		mm_html_string(out, error);
		mm_html_put(out, "</p>");
	}
	mm_html_put(out, "</th>");
	for (size_t i = 0; i < MAPS_COLUMNS && t->columns[i].key != NULL; i++)
		put_cell(out, line, t->columns[i].key, t->columns[i].head, t->columns[i].class);
	mm_html_put(out, "</tr>");
}

static void put_maps_head(struct mm_buffer *out, const struct maps_table *t)
{
	mm_html_format(out, "<table class=\"cards\"><thead><tr><th scope=\"col\">%s</th>", t->head);
	for (size_t i = 0; i < MAPS_COLUMNS && t->columns[i].key != NULL; i++)
		mm_html_format(out, "<th scope=\"col\" class=\"%s\">%s</th>", t->columns[i].class, t->columns[i].head);
	mm_html_put(out, "</tr></thead><tbody>");
}

static unsigned put_maps_of(struct mm_buffer *out, const struct maps_table *t, const struct mm_inquiry_answer *a)
{
	unsigned count = 0;
	for (size_t i = 0; a != NULL && i < a->lines.count; i++) {
		const char *line = a->lines.lines[i], *below = i + 1 < a->lines.count ? a->lines.lines[i + 1] : "";
		char name[512];
		if (line[0] == ' ' || mm_columns_value(line, t->key, name, sizeof name) == NULL)
			continue;
		if (count++ == 0)
			put_maps_head(out, t);
		put_map(out, t, name, line, strncmp(below, "    error: ", 11) == 0 ? below + 11 : NULL);
	}
	if (count > 0)
		mm_html_put(out, "</tbody></table>");
	return count;
}

static void put_maps(struct mm_screen *s)
{
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_MAPS);
	unsigned count = 0;
	mm_html_put(s->out, "<section><h2>Maps</h2>");
	for (size_t i = 0; i < sizeof maps_tables / sizeof *maps_tables; i++)
		count += put_maps_of(s->out, &maps_tables[i], a);
	if (count == 0)
		mm_layout_empty(s->out, "No script has opened a map.");
	mm_html_put(s->out, "</section>");
}

/* ---- generations ---- */

static void put_generations(struct mm_screen *s)
{
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_GENERATIONS);
	char pid[32] = "";
	mm_html_put(s->out, "<section><h2>Generations <span class=\"dim\">in memory</span></h2><table "
		"class=\"cards\"><thead><tr>"
		"<th scope=\"col\">Generation</th><th scope=\"col\">State</th><th scope=\"col\">Worker</th><th "
		"scope=\"col\">Milter"
		"</th><th scope=\"col\" class=\"n\">Scripts</th><th scope=\"col\" class=\"n\">Sessions</th><th "
		"scope=\"col\" "
		"class=\"n\">Lua</th></tr></thead><tbody>");
	for (size_t i = 0; a != NULL && i < a->lines.count; i++) {
		const char *line = a->lines.lines[i];
		char state[32] = "?";
		if (mm_layout_is_worker(line))
			mm_columns_value(line, "pid", pid, sizeof pid);
		if (strncmp(line, "generation=", 11) != 0)
			continue;
		mm_columns_value(line, "state", state, sizeof state);
		mm_html_format(s->out, "<tr><th scope=\"row\">%.0f</th><td data-h=\"State\"><span class=\"verdict "
			"%s\">",
			mm_layout_number(line, "generation"), strcmp(state, "serving") == 0 ? "pass" : "wait");
		mm_html_string(s->out, state);
		mm_html_put(s->out, "</span></td><td data-h=\"Worker\">");
		mm_html_string(s->out, pid[0] != '\0' ? pid : "–");
		mm_html_put(s->out, "</td>");
		put_cell(s->out, line, "milter", "Milter", "");
		put_cell(s->out, line, "scripts", "Scripts", "n");
		put_cell(s->out, line, "sessions", "Sessions", "n");
		mm_layout_bytes_cell(s->out, "Lua", mm_layout_number(line, "lua_bytes"));
		mm_html_put(s->out, "</tr>");
	}
	mm_html_put(s->out, "</tbody></table></section>");
}

/* ---- the screen ---- */

static void put_notes(struct mm_screen *s)
{
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_STATUS);
	unsigned count = 0;
	for (size_t i = 0; a != NULL && i < a->lines.count; i++) {
		const char *line = a->lines.lines[i];
		if (line[strcspn(line, "= ")] == '=' || mm_layout_is_worker(line))
			continue;
		mm_html_put(s->out, count++ == 0 ? "<section class=\"findings\"><ul><li>" : "<li>");
		mm_html_put(s->out, "<span class=\"verdict stop\">look</span> ");
		mm_html_string(s->out, line);
		mm_html_put(s->out, "</li>");
	}
	if (count > 0)
		mm_html_put(s->out, "</ul></section>");
}

static const char *command_of(const struct mm_page_query *q, struct mm_buffer *to)
{
	mm_html_put(to, "ctl generations</code>, <code>ctl maps</code>, <code>ctl limit list</code>, "
		"<code>ctl store list</code>, <code>ctl metrics");
	if (q->name[0] != '\0') {
		mm_html_put(to, q->is_store ? "</code>, <code>ctl store stat " : "</code>, <code>ctl limit top ");
		mm_html_shell(to, q->name);
	}
	mm_buffer_append_u8(to, '\0');
	return to->failed ? NULL : (const char *)to->bytes;
}

void mm_screen_state(struct mm_screen *s)
{
	struct mm_buffer command = { 0 };
	mm_layout_begin(s, "State", NULL);
	mm_html_put(s->out, "<h1>State</h1>");
	put_notes(s);
	const struct mm_inquiry_answer *metrics = mm_inquiry_get(s->source, MM_INQUIRY_METRICS);
	put_counts(s, metrics);
	put_generations(s);
	put_maps(s);
	put_limits(s, metrics);
	mm_layout_end(s, command_of(s->query, &command));
	mm_buffer_free(&command);
}

const char *mm_screen_state_json(struct mm_screen *s)
{
	s->status = mm_inquiry_trouble(s->source) != NULL ? 503 : 200;
	mm_html_put(s->out, "{");
	mm_screen_member(s, "status", mm_inquiry_get(s->source, MM_INQUIRY_STATUS), true);
	mm_screen_member(s, "generations", mm_inquiry_get(s->source, MM_INQUIRY_GENERATIONS), false);
	mm_screen_member(s, "maps", mm_inquiry_get(s->source, MM_INQUIRY_MAPS), false);
	mm_screen_member(s, "limits", mm_inquiry_get(s->source, MM_INQUIRY_LIMITS), false);
	mm_screen_member(s, "stores", mm_inquiry_get(s->source, MM_INQUIRY_STORES), false);
	mm_html_put(s->out, "}\n");
	return "application/json";
}
