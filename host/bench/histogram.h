/* bench/histogram.h -- counts durations and gives their percentiles.
 * Buckets are log-linear, 64 to each power of two, so a percentile is at most 1.6 % too high; the largest value is
 * exact. Adding costs a few instructions and never allocates. A zeroed struct is empty. */
#ifndef MM_BENCH_HISTOGRAM_H
#define MM_BENCH_HISTOGRAM_H

#include <stdint.h>

#define MM_BENCH_HISTOGRAM_FINE    6u           /* bits: 64 buckets to each power of two */
#define MM_BENCH_HISTOGRAM_TOP     42u          /* bits: 2^42 ns are 73 minutes */
#define MM_BENCH_HISTOGRAM_BUCKETS ((MM_BENCH_HISTOGRAM_TOP - MM_BENCH_HISTOGRAM_FINE + 1u) << MM_BENCH_HISTOGRAM_FINE)

struct mm_bench_histogram {
	uint64_t count;
	uint64_t sum;           /* ns */
	uint64_t max;           /* ns */
	uint32_t buckets[MM_BENCH_HISTOGRAM_BUCKETS];
};

void mm_bench_histogram_add(struct mm_bench_histogram *, uint64_t ns);
/* The duration, in ns, that this share (0..1) of all values does not exceed; 0 when empty. */
uint64_t mm_bench_histogram_percentile(const struct mm_bench_histogram *, double share);

#endif
