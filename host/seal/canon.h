/* seal/canon.h -- canonical forms of a message for DKIM and ARC (RFC 6376 3.4): a body in chunks, a header field whole.
 *
 * Knows no Lua, no hashes and no keys: a body's canonical bytes go to a function. Nothing is allocated; input is
 * BORROWED for one call, and the function may be given parts of it. The way a body is cut into chunks does not change
 * its canonical form. Time is linear in the input: the bytes held back at the end of a chunk are counters. */
#ifndef MM_SEAL_CANON_H
#define MM_SEAL_CANON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mm_canon { MM_CANON_SIMPLE, MM_CANON_RELAXED };

/* Receives canonical bytes in order; they are BORROWED for the call. */
typedef void mm_canon_take(void *to, const unsigned char *bytes, size_t n);

struct mm_canon_body {
	enum mm_canon  kind;
	mm_canon_take *take;            /* with `to` */
	void          *to;              /* borrowed */
	/* held back until it is known what follows, in this order */
	uint64_t       line_ends;       /* CRLF; those at the end of the body count as one */
	bool           has_blank;       /* relaxed: blanks, which before CRLF are nothing, else one space */
	bool           has_cr;          /* a CR, which before LF is a line end, else a byte as any other */
	bool           has_given;       /* `take` was called */
};

void mm_canon_body_begin(struct mm_canon_body *, enum mm_canon, mm_canon_take *, void *to);
void mm_canon_body_feed(struct mm_canon_body *, const void *bytes, size_t n);
/* Gives the rest. A body without CRLF at its end gets one; a body of empty lines only is CRLF in simple and nothing in
 * relaxed form (RFC 6376 3.4.3, 3.4.4). */
void mm_canon_body_finish(struct mm_canon_body *);

/* The canonical form of a field "Name: value", without line end, into `out`, which has room for
 * mm_canon_header_bound(n) bytes. Folds may be LF, as milters see them, or CRLF; a line end after the value is left
 * out. -> bytes written. */
size_t mm_canon_header(enum mm_canon, const unsigned char *field, size_t n, unsigned char *out);
size_t mm_canon_header_bound(size_t n);

#endif
