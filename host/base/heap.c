#include "base/heap.h"

#include "base/bounds.h"

#include <malloc.h>
#include <stddef.h>

static bool is_keeping;

void mm_heap_keep(void)
{
	/* blocks above the first limit are mapped and unmapped one by one, as they are by default above 128 KiB */
	is_keeping = mallopt(M_MMAP_THRESHOLD, MM_HEAP_BLOCK_MAX) == 1 && mallopt(M_TRIM_THRESHOLD, MM_HEAP_KEEP) == 1;
}

void mm_heap_sweep(bool is_quiet)
{
	static size_t left;             /* free at the last trim: already returned to the kernel, although
	                                 * glibc still counts it */
	if (!is_keeping)
		return;
	size_t free_bytes = mallinfo2().fordblks;
	if (free_bytes < left)
		left = free_bytes;      /* some of it is in use again */
	if (free_bytes - left <= (is_quiet ? MM_HEAP_KEEP_QUIET : MM_HEAP_KEEP))
		return;
	malloc_trim(0);
	left = free_bytes;
}
