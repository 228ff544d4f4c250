/* fuzz/watch.h -- every fuzz target watches the time of each input: see watch.c. */
#ifndef MM_FUZZ_WATCH_H
#define MM_FUZZ_WATCH_H

#include <stdbool.h>
#include <stddef.h>

/* The target has made a text of so many bytes from its input, and the time is to be measured against these. */
void mm_fuzz_made(size_t bytes);
/* The input seemed slow and runs again: a target leaves out what it does only for the fuzzer. */
bool mm_fuzz_is_timed(void);

#endif
