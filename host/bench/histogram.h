/* bench/histogram.h -- how long things took: counts by duration, from which percentiles are read.
 * Buckets are log-linear: 64 to each power of two, so a percentile is at most 1.6 % above the truth; the largest value
 * is kept exactly. Adding costs a few instructions and never allocates. A zeroed struct is empty. */
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
/* The duration that share (0..1) of all values do not exceed, ns; 0 when empty. */
uint64_t mm_bench_histogram_percentile(const struct mm_bench_histogram *, double share);

#endif
