/* base/heap.h -- what the C library does with memory that is freed (Lua has an allocator of its own).
 * glibc hands every large block back to the kernel when it is freed, and the next one costs a page fault every few
 * pages: for a new body of 5 MB that was a third of its CPU. So what a busy process frees stays with it, within bounds,
 * and goes back when it is quiet. Settings of the whole process: for our own program, never for one that embeds us. */
#ifndef MM_BASE_HEAP_H
#define MM_BASE_HEAP_H

#include <stdbool.h>

/* Keeps freed blocks, up to MM_HEAP_KEEP bytes. Once, before anything large is made; inherited by what is forked. */
void mm_heap_keep(void);
/* Hands back what is free when it is more than MM_HEAP_KEEP bytes, in quiet MM_HEAP_KEEP_QUIET. Every few seconds;
 * without mm_heap_keep() it does nothing. */
void mm_heap_sweep(bool is_quiet);

#endif
