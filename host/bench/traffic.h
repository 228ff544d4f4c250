/* bench/traffic.h -- what an MTA sends, built once: all packets of a session, cut into the writes that carry them.
 * A write holds everything up to and with one command that wants an answer; macros and commands whose answer the filter
 * declined (SMFIP_NR_…) travel in front of it, steps it declined (SMFIP_NO…) are left out (protocol 2.2, 4.3). Which is
 * which follows from the filter's answer to the offer, so there is one traffic for each answer seen.
 * Messages come in variants that differ in addresses, queue ids and header values: a filter shall not profit from
 * seeing the same strings again and again. All variants share the body, and all have the same writes at the same
 * stages. Knows no sockets. The traffic owns its bytes; the iovecs of its writes point into them. */
#ifndef MM_BENCH_TRAFFIC_H
#define MM_BENCH_TRAFFIC_H

#include "base/buffer.h"
#include "milter/stage.h"

#include <sys/uio.h>

#define MM_BENCH_VARIANTS  32u
#define MM_BENCH_PARTS_MAX 3u           /* envelope and headers, body, end of message */

/* What the SMTP client at the far end does, and which MTA is played. */
struct mm_bench_shape {
	bool        is_sendmail;        /* else Postfix: macros before every header and chunk, an
	                                 * abort after each message */
	uint32_t    version;            /* offered */
	uint32_t    actions;
	uint32_t    steps;
	unsigned    recipients;
	unsigned    headers;
	size_t      header_size;        /* bytes of a value */
	size_t      body_size;
	size_t      chunk_size;         /* bytes of a body packet */
	const char *sender;             /* without angle brackets; NULL: one that differs by variant. Borrowed */
};

struct mm_bench_write {
	struct iovec  part[MM_BENCH_PARTS_MAX];
	unsigned      parts;            /* 0: nothing to send */
	size_t        size;             /* bytes, all parts */
	enum mm_stage stage;            /* whose answer is awaited; MM_STAGE_COUNT: none comes */
};

struct mm_bench_message {
	struct mm_bench_write *writes;  /* the last one waits for end of message */
};

struct mm_bench_traffic {
	uint32_t                steps;          /* SMFIP_ bits the filter answered */
	struct mm_bench_write   greeting[2];    /* connect and helo, as far as they want an answer */
	unsigned                greetings;
	struct mm_bench_write   greeting_rest;  /* what follows without an answer; goes in front of the first message */
	unsigned                writes;         /* of each message */
	struct mm_bench_message variant[MM_BENCH_VARIANTS];
	struct mm_buffer        bytes;
};

/* Gives the traffic for a filter that answered steps; NULL: out of memory. */
struct mm_bench_traffic *mm_bench_traffic_new(const struct mm_bench_shape *, uint32_t steps);
void mm_bench_traffic_free(struct mm_bench_traffic *);

#endif
