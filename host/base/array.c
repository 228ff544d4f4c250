#include "base/array.h"

#include <stdlib.h>
#include <string.h>

bool mm_array_enlarge(void *array, uint32_t *capacity, size_t element_size)
{
	uint32_t wanted = *capacity ? *capacity * 2 : 8;
	void *old;
	memcpy(&old, array, sizeof old);
	void *grown = reallocarray(old, wanted, element_size);
	if (grown == NULL)
		return false;
	memcpy(array, &grown, sizeof grown);
	*capacity = wanted;
	return true;
}
