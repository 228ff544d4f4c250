/* async/dns_channel.h -- the way to one name server: c-ares channels, their sockets and timers. Which channel sends the
 * next question decides its source port: an attacker who cannot see our questions must guess port and id of each.
 * c-ares repeats a question that the server leaves unanswered; dns_servers.h chooses among servers. */
#ifndef MM_ASYNC_DNS_CHANNEL_H
#define MM_ASYNC_DNS_CHANNEL_H

#include "base/clock.h"
#include "async/dns_answer.h"
#include "async/dns_ares.h"

/* The channels to one server. */
struct mm_dns_channels;
struct mm_dns_channel;

/* A question on its way to the server; embedded in what asks. */
struct mm_dns_sending {
	struct mm_ares_query   query;
	struct mm_dns_channel *channel;         /* borrowed */
	/* bytes: the response, borrowed for the call; NULL: none, and the code says why. May come from inside the send.
	 * May send to another server only. */
	void (*done)(struct mm_dns_sending *, enum mm_dns_code, const uint8_t *bytes, size_t size);
};

/* server: "192.0.2.53:53", as mm_ares_servers() writes it. timeout: seconds, all tries together. Nothing is opened
 * before the first question. NULL: out of memory. */
struct mm_dns_channels *mm_dns_channels_new(struct mm_clock *, const char *server, double timeout);
/* Sends no more questions, and frees itself after the answers to those in flight. May be called from inside done. */
void mm_dns_channels_retire(struct mm_dns_channels *);
/* Calls done for all questions in flight. */
void mm_dns_channels_free(struct mm_dns_channels *);
/* Is there more than one server? Asked inside done. */
bool mm_dns_sending_has_choice(const struct mm_dns_sending *);
/* False: no memory, and done is not called. */
bool mm_dns_channels_send(struct mm_dns_channels *, struct mm_dns_sending *, const char *name, uint16_t type);

#endif
