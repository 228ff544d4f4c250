/* bench/usage.h -- CPU time and memory of a process and all its descendants, read from outside (Linux).
 * CPU time is the kernel's own clock of each process, in nanoseconds, including threads that have ended; the user and
 * system parts come from /proc and are exact to 10 ms. When a process of the tree ends between two measurements, its
 * time is lost and the difference is too small. Memory comes from /proc/PID/smaps_rollup: RSS counts a shared page once
 * in each process, PSS once in all. */
#ifndef MM_BENCH_USAGE_H
#define MM_BENCH_USAGE_H

#include "base/fault.h"

#include <stdint.h>
#include <sys/types.h>

struct mm_bench_usage {
	unsigned processes;
	unsigned threads;
	uint64_t cpu_ns;
	uint64_t user_us;
	uint64_t system_us;
	uint64_t rss_bytes;
	uint64_t pss_bytes;             /* 0 when we may not read smaps_rollup: another user's process */
};

/* False: there is no process root, or /proc cannot be read. */
bool mm_bench_usage(pid_t root, struct mm_bench_usage *out, struct mm_fault *why);

#endif
