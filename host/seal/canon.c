/* A. Relaxed changes little in most mail: a run of blanks, a tab, blanks before a line end. The text between these is
 *    given as it is, without a copy. find_blank looks for them 16 bytes at a time; byte by byte costs three times as
 *    much as the hash itself.
 * B. To call `take` costs more than to copy a few bytes, so short pieces are collected in a pad on the stack. */
#include "seal/canon.h"

#include <string.h>

enum { PAD_BYTES = 2048, SHORT_BYTES = 256, LINE_ENDS = 32 };

/* ---- giving ---- */

struct giver {
	mm_canon_take *take;
	void          *to;
	size_t         used;
	unsigned char  pad[PAD_BYTES];
};

static void giver_begin(struct giver *g, const struct mm_canon_body *c)
{
	g->take = c->take;
	g->to = c->to;
	g->used = 0;
}

static void giver_end(struct giver *g)
{
	if (g->used > 0)
		g->take(g->to, g->pad, g->used);
	g->used = 0;
}

static void give(struct giver *g, const unsigned char *bytes, size_t n)
{
	if (n >= SHORT_BYTES) {
		giver_end(g);
		g->take(g->to, bytes, n);
		return;
	}
	if (g->used + n > PAD_BYTES)
		giver_end(g);
	memcpy(g->pad + g->used, bytes, n);
	g->used += n;
}

static void give_line_ends(struct giver *g, uint64_t count)
{
	static const unsigned char line_ends[2 * LINE_ENDS + 1] =
		"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"
		"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";
	for (; count > 0; count -= count < LINE_ENDS ? count : LINE_ENDS)
		give(g, line_ends, 2 * (size_t)(count < LINE_ENDS ? count : LINE_ENDS));
}

/* ---- a body ---- */

static bool is_blank(unsigned char c) { return c == ' ' || c == '\t'; }

void mm_canon_body_begin(struct mm_canon_body *c, enum mm_canon kind, mm_canon_take *take, void *to)
{
	*c = (struct mm_canon_body){ .kind = kind, .take = take, .to = to };
}

/* What was held back belongs to the body, because another byte of a line follows. */
static void give_held(struct mm_canon_body *c, struct giver *g)
{
	if (c->line_ends > 0)
		give_line_ends(g, c->line_ends);
	if (c->has_blank)
		give(g, (const unsigned char *)" ", 1);
	if (c->has_cr)
		give(g, (const unsigned char *)"\r", 1);
	c->line_ends = 0;
	c->has_blank = c->has_cr = false;
	c->has_given = true;
}

/* One byte at a time: the definition of both forms, for the places where the fast path does not apply. */
static void feed_byte(struct mm_canon_body *c, struct giver *g, const unsigned char *byte)
{
	if (*byte == '\n' && c->has_cr) {
		c->has_blank = c->has_cr = false;
		c->line_ends++;
		return;
	}
	if (c->has_cr)
		give_held(c, g);        /* the CR was no line end */
	if (*byte == '\r') {
		c->has_cr = true;
	} else if (c->kind == MM_CANON_RELAXED && is_blank(*byte)) {
		c->has_blank = true;
	} else {
		give_held(c, g);
		give(g, byte, 1);
	}
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define CAN_COUNT_BYTES 1
#else
#define CAN_COUNT_BYTES 0
#endif

typedef unsigned char block __attribute__((vector_size(16)));

static block load(const unsigned char *p)
{
	block b;
	memcpy(&b, p, sizeof b);
	return b;
}

/* Does relaxed form change the blank at p, which another byte follows? */
static bool is_changed(const unsigned char *p)
{
	return p[0] == '\t' || (p[0] == ' ' && (is_blank(p[1]) || p[1] == '\r'));
}

/* The first byte from p on at which relaxed form may change something; end: none. The byte before end is no blank. */
static const unsigned char *find_blank(const unsigned char *p, const unsigned char *end)
{
	for (; CAN_COUNT_BYTES && end - p > 16; p += 16) {
		block here = load(p), next = load(p + 1);
		block found = (block)(here == '\t')
			| ((block)(here == ' ') & (block)((next == ' ') | (next == '\t') | (next == '\r')));
		uint64_t half[2];
		memcpy(half, &found, sizeof half);
		if (half[0] != 0)
			return p + (unsigned)__builtin_ctzll(half[0]) / 8;
		if (half[1] != 0)
			return p + 8 + (unsigned)__builtin_ctzll(half[1]) / 8;
	}
	while (p < end && !is_changed(p))
		p++;
	return p;
}

/* [p, end) begins with nothing held back and ends with a byte that is no blank, CR or LF. */
static void relax_runs(struct giver *g, const unsigned char *p, const unsigned char *end)
{
	for (const unsigned char *start = p; start < end;) {
		const unsigned char *blank = find_blank(p, end), *after = blank;
		if (blank == end) {
			give(g, start, (size_t)(end - start));
			return;
		}
		while (is_blank(*after))
			after++;
		bool is_line_end = after[0] == '\r' && after[1] == '\n';
		bool keeps_first = !is_line_end && *blank == ' ';
		give(g, start, (size_t)(blank - start) + keeps_first);
		if (!is_line_end && !keeps_first)
			give(g, (const unsigned char *)" ", 1);
		start = p = after;
	}
}

/* Where the blanks, CR and LF at the end of a chunk begin. */
static const unsigned char *tail_of(const struct mm_canon_body *c, const unsigned char *p, const unsigned char *end)
{
	while (end > p && (end[-1] == '\n' || end[-1] == '\r' || (c->kind == MM_CANON_RELAXED && is_blank(end[-1]))))
		end--;
	return end;
}

static bool holds_something(const struct mm_canon_body *c)
{
	return c->line_ends > 0 || c->has_blank || c->has_cr;
}

void mm_canon_body_feed(struct mm_canon_body *c, const void *bytes, size_t n)
{
	const unsigned char *p = bytes, *end = p + n;
	struct giver g;
	giver_begin(&g, c);
	const unsigned char *tail = tail_of(c, p, end);
	while (p < tail && holds_something(c))
		feed_byte(c, &g, p++);
	if (p < tail) {
		if (c->kind == MM_CANON_RELAXED)
			relax_runs(&g, p, tail);
		else
			give(&g, p, (size_t)(tail - p));
		c->has_given = true;
		p = tail;
	}
	while (p < end)
		feed_byte(c, &g, p++);
	giver_end(&g);
}

void mm_canon_body_finish(struct mm_canon_body *c)
{
	struct giver g;
	giver_begin(&g, c);
	if (c->has_cr)                  /* the last byte of all, so no line end */
		give_held(c, &g);
	if (c->has_given || c->kind == MM_CANON_SIMPLE)
		give(&g, (const unsigned char *)"\r\n", 2);
	giver_end(&g);
}

/* ---- a header field ---- */

static size_t without_line_end(const unsigned char *s, size_t n)
{
	if (n > 0 && s[n - 1] == '\n')
		n -= n > 1 && s[n - 2] == '\r' ? 2 : 1;
	return n;
}

size_t mm_canon_header_bound(size_t n) { return 2 * n; }

/* RFC 6376 3.4.1: unchanged, but with the line ends that the mail has on its way. */
static size_t simple_header(const unsigned char *field, size_t n, unsigned char *out)
{
	size_t made = 0;
	for (size_t i = 0; i < n; i++) {
		if (field[i] == '\n' && (i == 0 || field[i - 1] != '\r'))
			out[made++] = '\r';
		out[made++] = field[i];
	}
	return made;
}

static bool is_line_end(const unsigned char *s, size_t n)
{
	return s[0] == '\n' || (s[0] == '\r' && n > 1 && s[1] == '\n');
}

static unsigned char lower(unsigned char c) { return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 'a' - 'A') : c; }

/* RFC 6376 3.4.2: one space for a run of blanks, none at the ends of name and value, no folds. */
static size_t relaxed_header(const unsigned char *field, size_t n, unsigned char *out)
{
	size_t made = 0, start = 0;     /* of name or value in `out` */
	bool is_name = true, has_blank = false;
	for (size_t i = 0; i < n; i++) {
		if (is_blank(field[i])) {
			has_blank = true;
		} else if (is_name && field[i] == ':') {
			out[made++] = ':';
			start = made;
			is_name = has_blank = false;
		} else if (!is_line_end(field + i, n - i)) {
			if (has_blank && made > start)
				out[made++] = ' ';
			has_blank = false;
			out[made++] = is_name ? lower(field[i]) : field[i];
		}
	}
	return made;
}

size_t mm_canon_header(enum mm_canon kind, const unsigned char *field, size_t n, unsigned char *out)
{
	n = without_line_end(field, n);
	return kind == MM_CANON_RELAXED ? relaxed_header(field, n, out) : simple_header(field, n, out);
}
