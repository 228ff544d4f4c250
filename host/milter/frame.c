#include "milter/frame.h"

#include "milter/stage.h"

#include <string.h>

#define LENGTH_SIZE 4u

/* For those who link with them. */
extern inline void mm_frame_done(struct mm_frame *);
extern inline size_t mm_frame_size(const struct mm_frame *);
extern inline bool mm_frame_peek(const struct mm_frame *, size_t, struct mm_packet *);
extern inline enum mm_frame_next mm_frame_next(struct mm_frame *, struct mm_packet *, struct mm_fault *);

void mm_frame_init(struct mm_frame *f, uint32_t data_max)
{
	*f = (struct mm_frame){ .data_max = data_max };
}

void mm_frame_free(struct mm_frame *f)
{
	mm_buffer_free(&f->held);
	f->fresh = NULL;
	f->fresh_size = f->at = f->packet_size = f->scanned = 0;
}

/* Only with at < mm_frame_size(f): both may be NULL on an empty frame. */
static const uint8_t *byte_at(const struct mm_frame *f, size_t at)
{
	return (f->fresh != NULL ? f->fresh : f->held.bytes) + at;
}

/* Precondition: LENGTH_SIZE bytes have arrived; the letter may still be missing. */
static bool length_is_good(const struct mm_frame *f, const uint8_t *p, size_t left, uint32_t *length)
{
	*length = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	uint32_t data_max = f->data_max + (left == LENGTH_SIZE || p[LENGTH_SIZE] == SMFIC_BODY);
	return *length > 0 && *length - 1 <= data_max;
}

size_t mm_frame_complete(const struct mm_frame *f, const void *bytes, size_t n)
{
	size_t kept = mm_frame_pending(f), total = kept + n, at = 0;
	while (total - at > LENGTH_SIZE) {
		uint8_t head[LENGTH_SIZE + 1];
		uint32_t length;
		for (size_t i = 0; i < sizeof head; i++)
			head[i] = at + i < kept ? *byte_at(f, f->at + at + i)
				: ((const uint8_t *)bytes)[at + i - kept];
		if (!length_is_good(f, head, sizeof head, &length))
			return n;
		if (total - at - LENGTH_SIZE < length)
			break;
		at += LENGTH_SIZE + length;
	}
	return at > kept ? at - kept : 0;
}

bool mm_frame_feed(struct mm_frame *f, const void *bytes, size_t n, struct mm_fault *why)
{
	if (n == 0)
		return true;
	if (f->fresh == NULL && f->held.size == 0) {
		f->fresh = bytes;
		f->fresh_size = n;
		f->at = f->scanned = 0;
		return true;
	}
	if (!mm_frame_keep(f, why))
		return false;
	mm_buffer_append(&f->held, bytes, n);
	if (f->held.failed)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for %zu bytes from the MTA", n);
	return true;
}

enum mm_frame_next mm_frame_next_slowly(struct mm_frame *f, struct mm_packet *out, struct mm_fault *why)
{
	size_t left = mm_frame_pending(f);
	if (left < LENGTH_SIZE)
		return MM_FRAME_MORE;

	uint32_t length;
	if (!length_is_good(f, byte_at(f, f->at), left, &length)) {
		if (length == 0)
			mm_fault_set(why, MM_FAULT_PEER, "packet length 0: a packet has at least its command letter");
		else
			mm_fault_set(why, MM_FAULT_PEER, "packet length %u (0x%08x) is over the limit of %u: "
				"this is not a milter client, or it sends larger packets than negotiated",
				length, length,
				f->data_max + 1);
		return MM_FRAME_BAD;
	}
	if (left - LENGTH_SIZE < length)
		return MM_FRAME_MORE;

	f->packet_size = LENGTH_SIZE + length;
	mm_frame_current(f, out);
	return MM_FRAME_PACKET;
}

void mm_frame_current(const struct mm_frame *f, struct mm_packet *out)
{
	const uint8_t *p = byte_at(f, f->at);
	*out = (struct mm_packet){
		.letter = p[LENGTH_SIZE], .data = p + LENGTH_SIZE + 1, .size = f->packet_size - LENGTH_SIZE - 1,
	};
}

void mm_frame_again(struct mm_frame *f)
{
	f->packet_size = 0;
}

bool mm_frame_keep(struct mm_frame *f, struct mm_fault *why)
{
	size_t left = mm_frame_pending(f);
	if (f->fresh != NULL) {
		mm_buffer_clear(&f->held);
		if (left > 0)
			mm_buffer_append(&f->held, byte_at(f, f->at), left);
		f->fresh = NULL;
	} else if (f->at < f->held.size / 2) {
		return true;            /* moving the rest down at every turn would take quadratic time */
	} else {
		mm_buffer_consume(&f->held, f->at);
	}
	f->scanned = f->scanned > f->at ? f->scanned - f->at : 0;
	f->at = 0;
	if (f->held.failed)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for %zu bytes from the MTA", left);
	if (left == 0)
		mm_buffer_free(&f->held);       /* an idle session keeps no buffer */
	return true;
}

bool mm_letter_is_in(uint8_t letter, uint32_t letters)
{
	return letter >= 'A' && letter <= 'Z' && letters & MM_LETTER_BIT(letter);
}

bool mm_frame_find(struct mm_frame *f, uint32_t letters, uint8_t *found)
{
	if (f->scanned < f->at + f->packet_size || f->scanned_for != letters)
		f->scanned = f->at + f->packet_size;
	f->scanned_for = letters;
	for (size_t size = mm_frame_size(f); size - f->scanned > LENGTH_SIZE;) {
		const uint8_t *p = byte_at(f, f->scanned);
		uint32_t length;
		if (!length_is_good(f, p, size - f->scanned, &length) || size - f->scanned - LENGTH_SIZE < length)
			return false;
		if (mm_letter_is_in(p[LENGTH_SIZE], letters)) {
			*found = p[LENGTH_SIZE];
			return true;
		}
		f->scanned += LENGTH_SIZE + length;
	}
	return false;
}

void mm_frame_write(struct mm_buffer *out, uint8_t letter, const void *data, size_t size)
{
	uint8_t *to = mm_buffer_reserve(out, LENGTH_SIZE + 1 + size);
	if (to == NULL)
		return;
	uint32_t length = (uint32_t)size + 1;
	to[0] = (uint8_t)(length >> 24);
	to[1] = (uint8_t)(length >> 16);
	to[2] = (uint8_t)(length >> 8);
	to[3] = (uint8_t)length;
	to[4] = letter;
	if (size > 0)
		memcpy(to + LENGTH_SIZE + 1, data, size);
	out->size += LENGTH_SIZE + 1 + size;
}
