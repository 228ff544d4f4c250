/* bench/traffic.h -- everything that an MTA sends, built once: all packets of a session, cut into the writes that carry
 * them. A write ends with a command that gets an answer. Macros, and commands that the filter does not answer
 * (SMFIP_NR_…), precede it in the same write; steps that the filter declined (SMFIP_NO…) are left out (protocol 2.2,
 * 4.3). All this depends on the filter's answer to the offer, so there is one traffic for each answer seen.
 * Messages come in variants that differ in addresses, queue ids and header values, so that a filter does not profit
 * from seeing the same strings repeatedly. All variants share the body and have the same writes at the same stages.
 * Knows no sockets. The traffic owns its bytes; the iovecs of its writes point into them. */
#ifndef MM_BENCH_TRAFFIC_H
#define MM_BENCH_TRAFFIC_H

#include "base/buffer.h"
#include "milter/stage.h"

#include <sys/uio.h>

#define MM_BENCH_VARIANTS  32u
#define MM_BENCH_PARTS_MAX 3u           /* envelope and headers, body, end of message */

/* What the SMTP client sends, and which MTA to play. */
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
	const char *sender;             /* without angle brackets; NULL: one that differs by variant. BORROWED */
};

struct mm_bench_write {
	struct iovec  part[MM_BENCH_PARTS_MAX];
	unsigned      parts;            /* 0: nothing to send */
	size_t        size;             /* bytes, all parts */
	enum mm_stage stage;            /* the stage whose answer to wait for; MM_STAGE_COUNT: none comes */
};

struct mm_bench_message {
	struct mm_bench_write *writes;  /* the last one waits for end of message */
};

struct mm_bench_traffic {
	uint32_t                steps;          /* SMFIP_ bits the filter answered */
	struct mm_bench_write   greeting[2];    /* connect and helo, as far as they get an answer */
	unsigned                greetings;
	struct mm_bench_write   greeting_rest;  /* the rest, which gets no answer; sent before the first message */
	unsigned                writes;         /* of each message */
	struct mm_bench_message variant[MM_BENCH_VARIANTS];
	struct mm_buffer        bytes;
};

/* Returns the traffic for a filter that answered steps; NULL: out of memory. */
struct mm_bench_traffic *mm_bench_traffic_new(const struct mm_bench_shape *, uint32_t steps);
void mm_bench_traffic_free(struct mm_bench_traffic *);

#endif
