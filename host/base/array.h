/* base/array.h -- arrays that grow.
 * The array is OWNED by the caller, who keeps it as a pointer, a count and a capacity; all zero is an empty one, and
 * free(3) ends it. */
#ifndef MM_BASE_ARRAY_H
#define MM_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes room for one more element after the count that are in use; array points to the caller's pointer. The elements
 * may move. Growth doubles. False: out of memory, and nothing has changed. */
bool mm_array_grow(void *array, uint32_t count, uint32_t *capacity, size_t element_size);

#endif
