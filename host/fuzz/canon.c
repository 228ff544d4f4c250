/* fuzz/canon.c -- libFuzzer target for seal/canon.c and seal/digest.c: bodies in chunks against a definition that
 * takes one byte at a time of the whole, header fields within their bound. Laws: chunks make no difference; the length
 * is that of the bytes given; a limit is a prefix. Every chunk is a malloc of exactly its size, so that the sanitizer
 * sees an access one byte too far.
 * The first byte chooses the form, the second and third the sizes of chunks; the limit is the second. */
#include "seal/canon.h"
#include "seal/digest.h"

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

static unsigned char *exactly(const unsigned char *from, size_t n)
{
	unsigned char *bytes = malloc(n > 0 ? n : 1);
	if (bytes == NULL)
		exit(2);
	if (n > 0)
		memcpy(bytes, from, n);
	return bytes;
}

struct text {
	unsigned char *bytes;           /* owned */
	size_t         size, room;
};

static void append(void *to, const unsigned char *bytes, size_t n)
{
	struct text *t = to;
	if (t->size + n > t->room) {
		t->room = 2 * (t->size + n);
		t->bytes = realloc(t->bytes, t->room);
		if (t->bytes == NULL)
			exit(2);
	}
	if (n > 0)
		memcpy(t->bytes + t->size, bytes, n);
	t->size += n;
}

/* ---- the definition ---- */

static bool is_blank(unsigned char c) { return c == ' ' || c == '\t'; }

static bool is_line_end(const unsigned char *s, size_t n, size_t at)
{
	return at + 1 < n && s[at] == '\r' && s[at + 1] == '\n';
}

/* RFC 6376 3.4.3, 3.4.4: each line, and the last that is not empty. */
static struct text defined(enum mm_canon kind, const unsigned char *s, size_t n)
{
	struct text out = { 0 };
	size_t kept = 0, at = 0;        /* of out: the end of the last line that is not empty */
	while (at < n) {
		size_t start = out.size;
		bool has_blank = false;
		for (; at < n && !is_line_end(s, n, at); at++) {
			if (kind == MM_CANON_RELAXED && is_blank(s[at])) {
				has_blank = true;
				continue;
			}
			if (has_blank)
				append(&out, (const unsigned char *)" ", 1);
			has_blank = false;
			append(&out, s + at, 1);
		}
		at += 2;
		bool is_empty = out.size == start;
		append(&out, (const unsigned char *)"\r\n", 2);
		if (!is_empty)
			kept = out.size;
	}
	out.size = kept;
	if (kept == 0 && kind == MM_CANON_SIMPLE)
		append(&out, (const unsigned char *)"\r\n", 2);
	return out;
}

/* ---- in chunks ---- */

typedef void feed_fn(void *to, const unsigned char *bytes, size_t n);

static void in_chunks(const unsigned char *s, size_t n, size_t first, size_t others, feed_fn *feed, void *to)
{
	for (size_t at = 0, chunk = first; at < n; at += chunk, chunk = others) {
		if (chunk > n - at)
			chunk = n - at;
		unsigned char *piece = exactly(s + at, chunk);
		feed(to, piece, chunk);
		free(piece);
	}
}

static void feed_canon(void *to, const unsigned char *bytes, size_t n) { mm_canon_body_feed(to, bytes, n); }
static void feed_digest(void *to, const unsigned char *bytes, size_t n) { mm_digest_feed(to, bytes, n); }

static void check_body(enum mm_canon kind, const unsigned char *s, size_t n, size_t first, size_t others)
{
	struct text wanted = defined(kind, s, n), made = { 0 };
	struct mm_canon_body c;
	mm_canon_body_begin(&c, kind, append, &made);
	in_chunks(s, n, first, others, feed_canon, &c);
	mm_canon_body_finish(&c);
	LAW(made.size == wanted.size && (made.size == 0 || memcmp(made.bytes, wanted.bytes, made.size) == 0));

	uint64_t limit = first, length;
	struct mm_digest *d = mm_digest_new();
	int whole = mm_digest_want(d, kind, MM_HASH_SHA256, MM_DIGEST_WHOLE);
	int prefix = mm_digest_want(d, kind, MM_HASH_SHA256, limit);
	LAW(whole == 0 && prefix == 1);
	in_chunks(s, n, others, first, feed_digest, d);
	LAW(mm_digest_finish(d));
	unsigned char hash[MM_HASH_BYTES];
	LAW(mm_hash_text(MM_HASH_SHA256, made.bytes, made.size, hash));
	LAW(memcmp(hash, mm_digest_hash(d, whole, &length), sizeof hash) == 0 && length == made.size);
	LAW(mm_hash_text(MM_HASH_SHA256, made.bytes, made.size < limit ? made.size : (size_t)limit, hash));
	LAW(memcmp(hash, mm_digest_hash(d, prefix, &length), sizeof hash) == 0 && length == made.size);
	mm_digest_free(d);
	free(wanted.bytes);
	free(made.bytes);
}

static void check_header(enum mm_canon kind, const unsigned char *s, size_t n)
{
	unsigned char *field = exactly(s, n), *out = malloc(mm_canon_header_bound(n) + 1);
	unsigned char *again = malloc(2 * mm_canon_header_bound(n) + 1);
	if (out == NULL || again == NULL)
		exit(2);
	size_t made = mm_canon_header(kind, field, n, out);
	LAW(made <= mm_canon_header_bound(n));
	/* a canonical form without a line end at its end is its own canonical form */
	if (made == 0 || out[made - 1] != '\n')
		LAW(kind == MM_CANON_SIMPLE ? mm_canon_header(kind, out, made, again) == made
			: mm_canon_header(kind, out, made, again) <= made);
	free(field);
	free(out);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	enum mm_canon kind = data[0] & 1 ? MM_CANON_RELAXED : MM_CANON_SIMPLE;
	check_body(kind, data + 3, size - 3, (size_t)data[1] + 1, (size_t)data[2] + 1);
	check_header(kind, data + 3, size - 3);
	return 0;
}
