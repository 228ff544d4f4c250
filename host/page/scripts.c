/* page/scripts.c -- for each script: when it was loaded, what it decided, what its handlers cost and where they
 * failed. */
#include "page/screens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SCRIPTS_MAX 64

struct script {
	const char *milter, *path;      /* borrowed from the profile, or from a sample */
	char        name[128];          /* of the file */
};

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

static size_t stem_of(const char *name)
{
	size_t size = strlen(name);
	return size > 4 && strcmp(name + size - 4, ".lua") == 0 ? size - 4 : size;
}

static bool is_script(const struct script *s, const char *milter, const char *name)
{
	size_t size = stem_of(name), own = stem_of(s->name);
	return strcmp(s->milter, milter) == 0 && size == own && memcmp(s->name, name, size) == 0;
}

static int by_name(const void *a, const void *b)
{
	const struct script *x = a, *y = b;
	int order = strcmp(x->milter, y->milter);
	return order != 0 ? order : strcmp(x->name, y->name);
}

static unsigned find_scripts(const struct mm_profile_report *profile, struct script *list)
{
	unsigned count = 0;
	struct mm_profile_report_row row;
	for (unsigned i = 0; profile != NULL && mm_profile_report_row(profile, i, &row) && count < SCRIPTS_MAX; i++) {
		bool is_known = false;
		for (unsigned j = 0; j < count; j++)
			is_known |= is_script(&list[j], row.milter, base_of(row.script));
		if (is_known)
			continue;
		list[count] = (struct script){ row.milter, row.script, "" };
		snprintf(list[count++].name, sizeof list->name, "%s", base_of(row.script));
	}
	qsort(list, count, sizeof *list, by_name);
	return count;
}

/* ---- what it decided ---- */

static void put_decided(struct mm_screen *s, const struct script *script)
{
	struct mm_sample sample;
	unsigned count = 0;
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_METRICS);
	for (size_t i = 0; a != NULL && i < a->lines.count; i++) {
		if (strncmp(a->lines.lines[i], "moonmilter_messages_total{", 26) != 0
		    || !mm_layout_sample(a->lines.lines[i], &sample) || sample.value == 0
		    || !is_script(script, mm_layout_label(&sample, "milter"), mm_layout_label(&sample, "script")))
			continue;
		const char *verdict = mm_layout_label(&sample, "verdict");
		mm_html_put(s->out, count++ == 0 ? "<ul class=\"decided\"><li>" : "<li>");
		mm_html_put(s->out, "<a href=\"/messages?script=");
		mm_html_url(s->out, (struct mm_text){ script->name, stem_of(script->name) });
		mm_html_put(s->out, "&amp;verdict=");
		mm_html_url(s->out, mm_text_of(strcmp(verdict, "aborted") == 0 ? "none" : verdict));
		mm_html_put(s->out, "\">");
		mm_layout_verdict(s->out, verdict);
		mm_html_put(s->out, " <b>");
		mm_layout_count(s->out, sample.value);
		mm_html_put(s->out, "</b></a></li>");
	}
	mm_html_put(s->out, count > 0 ? "</ul>" : "<p class=\"dim decided\">It has decided no message; all passed "
		"on.</p>");
}

/* ---- its handlers ---- */

static void put_slowest(struct mm_screen *s, const struct mm_profile_report_row *row)
{
	const char *id = row->queue_id[0] != '\0' ? row->queue_id : row->session;
	mm_html_put(s->out, "<td class=\"n\" data-h=\"Slowest\">");
	if (id[0] != '\0') {
		mm_html_put(s->out, "<a href=\"/message?id=");
		mm_html_url(s->out, mm_text_of(id));
		mm_html_put(s->out, "\">");
	}
	mm_layout_took(s->out, row->slowest);
	mm_html_put(s->out, id[0] != '\0' ? "</a></td></tr>" : "</td></tr>");
}

static void put_number(struct mm_buffer *out, const char *head, bool is_alarming, double value)
{
	mm_html_format(out, "<td class=\"n%s\" data-h=\"%s\">", is_alarming && value > 0 ? " alarming" : "", head);
	mm_layout_count(out, value);
	mm_html_put(out, "</td>");
}

static void put_each(struct mm_buffer *out, const char *head, double sum, unsigned long long calls)
{
	mm_html_format(out, "<td class=\"n\" data-h=\"%s\">", head);
	mm_layout_took(out, calls > 0 ? sum / (double)calls : -1);
	mm_html_put(out, "</td>");
}

static void put_handler(struct mm_screen *s, const struct mm_profile_report_row *row)
{
	mm_html_put(s->out, "<tr><th scope=\"row\"><code>");
	mm_html_string(s->out, row->handler);
	mm_html_put(s->out, "</code></th>");
	put_number(s->out, "Calls", false, (double)row->calls);
	put_number(s->out, "Errors", true, (double)row->errors);
	put_number(s->out, "Waiting now", false, (double)row->waiting_now);
	put_each(s->out, "Busy a call", row->busy, row->calls);
	put_each(s->out, "Waits a call", row->waited, row->calls);
	put_slowest(s, row);
}

static void put_handlers(struct mm_screen *s, const struct script *script, const struct mm_profile_report *profile)
{
	struct mm_profile_report_row row;
	mm_html_put(s->out, "<table class=\"cards\"><thead><tr><th scope=\"col\">Handler</th><th scope=\"col\" "
		"class=\"n\">"
		"Calls</th><th scope=\"col\" class=\"n\">Errors</th><th scope=\"col\" class=\"n\">Waiting now</th>"
		"<th scope=\"col\" class=\"n\">Busy a call</th><th scope=\"col\" class=\"n\">Waits a call</th>"
		"<th scope=\"col\" class=\"n\">Slowest</th></tr></thead><tbody>");
	for (unsigned i = 0; mm_profile_report_row(profile, i, &row); i++)
		if (is_script(script, row.milter, base_of(row.script)))
			put_handler(s, &row);
	mm_html_put(s->out, "</tbody></table>");
}

static void put_script(struct mm_screen *s, const struct script *script, const struct mm_profile_report *profile,
	bool with_milter)
{
	mm_html_put(s->out, "<section class=\"script\"><h2><code>");
	mm_html_string(s->out, script->name);
	mm_html_put(s->out, "</code>");
	if (with_milter) {
		mm_html_put(s->out, " <span class=\"dim\">milter ");
		mm_html_string(s->out, script->milter);
		mm_html_put(s->out, "</span>");
	}
	mm_html_put(s->out, "</h2><p class=\"path dim\"><code>");
	mm_html_string(s->out, script->path);
	mm_html_put(s->out, "</code></p>");
	put_decided(s, script);
	put_handlers(s, script, profile);
	mm_html_put(s->out, "<p class=\"links\"><a href=\"/messages?script=");
	mm_html_url(s->out, (struct mm_text){ script->name, stem_of(script->name) });
	mm_html_put(s->out, "\">Its messages</a></p></section>");
}

/* ---- the screen ---- */

static void put_loaded(struct mm_screen *s)
{
	char generation[32], reloaded[40], reload[32], uptime[32];
	struct tm utc = { 0 };
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_STATUS);
	if (a == NULL || a->lines.count == 0)
		return;
	mm_layout_fact(a, "reloaded_at", reloaded, sizeof reloaded);
	double at = strptime(reloaded, "%Y-%m-%dT%H:%M:%SZ", &utc) != NULL ? (double)timegm(&utc)
		: a->wall - strtod(mm_layout_fact(a, "uptime", uptime, sizeof uptime), NULL);
	mm_html_put(s->out, "<p>Generation <b>");
	mm_html_string(s->out, mm_layout_fact(a, "generation", generation, sizeof generation));
	mm_html_put(s->out, "</b>, loaded ");
	mm_layout_time(s->out, at, s->now);
	mm_html_put(s->out, strcmp(mm_layout_fact(a, "reload", reload, sizeof reload), "failed") == 0
		? ". <span class=\"verdict wait\">The last reload failed</span>; the scripts from before serve on.</p>"
		: ".</p>");
	for (size_t i = 0; i < a->lines.count; i++)
		if (strncmp(a->lines.lines[i], "last failure: ", 14) == 0) {
			mm_html_put(s->out, "<p class=\"alert\">");
			mm_html_string(s->out, a->lines.lines[i] + 14);
			mm_html_put(s->out, "</p>");
		}
}

void mm_screen_scripts(struct mm_screen *s)
{
	struct script list[SCRIPTS_MAX];
	mm_layout_begin(s, "Scripts", NULL);
	mm_html_put(s->out, "<h1>Scripts</h1>");
	put_loaded(s);
	mm_inquiry_get(s->source, MM_INQUIRY_METRICS);
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_PROFILE);
	const struct mm_profile_report *profile = a != NULL ? a->profile : NULL;
	unsigned count = find_scripts(profile, list);
	bool with_milter = false;
	for (unsigned i = 1; i < count; i++)
		with_milter |= strcmp(list[i].milter, list[0].milter) != 0;
	for (unsigned i = 0; i < count; i++)
		put_script(s, &list[i], profile, with_milter);
	if (count == 0)
		mm_layout_empty(s->out, "No handler has been called yet. <code>moonmilter check</code> lists the "
		"scripts and what "
			"they handle.");
	mm_layout_end(s, "profile</code>, <code>ctl generations</code>, <code>ctl metrics");
}

const char *mm_screen_scripts_json(struct mm_screen *s)
{
	s->status = mm_inquiry_trouble(s->source) != NULL ? 503 : 200;
	mm_html_put(s->out, "{");
	mm_screen_member(s, "profile", mm_inquiry_get(s->source, MM_INQUIRY_PROFILE), true);
	mm_screen_member(s, "generations", mm_inquiry_get(s->source, MM_INQUIRY_GENERATIONS), false);
	mm_html_put(s->out, "}\n");
	return "application/json";
}
