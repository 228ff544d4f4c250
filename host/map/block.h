/* map/block.h -- large bytes that grow, taken from the kernel and given back to it at once.
 * While a list is compiled, a hundred megabytes come and go on a thread. malloc(3) would copy them, and hold a lock
 * meanwhile that the loop may need; the kernel moves pages instead. A failed append drops the bytes and marks the
 * block, so that a writer checks once. A zeroed struct is empty, and new bytes beyond `size` are 0. */
#ifndef MM_MAP_BLOCK_H
#define MM_MAP_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct mm_block {
	uint8_t *bytes;         /* owned: mapped; NULL while capacity is 0 */
	size_t   size;          /* bytes in use */
	size_t   capacity;
	bool     failed;
};

/* Makes room for n more bytes. False: there is none, and failed is set. */
bool mm_block_enlarge(struct mm_block *, size_t n);
void mm_block_free(struct mm_block *);          /* back to the zeroed state */

static inline bool mm_block_reserve(struct mm_block *b, size_t n)
{
	return b->capacity - b->size >= n ? !b->failed : mm_block_enlarge(b, n);
}

static inline void mm_block_append(struct mm_block *b, const void *bytes, size_t n)
{
	if (n == 0 || !mm_block_reserve(b, n))
		return;
	memcpy(b->bytes + b->size, bytes, n);
	b->size += n;
}

#endif
