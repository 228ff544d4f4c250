#include "codec/charset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT      "\xEF\xBF\xBD" /* U+FFFD */
#define REPLACEMENT_SIZE 3

/* ---- UTF-8 ---- */

/* Bytes of the well-formed sequence at `s` (RFC 3629 4: no overlong forms, no surrogates, nothing above U+10FFFF),
 * or 0. On 0, *skip is the length of the part to replace by one U+FFFD ("maximal subpart", Unicode 3.9). */
static size_t utf8_sequence(const unsigned char *s, size_t n, size_t *skip)
{
	unsigned char c = s[0], low = 0x80, high = 0xBF;
	size_t need;
	*skip = 1;
	if (c < 0x80)
		return 1;
	if (c >= 0xC2 && c <= 0xDF)
		need = 1;
	else if (c >= 0xE0 && c <= 0xEF)
		need = 2;
	else if (c >= 0xF0 && c <= 0xF4)
		need = 3;
	else
		return 0;
	if (c == 0xE0)
		low = 0xA0;
	else if (c == 0xED)
		high = 0x9F;
	else if (c == 0xF0)
		low = 0x90;
	else if (c == 0xF4)
		high = 0x8F;
	for (size_t i = 1; i <= need; i++) {
		if (i == n || s[i] < low || s[i] > high) {
			*skip = i;
			return 0;
		}
		low = 0x80;
		high = 0xBF;
	}
	return need + 1;
}

size_t mm_charset_utf8_size(const unsigned char *s, size_t n)
{
	size_t skip, at = 0, got;
	while (at < n && (got = utf8_sequence(s + at, n - at, &skip)) > 0)
		at += got;
	return at;
}

size_t mm_charset_utf8_clean(const unsigned char *s, size_t n, unsigned char *out, size_t *bad)
{
	size_t skip, made = 0;
	*bad = 0;
	for (size_t i = 0; i < n;) {
		size_t got = utf8_sequence(s + i, n - i, &skip);
		if (got) {
			memcpy(out + made, s + i, got);
			made += got;
			i += got;
		} else {
			memcpy(out + made, REPLACEMENT, REPLACEMENT_SIZE);
			made += REPLACEMENT_SIZE;
			i += skip;
			++*bad;
		}
	}
	return made;
}

/* ---- iconv ---- */

bool mm_charset_is_name(const char *name, size_t n)
{
	if (n == 0 || n > MM_CHARSET_NAME_BYTES)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];
		bool is_alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
		if (c == '\0' || (!is_alnum && !strchr("-_.:+", c)))
			return false;
	}
	return true;
}

static bool append_replacement(struct mm_pad *p, struct mm_conversion *r)
{
	if (!mm_pad_grow(p, r->made + REPLACEMENT_SIZE))
		return false;
	memcpy(p->bytes + r->made, REPLACEMENT, REPLACEMENT_SIZE);
	r->made += REPLACEMENT_SIZE;
	r->replaced++;
	return true;
}

/* From some charsets glibc lets through UTF-8 above U+10FFFF and surrogates, so its output is checked once more. */
static bool clean_pad(struct mm_pad *p, struct mm_conversion *r)
{
	size_t good = mm_charset_utf8_size(p->bytes, r->made);
	if (good == r->made)
		return true;
	size_t bad, rest = r->made - good;
	if (!mm_pad_grow(p, r->made + 3 * rest))
		return false;
	size_t clean = mm_charset_utf8_clean(p->bytes + good, rest, p->bytes + r->made, &bad);
	memmove(p->bytes + good, p->bytes + r->made, clean);
	r->made = good + clean;
	r->replaced += bad;
	return true;
}

/* Converts in[0..n) to UTF-8 into the pad, from offset 0; *left is the number of bytes of an unfinished character at
 * the end. Each bad byte becomes U+FFFD and conversion goes on after it; that is at most one iconv call per input byte,
 * so the time is linear. False: out of memory. */
static bool convert(struct mm_pad *p, iconv_t cd, const unsigned char *in, size_t n, struct mm_conversion *r,
	size_t *left)
{
	char *from = (char *)in; /* iconv's prototype is older than const; it does not write there */
	*r = (struct mm_conversion){ 0, 0 };
	*left = n;
	if (!mm_pad_grow(p, 2 * n + 64))
		return false;
	while (*left > 0) {
		char *to = (char *)p->bytes + r->made;
		size_t room = p->size - r->made;
		size_t rc = iconv(cd, &from, left, &to, &room);
		int why = errno;
		r->made = (size_t)(to - (char *)p->bytes);
		if (rc != (size_t)-1 || why == EINVAL)
			break;
		if (!mm_pad_grow(p, r->made + 4 * *left + 64))
			return false;
		if (why == E2BIG)
			continue;
		if (!append_replacement(p, r)) /* EILSEQ */
			return false;
		from++;
		--*left;
	}
	return clean_pad(p, r);
}

bool mm_charset_convert(struct mm_pad *p, iconv_t cd, const unsigned char *in, size_t n, struct mm_conversion *out)
{
	size_t left;
	if (!convert(p, cd, in, n, out, &left))
		return false;
	return left == 0 || append_replacement(p, out); /* the text ends inside a character */
}

/* ---- a text in chunks ---- */

bool mm_charset_open(struct mm_converter *c, const char *charset)
{
	c->cd = iconv_open("UTF-8", charset);
	strcpy(c->name, charset); /* the caller bounds it */
	return mm_charset_is_open(c);
}

bool mm_charset_is_open(const struct mm_converter *c)
{
	return c->cd != (iconv_t)-1;
}

/* Keeps the unfinished character at the end of in[0..n), `left` bytes. */
static bool hold(struct mm_converter *c, struct mm_pad *p, const unsigned char *end, size_t left,
	struct mm_conversion *r)
{
	if (left > sizeof c->held) /* no charset has characters that long: drop and report it */
		return append_replacement(p, r);
	memcpy(c->held, end - left, left);
	c->held_size = left;
	return true;
}

bool mm_charset_feed(struct mm_converter *c, struct mm_pad *p, const unsigned char *in, size_t n, size_t *made)
{
	unsigned char *joined = NULL;
	if (c->held_size) {
		joined = malloc(c->held_size + n);
		if (!joined) {
			p->refused = c->held_size + n;
			return false;
		}
		memcpy(joined, c->held, c->held_size);
		memcpy(joined + c->held_size, in, n);
		in = joined;
		n += c->held_size;
		c->held_size = 0;
	}
	struct mm_conversion r;
	size_t left;
	bool good = convert(p, c->cd, in, n, &r, &left) && hold(c, p, in + n, left, &r);
	free(joined);
	c->replaced += r.replaced;
	*made = r.made;
	return good;
}

const char *mm_charset_finish(struct mm_converter *c, size_t *replaced)
{
	bool is_cut = c->held_size > 0;
	*replaced = c->replaced + is_cut;
	c->held_size = 0;
	c->replaced = 0;
	c->cd = mm_pad_iconv_again(c->cd, c->name);
	return is_cut ? REPLACEMENT : "";
}

void mm_charset_close(struct mm_converter *c)
{
	if (mm_charset_is_open(c))
		iconv_close(c->cd);
	c->cd = (iconv_t)-1;
}
