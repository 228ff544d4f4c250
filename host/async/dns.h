/* async/dns.h -- questions to name servers, on c-ares: identical questions are asked once, and answers are kept as long
 * as the zone allows. Queries with identical questions in flight are joined; each query has its own deadline and gives
 * up alone. Servers come from the settings or from resolv.conf, which is read again when it changes: the old channel
 * answers its open questions and goes.
 * Each worker has one, for all generations of scripts.
 * Knows no Lua. Does not read /etc/hosts and tries no search domains: mail uses whole names. Who forges an answer must
 * guess the id, the source port and the case of each letter of a question. Memory: at most cache_max answers; the least
 * recently used go first. */
#ifndef MM_ASYNC_DNS_H
#define MM_ASYNC_DNS_H

#include "base/account.h"
#include "base/clock.h"
#include "async/dns_answer.h"
#include "base/fault.h"

struct mm_dns;
struct mm_dns_question;

struct mm_dns_settings {
	const char *const *servers;             /* "192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]:53"; NULL-ended;
	                                         * NULL or empty: those of resolv_conf. Borrowed for the call */
	const char        *resolv_conf;         /* NULL: /etc/resolv.conf. Borrowed for the call */
	double             timeout;             /* seconds a question may take, all tries together */
	unsigned           cache_max;           /* answers kept; 0: none */
};

/* Embedded in something that the asking task owns. */
struct mm_dns_query {
	struct mm_timer          timer;
	struct mm_dns_question  *question;      /* borrowed; NULL: not in flight */
	struct mm_dns_query     *next, *previous;
	void                   (*done)(struct mm_dns_query *, const struct mm_dns_answer *);
};

struct mm_dns_counts {
	unsigned long asked;                    /* by all callers */
	unsigned long sent;                     /* given to c-ares, repeated ones included; others: cached or joined */
	unsigned long misfits;                  /* responses that did not fit: forged, or of an odd server */
	unsigned      in_flight;
	unsigned      cached;
};

/* The settings are checked and copied; no socket is opened before the first question. NULL: why says what is wrong. */
struct mm_dns *mm_dns_new(struct mm_clock *, const struct mm_dns_settings *, struct mm_fault *why);
/* No query may be in flight, and none may follow. NULL is fine. */
void mm_dns_free(struct mm_dns *);
/* New settings for questions from now on; the cache is emptied. False: the old ones stay. */
bool mm_dns_configure(struct mm_dns *, const struct mm_dns_settings *, struct mm_fault *why);

/* Asks for a name's records of a type. A cached answer, or the failure of a question that cannot be asked, is returned
 * at once, borrowed until the next call of any function here, and done is not called. NULL: done will be called once,
 * from the loop, with an answer borrowed for the call; it may free the query and must not call functions of this file.
 * timeout: seconds, or 0 for the default. */
const struct mm_dns_answer *mm_dns_ask(struct mm_dns *, struct mm_dns_query *, const char *name, uint16_t type,
	double timeout, void (*done)(struct mm_dns_query *, const struct mm_dns_answer *));
/* done will not be called; other queries that wait for the same answer get it. Not in flight: nothing happens. */
void mm_dns_cancel(struct mm_dns_query *);
/* The cache counts in this sum, which outlives the mm_dns. */
void mm_dns_charge(struct mm_dns *, struct mm_account_sum *);
/* Seconds that a question may take by default. */
double mm_dns_timeout(const struct mm_dns *);
struct mm_dns_counts mm_dns_count(const struct mm_dns *);

#endif
