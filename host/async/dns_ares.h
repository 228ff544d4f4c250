/* async/dns_ares.h -- c-ares as dns.c uses it, whichever version the system has. Old versions (Debian 12: 1.18) and new
 * ones (Debian 13: 1.34) have different calls, and the new ones do by default what is ours to decide: they cache
 * answers and prefer servers by their history. */
#ifndef MM_ASYNC_DNS_ARES_H
#define MM_ASYNC_DNS_ARES_H

#include <ares.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded in what asks. */
struct mm_ares_query {
	/* bytes: the response, borrowed for the call; NULL: none, and status says why; timeouts: how often a server was
	 * silent. May come from inside the send. */
	void (*done)(struct mm_ares_query *, int status, unsigned timeouts, const uint8_t *bytes, size_t size);
};

/* Adds to the options what all questions need, and what keeps caching and the choice of servers ours. timeout: seconds,
 * all tries together. Returns the mask with their bits. */
int mm_ares_options(struct ares_options *, int mask, double timeout);
void mm_ares_send(ares_channel, struct mm_ares_query *, const char *name, uint16_t type);
unsigned mm_ares_server_count(ares_channel);
/* The server of this index becomes the first, those before it become the last. False: no memory. */
bool mm_ares_put_first(ares_channel, unsigned index);

#endif
