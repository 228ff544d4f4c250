/* async/dns_ares.h -- c-ares as dns.c uses it, whichever version the system has. Old versions (Debian 12: 1.18) and new
 * ones (Debian 13: 1.34) have different calls, and the new ones do by default what is ours to decide: they cache
 * answers and prefer servers by their history. That is why a channel is given only one server. */
#ifndef MM_ASYNC_DNS_ARES_H
#define MM_ASYNC_DNS_ARES_H

#include "base/fault.h"

#include <ares.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded in what asks. */
struct mm_ares_query {
	/* bytes: the response, borrowed for the call; NULL: none, see status. May come from inside the send. */
	void (*done)(struct mm_ares_query *, int status, const uint8_t *bytes, size_t size);
};

/* Adds to the options what all questions need, and what keeps caching and the choice of servers ours. timeout: seconds,
 * all tries together. Returns the mask with their bits. */
int mm_ares_options(struct ares_options *, int mask, double timeout);
void mm_ares_send(ares_channel, struct mm_ares_query *, const char *name, uint16_t type);
/* GIVES "192.0.2.53:53,[2001:db8::53]:5353", checked and at least one. servers: such a list as people write it; NULL:
 * those of resolv_conf; NULL: /etc/resolv.conf. NULL: why says what is wrong. */
char *mm_ares_servers(const char *servers, const char *resolv_conf, struct mm_fault *why);

#endif
