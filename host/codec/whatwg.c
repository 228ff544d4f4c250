#include "codec/whatwg.h"

#include "codec/indexes.h"
#include "codec/unicode.h"

#include <string.h>

#define BAD  0xFFFFFFFFu        /* not a character: U+FFFD, and counted */
#define NONE 0xFFFFFFFEu        /* not text: an escape, a byte order mark */
#define MORE 0                  /* a step's answer: the character goes on after s[0..n) */

/* What a step has read: one code point, or BAD, or NONE; the second one is for Big5's pairs of two. */
struct reading {
	uint32_t code, second;
};

/* Reads the character at s[0..n), n > 0, which is all there will be when `is_last`. -> bytes of it, or MORE. */
typedef size_t step_fn(struct mm_whatwg *, const unsigned char *s, size_t n, bool is_last, struct reading *);

struct mm_whatwg_encoding {
	const char *name;
	step_fn    *step;
	bool        is_ascii;           /* bytes below 0x80 are ASCII wherever a character begins */
	uint8_t     unit;               /* of UTF-16 and UTF-32 */
	bool        is_big_endian;
};

static bool within(unsigned c, unsigned low, unsigned high)
{
	return c >= low && c <= high;
}

static size_t read_as(struct reading *r, uint32_t code, size_t size)
{
	r->code = code;
	return size;
}

/* The text ends inside a character: all that is left is one fault. */
static size_t cut(struct reading *r, size_t n, bool is_last)
{
	return is_last ? read_as(r, BAD, n) : MORE;
}

/* A pair that means nothing. Its second byte is read again when it is ASCII: no bad lead byte hides a letter. */
static size_t bad_pair(struct reading *r, unsigned char trail)
{
	return read_as(r, BAD, trail < 0x80 ? 1 : 2);
}

static size_t pair(struct reading *r, uint32_t code, unsigned char trail)
{
	return code ? read_as(r, code, 2) : bad_pair(r, trail);
}

/* ---- two bytes ---- */

static size_t step_big5(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	static const struct { uint16_t pointer, letter, mark; } twos[] = {
		{ 1133, 0xCA, 0x304 }, { 1135, 0xCA, 0x30C }, { 1164, 0xEA, 0x304 }, { 1166, 0xEA, 0x30C },
	};
	(void)d;
	if (!within(s[0], 0x81, 0xFE))
		return read_as(r, s[0] < 0x80 ? s[0] : BAD, 1);
	if (n < 2)
		return cut(r, n, is_last);
	if (!within(s[1], 0x40, 0x7E) && !within(s[1], 0xA1, 0xFE))
		return bad_pair(r, s[1]);
	unsigned pointer = (s[0] - 0x81u) * 157 + s[1] - (s[1] < 0x7F ? 0x40 : 0x62);
	for (size_t i = 0; i < sizeof twos / sizeof *twos; i++)
		if (twos[i].pointer == pointer) {
			r->second = twos[i].mark;
			return read_as(r, twos[i].letter, 2);
		}
	uint32_t plane = (mm_index_big5_plane_2[pointer >> 3] >> (pointer & 7) & 1) ? 0x20000 : 0;
	return pair(r, plane | mm_index_big5[pointer], s[1]);
}

static size_t step_euc_kr(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	(void)d;
	if (!within(s[0], 0x81, 0xFE))
		return read_as(r, s[0] < 0x80 ? s[0] : BAD, 1);
	if (n < 2)
		return cut(r, n, is_last);
	if (!within(s[1], 0x41, 0xFE))
		return bad_pair(r, s[1]);
	return pair(r, mm_index_euc_kr[(s[0] - 0x81) * 190 + s[1] - 0x41], s[1]);
}

static size_t step_shift_jis(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	(void)d;
	if (within(s[0], 0xA1, 0xDF))
		return read_as(r, 0xFF61 - 0xA1 + s[0], 1);
	if (!within(s[0], 0x81, 0x9F) && !within(s[0], 0xE0, 0xFC))
		return read_as(r, s[0] <= 0x80 ? s[0] : BAD, 1);
	if (n < 2)
		return cut(r, n, is_last);
	if (!within(s[1], 0x40, 0x7E) && !within(s[1], 0x80, 0xFC))
		return bad_pair(r, s[1]);
	unsigned row = s[0] - (s[0] < 0xA0 ? 0x81u : 0xC1u), cell = s[1] - (s[1] < 0x7F ? 0x40u : 0x41u);
	return pair(r, mm_index_jis0208[row * 188 + cell], s[1]);
}

static size_t step_euc_jp(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	(void)d;
	if (s[0] != 0x8E && s[0] != 0x8F && !within(s[0], 0xA1, 0xFE))
		return read_as(r, s[0] < 0x80 ? s[0] : BAD, 1);
	if (n < 2)
		return cut(r, n, is_last);
	if (s[0] == 0x8E && within(s[1], 0xA1, 0xDF))
		return read_as(r, 0xFF61 - 0xA1 + s[1], 2);
	if (!within(s[1], 0xA1, 0xFE) || s[0] == 0x8E)
		return bad_pair(r, s[1]);
	if (s[0] != 0x8F)
		return pair(r, mm_index_jis0208[(s[0] - 0xA1) * 94 + s[1] - 0xA1], s[1]);
	if (n < 3)
		return cut(r, n, is_last);
	uint32_t code = within(s[2], 0xA1, 0xFE) ? mm_index_jis0212[(s[1] - 0xA1) * 94 + s[2] - 0xA1] : 0;
	return code ? read_as(r, code, 3) : 1 + bad_pair(r, s[2]);
}

/* ---- GB 18030: one, two or four bytes ---- */

/* 0: none */
static uint32_t gb_four(const unsigned char *s)
{
	unsigned pointer = (s[0] - 0x81u) * 12600 + (s[1] - 0x30u) * 1260 + (s[2] - 0x81u) * 10 + s[3] - 0x30u;
	if (within(pointer, 189000, 1237575))
		return 0x10000 + pointer - 189000;
	if (pointer > 39419)
		return 0;
	size_t low = 0, high = MM_INDEX_GB18030_RANGES;
	while (high - low > 1) {
		size_t middle = (low + high) / 2;
		*(mm_index_gb18030_ranges[middle][0] <= pointer ? &low : &high) = middle;
	}
	return mm_index_gb18030_ranges[low][1] + (pointer - mm_index_gb18030_ranges[low][0]);
}

static size_t step_gb18030(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	(void)d;
	if (s[0] == 0x80)
		return read_as(r, 0x20AC, 1);
	if (!within(s[0], 0x81, 0xFE))
		return read_as(r, s[0] < 0x80 ? s[0] : BAD, 1);
	if (n < 2)
		return cut(r, n, is_last);
	if (within(s[1], 0x40, 0x7E) || within(s[1], 0x80, 0xFE))
		return pair(r, mm_index_gb18030[(s[0] - 0x81) * 190 + s[1] - (s[1] < 0x7F ? 0x40 : 0x41)], s[1]);
	if (!within(s[1], '0', '9'))
		return bad_pair(r, s[1]);
	if (n < 3)
		return cut(r, n, is_last);
	if (!within(s[2], 0x81, 0xFE))
		return read_as(r, BAD, 1);
	if (n < 4)
		return cut(r, n, is_last);
	if (!within(s[3], '0', '9'))
		return read_as(r, BAD, 1);
	uint32_t code = gb_four(s);
	return read_as(r, code ? code : BAD, 4);
}

/* ---- escapes: ISO-2022-JP and HZ ---- */

enum { ASCII, ROMAN, KATAKANA, JIS0208, JIS0212, GB2312 };

/* Those of JIS X 0212 and the longer ones of JIS X 0208 are in ISO-2022-JP-1 (RFC 2237) and in mail, not in the
 * Standard. */
static const struct { uint8_t mode, size; char bytes[4]; } escapes[] = {
	{ ASCII, 3, "\33(B" }, { ROMAN, 3, "\33(J" }, { KATAKANA, 3, "\33(I" }, { JIS0208, 3, "\33$@" },
	{ JIS0208, 3, "\33$B" }, { JIS0208, 4, "\33$(@" }, { JIS0208, 4, "\33$(B" }, { JIS0212, 4, "\33$(D" },
};

static size_t escape(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	bool is_cut = false;
	for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
		size_t size = escapes[i].size;
		if (memcmp(s, escapes[i].bytes, n < size ? n : size) != 0)
			continue;
		if (n >= size) {
			d->mode = escapes[i].mode;
			return read_as(r, NONE, size);
		}
		is_cut = true;
	}
	return is_cut && !is_last ? MORE : read_as(r, BAD, 1);
}

static size_t step_jis_pair(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	if (!within(s[0], 0x21, 0x7E))
		return read_as(r, BAD, 1);
	if (n < 2)
		return cut(r, n, is_last);
	if (s[1] == 0x1B)
		return read_as(r, BAD, 1);
	const uint16_t *index = d->mode == JIS0208 ? mm_index_jis0208 : mm_index_jis0212;
	uint32_t code = within(s[1], 0x21, 0x7E) ? index[(s[0] - 0x21) * 94 + s[1] - 0x21] : 0;
	return read_as(r, code ? code : BAD, 2);
}

static size_t step_iso_2022_jp(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	if (s[0] == 0x1B)
		return escape(d, s, n, is_last, r);
	if (d->mode == JIS0208 || d->mode == JIS0212)
		return step_jis_pair(d, s, n, is_last, r);
	if (d->mode == KATAKANA)
		return read_as(r, within(s[0], 0x21, 0x5F) ? 0xFF61 - 0x21u + s[0] : BAD, 1);
	if (d->mode == ROMAN && s[0] == 0x5C)
		return read_as(r, 0xA5, 1);
	if (d->mode == ROMAN && s[0] == 0x7E)
		return read_as(r, 0x203E, 1);
	return read_as(r, s[0] >= 0x80 || s[0] == 0x0E || s[0] == 0x0F ? BAD : s[0], 1);
}

/* RFC 1843: "~{" begins GB 2312, "~}" and the end of the line end it, "~~" is "~", "~" and a line end is nothing. */
static size_t step_hz(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	if (s[0] == '\n')
		d->mode = ASCII;
	if (s[0] >= 0x80)
		return read_as(r, BAD, 1);
	if (s[0] <= ' ' || (d->mode == ASCII && s[0] != '~'))
		return read_as(r, s[0], 1);
	if (n < 2)
		return cut(r, n, is_last);
	if (s[0] == '~') {
		if (s[1] == '~' && d->mode == ASCII)
			return read_as(r, '~', 2);
		if (!strchr("{}\n", s[1]) || s[1] == '\0')
			return read_as(r, BAD, 1);
		d->mode = s[1] == '{' ? GB2312 : ASCII;
		return read_as(r, NONE, 2);
	}
	if (!within(s[0], 0x21, 0x7D) || !within(s[1], 0x21, 0x7E))
		return read_as(r, BAD, 1);
	return read_as(r, mm_index_gb18030[(s[0] + 0x80 - 0x81) * 190 + s[1] + 0x80 - 0x41], 2);
}

/* ---- Unicode ---- */

static size_t step_utf8(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	static const unsigned char mask[] = { 0, 0x7F, 0x1F, 0x0F, 0x07 };
	size_t skip, size = mm_unicode_sequence(s, n, &skip);
	(void)d;
	if (size == 0 && skip == n && within(s[0], 0xC2, 0xF4))
		return cut(r, n, is_last);
	if (size == 0)
		return read_as(r, BAD, skip);
	r->code = s[0] & mask[size];
	for (size_t i = 1; i < size; i++)
		r->code = r->code << 6 | (s[i] & 0x3F);
	return size;
}

static uint32_t unit_at(const struct mm_whatwg *d, const unsigned char *s)
{
	uint32_t code = 0;
	uint8_t unit = d->encoding->unit;
	bool is_big_endian = d->encoding->is_big_endian != d->is_swapped;
	for (uint8_t i = 0; i < unit; i++)
		code = code << 8 | s[is_big_endian ? i : unit - 1 - i];
	return code;
}

static size_t step_wide(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	size_t unit = d->encoding->unit;
	if (n < unit)
		return cut(r, n, is_last);
	uint32_t code = unit_at(d, s);
	if (!d->is_begun) {
		d->is_swapped = code == (unit == 2 ? 0xFFFEu : 0xFFFE0000u);
		if (d->is_swapped || code == 0xFEFF)
			return read_as(r, NONE, unit);
	}
	if (unit == 4 || !within(code, 0xD800, 0xDFFF))
		return read_as(r, code > 0x10FFFF || within(code, 0xD800, 0xDFFF) ? BAD : code, unit);
	if (code > 0xDBFF)
		return read_as(r, BAD, unit);
	if (n < 4)
		return cut(r, n, is_last);
	uint32_t low = unit_at(d, s + 2);
	if (!within(low, 0xDC00, 0xDFFF))
		return read_as(r, BAD, unit);
	return read_as(r, 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), 4);
}

/* ---- one byte ---- */

static size_t step_single(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, struct reading *r)
{
	(void)n, (void)is_last;
	uint32_t code = s[0] < 0x80 ? s[0] : d->upper[s[0] - 0x80];
	return read_as(r, code || s[0] == 0 ? code : BAD, 1);
}

/* ---- a text ---- */

static const struct mm_whatwg_encoding encodings[] = {
	{ "UTF-8", step_utf8, true, 0, false },
	{ "GB18030", step_gb18030, true, 0, false },
	{ "BIG5", step_big5, true, 0, false },
	{ "EUC-JP", step_euc_jp, true, 0, false },
	{ "EUC-KR", step_euc_kr, true, 0, false },
	{ "SHIFT_JIS", step_shift_jis, true, 0, false },
	{ "ISO-2022-JP", step_iso_2022_jp, false, 0, false },
	{ "HZ-GB-2312", step_hz, false, 0, false },
	{ "UTF-16LE", step_wide, false, 2, false },
	{ "UTF-16BE", step_wide, false, 2, true },
	{ "UTF-32LE", step_wide, false, 4, false },
	{ "UTF-32BE", step_wide, false, 4, true },
};
static const struct mm_whatwg_encoding single = { "", step_single, true, 0, false };

/* [encoding and table]: false when there is none */
static bool find(const char *name, const struct mm_whatwg_encoding **encoding, const uint16_t **upper)
{
	*upper = NULL;
	for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++)
		if (strcmp(encodings[i].name, name) == 0) {
			*encoding = &encodings[i];
			return true;
		}
	for (size_t i = 0; i < MM_INDEX_SINGLES; i++)
		if (strcmp(mm_index_singles[i].name, name) == 0) {
			*encoding = &single;
			*upper = mm_index_singles[i].upper;
			return true;
		}
	return false;
}

bool mm_whatwg_begin(struct mm_whatwg *d, const char *name)
{
	*d = (struct mm_whatwg){ 0 };
	return find(name, &d->encoding, &d->upper);
}

size_t mm_whatwg_bound(size_t n)
{
	return 3 * (n + MM_WHATWG_HELD);        /* no byte makes more than U+FFFD does */
}

static size_t write_reading(struct mm_whatwg *d, const struct reading *r, unsigned char *out)
{
	d->is_begun = true;
	if (r->code == NONE)
		return 0;
	d->replaced += r->code == BAD;
	size_t made = mm_unicode_write(r->code == BAD ? MM_UNICODE_REPLACEMENT : r->code, out);
	return r->second ? made + mm_unicode_write(r->second, out + made) : made;
}

/* How many bytes at the start of s[0..n) are the same in UTF-8. */
static size_t plain_size(const struct mm_whatwg *d, const unsigned char *s, size_t n)
{
	size_t size = 0;
	if (d->encoding->step == step_utf8)
		return mm_unicode_size(s, n);
	while (d->encoding->is_ascii && size < n && s[size] < 0x80)
		size++;
	return size;
}

/* Decodes s[0..n) until its end, or an unfinished character when there will be more. *made grows. -> bytes read. */
static size_t decode(struct mm_whatwg *d, const unsigned char *s, size_t n, bool is_last, unsigned char *out,
	size_t *made)
{
	size_t at = 0;
	while (at < n) {
		size_t plain = plain_size(d, s + at, n - at);
		memcpy(out + *made, s + at, plain);
		*made += plain;
		at += plain;
		if (at == n)
			break;
		struct reading r = { 0, 0 };
		size_t size = d->encoding->step(d, s + at, n - at, is_last, &r);
		if (size == MORE)
			break;
		*made += write_reading(d, &r, out + *made);
		at += size;
	}
	return at;
}

size_t mm_whatwg_feed(struct mm_whatwg *d, const unsigned char *in, size_t n, unsigned char *out)
{
	size_t made = 0, at = 0;
	while (d->held_size > 0 && at < n) {
		d->held[d->held_size++] = in[at++];
		size_t read = decode(d, d->held, d->held_size, false, out, &made);
		d->held_size -= read;
		memmove(d->held, d->held + read, d->held_size);
	}
	at += decode(d, in + at, n - at, false, out, &made);
	for (; at < n; at++)
		d->held[d->held_size++] = in[at];
	return made;
}

size_t mm_whatwg_finish(struct mm_whatwg *d, unsigned char *out, size_t *replaced)
{
	size_t made = 0;
	decode(d, d->held, d->held_size, true, out, &made);
	*replaced = d->replaced;
	*d = (struct mm_whatwg){ .encoding = d->encoding, .upper = d->upper };
	return made;
}
