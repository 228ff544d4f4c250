/* milter/new_body.h -- a body that takes the place of a message's own, kept as the packets that will carry it, so that
 * its megabytes are copied once. Bare LF and bare CR become CRLF, so that no MTA sees a line end where another sees
 * none. Knows no messages and no bound: milter/edit.h judges the size. All zero is an empty one; it owns its bytes. */
#ifndef MM_MILTER_NEW_BODY_H
#define MM_MILTER_NEW_BODY_H

#include "base/buffer.h"
#include "base/cursor.h"

struct mm_new_body {
	struct mm_buffer packets;       /* owned */
	bool             ends_in_cr;    /* a CR whose LF may come with the next piece */
};

/* False: out of memory; then it can only be cleared or freed. */
bool mm_new_body_append(struct mm_new_body *, struct mm_text piece);
/* Bytes of body so far. */
size_t mm_new_body_size(const struct mm_new_body *);
/* The next piece of the body so far, BORROWED until it changes; false: there is no more. at: 0 at first. */
bool mm_new_body_next(const struct mm_new_body *, size_t *at, struct mm_text *piece);
/* Completes the body and appends its packets to out. A large one is not copied: it and out change their memory. */
void mm_new_body_write(struct mm_new_body *, struct mm_buffer *out);
/* Where it ends now, and back to that: for what is appended in between. */
struct mm_new_body_end {
	size_t size;
	bool   ends_in_cr;
};
struct mm_new_body_end mm_new_body_end(const struct mm_new_body *);
void mm_new_body_cut(struct mm_new_body *, struct mm_new_body_end);
/* Empties it; the memory stays. */
void mm_new_body_clear(struct mm_new_body *);
void mm_new_body_free(struct mm_new_body *);

#endif
