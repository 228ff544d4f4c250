#include "codec/encode.h"

#include <string.h>

/* ---- base64 ---- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static unsigned char *base64_group(struct mm_encoder *e, unsigned char *out)
{
	if (e->width && e->column + 4 > e->width) {
		*out++ = '\r';
		*out++ = '\n';
		e->column = 0;
	}
	uint32_t w = (uint32_t)e->group[0] << 16 | (uint32_t)e->group[1] << 8 | e->group[2];
	*out++ = (unsigned char)base64_digits[w >> 18];
	*out++ = (unsigned char)base64_digits[w >> 12 & 63];
	*out++ = (unsigned char)(e->group_size > 1 ? base64_digits[w >> 6 & 63] : '=');
	*out++ = (unsigned char)(e->group_size > 2 ? base64_digits[w & 63] : '=');
	e->column += 4;
	e->group_size = 0;
	e->group[1] = e->group[2] = 0;
	return out;
}

static unsigned char *base64_encode(struct mm_encoder *e, const unsigned char *in, size_t n, unsigned char *out)
{
	for (size_t i = 0; i < n; i++) {
		e->group[e->group_size++] = in[i];
		if (e->group_size == 3)
			out = base64_group(e, out);
	}
	return out;
}

/* ---- quoted-printable ---- */

/* Writes one byte, as itself or as =XX, with a soft break before it when the line would pass 76 (RFC 2045 6.7 (5)). A
 * first byte ".", "F" of "From " or "-" of a line is escaped, too: dot-stuffing and mbox writers damage the first two
 * (RFC 2049 3), and a line that begins with "-" could be a delimiter of the enclosing multipart. */
static unsigned char *qp_put(unsigned char c, bool must_escape, struct mm_encoder *e, unsigned char *out)
{
	static const char hex[] = "0123456789ABCDEF";
	bool escape = must_escape || c == '=' || c < ' ' || c > '~';
	if (c == '\t' && !must_escape)
		escape = false;
	if (e->column == 0 && strchr(".F-", c) && c)
		escape = true;
	unsigned need = escape ? 3 : 1;
	if (e->column + need > e->width - 1) {
		*out++ = '=';
		*out++ = '\r';
		*out++ = '\n';
		e->column = 0;
		if (strchr(".F-", c) && c) {
			escape = true;
			need = 3;
		}
	}
	if (escape) {
		*out++ = '=';
		*out++ = (unsigned char)hex[c >> 4];
		*out++ = (unsigned char)hex[c & 15];
	} else {
		*out++ = c;
	}
	e->column += need;
	return out;
}

static unsigned char *qp_encode(struct mm_encoder *e, const unsigned char *in, size_t n, unsigned char *out)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = in[i];
		if (e->waiting == '\r' && c == '\n') { /* a line end of the text itself */
			*out++ = '\r';
			*out++ = '\n';
			e->column = 0;
			e->waiting = -1;
			continue;
		}
		if (e->waiting >= 0) { /* CR alone is data; a blank at a line's end must be escaped, rule (3) */
			unsigned char w = (unsigned char)e->waiting;
			out = qp_put(w, w == '\r' || c == '\r' || c == '\n', e, out);
			e->waiting = -1;
		}
		if (c == '\r' || c == ' ' || c == '\t')
			e->waiting = c;
		else
			out = qp_put(c, c == '\n', e, out); /* LF alone is data */
	}
	return out;
}

/* ---- encoders as one thing ---- */

void mm_encode_begin(struct mm_encoder *e, enum mm_encoding kind, unsigned width)
{
	memset(e, 0, sizeof *e);
	e->kind = kind;
	e->width = width;
	e->waiting = -1;
}

/* base64: 4 bytes for 3, and a line end after at least 4; quoted-printable: 3 bytes for 1, and "=\r\n" after
 * at least 3 characters. */
size_t mm_encode_bound(size_t n)
{
	return 6 * (n + 4) + 16;
}

size_t mm_encode_feed(struct mm_encoder *e, const unsigned char *in, size_t n, unsigned char *out)
{
	unsigned char *end = e->kind == MM_QUOTED_PRINTABLE ? qp_encode(e, in, n, out) : base64_encode(e, in, n, out);
	return (size_t)(end - out);
}

size_t mm_encode_finish(struct mm_encoder *e, unsigned char *out)
{
	unsigned char *end = out;
	if (e->kind == MM_BASE64 && e->group_size)
		end = base64_group(e, end);
	if (e->kind == MM_QUOTED_PRINTABLE && e->waiting >= 0)
		end = qp_put((unsigned char)e->waiting, true, e, end);
	e->waiting = -1;
	e->column = 0;
	return (size_t)(end - out);
}
