/* milter/new_body.h -- a body that replaces a message's own, kept as the packets that will carry it, so that its
 * megabytes are copied once. Bare LF and bare CR become CRLF, so that all MTAs see the same line ends. Knows no
 * messages and no bound: milter/edit.h checks the size. All zero is an empty body; it owns its bytes. */
#ifndef MM_MILTER_NEW_BODY_H
#define MM_MILTER_NEW_BODY_H

#include "base/buffer.h"
#include "base/cursor.h"

struct mm_new_body {
	struct mm_buffer packets;       /* owned */
	bool             ends_in_cr;    /* a CR whose LF may come with the next piece */
};

/* False: out of memory; then the body can only be cleared or freed. */
bool mm_new_body_append(struct mm_new_body *, struct mm_text piece);
/* Bytes of body so far. */
size_t mm_new_body_size(const struct mm_new_body *);
/* The next piece of the body so far, BORROWED until the body changes; false: there are no more. *at is 0 at first. */
bool mm_new_body_next(const struct mm_new_body *, size_t *at, struct mm_text *piece);
/* Ends its last line, if it has one without an end. */
void mm_new_body_end_line(struct mm_new_body *);
/* Completes the body and appends its packets to out. A large body is not copied: it and out swap their memory. */
void mm_new_body_write(struct mm_new_body *, struct mm_buffer *out);
/* The present end of the body, and the way back to it: mm_new_body_cut() takes off everything appended since. */
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
