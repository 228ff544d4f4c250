/* fuzz/codec.c -- libFuzzer target for codec/ below its Lua module: any bytes through every function, and the laws that
 * must hold: chunks make no difference; encoded text decodes to itself; nothing is written past the promised bound or
 * read past the end of the input; a converted charset is UTF-8. Every input, chunk and output is a malloc of exactly
 * its size, so that the sanitizer sees an access one byte too far.
 * The first byte chooses the function, the second the cuts of the rest into chunks. */
#include "codec/charset.h"
#include "codec/decode.h"
#include "codec/encode.h"
#include "codec/idna.h"
#include "codec/unicode.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LAW(holds) ((holds) ? (void)0 : law_broken(#holds, __LINE__))

static void law_broken(const char *law, int line)
{
	fprintf(stderr, "law broken, line %d: %s\n", line, law);
	abort();
}

static unsigned char *new_bytes(size_t n)
{
	unsigned char *bytes = malloc(n > 0 ? n : 1);
	if (!bytes)
		exit(2);
	return bytes;
}

/* A block of its own with n bytes, all of them written. */
static unsigned char *exactly(const unsigned char *from, size_t n)
{
	unsigned char *bytes = new_bytes(n);
	if (n > 0)
		memcpy(bytes, from, n);
	return bytes;
}

struct text {
	unsigned char *bytes;           /* owned */
	size_t         size;
};

static void append(struct text *t, const unsigned char *more, size_t n)
{
	if (n == 0)
		return;
	t->bytes = realloc(t->bytes, t->size + n);
	if (!t->bytes)
		exit(2);
	memcpy(t->bytes + t->size, more, n);
	t->size += n;
}

static bool are_equal(const struct text *a, const struct text *b)
{
	return a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

/* Calls feed(state, chunk, n, to) for each chunk; a chunk of 0 is the whole. */
typedef void feed_fn(void *state, const unsigned char *in, size_t n, struct text *to);

static void in_chunks(const struct text *t, size_t chunk, feed_fn *feed, void *state, struct text *to)
{
	for (size_t at = 0; at < t->size;) {
		size_t n = chunk == 0 || chunk > t->size - at ? t->size - at : chunk;
		unsigned char *in = exactly(t->bytes + at, n);
		feed(state, in, n, to);
		free(in);
		at += n;
	}
}

/* ---- transfer encodings ---- */

static void feed_decoder(void *state, const unsigned char *in, size_t n, struct text *to)
{
	unsigned char *out = new_bytes(mm_decode_bound(n));
	append(to, out, mm_decode_feed(state, in, n, out));
	free(out);
}

static struct text decoded(struct mm_decoder *d, enum mm_encoding kind, const struct text *t, size_t chunk)
{
	struct text to = { 0 };
	memset(d, 0xa5, sizeof *d);             /* memory that begin does not set may hold anything */
	mm_decode_begin(d, kind);
	in_chunks(t, chunk, feed_decoder, d, &to);
	unsigned char *out = new_bytes(mm_decode_bound(0));
	append(&to, out, mm_decode_finish(d, out));
	free(out);
	return to;
}

static void check_decoder(enum mm_encoding kind, const struct text *t, size_t chunk)
{
	struct mm_decoder one, many;
	struct text whole = decoded(&one, kind, t, 0), pieces = decoded(&many, kind, t, chunk);
	LAW(are_equal(&whole, &pieces));
	LAW(one.bad == many.bad && one.is_truncated == many.is_truncated && one.is_continued == many.is_continued);
	LAW(kind == MM_UUENCODE || whole.size <= t->size);
	free(whole.bytes);
	free(pieces.bytes);
}

static void check_q_word(const struct text *t)
{
	struct mm_decoder d;
	struct text whole = decoded(&d, MM_Q_WORD, t, 0);
	LAW(whole.size <= t->size);
	free(whole.bytes);
}

static void feed_encoder(void *state, const unsigned char *in, size_t n, struct text *to)
{
	unsigned char *out = new_bytes(mm_encode_bound(n));
	append(to, out, mm_encode_feed(state, in, n, out));
	free(out);
}

static struct text encoded(enum mm_encoding kind, unsigned width, const struct text *t, size_t chunk)
{
	struct mm_encoder e;
	struct text to = { 0 };
	mm_encode_begin(&e, kind, width);
	in_chunks(t, chunk, feed_encoder, &e, &to);
	unsigned char *out = new_bytes(mm_encode_bound(0));
	append(&to, out, mm_encode_finish(&e, out));
	free(out);
	return to;
}

/* RFC 2045 6.7, 6.8: only printable ASCII and CRLF, no line over the width. */
static void check_lines(const struct text *t, unsigned width)
{
	size_t column = 0;
	for (size_t i = 0; i < t->size; i++) {
		unsigned char c = t->bytes[i];
		if (c == '\r' && i + 1 < t->size && t->bytes[i + 1] == '\n') {
			column = 0;
			i++;
			continue;
		}
		LAW((c >= ' ' && c <= '~') || c == '\t');
		LAW(++column <= width || width == 0);
	}
}

static void check_encoder(enum mm_encoding kind, unsigned width, const struct text *t, size_t chunk)
{
	struct text whole = encoded(kind, width, t, 0), pieces = encoded(kind, width, t, chunk);
	LAW(are_equal(&whole, &pieces));
	check_lines(&whole, width);
	struct mm_decoder d;
	struct text back = decoded(&d, kind, &whole, 0);
	LAW(are_equal(&back, t));
	LAW(d.bad == 0 && !d.is_truncated && !d.is_continued);
	free(whole.bytes);
	free(pieces.bytes);
	free(back.bytes);
}

/* ---- charsets ---- */

static bool is_utf8(const unsigned char *s, size_t n)
{
	return mm_unicode_size(s, n) == n;
}

static void check_cleaning(const struct text *t)
{
	size_t bad, good = mm_unicode_size(t->bytes, t->size);
	unsigned char *out = new_bytes(3 * t->size);
	size_t made = mm_unicode_clean(t->bytes, t->size, out, &bad);
	LAW(good <= t->size && made >= good && memcmp(out, t->bytes, good) == 0);
	LAW(is_utf8(out, made));
	LAW((bad > 0) == (good < t->size));
	LAW(bad > 0 || made == t->size);
	free(out);
}

/* The pad lives as long as the fuzzer, as in a Lua state: the rest of one text must not show in the next. */
static struct mm_pad pad;

static void feed_converter(void *state, const unsigned char *in, size_t n, struct text *to)
{
	size_t made;
	if (!mm_charset_feed(state, &pad, in, n, &made))
		exit(2);
	append(to, pad.bytes, made);
	mm_pad_relax(&pad, made);
}

static struct text converted(const char *name, const struct text *t, size_t chunk, size_t *replaced)
{
	struct mm_converter c = { .cd = (iconv_t)-1 };
	struct text to = { 0 };
	LAW(mm_charset_open(&c, name));
	in_chunks(t, chunk, feed_converter, &c, &to);
	struct mm_conversion last;
	if (!mm_charset_finish(&c, &pad, &last))
		exit(2);
	append(&to, pad.bytes, last.made);
	*replaced = last.replaced;
	mm_charset_close(&c);
	LAW(!mm_charset_is_open(&c));
	return to;
}

static void check_charset(const char *name, const struct text *t, size_t chunk)
{
	LAW(mm_charset_is_name(name, strlen(name)));
	LAW(mm_charset_is_known(&pad, name));
	struct mm_conversion r;
	if (!mm_charset_convert(&pad, name, t->bytes, t->size, &r))
		exit(2);
	LAW(is_utf8(pad.bytes, r.made));
	struct text once = { 0 };
	append(&once, pad.bytes, r.made);
	mm_pad_relax(&pad, r.made);

	size_t whole_replaced, pieces_replaced;
	struct text whole = converted(name, t, 0, &whole_replaced);
	struct text pieces = converted(name, t, chunk, &pieces_replaced);
	LAW(are_equal(&once, &whole) && r.replaced == whole_replaced);
	LAW(is_utf8(pieces.bytes, pieces.size));
	LAW(are_equal(&whole, &pieces) && whole_replaced == pieces_replaced);
	free(once.bytes);
	free(whole.bytes);
	free(pieces.bytes);
}

/* ---- domain names ---- */

static void check_idna(const struct text *t)
{
	struct text domain = { 0 };             /* like Lua's strings, with a NUL after the last byte */
	append(&domain, t->bytes, t->size);
	append(&domain, (const unsigned char *)"", 1);
	unsigned char *out = new_bytes(MM_IDNA_BYTES);
	size_t made = 0;
	const char *why = mm_idna_to_ascii((char *)domain.bytes, t->size, (char *)out, &made);
	LAW(why != NULL || made <= MM_IDNA_BYTES);
	for (size_t i = 0; why == NULL && i < made; i++)
		LAW(out[i] < 0x80);
	why = mm_idna_to_unicode((char *)domain.bytes, t->size, (char *)out, &made);
	LAW(why != NULL || made <= MM_IDNA_BYTES);
	free(out);
	free(domain.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const charsets[] = {
		"UTF-8", "UTF-7", "ISO-2022-JP", "GB18030", "BIG5", "EUC-KR", "EUC-JP", "SHIFT_JIS", "UTF-16",
		"ISO-2022-KR", "HZ-GB-2312", "UTF-16BE", "UTF-32LE", "WINDOWS-1258", "TCVN5712-1", "WINDOWS-1252",
	};
	if (size < 2)
		return 0;
	struct text t = { exactly(data + 2, size - 2), size - 2 };
	size_t which = data[0] % 24, chunk = (size_t)data[1] + 1;
	switch (which) {
	case 0:  check_decoder(MM_BASE64, &t, chunk); break;
	case 1:  check_decoder(MM_QUOTED_PRINTABLE, &t, chunk); break;
	case 2:  check_decoder(MM_UUENCODE, &t, chunk); break;
	case 3:
		check_encoder(MM_BASE64, MM_ENCODE_WIDTH, &t, chunk);
		check_encoder(MM_BASE64, 0, &t, chunk);
		break;
	case 4:  check_encoder(MM_QUOTED_PRINTABLE, MM_ENCODE_WIDTH, &t, chunk); break;
	case 5:  check_q_word(&t); break;
	case 6:  check_cleaning(&t); break;
	case 7:  check_idna(&t); break;
	default: check_charset(charsets[which - 8], &t, chunk);
	}
	free(t.bytes);
	return 0;
}
