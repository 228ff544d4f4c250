#include "base/buffer.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* For those who link with it. */
extern inline void mm_buffer_free(struct mm_buffer *);

#define LARGE    ((size_t)32 << 20)     /* the kernel moves larger blocks without a copy (heap.h) */
#define STEP     ((size_t)1 << 20)
#define MAX_SIZE ((size_t)1 << 31)

static uint8_t *memory_of(const struct mm_buffer *b)
{
	return b->bytes != NULL ? b->bytes - b->head : NULL;
}

/* Up to 32 MiB the capacity doubles; from there on it grows by half: a new body of 130 MB would otherwise hold 256.
 * What needs even more at once gets what it needs, in whole MiB. */
static size_t wanted_capacity(const struct mm_buffer *b, size_t needed)
{
	size_t wanted = b->capacity ? b->capacity : 64;
	if (wanted >= LARGE && wanted + wanted / 2 >= needed)
		return (wanted + wanted / 2 + STEP - 1) / STEP * STEP;
	if (needed > STEP && (wanted >= LARGE || needed > 2 * wanted))
		return (needed + STEP - 1) / STEP * STEP;
	while (wanted < needed)
		wanted *= 2;
	return wanted;
}

__attribute__((cold)) static uint8_t *enlarge(struct mm_buffer *b, size_t n)
{
	size_t wanted = wanted_capacity(b, b->size + n);
	uint8_t *grown = wanted <= MAX_SIZE ? realloc(memory_of(b), b->head + wanted) : NULL;
	if (grown == NULL) {
		b->failed = true;
		return NULL;
	}
	b->bytes = grown + b->head;
	b->capacity = (uint32_t)wanted;
	return b->bytes + b->size;
}

static inline uint8_t *reserve(struct mm_buffer *b, size_t n)
{
	if (b->failed)
		return NULL;
	return b->capacity - b->size >= n ? b->bytes + b->size : enlarge(b, n);
}

uint8_t *mm_buffer_reserve(struct mm_buffer *b, size_t n)
{
	return reserve(b, n);
}

void mm_buffer_append(struct mm_buffer *b, const void *bytes, size_t n)
{
	if (n == 0)
		return;
	uint8_t *to = reserve(b, n);
	if (to == NULL)
		return;
	memcpy(to, bytes, n);
	b->size += n;
}

void mm_buffer_prepend(struct mm_buffer *b, const void *bytes, size_t n)
{
	if (n == 0)
		return;
	if (n <= b->head && b->bytes != NULL) {
		b->bytes -= n;
		b->head = (uint16_t)(b->head - n);
		b->capacity += (uint32_t)n;
	} else if (mm_buffer_reserve(b, n) != NULL) {
		memmove(b->bytes + n, b->bytes, b->size);
	} else {
		return;
	}
	memcpy(b->bytes, bytes, n);
	b->size += n;
}

void mm_buffer_append_u8(struct mm_buffer *b, uint8_t value)
{
	mm_buffer_append(b, &value, 1);
}

void mm_buffer_append_u32(struct mm_buffer *b, uint32_t value)
{
	const uint8_t wire[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
		(uint8_t)value };
	mm_buffer_append(b, wire, sizeof wire);
}

void mm_buffer_append_text(struct mm_buffer *b, const void *bytes, size_t n)
{
	uint8_t *to = mm_buffer_reserve(b, n + 1);
	if (to == NULL)
		return;
	if (n > 0)
		memcpy(to, bytes, n);
	to[n] = '\0';
	b->size += n + 1;
}

void mm_buffer_format(struct mm_buffer *b, const char *format, ...)
{
	char text[1024];
	va_list list;
	va_start(list, format);
	int size = vsnprintf(text, sizeof text, format, list);
	va_end(list);
	if (size > 0)
		mm_buffer_append(b, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

void mm_buffer_consume(struct mm_buffer *b, size_t n)
{
	if (n == 0)
		return;
	memmove(b->bytes, b->bytes + n, b->size - n);
	b->size -= n;
}

bool mm_buffer_read(struct mm_buffer *b, FILE *from)
{
	enum { PIECE = 65536 };
	for (size_t n = 1; n > 0;) {
		uint8_t *to = mm_buffer_reserve(b, PIECE);
		n = to != NULL ? fread(to, 1, PIECE, from) : 0;
		b->size += n;
	}
	return !b->failed && !ferror(from);
}

bool mm_buffer_print(const struct mm_buffer *b, FILE *to)
{
	return b->size == 0 || fwrite(b->bytes, 1, b->size, to) == b->size;
}

void mm_buffer_trim(struct mm_buffer *b, size_t keep)
{
	if (b->size == 0 && b->capacity > keep)
		mm_buffer_free(b);
}

void mm_buffer_free_memory(struct mm_buffer *b)
{
	free(memory_of(b));
}
