/* base/array.h -- arrays that grow.
 * The caller OWNS the array and keeps it as a pointer, a count and a capacity. All zero is an empty
 * array; free(3) releases it. */
#ifndef MM_BASE_ARRAY_H
#define MM_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Doubles the capacity. */
bool mm_array_enlarge(void *array, uint32_t *capacity, size_t element_size);

/* Makes room for one more element after the `count` in use; array points to the caller's pointer. The elements may
 * move. The capacity doubles. False: out of memory, and nothing has changed. */
static inline bool mm_array_grow(void *array, uint32_t count, uint32_t *capacity, size_t element_size)
{
	return count < *capacity || mm_array_enlarge(array, capacity, element_size);
}

#endif
