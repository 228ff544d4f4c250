#include "page/query.h"

#include "base/quote.h"
#include "page/html.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const mm_page_filter_names[MM_PAGE_FILTER_COUNT] = {
#define X(name, option) #name,
	MM_PAGE_FILTERS(X)
#undef X
};

const char *const mm_page_filter_options[MM_PAGE_FILTER_COUNT] = {
#define X(name, option) option,
	MM_PAGE_FILTERS(X)
#undef X
};

static const struct { const char *path; enum mm_page_route route; } routes[] = {
	{ "/", MM_PAGE_NOW }, { "/messages", MM_PAGE_MESSAGES }, { "/message", MM_PAGE_MESSAGE },
	{ "/scripts", MM_PAGE_SCRIPTS }, { "/state", MM_PAGE_STATE }, { "/live/now", MM_PAGE_LIVE_NOW },
	{ "/live/messages", MM_PAGE_LIVE_MESSAGES }, { "/page.css", MM_PAGE_STYLE }, { "/page.js", MM_PAGE_SCRIPT },
};

/* ---- escapes ---- */

static int digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
		: c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes a part of a query. False: an escape that is none, or a NUL. What does not fit is cut: *was_cut. */
static bool decode(const char *from, size_t size, char *to, size_t room, bool *was_cut)
{
	size_t used = 0;
	*was_cut = false;
	for (size_t i = 0; i < size; i++) {
		char c = from[i] == '+' ? ' ' : from[i];
		if (c == '%') {
			int high = i + 2 < size ? digit_of(from[i + 1]) : -1;
			int low = i + 2 < size ? digit_of(from[i + 2]) : -1;
			if (high < 0 || low < 0 || (high == 0 && low == 0))
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (used + 1 < room)
			to[used++] = c;
		else
			*was_cut = true;
	}
	to[used] = '\0';
	return true;
}

/* ---- values ---- */

static void complain(struct mm_page_query *q, const char *name, const char *value, const char *rule)
{
	if (q->wrong[0] == '\0')
		snprintf(q->wrong, sizeof q->wrong, "%s: %.60s: %s", name, mm_quote(value, strlen(value)).text, rule);
}

static void take_number(struct mm_page_query *q, const char *name, const char *value)
{
	char *end;
	unsigned long long n = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end != '\0')
		complain(q, name, value, "give a number");
	else if (name[0] == 'b')
		q->before = n;
	else
		q->count = n == 0 ? MM_PAGE_ROWS : n > MM_PAGE_ROWS_MAX ? MM_PAGE_ROWS_MAX : (unsigned)n;
}

static void take(struct mm_page_query *q, const char *name, const char *value)
{
	if (strcmp(name, "json") == 0)
		q->is_json = strcmp(value, "0") != 0;
	if (value[0] == '\0')
		return;
	if (strcmp(name, "before") == 0 || strcmp(name, "count") == 0)
		take_number(q, name, value);
	if ((strcmp(name, "limit") == 0 || strcmp(name, "store") == 0) && q->name[0] == '\0') {
		q->is_store = name[0] == 's';
		snprintf(q->name, sizeof q->name, "%s", value);
	}
	for (int i = 0; i < MM_PAGE_FILTER_COUNT; i++)
		if (strcmp(name, mm_page_filter_names[i]) == 0 && q->values[i][0] == '\0')
			snprintf(q->values[i], sizeof q->values[i], "%s", value);
}

static const char *value_of(const struct mm_page_query *q, enum mm_page_filter which)
{
	return q->values[which][0] != '\0' ? q->values[which] : NULL;
}

static void take_time(struct mm_page_query *q, enum mm_page_filter which, double now, double *to)
{
	const char *text = value_of(q, which);
	if (text == NULL || mm_story_time(text, now, to))
		return;
	*to = 0;
	complain(q, mm_page_filter_names[which], text, "write 30s, 10m, 2h, 3d, 2026-11-30 or 2026-11-30T16:20");
}

static void make_filter(struct mm_page_query *q, double now)
{
	struct mm_fault why;
	const char *ip = value_of(q, MM_PAGE_FILTER_ip), *verdict = value_of(q, MM_PAGE_FILTER_verdict);
	struct mm_story_filter *f = &q->filter;
	f->from = value_of(q, MM_PAGE_FILTER_from);
	f->to = value_of(q, MM_PAGE_FILTER_to);
	f->id = value_of(q, MM_PAGE_FILTER_id);
	f->script = value_of(q, MM_PAGE_FILTER_script);
	if (verdict != NULL && mm_story_verdict_is_known(verdict))
		f->verdict = verdict;
	else if (verdict != NULL)
		complain(q, "verdict", verdict, "give accept, continue, reject, tempfail, discard, none, unfinished "
			"or error");
	f->has_network = ip != NULL && mm_network_parse(ip, &f->network, &why);
	if (ip != NULL && !f->has_network)
		complain(q, "ip", ip, "write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32");
	take_time(q, MM_PAGE_FILTER_since, now, &f->since);
	take_time(q, MM_PAGE_FILTER_until, now, &f->until);
}

/* ---- the whole ---- */

static bool take_pair(struct mm_page_query *q, const char *pair, size_t size)
{
	char name[16], value[MM_PAGE_VALUE_SIZE];
	bool name_was_cut, value_was_cut;
	const char *equals = memchr(pair, '=', size);
	size_t first = equals != NULL ? (size_t)(equals - pair) : size;
	size_t rest = equals != NULL ? size - first - 1 : 0;
	if (!decode(pair, first, name, sizeof name, &name_was_cut)
	    || !decode(equals != NULL ? equals + 1 : pair, rest, value, sizeof value, &value_was_cut))
		return false;
	if (name_was_cut)
		return true;
	if (value_was_cut)
		complain(q, name, value, "too long");
	else
		take(q, name, value);
	return true;
}

bool mm_page_query_read(struct mm_page_query *q, const char *target, double now)
{
	size_t path = strcspn(target, "?");
	*q = (struct mm_page_query){ .route = MM_PAGE_NOWHERE, .count = MM_PAGE_ROWS };
	if (strlen(target) > MM_PAGE_TARGET_MAX)
		return false;
	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
		if (strlen(routes[i].path) == path && memcmp(routes[i].path, target, path) == 0)
			q->route = routes[i].route;
	const char *at = target[path] == '?' ? target + path + 1 : "";
	while (*at != '\0') {
		size_t size = strcspn(at, "&");
		if (size > 0 && !take_pair(q, at, size))
			return false;
		at += size + (at[size] == '&');
	}
	make_filter(q, now);
	return true;
}

bool mm_page_query_has_filter(const struct mm_page_query *q)
{
	for (int i = 0; i < MM_PAGE_FILTER_COUNT; i++)
		if (q->values[i][0] != '\0')
			return true;
	return false;
}

void mm_page_query_link(const struct mm_page_query *q, const char *path, const char *more, struct mm_buffer *out)
{
	const char *between = "?";
	mm_html_put(out, path);
	for (int i = 0; i < MM_PAGE_FILTER_COUNT; i++) {
		if (q->values[i][0] == '\0')
			continue;
		mm_html_format(out, "%s%s=", between, mm_page_filter_names[i]);
		mm_html_url(out, mm_text_of(q->values[i]));
		between = "&amp;";
	}
	if (more != NULL)
		mm_html_format(out, "%s%s", between, more);
}
