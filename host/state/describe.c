#include "state/describe.h"

#include <stdint.h>
#include <stdio.h>

#define DEPTH_MAX 16

struct writer {
	char  *to;
	size_t size, used;              /* used < size: there is always room for the NUL */
};

struct reader {
	const char *at, *end;
};

static void put(struct writer *w, const char *text)
{
	for (; *text != '\0' && w->used + 1 < w->size; text++)
		w->to[w->used++] = *text;
	w->to[w->used] = '\0';
}

static void put_bytes(struct writer *w, const char *bytes, size_t size, const char *quote)
{
	put(w, quote);
	for (size_t i = 0; i < size && w->used + 1 < w->size; i++) {
		char shown[8] = { bytes[i], '\0' };
		if (bytes[i] < ' ' || bytes[i] >= 0x7f || bytes[i] == '\\'
		    || (quote[0] != '\0' && bytes[i] == quote[0]))
			snprintf(shown, sizeof shown, "\\x%02x", (unsigned char)bytes[i]);
		put(w, shown);
	}
	put(w, quote);
}

static bool take(struct reader *r, void *to, size_t size)
{
	if ((size_t)(r->end - r->at) < size)
		return false;
	memcpy(to, r->at, size);
	r->at += size;
	return true;
}

static bool put_value(struct writer *w, struct reader *r, unsigned depth);

static bool put_string(struct writer *w, struct reader *r, unsigned depth)
{
	uint32_t size = (uint32_t)(r->end - r->at);
	if (depth > 0 && (!take(r, &size, sizeof size) || (size_t)(r->end - r->at) < size))
		return false;
	put_bytes(w, r->at, size, "\"");
	r->at += size;
	return true;
}

static bool put_table(struct writer *w, struct reader *r, unsigned depth)
{
	put(w, "{");
	for (const char *between = " "; r->at < r->end && *r->at != '}'; between = ", ") {
		put(w, between);
		put(w, "[");
		if (depth >= DEPTH_MAX || !put_value(w, r, depth + 1))
			return false;
		put(w, "] = ");
		if (!put_value(w, r, depth + 1))
			return false;
	}
	put(w, " }");
	return r->at++ < r->end;
}

static bool put_value(struct writer *w, struct reader *r, unsigned depth)
{
	char letter, text[32];
	double n;
	if (!take(r, &letter, 1))
		return false;
	switch (letter) {
	case 's': return put_string(w, r, depth);
	case '{': return put_table(w, r, depth);
	case 't':
	case 'f':
		put(w, letter == 't' ? "true" : "false");
		return true;
	case 'n':
		if (!take(r, &n, sizeof n))
			return false;
		snprintf(text, sizeof text, "%.14g", n);
		put(w, text);
		return true;
	default:
		return false;
	}
}

char *mm_describe_value(struct mm_text record, char *to, size_t size)
{
	struct writer w = { to, size, 0 };
	struct reader r = { record.bytes, record.bytes + record.size };
	to[0] = '\0';
	if (!put_value(&w, &r, 0))
		put(&w, "(not a value of a script)");
	return to;
}

char *mm_describe_text(struct mm_text text, char *to, size_t size)
{
	struct writer w = { to, size, 0 };
	to[0] = '\0';
	bool needs_quotes = text.size == 0 || memchr(text.bytes, ' ', text.size) != NULL
		|| memchr(text.bytes, '"', text.size) != NULL;
	put_bytes(&w, text.bytes, text.size, needs_quotes ? "\"" : "");
	return to;
}
