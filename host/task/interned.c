#include "task/interned.h"

#include <string.h>

/* Of size, beginning, middle and end, in which names of fields differ. */
static unsigned place_of(struct mm_text s)
{
	const uint8_t *b = (const uint8_t *)s.bytes;
	return (s.size * 5 + b[0] + b[s.size / 2] * 3u + b[s.size - 1] * 7u) % MM_INTERNED_PLACES;
}

int mm_interned_place(struct mm_interned *in, struct mm_text s)
{
	if (s.size == 0 || s.size > MM_INTERNED_MAX)
		return 0;
	unsigned at = place_of(s);
	if (in->places[at].size == s.size && memcmp(in->places[at].bytes, s.bytes, s.size) == 0)
		return (int)at;
	if (at == 0)
		return 0;
	in->places[at].size = 0;
	memcpy(in->places[at].bytes, s.bytes, s.size);
	in->making = (uint8_t)at;
	in->making_size = (uint8_t)s.size;
	return -(int)at;
}
