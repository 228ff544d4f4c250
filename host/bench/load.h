/* bench/load.h -- the MTA side of many milter connections at once, on one thread and one epoll.
 * A connection offers, greets, then sends messages one after the other in the writes of bench/traffic.h: a write, its
 * answer, the next write. Between phases connections stay open and wait; mm_bench_load_run() is one phase, which keeps
 * the warm-up apart from the measurement. mm_bench_load_hold() opens idle and sleeping sessions first. Latency is the
 * time from handing a write to the kernel to reading its final reply; with a rate, a message's time begins when it was
 * due, so the figures show a filter that cannot keep up.
 * Known limit: replies are judged by their letters; edits are only counted, not read. */
#ifndef MM_BENCH_LOAD_H
#define MM_BENCH_LOAD_H

#include "bench/traffic.h"
#include "milter/command.h"
#include "bench/histogram.h"
#include "milter/verdict.h"

#include <sys/socket.h>

#define MM_BENCH_COMPLAINTS 5u
#define MM_BENCH_VERDICT_BIT(name) (1u << MM_VERDICT_##name)

struct mm_bench_options {
	struct sockaddr_storage address;
	socklen_t             address_size;
	struct mm_bench_shape shape;
	unsigned              connections;
	unsigned              messages_per_connection;  /* 0: no end */
	double                rate;             /* messages a second, all connections together; 0: as fast
	                                         * as the filter answers */
	double                abort_share;      /* 0..1 of the messages */
	double                timeout;          /* seconds that one answer may take */
	uint8_t               expect[MM_STAGE_COUNT];   /* MM_BENCH_VERDICT_BIT()s */
	int                   edits;            /* edits expected at end of message; -1: any number */
	const char           *asleep_sender;    /* of messages whose answer we do not wait for. BORROWED */
	/* Called once a second during a phase; may be NULL. */
	void                (*tick)(const struct mm_bench_options *, uint64_t messages, double seconds);
};

struct mm_bench_result {
	struct mm_offer     answer;             /* version, actions and steps of the last filter that answered */
	double              seconds;            /* of the last phase */
	uint64_t            messages;           /* with a final verdict */
	uint64_t            aborted;
	uint64_t            sessions;           /* opened and greeted */
	uint64_t            edits;
	uint64_t            body_bytes;         /* of replaced bodies */
	uint64_t            wrong;              /* answers that were unexpected or missing */
	uint64_t            lost;               /* connections the filter closed */
	uint64_t            woken;              /* sleeping messages that got their final reply */
	char                complaint[MM_BENCH_COMPLAINTS][160];        /* the first wrong answers and lost
	                                                                 * connections */
	unsigned            complaints;
	struct mm_bench_histogram opening;            /* from connect(2) to the answer to HELO */
	struct mm_bench_histogram message;
	struct mm_bench_histogram stage[MM_STAGE_COUNT];
};

struct mm_bench_load;

/* Borrows options until the load is freed. NULL: resources are missing; why says which. */
struct mm_bench_load *mm_bench_load_new(const struct mm_bench_options *, struct mm_fault *why);
void mm_bench_load_free(struct mm_bench_load *);        /* says goodbye to every filter first; NULL is fine */
enum mm_bench_hold { MM_BENCH_IDLE, MM_BENCH_ASLEEP };
/* Opens count sessions and lets them wait after HELO, or after the end of a message. */
bool mm_bench_load_hold(struct mm_bench_load *, enum mm_bench_hold, unsigned count, struct mm_fault *why);
/* Sends messages for this many seconds, or this many messages if messages > 0, and returns when all have their answer.
 * Empties the result first. False: the filter cannot be reached. */
bool mm_bench_load_run(struct mm_bench_load *, double seconds, uint64_t messages, struct mm_fault *why);
/* The result of the last phase, BORROWED. */
const struct mm_bench_result *mm_bench_load_result(const struct mm_bench_load *);

#endif
