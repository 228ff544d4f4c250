/* base/cursor.h -- the one way to read wire bytes: forward, inside bounds, with a sticky failure.
 * A cursor BORROWS its bytes. A read past the end gives zero, or no text, and sets `failed`, which stays true: one
 * check after the last read is enough. */
#ifndef MM_BASE_CURSOR_H
#define MM_BASE_CURSOR_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct mm_cursor {
	const uint8_t *at;
	size_t         left;
	bool           failed;
};

static inline struct mm_cursor mm_cursor_over(const void *bytes, size_t size)
{
	return (struct mm_cursor){ .at = bytes, .left = size };
}

static inline uint8_t mm_cursor_u8(struct mm_cursor *c)
{
	if (c->left < 1) {
		c->failed = true;
		return 0;
	}
	uint8_t value = *c->at;
	c->at += 1;
	c->left -= 1;
	return value;
}

static inline uint16_t mm_cursor_u16(struct mm_cursor *c)
{
	if (c->left < 2) {
		c->failed = true;
		return 0;
	}
	uint16_t value = (uint16_t)(c->at[0] << 8 | c->at[1]);
	c->at += 2;
	c->left -= 2;
	return value;
}

static inline uint32_t mm_cursor_u32(struct mm_cursor *c)
{
	if (c->left < 4) {
		c->failed = true;
		return 0;
	}
	uint32_t value = (uint32_t)c->at[0] << 24 | (uint32_t)c->at[1] << 16 | (uint32_t)c->at[2] << 8 | c->at[3];
	c->at += 4;
	c->left -= 4;
	return value;
}

/* The bytes up to a NUL, which is consumed; fails when no NUL is left. */
static inline struct mm_text mm_cursor_text(struct mm_cursor *c)
{
	const uint8_t *nul = c->left > 0 ? memchr(c->at, '\0', c->left) : NULL;
	if (nul == NULL) {
		c->failed = true;
		return (struct mm_text){ "", 0 };
	}
	struct mm_text text = { (const char *)c->at, (size_t)(nul - c->at) };
	c->left -= text.size + 1;
	c->at = nul + 1;
	return text;
}

/* All that is left. */
static inline struct mm_text mm_cursor_rest(struct mm_cursor *c)
{
	struct mm_text text = { (const char *)c->at, c->left };
	c->at += c->left;
	c->left = 0;
	return text;
}

#endif
