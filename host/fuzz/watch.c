/* fuzz/watch.c -- linked with every target (-Wl,--wrap=LLVMFuzzerTestOneInput), for the fuzzer and for the replay of a
 * corpus: measures the CPU time of each input against its size, and aborts when it is more than a generous linear
 * bound. The input counts as slow only when it is so three times in a row, so that a busy machine finds nothing. What
 * goes back over 16 KB needs over a second; one pass needs a tenth of the bound. */
#include "fuzz/watch.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BASE_SECONDS 0.1
#define BYTE_SECONDS 20e-6
#define TRIES        3

int __real_LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t made;
static bool is_timed;

bool mm_fuzz_is_timed(void)
{
	return is_timed;
}

void mm_fuzz_made(size_t bytes)
{
	made = bytes;
}

static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int __wrap_LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	double took = 0, bound = 0;
	for (int i = 0; i < TRIES; i++) {
		made = size;
		is_timed = i > 0;
		double begin = cpu_seconds();
		int result = __real_LLVMFuzzerTestOneInput(data, size);
		took = cpu_seconds() - begin;
		bound = BASE_SECONDS + BYTE_SECONDS * (double)made;
		if (took <= bound)
			return result;
	}
	fprintf(stderr, "too slow: %.3f s of CPU time for %zu bytes; at most %.3f s\n", took, made, bound);
	abort();
}
