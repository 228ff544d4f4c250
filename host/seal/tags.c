#include "seal/tags.h"

#include <string.h>

bool mm_tags_is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* RFC 6376 3.2 tag-name */
static bool is_name_byte(char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '_'; }

/* RFC 6376 3.2 VALCHAR, and UTF-8 (RFC 8616 5); blanks and folds inside */
static bool is_value_byte(char c) { return (unsigned char)c >= ' ' ? c != 127 : mm_tags_is_blank(c); }

void mm_tags_begin(struct mm_tags *t, const char *text, size_t size)
{
	*t = (struct mm_tags){ .text = text, .size = size };
}

static size_t skip_blanks(const char *text, size_t at, size_t end)
{
	while (at < end && mm_tags_is_blank(text[at]))
		at++;
	return at;
}

/* The value without blanks around it. False: it has a control character. */
static bool read_value(const char *text, struct mm_tag *tag)
{
	size_t at = skip_blanks(text, tag->first, tag->end), end = tag->end;
	while (end > at && mm_tags_is_blank(text[end - 1]))
		end--;
	tag->value = text + at;
	tag->value_size = end - at;
	while (at < end && is_value_byte(text[at]))
		at++;
	return at == end;
}

enum mm_tags_step mm_tags_next(struct mm_tags *t, struct mm_tag *tag)
{
	if (t->at > t->size)
		return MM_TAGS_END;
	const char *semicolon = memchr(t->text + t->at, ';', t->size - t->at);
	size_t end = semicolon != NULL ? (size_t)(semicolon - t->text) : t->size;
	size_t at = skip_blanks(t->text, t->at, end), name = at;
	*tag = (struct mm_tag){ .start = t->at, .end = end };
	t->at = end + 1;
	if (at == end)                  /* one ";" may end the list */
		return end == t->size && t->has_tag ? MM_TAGS_END : MM_TAGS_EMPTY;
	while (at < end && is_name_byte(t->text[at]))
		at++;
	tag->name = t->text + name;
	tag->name_size = at - name;
	at = skip_blanks(t->text, at, end);
	if (!is_letter(*tag->name) || at == end || t->text[at] != '=')
		return MM_TAGS_NAMELESS;
	tag->first = at + 1;
	t->has_tag = true;
	return read_value(t->text, tag) ? MM_TAGS_TAG : MM_TAGS_CONTROL;
}
