/* bench/usage.h -- CPU time and memory of a process and all its descendants, read from outside (Linux).
 * CPU time is the kernel's own clock of each process, in nanoseconds, threads that have ended included; the user and
 * system parts come from /proc and are good to 10 ms. A process of the tree that ends between two looks takes its time
 * with it: the difference is then too small. Memory is that of /proc/PID/smaps_rollup: RSS counts a shared page in each
 * process, PSS once in all. */
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
	uint64_t pss_bytes;             /* 0 when smaps_rollup may not be read: another user's process */
};

/* False: there is no process root, or /proc cannot be read. */
bool mm_bench_usage(pid_t root, struct mm_bench_usage *out, struct mm_fault *why);

#endif
