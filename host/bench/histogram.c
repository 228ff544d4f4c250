#include "bench/histogram.h"

#define FINE_COUNT (1u << MM_BENCH_HISTOGRAM_FINE)

static unsigned bucket_of(uint64_t ns)
{
	if (ns < FINE_COUNT)
		return (unsigned)ns;
	unsigned top = 63u - (unsigned)__builtin_clzll(ns);
	unsigned shift = top - MM_BENCH_HISTOGRAM_FINE;
	unsigned bucket = ((shift + 1u) << MM_BENCH_HISTOGRAM_FINE) + ((unsigned)(ns >> shift) & (FINE_COUNT - 1u));
	return bucket < MM_BENCH_HISTOGRAM_BUCKETS ? bucket : MM_BENCH_HISTOGRAM_BUCKETS - 1u;
}

/* The largest value that falls into a bucket. */
static uint64_t upper_of(unsigned bucket)
{
	if (bucket < FINE_COUNT)
		return bucket;
	unsigned shift = (bucket >> MM_BENCH_HISTOGRAM_FINE) - 1u;
	uint64_t fine = FINE_COUNT + (bucket & (FINE_COUNT - 1u));
	return ((fine + 1u) << shift) - 1u;
}

void mm_bench_histogram_add(struct mm_bench_histogram *h, uint64_t ns)
{
	h->count++;
	h->sum += ns;
	if (ns > h->max)
		h->max = ns;
	h->buckets[bucket_of(ns)]++;
}

uint64_t mm_bench_histogram_percentile(const struct mm_bench_histogram *h, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)h->count + 0.999999);
	uint64_t seen = 0;
	for (unsigned i = 0; i < MM_BENCH_HISTOGRAM_BUCKETS && h->count > 0; i++) {
		seen += h->buckets[i];
		if (seen >= wanted && seen > 0)
			return upper_of(i) < h->max ? upper_of(i) : h->max;
	}
	return h->max;
}
