#include "codec/charset.h"

#include "codec/unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_TO_FLUSH 64 /* bytes; iconv holds back a character or two, and an escape sequence */

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

/* ---- iconv ---- */

/* These converters hold a letter back, for a mark that may follow and make one character with it. */
static bool holds_letters(const char *charset)
{
	return strstr(charset, "1258") || strstr(charset, "TCVN") || strstr(charset, "tcvn");
}

static bool append(struct mm_pad *p, struct mm_conversion *r, uint32_t code)
{
	if (!mm_pad_grow(p, r->made + MM_UNICODE_BYTES))
		return false;
	r->made += mm_unicode_write(code, p->bytes + r->made);
	return true;
}

static bool append_replacement(struct mm_pad *p, struct mm_conversion *r)
{
	r->replaced++;
	return append(p, r, MM_UNICODE_REPLACEMENT);
}

/* From some charsets glibc lets through UTF-8 above U+10FFFF and surrogates, so its output is checked once more. */
static bool clean_pad(struct mm_pad *p, struct mm_conversion *r)
{
	size_t good = mm_unicode_size(p->bytes, r->made);
	if (good == r->made)
		return true;
	size_t bad, rest = r->made - good;
	if (!mm_pad_grow(p, r->made + 3 * rest))
		return false;
	size_t clean = mm_unicode_clean(p->bytes + good, rest, p->bytes + r->made, &bad);
	memmove(p->bytes + good, p->bytes + r->made, clean);
	r->made = good + clean;
	r->replaced += bad;
	return true;
}

/* Writes what the handle has held back, and sets it to its initial state. */
static bool flush(struct mm_pad *p, iconv_t cd, struct mm_conversion *r)
{
	if (!mm_pad_grow(p, r->made + ROOM_TO_FLUSH))
		return false;
	char *to = (char *)p->bytes + r->made;
	size_t room = p->size - r->made;
	iconv(cd, NULL, NULL, &to, &room);
	r->made = (size_t)(to - (char *)p->bytes);
	return true;
}

/* A byte that iconv refuses, after what it has held back. */
static bool refused(struct mm_pad *p, iconv_t cd, const char *charset, unsigned char byte, struct mm_conversion *r)
{
	if (!holds_letters(charset))
		return append_replacement(p, r);
	if (!flush(p, cd, r))
		return false;
	bool is_control = byte >= 0x80 && byte <= 0x9F;         /* as in all single-byte encodings of whatwg.h */
	return is_control ? append(p, r, byte) : append_replacement(p, r);
}

/* Converts in[0..n) to UTF-8 into the pad, from offset 0; *left is the number of bytes of an unfinished character at
 * the end. Each bad byte becomes U+FFFD and conversion goes on after it; that is at most one iconv call per input byte,
 * so the time is linear. False: out of memory. */
static bool convert(struct mm_pad *p, iconv_t cd, const char *charset, const unsigned char *in, size_t n,
	struct mm_conversion *r, size_t *left)
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
		if (!refused(p, cd, charset, (unsigned char)*from, r)) /* EILSEQ */
			return false;
		from++;
		--*left;
	}
	return clean_pad(p, r);
}

/* ---- a whole text ---- */

static bool convert_whatwg(struct mm_pad *p, struct mm_whatwg *d, const unsigned char *in, size_t n,
	struct mm_conversion *out)
{
	if (!mm_pad_grow(p, mm_whatwg_bound(n) + mm_whatwg_bound(0)))
		return false;
	out->made = mm_whatwg_feed(d, in, n, p->bytes);
	out->made += mm_whatwg_finish(d, p->bytes + out->made, &out->replaced);
	return true;
}

bool mm_charset_is_known(struct mm_pad *p, const char *charset)
{
	struct mm_whatwg d;
	return mm_whatwg_begin(&d, charset) || mm_pad_iconv(p, charset) != (iconv_t)-1;
}

bool mm_charset_convert(struct mm_pad *p, const char *charset, const unsigned char *in, size_t n,
	struct mm_conversion *out)
{
	struct mm_whatwg d;
	if (mm_whatwg_begin(&d, charset))
		return convert_whatwg(p, &d, in, n, out);
	size_t left;
	iconv_t cd = mm_pad_iconv(p, charset);
	if (!convert(p, cd, charset, in, n, out, &left) || !flush(p, cd, out))
		return false;
	return left == 0 || append_replacement(p, out); /* the text ends inside a character */
}

/* ---- a text in chunks ---- */

bool mm_charset_open(struct mm_converter *c, const char *charset)
{
	c->is_whatwg = mm_whatwg_begin(&c->whatwg, charset);
	c->cd = c->is_whatwg ? (iconv_t)-1 : iconv_open("UTF-8", charset);
	strcpy(c->name, charset); /* the caller bounds it */
	return mm_charset_is_open(c);
}

bool mm_charset_is_open(const struct mm_converter *c)
{
	return c->is_whatwg || c->cd != (iconv_t)-1;
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

static bool feed_whatwg(struct mm_converter *c, struct mm_pad *p, const unsigned char *in, size_t n, size_t *made)
{
	if (!mm_pad_grow(p, mm_whatwg_bound(n)))
		return false;
	*made = mm_whatwg_feed(&c->whatwg, in, n, p->bytes);
	return true;
}

bool mm_charset_feed(struct mm_converter *c, struct mm_pad *p, const unsigned char *in, size_t n, size_t *made)
{
	if (c->is_whatwg)
		return feed_whatwg(c, p, in, n, made);
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
	bool good = convert(p, c->cd, c->name, in, n, &r, &left) && hold(c, p, in + n, left, &r);
	free(joined);
	c->replaced += r.replaced;
	*made = r.made;
	return good;
}

bool mm_charset_finish(struct mm_converter *c, struct mm_pad *p, struct mm_conversion *out)
{
	*out = (struct mm_conversion){ 0, c->replaced };
	if (c->is_whatwg) {
		if (!mm_pad_grow(p, mm_whatwg_bound(0)))
			return false;
		out->made = mm_whatwg_finish(&c->whatwg, p->bytes, &out->replaced);
		return true;
	}
	bool is_cut = c->held_size > 0;
	bool good = flush(p, c->cd, out) && (!is_cut || append_replacement(p, out));
	c->held_size = 0;
	c->replaced = 0;
	c->cd = mm_pad_iconv_again(c->cd, c->name);
	return good;
}

void mm_charset_close(struct mm_converter *c)
{
	if (c->cd != (iconv_t)-1)
		iconv_close(c->cd);
	c->cd = (iconv_t)-1;
	c->is_whatwg = false;
}
