/* base/array.h -- arrays that grow. */
#ifndef MM_BASE_ARRAY_H
#define MM_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes room for one more element of *array; false: out of memory. */
bool mm_array_grow(void *array, uint32_t count, uint32_t *capacity, size_t element_size);

#endif
