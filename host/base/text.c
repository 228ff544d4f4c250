#include "base/text.h"

#include <strings.h>

bool mm_text_equal_blind(struct mm_text a, struct mm_text b)
{
	return a.size == b.size && strncasecmp(a.bytes, b.bytes, a.size) == 0;
}
