#include "state/describe.h"

#include "state/packed.h"

#include <stdio.h>

struct writer {
	char  *to;
	size_t size, used;              /* used < size: there is always room for the NUL */
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

static void put_number(struct writer *w, double n)
{
	char text[32];
	snprintf(text, sizeof text, "%.14g", n);
	put(w, text);
}

static void put_token(struct writer *w, enum mm_packed_token t, const struct mm_packed *p)
{
	switch (t) {
	case MM_PACKED_STRING:  put_bytes(w, p->string.bytes, p->string.size, "\""); break;
	case MM_PACKED_NUMBER:  put_number(w, p->number); break;
	case MM_PACKED_BOOLEAN: put(w, p->boolean ? "true" : "false"); break;
	case MM_PACKED_OPEN:    put(w, "{"); break;
	case MM_PACKED_CLOSE:   put(w, " }"); break;
	case MM_PACKED_NONE:    break;
	}
}

char *mm_describe_value(struct mm_text record, char *to, size_t size)
{
	struct writer w = { to, size, 0 };
	struct mm_packed p = mm_packed_of(record);
	bool is_first = true;           /* of its table */
	to[0] = '\0';
	for (enum mm_packed_token t; (t = mm_packed_next(&p)) != MM_PACKED_NONE;) {
		if (p.is_key)
			put(&w, is_first ? " [" : ", [");
		put_token(&w, t, &p);
		if (p.is_key)
			put(&w, "] = ");
		is_first = t == MM_PACKED_OPEN;
	}
	if (!mm_packed_is_whole(&p))
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
