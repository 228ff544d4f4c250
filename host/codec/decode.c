#include "codec/decode.h"

#include <string.h>

static int hex_value(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f') /* RFC 2045 6.7 (1) demands capitals, and asks readers to accept both */
		return c - 'a' + 10;
	return -1;
}

/* ---- base64 (RFC 2045 6.8) ---- */

/* The value of a byte: six bits, or one of these. */
enum { B64_BLANK = 64, B64_PAD, B64_BAD };

static const unsigned char base64_value[256] = {
#define X B64_BAD
#define P B64_PAD
#define o B64_BLANK
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  o,  o,  X,  X,  o,  X,  X,
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
	 o,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X, 62,  X,  X,  X, 63,
	52, 53, 54, 55, 56, 57, 58, 59, 60, 61,  X,  X,  X,  P,  X,  X,
	 X,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14,
	15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,  X,  X,  X,  X,  X,
	 X, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
	41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51,  X,  X,  X,  X,  X,
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
	 X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
#undef X
#undef P
#undef o
};

/* Text between groups is ignored (RFC 2045 6.8 "must be ignored") and counted. Decoding goes on after padding: the RFC
 * leaves that open, mail readers differ, and a filter must see everything that any of them shows. */
static size_t base64_decode(struct mm_decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	unsigned char *start = out;
	size_t i = 0;
	while (i < n) {
		if (d->digits == 0) {
			while (n - i >= 4) { /* whole groups: the usual case by far */
				unsigned a = base64_value[in[i]], b = base64_value[in[i + 1]];
				unsigned c = base64_value[in[i + 2]], e = base64_value[in[i + 3]];
				if ((a | b | c | e) >= 64)
					break;
				uint32_t w = a << 18 | b << 12 | c << 6 | e;
				*out++ = (unsigned char)(w >> 16);
				*out++ = (unsigned char)(w >> 8);
				*out++ = (unsigned char)w;
				i += 4;
				if (d->was_padded)
					d->is_continued = true;
			}
			if (i == n)
				break;
		}
		unsigned v = base64_value[in[i++]];
		if (v < 64) {
			if (d->was_padded)
				d->is_continued = true;
			d->bits = d->bits << 6 | v;
			if (++d->digits == 4) {
				*out++ = (unsigned char)(d->bits >> 16);
				*out++ = (unsigned char)(d->bits >> 8);
				*out++ = (unsigned char)d->bits;
				d->digits = 0;
				d->bits = 0;
			}
		} else if (v == B64_PAD) {
			if (d->digits == 1)
				d->bad++; /* six bits do not make a byte */
			if (d->digits >= 2)
				*out++ = (unsigned char)(d->digits == 2 ? d->bits >> 4 : d->bits >> 10);
			if (d->digits == 3)
				*out++ = (unsigned char)(d->bits >> 2);
			d->digits = 0;
			d->bits = 0;
			d->was_padded = true;
		} else if (v == B64_BAD) {
			d->bad++;
		}
	}
	return (size_t)(out - start);
}

static size_t base64_finish(struct mm_decoder *d, unsigned char *out)
{
	size_t n = 0;
	if (d->digits) { /* cut short: write the whole bytes, as mail readers do */
		d->is_truncated = true;
		if (d->digits >= 2)
			out[n++] = (unsigned char)(d->digits == 2 ? d->bits >> 4 : d->bits >> 10);
		if (d->digits == 3)
			out[n++] = (unsigned char)(d->bits >> 2);
	}
	d->digits = 0;
	d->bits = 0;
	return n;
}

/* ---- quoted-printable (RFC 2045 6.7) and Q (RFC 2047 4.2) ---- */

static unsigned char *qp_release(struct mm_decoder *d, unsigned char *out)
{
	memcpy(out, d->held, d->held_size);
	out += d->held_size;
	d->held_size = 0;
	return out;
}

static unsigned char *qp_bad_escape(struct mm_decoder *d, unsigned char *out)
{
	d->bad++;
	*out++ = '=';
	d->state = MM_QP_TEXT;
	return out;
}

/* After "=". True: c is part of the escape; else the escape is over, and c is text. Bad escapes stay as written (RFC
 * 2045 6.7, advice to decoders). */
static bool qp_escape(struct mm_decoder *d, unsigned char c, unsigned char **out)
{
	bool is_blank = c == ' ' || c == '\t';
	switch (d->state) {
	case MM_QP_EQUALS:
		if (hex_value(c) >= 0) {
			d->hex = c;
			d->state = MM_QP_HEX;
		} else if (is_blank) {
			d->held[d->held_size++] = c;
			d->state = MM_QP_SOFT;
		} else if (c == '\n' || c == '\r') {
			d->state = c == '\n' ? MM_QP_TEXT : MM_QP_SOFT_CR;
		} else {
			*out = qp_bad_escape(d, *out);
			return false;
		}
		return true;
	case MM_QP_HEX:
		if (hex_value(c) < 0) {
			*out = qp_bad_escape(d, *out);
			*(*out)++ = d->hex;
			return false;
		}
		*(*out)++ = (unsigned char)(hex_value(d->hex) << 4 | hex_value(c));
		d->state = MM_QP_TEXT;
		return true;
	case MM_QP_SOFT: /* "=", then blanks: a soft line break with transport padding, if the line ends here */
		if (is_blank && d->held_size < MM_QP_HELD_BYTES) {
			d->held[d->held_size++] = c;
		} else if (c == '\n' || c == '\r') {
			d->held_size = 0;
			d->state = c == '\n' ? MM_QP_TEXT : MM_QP_SOFT_CR;
		} else {
			*out = qp_release(d, qp_bad_escape(d, *out));
			return false;
		}
		return true;
	case MM_QP_SOFT_CR: /* "=" CR: the LF, when it comes, belongs to the break */
		d->state = MM_QP_TEXT;
		return c == '\n';
	default:
		return false;
	}
}

/* Drops blanks before a line end (rule 3); a run longer than MM_QP_HELD_BYTES is not transport padding and stays. */
static unsigned char *qp_text(struct mm_decoder *d, unsigned char c, unsigned char *out)
{
	if (c == ' ' || c == '\t') {
		if (d->held_size == MM_QP_HELD_BYTES)
			out = qp_release(d, out);
		d->held[d->held_size++] = c;
		return out;
	}
	if (c == '\n' || c == '\r')
		d->held_size = 0;
	else if (d->held_size > 0)
		out = qp_release(d, out);
	if (c == '=')
		d->state = MM_QP_EQUALS;
	else
		*out++ = c;
	return out;
}

static size_t qp_decode(struct mm_decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	unsigned char *start = out;
	for (size_t i = 0; i < n; i++)
		if (d->state == MM_QP_TEXT || !qp_escape(d, in[i], &out))
			out = qp_text(d, in[i], out);
	return (size_t)(out - start);
}

static size_t qp_finish(struct mm_decoder *d, unsigned char *out)
{
	unsigned char *start = out;
	if (d->state == MM_QP_HEX) {
		d->bad++;
		*out++ = '=';
		*out++ = d->hex;
	}
	/* "=" as the very last byte is a soft break with nothing after it; blanks at the end are
	 * padding: both vanish. */
	d->held_size = 0;
	d->state = MM_QP_TEXT;
	return (size_t)(out - start);
}

static size_t q_word_decode(struct mm_decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	unsigned char *start = out;
	for (size_t i = 0; i < n; i++) {
		if (in[i] == '_') {
			*out++ = ' '; /* 0x20 whatever the charset, RFC 2047 4.2 (2) */
		} else if (in[i] == '=' && i + 2 < n && hex_value(in[i + 1]) >= 0 && hex_value(in[i + 2]) >= 0) {
			*out++ = (unsigned char)(hex_value(in[i + 1]) << 4 | hex_value(in[i + 2]));
			i += 2;
		} else {
			d->bad += in[i] == '=';
			*out++ = in[i];
		}
	}
	return (size_t)(out - start);
}

/* ---- uuencode (never a MIME standard; "x-uuencode" is in old mail and in mail that wants not to be scanned) ---- */

static size_t uu_line(struct mm_decoder *d, unsigned char *out)
{
	const unsigned char *line = d->line;
	size_t n = d->line_size;
	d->line_size = 0;
	if (n && line[n - 1] == '\r')
		n--;
	if (!d->in_body) {
		d->in_body = n >= 6 && memcmp(line, "begin ", 6) == 0;
		return 0;
	}
	if (n == 3 && memcmp(line, "end", 3) == 0) {
		d->in_body = false;
		return 0;
	}
	if (n == 0)
		return 0;
	if (line[0] < ' ' || line[0] > '`') {
		d->bad++;
		return 0;
	}
	size_t want = (line[0] - ' ') & 63, got = 0;
	if (want > n)
		d->bad++; /* a line cut short yields only its own bytes: two bytes must not become 63 */
	for (size_t i = 1; got < want && i < n; i += 4) {
		unsigned v[4];
		for (size_t k = 0; k < 4; k++)
			v[k] = i + k < n ? (unsigned)(line[i + k] - ' ') & 63 : 0;
		uint32_t w = v[0] << 18 | v[1] << 12 | v[2] << 6 | v[3];
		for (int shift = 16; shift >= 0 && got < want; shift -= 8)
			out[got++] = (unsigned char)(w >> shift);
	}
	return got;
}

static size_t uu_decode(struct mm_decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	size_t made = 0;
	for (size_t i = 0; i < n; i++) {
		if (in[i] == '\n')
			made += uu_line(d, out + made);
		else if (d->line_size < MM_UU_LINE_BYTES)
			d->line[d->line_size++] = in[i];
		else
			d->bad++;
	}
	return made;
}

/* ---- decoders as one thing ---- */

void mm_decode_begin(struct mm_decoder *d, enum mm_encoding kind)
{
	memset(d, 0, offsetof(struct mm_decoder, held));
	d->kind = kind;
}

/* Upper bound of the output for `n` more bytes: the bytes themselves, and those held back (blanks or one uuencoded
 * line, whose last group may be padded). */
size_t mm_decode_bound(size_t n)
{
	return 2 * n + MM_QP_HELD_BYTES + MM_UU_LINE_BYTES + 8;
}

size_t mm_decode_feed(struct mm_decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	switch (d->kind) {
	case MM_BASE64:           return base64_decode(d, in, n, out);
	case MM_QUOTED_PRINTABLE: return qp_decode(d, in, n, out);
	case MM_Q_WORD:           return q_word_decode(d, in, n, out);
	case MM_UUENCODE:         return uu_decode(d, in, n, out);
	}
	return 0;
}

size_t mm_decode_finish(struct mm_decoder *d, unsigned char *out)
{
	switch (d->kind) {
	case MM_BASE64:           return base64_finish(d, out);
	case MM_QUOTED_PRINTABLE: return qp_finish(d, out);
	case MM_UUENCODE:         return d->line_size ? uu_line(d, out) : 0;
	case MM_Q_WORD:           return 0;
	}
	return 0;
}
