/* base/buffer.h -- growable bytes with an owner.
 * A failed allocation marks the buffer failed and drops the append; the mark stays until mm_buffer_free(), so a writer
 * appends many pieces and checks once. The capacity doubles, from 32 MiB on it grows by half, up to 2 GiB; only
 * mm_buffer_trim() shrinks it. A zeroed struct is empty. */
#ifndef MM_BASE_BUFFER_H
#define MM_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct mm_buffer {
	uint8_t *bytes;         /* owned; NULL while capacity is 0 */
	size_t   size;          /* bytes in use */
	uint32_t capacity;      /* bytes allocated. 32 bits, because an idle session holds ten buffers */
	bool     failed;        /* an allocation failed since the last free */
	uint16_t head;          /* bytes allocated before `bytes`, for mm_buffer_prepend() */
};

/* Announces that n bytes will be prepended later. Works only on a buffer that has no memory yet;
 * otherwise it does nothing. */
static inline void mm_buffer_plan_head(struct mm_buffer *b, uint16_t n) { if (b->bytes == NULL) b->head = n; }
/* Puts n bytes before the present ones. When the head has room, only the n bytes are copied. */
void mm_buffer_prepend(struct mm_buffer *, const void *bytes, size_t n);

/* Makes room for n more bytes and returns where they go, or NULL (then failed is set). Size is not changed. */
uint8_t *mm_buffer_reserve(struct mm_buffer *, size_t n);
void mm_buffer_append(struct mm_buffer *, const void *bytes, size_t n);
/* The same, for pieces that are small and many: without a call when there is room. */
static inline void mm_buffer_append_here(struct mm_buffer *b, const void *bytes, size_t n)
{
	if (n == 0 || b->failed || b->capacity - b->size < n) {
		mm_buffer_append(b, bytes, n);
		return;
	}
	memcpy(b->bytes + b->size, bytes, n);
	b->size += n;
}
void mm_buffer_append_u8(struct mm_buffer *, uint8_t value);
void mm_buffer_append_u32(struct mm_buffer *, uint32_t value);          /* big-endian, as on the wire */
/* The n bytes and a NUL after them: a string as the wire writes it. */
void mm_buffer_append_text(struct mm_buffer *, const void *bytes, size_t n);
/* Appends as printf writes it, at most 1023 bytes. */
void mm_buffer_format(struct mm_buffer *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first n bytes (n <= size) by moving the rest down. */
void mm_buffer_consume(struct mm_buffer *, size_t n);
/* Writes all of it to a stream; an empty buffer has no bytes that fwrite could be given. False: not all was written,
 * and errno is set. */
bool mm_buffer_print(const struct mm_buffer *, FILE *);
/* Appends what is left in a stream. False: not all of it was read: memory is out (failed is set), or errno says why. */
bool mm_buffer_read(struct mm_buffer *, FILE *);
/* Empty, memory kept. Does not clear failed. */
static inline void mm_buffer_clear(struct mm_buffer *b) { b->size = 0; }
/* Frees the memory when more than `keep` bytes are allocated and none is in use. */
void mm_buffer_trim(struct mm_buffer *, size_t keep);
void mm_buffer_free_memory(struct mm_buffer *);                         /* for the function below */
/* Back to the zeroed state. Most buffers have no memory. */
inline void mm_buffer_free(struct mm_buffer *b)
{
	if (b->bytes != NULL)
		mm_buffer_free_memory(b);
	*b = (struct mm_buffer){ 0 };
}

#endif
