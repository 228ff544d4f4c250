/* milter/frame.h -- milter packets: bytes from the socket in, whole packets out.
 * A packet is a 4-byte big-endian length N >= 1, then N bytes: one letter and N-1 bytes of data (protocol 1.1).
 * Knows no commands (command.h), no sockets (connection.h), no Lua.
 * Ownership: fed bytes are BORROWED until mm_frame_keep(), which copies the bytes not yet handled; so a connection
 * whose packets arrive whole never copies. A packet BORROWS its data until the next feed, keep, done or free; a handler
 * that waits keeps its packet current, and mm_frame_current() hands it out again afterwards. */
#ifndef MM_MILTER_FRAME_H
#define MM_MILTER_FRAME_H

#include "base/buffer.h"
#include "base/fault.h"

#define MM_FRAME_HEAD 5u                /* bytes before the data: the length and the letter */

struct mm_packet {
	uint8_t        letter;          /* SMFIC_, SMFIR_ or any other byte */
	const uint8_t *data;            /* borrowed, not NUL-terminated */
	size_t         size;            /* bytes in data, may be 0 */
};

enum mm_frame_next { MM_FRAME_PACKET, MM_FRAME_MORE, MM_FRAME_BAD };

struct mm_frame {
	struct mm_buffer held;          /* owned: bytes that outlived their feed */
	const uint8_t   *fresh;         /* borrowed bytes of the last feed; NULL when held is read instead */
	size_t           fresh_size;
	size_t           at;            /* start of the packet being handled, or of the next one */
	size_t           packet_size;   /* bytes of the packet being handled, 0 when none is */
	size_t           scanned;       /* mm_frame_find() has looked at all packets before this byte … */
	uint32_t         scanned_for;   /* … for these letters */
	uint32_t         data_max;      /* largest data size accepted */
};

void mm_frame_init(struct mm_frame *, uint32_t data_max);
void mm_frame_free(struct mm_frame *);
/* Adds n bytes. False: out of memory. */
bool mm_frame_feed(struct mm_frame *, const void *bytes, size_t n, struct mm_fault *why);
/* A packet is being handled: mm_frame_next() has returned one, and neither mm_frame_done() nor
 * mm_frame_again() has followed. */
static inline bool mm_frame_has_packet(const struct mm_frame *f)
{
	return f->packet_size > 0;
}
/* The packet that mm_frame_next() returned last, wherever its bytes are now. Only while there is one. */
void mm_frame_current(const struct mm_frame *, struct mm_packet *out);
/* The current packet, if any, has been handled. */
inline void mm_frame_done(struct mm_frame *f)
{
	f->at += f->packet_size;
	f->packet_size = 0;
}
/* mm_frame_next() will return the current packet, if any, once more. */
void mm_frame_again(struct mm_frame *);
/* Ends the borrowing of fed bytes. False: out of memory. */
bool mm_frame_keep(struct mm_frame *, struct mm_fault *why);
/* The bit of a letter in a set of letters; only 'A' to 'Z', the letters of commands. */
#define MM_LETTER_BIT(letter) (1u << ((letter) - 'A'))
bool mm_letter_is_in(uint8_t letter, uint32_t letters);
/* True when a whole packet after the current one has one of the letters; a packet is searched for the
 * same letters only once. */
bool mm_frame_find(struct mm_frame *, uint32_t letters, uint8_t *found);
inline size_t mm_frame_size(const struct mm_frame *f)
{
	return f->fresh != NULL ? f->fresh_size : f->held.size;
}
/* Bytes fed and not yet handled. */
static inline size_t mm_frame_pending(const struct mm_frame *f)
{
	return mm_frame_size(f) - f->at;
}
/* The packet that begins at this byte, which is not before the current one: true when it has come whole, and its length
 * is good for any letter. It does not become the current one ... */
inline bool mm_frame_peek(const struct mm_frame *f, size_t at, struct mm_packet *out)
{
	size_t left = mm_frame_size(f) - at;
	if (left < MM_FRAME_HEAD)
		return false;
	const uint8_t *p = (f->fresh != NULL ? f->fresh : f->held.bytes) + at;
	uint32_t length = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	if (length == 0 || length - 1 > f->data_max || length - 1 > left - MM_FRAME_HEAD)
		return false;
	*out = (struct mm_packet){ .letter = p[4], .data = p + MM_FRAME_HEAD, .size = length - 1 };
	return true;
}
/* ... until this says so: all before it has been handled. */
static inline void mm_frame_skip_to(struct mm_frame *f, size_t at, const struct mm_packet *packet)
{
	f->at = at;
	f->packet_size = MM_FRAME_HEAD + packet->size;
}
/* For the inline function below. */
enum mm_frame_next mm_frame_next_slowly(struct mm_frame *, struct mm_packet *out, struct mm_fault *why);
/* The next whole packet, which becomes the current one; MORE when there is none yet, BAD when a length is 0 or too
 * large: then no later byte can be trusted and the caller closes the connection. The length is checked before any
 * memory is allocated for it. Body packets may be one byte over the limit: OpenDKIM's
 * miltertest cuts files at 65536. */
inline enum mm_frame_next mm_frame_next(struct mm_frame *f, struct mm_packet *out, struct mm_fault *why)
{
	if (!mm_frame_peek(f, f->at, out))
		return mm_frame_next_slowly(f, out, why);
	f->packet_size = MM_FRAME_HEAD + out->size;
	return MM_FRAME_PACKET;
}
/* How many of the n bytes that come next can be fed without any being left over: they complete a packet. Bytes that no
 * packet can begin with are complete in this sense. */
size_t mm_frame_complete(const struct mm_frame *, const void *bytes, size_t n);

/* Appends one packet to out. */
void mm_frame_write(struct mm_buffer *out, uint8_t letter, const void *data, size_t size);

#endif
