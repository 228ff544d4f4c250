/* async/dns_servers.h -- the name servers in our order, and which of them a question is sent to. A question goes to the
 * first server; to the next when that one fails, and also to the next when it is silent for a while, but a late answer
 * still counts. The first usable answer ends it. A first server that was silent several times in a row gives its place
 * to the next one for a few minutes, so that it does not delay every question.
 * The order is ours alone: c-ares has one channel for each server (dns_channel.h), because its versions choose among
 * several by rules of their own. */
#ifndef MM_ASYNC_DNS_SERVERS_H
#define MM_ASYNC_DNS_SERVERS_H

#include "base/clock.h"
#include "base/fault.h"
#include "async/dns_answer.h"

struct mm_dns_servers;
struct mm_dns_attempt;

/* A question on its way to the servers; embedded in what asks. */
struct mm_dns_asking {
	struct mm_dns_servers *servers;         /* borrowed */
	struct mm_timer        silence;         /* of the server asked last */
	struct mm_dns_attempt *attempts;        /* owned list: in flight */
	const char            *name;            /* borrowed until done */
	uint16_t               type;
	unsigned               first;           /* index of the server that was asked first */
	unsigned               asked;           /* servers asked so far */
	enum mm_dns_code       failure;         /* of those that failed; servfail when they differ */
	struct mm_dns_answer  *answer;          /* of the asker: what done finds; empty before */
	/* bytes: the response that was read, borrowed for the call; NULL: there is none. May come from inside
	 * mm_dns_servers_ask(). Must not ask. */
	void (*done)(struct mm_dns_asking *, const uint8_t *bytes, size_t size);
};

/* servers: "a,b,c", NULL: those of resolv_conf; NULL: /etc/resolv.conf. timeout: seconds that each server has for a
 * question. The result is in the list until it is freed. No socket is opened before the first question. NULL: why says
 * what is wrong. */
struct mm_dns_servers *mm_dns_servers_new(struct mm_clock *, struct mm_dns_servers **list, const char *servers,
	const char *resolv_conf, double timeout, struct mm_fault *why);
/* Takes no more questions, and frees itself after the answers to those in flight. */
void mm_dns_servers_retire(struct mm_dns_servers *);
/* Calls done for all questions in flight. */
void mm_dns_servers_free(struct mm_dns_servers *);
/* False: no memory, and done is not called. */
bool mm_dns_servers_ask(struct mm_dns_servers *, struct mm_dns_asking *, const char *name, uint16_t type);

#endif
