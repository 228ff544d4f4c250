#include "map/block.h"

#include <sys/mman.h>

#define FIRST ((size_t)64 << 10)

bool mm_block_enlarge(struct mm_block *b, size_t n)
{
	size_t wanted = b->capacity > 0 ? b->capacity : FIRST;
	if (n > SIZE_MAX / 4 || b->failed)
		return !(b->failed = true);
	while (wanted < b->size + n)
		wanted *= 2;
	void *bytes = b->bytes != NULL ? mremap(b->bytes, b->capacity, wanted, MREMAP_MAYMOVE)
		: mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bytes == MAP_FAILED)
		return !(b->failed = true);
	b->bytes = bytes;
	b->capacity = wanted;
	return true;
}

void mm_block_free(struct mm_block *b)
{
	if (b->bytes != NULL)
		munmap(b->bytes, b->capacity);
	*b = (struct mm_block){ 0 };
}
