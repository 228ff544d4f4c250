/* bench/command_bench.h -- `moonmilter bench`: puts load on any milter, at the protocol level. */
#ifndef MM_BENCH_COMMAND_BENCH_H
#define MM_BENCH_COMMAND_BENCH_H

/* argv[0] is "bench". Returns an exit status: 0; EX_USAGE; EX_UNAVAILABLE when the filter cannot be reached or stops
 * answering; EX_PROTOCOL when an answer was wrong or missing. */
int mm_command_bench(int argc, char **argv);

#endif
