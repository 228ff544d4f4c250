#include "page/layout.h"

#include "ctl/columns.h"
#include "ctl/figure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- answers ---- */

bool mm_layout_is_worker(const char *line)
{
	return strncmp(line, "worker pid=", 11) == 0;
}

const char *mm_layout_fact(const struct mm_inquiry_answer *a, const char *key, char *to, size_t size)
{
	to[0] = '\0';
	for (size_t i = 0; a != NULL && i < a->lines.count; i++)
		if (!mm_layout_is_worker(a->lines.lines[i])
		    && mm_columns_value(a->lines.lines[i], key, to, size) != NULL)
			return to;
	return to;
}

double mm_layout_number(const char *line, const char *key)
{
	char value[64];
	return mm_columns_value(line, key, value, sizeof value) != NULL ? strtod(value, NULL) : 0;
}

/* The quoted value of a label; *at is after the opening quote, and moves after the closing one. */
static bool read_value(const char **at, char *to, size_t size)
{
	size_t used = 0;
	for (; **at != '"'; (*at)++) {
		char c = **at;
		if (c == '\0')
			return false;
		if (c == '\\' && (*at)[1] != '\0') {
			(*at)++;
			c = **at == 'n' ? '\n' : **at;
		}
		if (used + 1 < size)
			to[used++] = c;
	}
	to[used] = '\0';
	(*at)++;
	return true;
}

static bool read_labels(const char **at, struct mm_sample *s)
{
	char name[128], value[128];
	while (**at != '}') {
		size_t size = strcspn(*at, "=");
		snprintf(name, sizeof name, "%.*s", (int)(size < sizeof name ? size : sizeof name - 1), *at);
		*at += size;
		if (strncmp(*at, "=\"", 2) != 0)
			return false;
		*at += 2;
		if (!read_value(at, value, sizeof value))
			return false;
		if (s->label_count < 4) {
			memcpy(s->labels[s->label_count][0], name, sizeof name);
			memcpy(s->labels[s->label_count++][1], value, sizeof value);
		}
		*at += **at == ',';
	}
	(*at)++;
	return true;
}

bool mm_layout_sample(const char *line, struct mm_sample *s)
{
	size_t size = strcspn(line, "{ ");
	char *end;
	s->label_count = 0;
	if (line[0] == '#' || size == 0 || size >= sizeof s->name || line[size] == '\0')
		return false;
	memcpy(s->name, line, size);
	s->name[size] = '\0';
	line += size;
	if (*line == '{') {
		line++;
		if (!read_labels(&line, s))
			return false;
	}
	s->value = strtod(line, &end);
	return end != line;
}

const char *mm_layout_label(const struct mm_sample *s, const char *name)
{
	for (unsigned i = 0; i < s->label_count; i++)
		if (strcmp(s->labels[i][0], name) == 0)
			return s->labels[i][1];
	return "";
}

/* ---- words ---- */

static void put_ago(struct mm_buffer *out, double seconds)
{
	if (seconds < 1)
		mm_html_put(out, "now");
	else if (seconds < 60)
		mm_html_format(out, "%.0f s ago", floor(seconds));
	else if (seconds < 3600)
		mm_html_format(out, "%.0f min ago", floor(seconds / 60));
	else if (seconds < 2 * 86400)
		mm_html_format(out, "%.0f h ago", floor(seconds / 3600));
	else
		mm_html_format(out, "%.0f d ago", floor(seconds / 86400));
}

void mm_layout_time(struct mm_buffer *out, double at, double now)
{
	char machine[40], person[40], whole[64];
	struct tm utc, local, today;
	time_t seconds = (time_t)at, present = (time_t)now;
	if (at <= 0 || at > 1e11 || gmtime_r(&seconds, &utc) == NULL || localtime_r(&seconds, &local) == NULL
	    || localtime_r(&present, &today) == NULL) {
		mm_html_put(out, "–");
		return;
	}
	bool is_today = local.tm_yday == today.tm_yday && local.tm_year == today.tm_year;
	strftime(machine, sizeof machine, "%Y-%m-%dT%H:%M:%SZ", &utc);
	strftime(person, sizeof person, is_today ? "%H:%M:%S" : "%b %d %H:%M", &local);
	strftime(whole, sizeof whole, "%Y-%m-%d %H:%M:%S %Z", &local);
	mm_html_format(out, "<time datetime=\"%s\" title=\"%s\">%s</time> <span class=\"ago\" data-at=\"%.0f\">",
		machine,
		whole, person, at);
	put_ago(out, now - at);
	mm_html_put(out, "</span>");
}

void mm_layout_duration(struct mm_buffer *out, double seconds)
{
	double minutes = floor(seconds / 60), hours = floor(seconds / 3600);
	if (seconds < 120)
		mm_html_format(out, "%.0f s", floor(seconds > 0 ? seconds : 0));
	else if (seconds < 3600)
		mm_html_format(out, "%.0f min", minutes);
	else if (seconds < 2 * 86400)
		mm_html_format(out, "%.0f h %.0f min", hours, minutes - hours * 60);
	else
		mm_html_format(out, "%.0f d", floor(seconds / 86400));
}

void mm_layout_address(struct mm_buffer *out, const char *address)
{
	size_t size = strlen(address);
	bool has_brackets = size > 2 && address[0] == '<' && address[size - 1] == '>';
	mm_html_put(out, "<bdi>");
	mm_html_text(out, (struct mm_text){ address + has_brackets, size - 2 * has_brackets });
	mm_html_put(out, "</bdi>");
}

void mm_layout_took(struct mm_buffer *out, double seconds)
{
	if (seconds < 0)
		mm_html_put(out, "–");
	else if (seconds < 0.01)
		mm_html_format(out, "%.2f ms", seconds * 1e3);
	else if (seconds < 1)
		mm_html_format(out, "%.0f ms", seconds * 1e3);
	else if (seconds < 100)
		mm_html_format(out, "%.2f s", seconds);
	else
		mm_layout_duration(out, seconds);
}

/* One word for each verdict, and a class that colours it. */
void mm_layout_verdict(struct mm_buffer *out, const char *name)
{
	static const struct { const char *name, *kind, *word; } rows[] = {
		{ "continue", "pass", "passed" }, { "accept", "pass", "accepted" }, { "reject", "stop", "rejected" },
		{ "tempfail", "wait", "deferred" }, { "discard", "drop", "discarded" },
		{ "none", "none", "given up" }, { "unfinished", "wait", "unfinished" },
		{ "disconnect", "stop", "cut off" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (strcmp(rows[i].name, name) == 0) {
			mm_html_format(out, "<span class=\"verdict %s\" title=\"%s\">%s</span>", rows[i].kind, name,
				rows[i].word);
			return;
		}
	mm_html_put(out, "<span class=\"verdict none\">");
	mm_html_string(out, name);
	mm_html_put(out, "</span>");
}

void mm_layout_count(struct mm_buffer *out, double n)
{
	char digits[32];
	if (n < 0 || n > 1e15) {
		mm_html_put(out, "–");
		return;
	}
	int size = snprintf(digits, sizeof digits, "%.0f", n);
	for (int i = 0; i < size; i++) {
		if (i > 0 && (size - i) % 3 == 0 && size > 4)
			mm_html_put(out, "&#8239;");    /* a narrow space that does not break */
		mm_buffer_append_u8(out, (uint8_t)digits[i]);
	}
}

void mm_layout_rate(struct mm_buffer *out, double each_second)
{
	char text[MM_FIGURE_MAX];
	mm_html_put(out, each_second < 0 ? "–" : mm_figure_rate(each_second, text));
}

void mm_layout_bytes(struct mm_buffer *out, double bytes)
{
	char text[MM_FIGURE_MAX];
	mm_html_put(out, mm_figure_bytes(bytes, text));
}

void mm_layout_count_cell(struct mm_buffer *out, const char *head, double count)
{
	mm_html_format(out, "<td class=\"n\" data-h=\"%s\">", head);
	mm_layout_count(out, count);
	mm_html_put(out, "</td>");
}

void mm_layout_bytes_cell(struct mm_buffer *out, const char *head, double bytes)
{
	mm_html_format(out, "<td class=\"n\" data-h=\"%s\">", head);
	mm_layout_bytes(out, bytes);
	mm_html_put(out, "</td>");
}

void mm_layout_empty(struct mm_buffer *out, const char *markup)
{
	mm_html_put(out, "<p class=\"empty\">");
	mm_html_put(out, markup);
	mm_html_put(out, "</p>");
}

/* ---- the frame ---- */

static void put_host(struct mm_buffer *out)
{
	char name[128] = "";
	gethostname(name, sizeof name - 1);
	mm_html_string(out, name);
}

static void put_nav(struct mm_screen *s)
{
	static const struct { enum mm_page_route route, also; const char *path, *word; } items[] = {
		{ MM_PAGE_NOW, MM_PAGE_NOW, "/", "Now" },
		{ MM_PAGE_MESSAGES, MM_PAGE_MESSAGE, "/messages", "Messages" },
		{ MM_PAGE_SCRIPTS, MM_PAGE_SCRIPTS, "/scripts", "Scripts" },
		{ MM_PAGE_STATE, MM_PAGE_STATE, "/state", "State" },
	};
	mm_html_put(s->out, "<nav aria-label=\"Screens\"><ul>");
	for (size_t i = 0; i < sizeof items / sizeof *items; i++)
		mm_html_format(s->out, "<li><a href=\"%s\"%s>%s</a></li>", items[i].path,
			s->query->route == items[i].route ? " aria-current=\"page\""
			: s->query->route == items[i].also ? " aria-current=\"true\"" : "", items[i].word);
	mm_html_put(s->out, "</ul></nav>");
}

void mm_layout_summary(struct mm_screen *s, const char *trouble)
{
	char generation[32], uptime[32], reload[32];
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_STATUS);
	if (trouble != NULL) {
		mm_html_put(s->out, "<span class=\"state stop\">host down</span>");
		return;
	}
	mm_layout_fact(a, "reload", reload, sizeof reload);
	mm_html_put(s->out, strcmp(reload, "failed") == 0 ? "<span class=\"state wait\">last reload failed</span>"
		: "<span class=\"state pass\">serving</span>");
	mm_html_put(s->out, " <span class=\"dim\">generation ");
	mm_html_string(s->out, mm_layout_fact(a, "generation", generation, sizeof generation));
	mm_html_put(s->out, ", up ");
	mm_layout_duration(s->out, strtod(mm_layout_fact(a, "uptime", uptime, sizeof uptime), NULL));
	mm_html_put(s->out, "</span>");
}

static void put_trouble(struct mm_screen *s, const char *trouble)
{
	const struct mm_inquiry_answer *a = mm_inquiry_get(s->source, MM_INQUIRY_STATUS);
	mm_html_put(s->out, "<section class=\"alert\" role=\"alert\"><h2>The host does not answer</h2><p>");
	mm_html_string(s->out, trouble);
	mm_html_put(s->out, "</p><p>Look with <code>systemctl status moonmilter</code> and <code>journalctl -u "
		"moonmilter "
		"-n 50</code>. When it refuses this page, its user is not in the group of "
		"<code>control_readers</code>. This page asks again by itself.</p>");
	if (a != NULL && a->lines.count > 0) {
		mm_html_put(s->out, "<p>What is shown below is from ");
		mm_layout_time(s->out, a->wall, s->now);
		mm_html_put(s->out, ".</p>");
	}
	mm_html_put(s->out, "</section>");
}

void mm_layout_begin(struct mm_screen *s, const char *title, const char *live)
{
	const char *trouble = mm_inquiry_trouble(s->source);
	if (trouble != NULL)
		s->status = 503;
	mm_html_put(s->out, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
	mm_html_put(s->out, trouble != NULL ? "Down: " : "");
	mm_html_put(s->out, title);
	mm_html_put(s->out, " – moonmilter on ");
	put_host(s->out);
	mm_html_put(s->out, "</title><meta name=\"viewport\" content=\"width=device-width, initial-scale=1, "
		"viewport-fit=cover\"><meta name=\"color-scheme\" content=\"light dark\">"
		"<link rel=\"stylesheet\" href=\"/page.css\"><script src=\"/page.js\" defer></script>");
	if (live != NULL || trouble != NULL)
		mm_html_put(s->out, "<noscript><meta http-equiv=\"refresh\" content=\"15\"></noscript>");
	mm_html_put(s->out, "</head><body><a class=\"skip\" href=\"#main\">Skip to the content</a><header>"
		"<div class=\"bar\"><a class=\"brand\" href=\"/\">moonmilter</a> <span class=\"host\">");
	put_host(s->out);
	mm_html_put(s->out, "</span> <span class=\"summary\" id=\"summary\">");
	mm_layout_summary(s, trouble);
	mm_html_put(s->out, "</span></div>");
	put_nav(s);
	mm_html_put(s->out, "</header><main id=\"main\" tabindex=\"-1\"");
	if (live != NULL)
		mm_html_format(s->out, " data-live=\"%s\"", live);
	mm_html_format(s->out, " data-now=\"%.0f\"", s->now);
	if (trouble != NULL)
		mm_html_put(s->out, " data-down=\"1\"");
	mm_html_put(s->out, ">");
	if (trouble != NULL)
		put_trouble(s, trouble);
}

void mm_layout_end(struct mm_screen *s, const char *command)
{
	char clock[64];
	struct tm local;
	time_t seconds = (time_t)s->now;
	mm_html_put(s->out, "</main><footer>");
	if (command != NULL) {
		mm_html_put(s->out, "<p class=\"command\"><span class=\"dim\">The same in a shell:</span> "
			"<code>moonmilter ");
		mm_html_put(s->out, command);
		mm_html_put(s->out, "</code> <a href=\"");
		mm_page_query_link(s->query, "", "json", s->out);
		mm_html_put(s->out, "\" type=\"application/json\">JSON</a></p>");
	}
	if (localtime_r(&seconds, &local) != NULL) {
		strftime(clock, sizeof clock, "%Y-%m-%d %H:%M:%S %Z", &local);
		mm_html_format(s->out, "<p class=\"dim\">Times of this host: <span id=\"clock\">%s</span>. Read only; "
			"nothing "
			"here changes anything.</p>", clock);
	}
	mm_html_put(s->out, "</footer></body></html>\n");
}
