/* async/datagram.h -- a UDP socket that never blocks: one packet out, one packet in.
 * Sending never waits: a packet for which the kernel has no room is lost, as it may be anywhere on its way. Receiving
 * waits, for one packet at a time; done is called once, from the loop, unless the socket is stopped or freed before.
 * Ownership: owns its descriptor, and the last packet received until the next receive. Numeric addresses only. */
#ifndef MM_ASYNC_DATAGRAM_H
#define MM_ASYNC_DATAGRAM_H

#include "base/clock.h"
#include "base/cursor.h"

struct sockaddr;
struct mm_datagram;

enum mm_datagram_end { MM_DATAGRAM_DONE, MM_DATAGRAM_WAITING, MM_DATAGRAM_TIMEOUT, MM_DATAGRAM_FAILED };

struct mm_datagram *mm_datagram_new(struct mm_clock *);         /* NULL: out of memory */
void mm_datagram_free(struct mm_datagram *);                    /* NULL is fine */

/* Each returns 0 or an errno. peer NULL: disconnects. */
int mm_datagram_connect(struct mm_datagram *, const struct sockaddr *peer, size_t size);
int mm_datagram_bind(struct mm_datagram *, const struct sockaddr *, size_t size);
/* to: NULL when connected. */
int mm_datagram_send(struct mm_datagram *, const void *bytes, size_t count, const struct sockaddr *to, size_t to_size);
/* Waits at most `seconds`; below 0: no limit, 0: takes only a packet that is already there. */
enum mm_datagram_end mm_datagram_receive(struct mm_datagram *, double seconds,
	void (*done)(void *self, enum mm_datagram_end), void *self);
void mm_datagram_stop(struct mm_datagram *);
bool mm_datagram_is_receiving(const struct mm_datagram *);
/* The packet, BORROWED until the next receive; *from is the sender's address; from may be NULL. */
struct mm_text mm_datagram_received(const struct mm_datagram *, const struct sockaddr **from, size_t *from_size);
int mm_datagram_error(const struct mm_datagram *);              /* errno of a receive that FAILED */
int mm_datagram_descriptor(const struct mm_datagram *);         /* -1: none yet. BORROWED */

#endif
