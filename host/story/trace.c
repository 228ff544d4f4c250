#include "story/trace.h"

#include "moonmilter.h"

#include <stdio.h>

#define MAGIC 0x6d6d7431u       /* of this form of a line */
#define TEXTS 4
#define OPEN  1u                /* flags */
#define CUT   2u

/* ---- which sessions ---- */

static bool take_text(char *to, size_t size, const char *from, const char *what, struct mm_fault *why)
{
	size_t n = strlen(from);
	if (n == 0 || n >= size)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s takes 1 to %zu bytes", what, size - 1);
	memcpy(to, from, n + 1);
	return true;
}

static bool take_network(struct mm_trace_filter *f, const char *value, struct mm_fault *why)
{
	f->has_network = true;
	return mm_network_parse(value, &f->network, why);
}

static bool take_word(struct mm_trace_filter *f, const char *word, struct mm_fault *why)
{
	if (strcmp(word, "all") == 0)
		return true;
	if (strncmp(word, "client=", 7) == 0)
		return take_network(f, word + 7, why);
	if (strncmp(word, "from=", 5) == 0)
		return take_text(f->from, sizeof f->from, word + 5, "from", why);
	if (strncmp(word, "to=", 3) == 0)
		return take_text(f->to, sizeof f->to, word + 3, "to", why);
	if (strncmp(word, "session=", 8) == 0)
		return take_text(f->session, sizeof f->session, word + 8, "session", why);
	return mm_fault_set(why, MM_FAULT_CONFIG, "trace takes client=, from=, to= and session=");
}

bool mm_trace_filter_read(struct mm_trace_filter *f, const char *text, struct mm_fault *why)
{
	char copy[MM_TRACE_REQUEST_MAX];
	char *next = copy;
	*f = (struct mm_trace_filter){ 0 };
	if (!take_text(copy, sizeof copy, text, "a trace", why))
		return false;
	for (char *word; (word = strsep(&next, "\t")) != NULL;)
		if (!take_word(f, word, why))
			return false;
	return true;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* The last "*" is the only one that is ever tried again, so this takes the product of both sizes at most. */
static bool covers(const char *pattern, struct mm_text text)
{
	const char *star = NULL;
	size_t at = 0, star_at = 0;
	while (at < text.size) {
		if (*pattern == '*') {
			star = ++pattern;
			star_at = at;
		} else if (*pattern != '\0' && (*pattern == '?' || lower(*pattern) == lower(text.bytes[at]))) {
			pattern++;
			at++;
		} else if (star != NULL) {
			pattern = star;
			at = ++star_at;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "*")] == '\0';
}

/* "<ann@example.org>" -> "ann@example.org" */
static struct mm_text bare(struct mm_text address)
{
	if (address.size >= 2 && address.bytes[0] == '<' && address.bytes[address.size - 1] == '>')
		return (struct mm_text){ address.bytes + 1, address.size - 2 };
	return address;
}

bool mm_trace_matches(const char *pattern, struct mm_text address)
{
	char part[MM_TRACE_PATTERN_MAX + 2];
	if (strpbrk(pattern, "*?") != NULL)
		return covers(pattern, address) || covers(pattern, bare(address));
	snprintf(part, sizeof part, "*%s*", pattern);
	return covers(part, address);
}

/* ---- a line ---- */

/* ORDER TRACE_TEXT: session, name, words, by. */
struct head {
	uint32_t magic, pid;
	double   at;
	uint32_t lost, took, size, line;
	uint8_t  kind, stage, verdict, level;
	uint8_t  flags, unused[3];
	uint16_t sizes[TEXTS];
};

_Static_assert(sizeof(struct head) % 8 == 0, "no bytes of the stack travel with it");

/* A text gets what the ones before it leave, less what those after it are sure to get. */
static const uint16_t most[TEXTS] = { MM_SESSION_ID_SIZE, 120, 1500, 300 };

_Static_assert(sizeof(struct head) + MM_SESSION_ID_SIZE + 120 + 1500 + 300 <= MM_TRACE_LINE_MAX, "a line fits");

size_t mm_trace_write(const struct mm_trace_line *l, void *to)
{
	struct mm_text texts[TEXTS] = { l->session, l->name, l->words, l->by };
	struct head h = { .magic = MAGIC, .pid = l->pid, .at = l->at, .lost = l->lost, .took = l->took,
		.size = l->size, .line = l->line, .kind = l->kind, .stage = l->stage, .verdict = l->verdict,
		.level = l->level, .flags = (uint8_t)((l->is_open ? OPEN : 0) | (l->is_cut ? CUT : 0)) };
	uint8_t *end = (uint8_t *)to + sizeof h;
	for (int i = 0; i < TEXTS; i++) {
		bool is_cut = texts[i].size > most[i];
		h.sizes[i] = is_cut ? most[i] : (uint16_t)texts[i].size;
		h.flags |= is_cut ? CUT : 0;
		if (h.sizes[i] > 0)
			memcpy(end, texts[i].bytes, h.sizes[i]);
		end += h.sizes[i];
	}
	memcpy(to, &h, sizeof h);
	return (size_t)(end - (uint8_t *)to);
}

bool mm_trace_read(const void *bytes, size_t size, struct mm_trace_line *l)
{
	struct head h;
	struct mm_text texts[TEXTS];
	if (size < sizeof h || size > MM_TRACE_LINE_MAX)
		return false;
	memcpy(&h, bytes, sizeof h);
	const char *at = (const char *)bytes + sizeof h, *end = (const char *)bytes + size;
	for (int i = 0; i < TEXTS; i++) {
		if (h.sizes[i] > end - at)
			return false;
		texts[i] = (struct mm_text){ at, h.sizes[i] };
		at += h.sizes[i];
	}
	*l = (struct mm_trace_line){ .kind = h.kind, .stage = h.stage, .verdict = h.verdict, .level = h.level,
		.is_open = h.flags & OPEN, .is_cut = h.flags & CUT, .at = h.at, .pid = h.pid, .lost = h.lost,
		.took = h.took, .size = h.size, .line = h.line, .session = texts[0], .name = texts[1],
		.words = texts[2], .by = texts[3] };
	return h.magic == MAGIC && at == end && h.kind < MM_TRACE_KIND_COUNT && h.stage <= MM_STAGE_COUNT
		&& h.verdict < MM_VERDICT_COUNT && h.level <= MM_LEVEL_ERROR && h.at >= 0 && h.at < 1e11;
}

const char *mm_trace_kind_name(enum mm_trace_kind kind)
{
	static const char *const names[] = {    /* ORDER TRACE_KIND */
		"session", "command", "reply", "handler", "wait", "answer", "edit", "note", "error", "log", "aside",
		"message", "closed", "worker",
	};
	return kind < MM_TRACE_KIND_COUNT ? names[kind] : "?";
}
