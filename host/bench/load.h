/* bench/load.h -- the MTA side of many milter connections at once, on one thread and one epoll.
 * A connection offers, greets, then sends messages one after the other as bench/traffic.h cut them: a write, its
 * answer, the next write. Between phases connections stay open and wait; mm_bench_load_run() is one phase, so that a
 * warm-up and what is measured do not mix. Idle and sleeping sessions are opened before by mm_bench_load_hold().
 * Latency is the time from handing a write to the kernel to reading its final reply; with a rate, a message's time
 * begins when it was due, so a filter that falls behind shows it.
 * Known limit: replies are judged by their letters; what an edit says is only counted. */
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
	double                rate;             /* messages a second, all connections together;
	                                         * 0: as fast as answered */
	double                abort_share;      /* 0..1 of the messages */
	double                timeout;          /* seconds one answer may take */
	uint8_t               expect[MM_STAGE_COUNT];   /* MM_BENCH_VERDICT_BIT()s */
	int                   edits;            /* asked for at end of message; -1: any number */
	const char           *asleep_sender;    /* of messages whose answer is not waited for. Borrowed */
	/* Once a second during a phase; may be NULL. */
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
	uint64_t            wrong;              /* answers that were not expected, or were missing */
	uint64_t            lost;               /* connections the filter closed */
	uint64_t            woken;              /* sleeping messages that got their final reply */
	char                complaint[MM_BENCH_COMPLAINTS][160];        /* the first few of the wrong and the lost */
	unsigned            complaints;
	struct mm_bench_histogram opening;            /* connect(2) to the answer to HELO */
	struct mm_bench_histogram message;
	struct mm_bench_histogram stage[MM_STAGE_COUNT];
};

struct mm_bench_load;

/* options are borrowed until the load is freed. NULL: resources are missing, why says which. */
struct mm_bench_load *mm_bench_load_new(const struct mm_bench_options *, struct mm_fault *why);
void mm_bench_load_free(struct mm_bench_load *);        /* says goodbye to every filter first; NULL is fine */
enum mm_bench_hold { MM_BENCH_IDLE, MM_BENCH_ASLEEP };
/* Opens count sessions and leaves them after HELO, or with a message whose end has been sent. */
bool mm_bench_load_hold(struct mm_bench_load *, enum mm_bench_hold, unsigned count, struct mm_fault *why);
/* Sends messages for so many seconds, or that many when messages > 0, and returns when all have their answer. Empties
 * the result first. False: the filter cannot be reached. */
bool mm_bench_load_run(struct mm_bench_load *, double seconds, uint64_t messages, struct mm_fault *why);
/* Borrowed; of the last phase. */
const struct mm_bench_result *mm_bench_load_result(const struct mm_bench_load *);

#endif
