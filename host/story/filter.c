#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "story/filter.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static bool is_in(const char *text, const char *part)
{
	return part == NULL || strcasestr(text, part) != NULL;
}

static bool is_text_in(struct mm_text text, const char *part)
{
	size_t size = strlen(part);
	for (size_t i = 0; i + size <= text.size; i++)
		if (strncasecmp(text.bytes + i, part, size) == 0)
			return true;
	return size == 0;
}

/* Any recipient that the time line names. */
static bool goes_to(const struct mm_story *s, const char *part)
{
	struct mm_story_item item;
	struct mm_text text;
	if (is_in(s->to, part))
		return true;
	for (uint32_t at = 0; mm_story_item(s, at, &item, &text); at = mm_story_after(at, &item))
		if (item.kind == MM_STORY_STAGE && item.stage == MM_STAGE_rcpt && is_text_in(text, part))
			return true;
	return false;
}

static size_t stem(const char *script)
{
	size_t size = strlen(script);
	return size > 4 && strcmp(script + size - 4, ".lua") == 0 ? size - 4 : size;
}

static bool has_script(const struct mm_story *s, const char *script)
{
	struct mm_story_item item;
	struct mm_text text;
	size_t size = stem(script);
	if (size > 0 && strncmp(s->decided_by, script, size) == 0 && strcspn(s->decided_by, ".: ") == size)
		return true;
	for (uint32_t at = 0; mm_story_item(s, at, &item, &text); at = mm_story_after(at, &item))
		if (item.kind == MM_STORY_FILE && text.size == size && memcmp(text.bytes, script, size) == 0)
			return true;
	return false;
}

static bool comes_from(const struct mm_story *s, const struct mm_network *network)
{
	uint8_t address[16];
	if (inet_pton(AF_INET, s->client, address) == 1)
		return mm_network_contains(network, address, 4);
	return inet_pton(AF_INET6, s->client, address) == 1 && mm_network_contains(network, address, 16);
}

static bool has_verdict(const struct mm_story *s, const char *name)
{
	struct mm_story_item item;
	struct mm_text text;
	if (strcmp(name, "unfinished") == 0)
		return s->is_unfinished;
	if (strcmp(name, "error") == 0)
		return s->has_error;
	if (strcmp(name, "none") == 0)
		return s->is_aborted || s->is_unfinished;
	bool has_ended = !s->is_aborted && !s->is_unfinished;
	if (has_ended && strcmp(mm_verdict_name((enum mm_verdict_kind)s->verdict), name) == 0)
		return true;
	for (uint32_t at = 0; mm_story_item(s, at, &item, &text); at = mm_story_after(at, &item))
		if (item.kind == MM_STORY_VERDICT
		    && strcmp(mm_verdict_name((enum mm_verdict_kind)item.verdict), name) == 0)
			return true;    /* of a recipient */
	return false;
}

bool mm_story_filter_wants(const struct mm_story_filter *f, const struct mm_story *s)
{
	return is_in(s->from, f->from) && (f->to == NULL || goes_to(s, f->to))
		&& (f->id == NULL || strcmp(s->queue_id, f->id) == 0 || strcmp(s->session, f->id) == 0)
		&& (f->script == NULL || has_script(s, f->script))
		&& (f->verdict == NULL || has_verdict(s, f->verdict))
		&& (!f->has_network || comes_from(s, &f->network))
		&& (f->since == 0 || s->ended_at >= f->since) && (f->until == 0 || s->ended_at <= f->until);
}

bool mm_story_verdict_is_known(const char *name)
{
	return mm_verdict_of_name(mm_text_of(name)) != MM_VERDICT_COUNT || strcmp(name, "none") == 0
		|| strcmp(name, "unfinished") == 0 || strcmp(name, "error") == 0;
}

/* ---- times ---- */

static bool read_ago(const char *text, double now, double *out)
{
	static const struct { char letter; double seconds; } units[] = {
		{ 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 },
	};
	char *end;
	double number = strtod(text, &end);
	for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++)
		if (end[0] == units[i].letter && end[1] == '\0' && number >= 0 && number < 1e9) {
			*out = now - number * units[i].seconds;
			return true;
		}
	return false;
}

static bool read_date(const char *text, double *out)
{
	static const char *const forms[] = {
		"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d",
	};
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct tm when = { .tm_isdst = -1 };
		const char *end = strptime(text, forms[i], &when);
		time_t at = end != NULL && *end == '\0' ? mktime(&when) : (time_t)-1;
		if (at != (time_t)-1) {
			*out = (double)at;
			return true;
		}
	}
	return false;
}

bool mm_story_time(const char *text, double now, double *out)
{
	char *end;
	if (text[0] == '@') {
		*out = strtod(text + 1, &end);
		return end != text + 1 && *end == '\0' && *out > 0;
	}
	return read_ago(text, now, out) || read_date(text, out);
}
