/* base/heap.h -- what the C library does with freed memory (Lua has its own allocator).
 * glibc hands every large block back to the kernel when it is freed, and the next one costs a page fault every few
 * pages: for a new body of 5 MB that was a third of its CPU. So a busy process keeps the memory that it frees, within
 * bounds, and returns it when it is quiet. These settings apply to the whole process: only our own program uses them,
 * never one that embeds us. */
#ifndef MM_BASE_HEAP_H
#define MM_BASE_HEAP_H

#include <stdbool.h>

/* Keeps freed blocks, up to MM_HEAP_KEEP bytes. Call it once, before anything large is allocated; forked
 * processes inherit it. */
void mm_heap_keep(void);
/* Returns free memory to the kernel when it is more than MM_HEAP_KEEP bytes, or MM_HEAP_KEEP_QUIET when quiet. Call it
 * every few seconds; without mm_heap_keep() it does nothing. */
void mm_heap_sweep(bool is_quiet);

#endif
