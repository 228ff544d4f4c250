/* async/dns_channel.h -- the way to the name servers: c-ares channels, their sockets and timers. Which channel sends
 * the next question decides its source port: an attacker who cannot see our questions must guess port and id of each. A
 * first server that is silent gives its place to the next one for a while, so that it does not delay every question. */
#ifndef MM_ASYNC_DNS_CHANNEL_H
#define MM_ASYNC_DNS_CHANNEL_H

#include "base/clock.h"
#include "base/fault.h"
#include "async/dns_answer.h"
#include "async/dns_ares.h"

/* The channels to one set of servers. */
struct mm_dns_channels;
struct mm_dns_channel;

/* A question on its way; embedded in what asks. */
struct mm_dns_sending {
	struct mm_ares_query   query;
	struct mm_dns_channel *channel;         /* borrowed */
	/* bytes: the response, borrowed for the call; NULL: none, and the code says why. May come from inside the send.
	 * Must not send. Returns whether the response is of use: a server whose responses are not gives its place to
	 * the next, as a silent one does. */
	bool (*done)(struct mm_dns_sending *, enum mm_dns_code, const uint8_t *bytes, size_t size);
};

/* servers: "a,b,c", NULL: those of resolv_conf; NULL: /etc/resolv.conf. Both are copied. The set is in the list until
 * it is freed. No socket is opened before the first question. NULL: why says what is wrong. */
struct mm_dns_channels *mm_dns_channels_new(struct mm_clock *, struct mm_dns_channels **list, const char *servers,
	const char *resolv_conf, double timeout, struct mm_fault *why);
/* Sends no more questions, and frees itself after the answers to those in flight. */
void mm_dns_channels_retire(struct mm_dns_channels *);
/* Calls done for all questions in flight. */
void mm_dns_channels_free(struct mm_dns_channels *);
/* Is there more than one server? Asked inside done. */
bool mm_dns_sending_has_choice(const struct mm_dns_sending *);
/* False: no memory, and done is not called. */
bool mm_dns_channels_send(struct mm_dns_channels *, struct mm_dns_sending *, const char *name, uint16_t type);

#endif
