#include "codec/unicode.h"

#include <string.h>

/* The sequences by their first byte: from, to, bytes after it, and what the second byte may be. */
static const struct form {
	unsigned char first, last, more, low, high;
} forms[] = {
	{ 0xC2, 0xDF, 1, 0x80, 0xBF }, { 0xE0, 0xE0, 2, 0xA0, 0xBF }, { 0xE1, 0xEC, 2, 0x80, 0xBF },
	{ 0xED, 0xED, 2, 0x80, 0x9F }, { 0xEE, 0xEF, 2, 0x80, 0xBF }, { 0xF0, 0xF0, 3, 0x90, 0xBF },
	{ 0xF1, 0xF3, 3, 0x80, 0xBF }, { 0xF4, 0xF4, 3, 0x80, 0x8F },
};

static const struct form *form_of(unsigned char c)
{
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
		if (c <= forms[i].last)
			return c >= forms[i].first ? &forms[i] : NULL;
	return NULL;
}

size_t mm_unicode_sequence(const unsigned char *s, size_t n, size_t *skip)
{
	*skip = 1;
	if (s[0] < 0x80)
		return 1;
	const struct form *form = form_of(s[0]);
	if (!form)
		return 0;
	unsigned char low = form->low, high = form->high;
	for (size_t i = 1; i <= form->more; i++) {
		if (i == n || s[i] < low || s[i] > high) {
			*skip = i;
			return 0;
		}
		low = 0x80;
		high = 0xBF;
	}
	return form->more + 1u;
}

size_t mm_unicode_size(const unsigned char *s, size_t n)
{
	size_t skip, at = 0, got;
	while (at < n && (got = s[at] < 0x80 ? 1 : mm_unicode_sequence(s + at, n - at, &skip)) > 0)
		at += got;
	return at;
}

size_t mm_unicode_clean(const unsigned char *s, size_t n, unsigned char *out, size_t *bad)
{
	size_t made = 0;
	*bad = 0;
	for (size_t i = 0; i < n;) {
		size_t skip, good = mm_unicode_size(s + i, n - i);
		memcpy(out + made, s + i, good);
		made += good;
		i += good;
		if (i == n)
			break;
		mm_unicode_sequence(s + i, n - i, &skip);
		made += mm_unicode_write(MM_UNICODE_REPLACEMENT, out + made);
		i += skip;
		++*bad;
	}
	return made;
}

size_t mm_unicode_write(uint32_t code, unsigned char *out)
{
	static const unsigned char first[] = { 0, 0xC0, 0xE0, 0xF0 };
	if (code < 0x80) {
		out[0] = (unsigned char)code;
		return 1;
	}
	size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	out[0] = (unsigned char)(first[more] | code >> 6 * more);
	for (size_t i = 1; i <= more; i++)
		out[i] = (unsigned char)(0x80 | (code >> 6 * (more - i) & 0x3F));
	return more + 1;
}
