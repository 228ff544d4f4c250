/* async/stream.h -- a client connection over TCP or a unix socket, plain or TLS, that never blocks.
 * Two sides, reading and writing, one operation each at a time. An operation is tried at once; when it must wait it
 * returns WAITING, and done is called later, from the loop, exactly once. When the operation is stopped or the stream
 * closed before that, done is not called. Nothing touches the stream after done: done may free it.
 * Connecting and the TLS handshake are operations of the writing side and need an idle reading side.
 * Ownership: a stream owns its descriptor, its TLS connection and the received bytes that were not taken yet. Knows no
 * names (the caller resolves), no pools (pool.h), no Lua. */
#ifndef MM_ASYNC_STREAM_H
#define MM_ASYNC_STREAM_H

#include "base/account.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "async/tls.h"

struct sockaddr;
struct mm_stream;

enum mm_stream_end {
	MM_STREAM_DONE,
	MM_STREAM_WAITING,      /* done will be called */
	MM_STREAM_TIMEOUT,
	MM_STREAM_CLOSED,       /* by the peer */
	MM_STREAM_FAILED,       /* any other end of a connection */
	MM_STREAM_BUSY,         /* this side has an operation already */
};      /* mm_stream_error() explains all but DONE and WAITING */

/* Time limits of an operation: for a pause without progress, and in all. Below 0: none. 0: an operation that must
 * wait times out at once. */
struct mm_stream_times {
	double pause;           /* seconds */
	double total;           /* seconds */
};

/* Who is called at the end. */
struct mm_stream_waiter {
	void (*done)(void *self, enum mm_stream_end);
	void  *self;            /* borrowed until done or stopped */
};

struct mm_stream *mm_stream_new(struct mm_clock *);     /* not connected; NULL: out of memory */
/* The account of what it holds from now on; it outlives the stream, or another one follows. NULL, as at first: what it
 * holds is not counted. */
void mm_stream_charge(struct mm_stream *, struct mm_account *);
/* Closes at once; no operation's done is called. NULL is fine. */
void mm_stream_free(struct mm_stream *);

/* Closes the connection and drops unread bytes; no operation's done is called. The stream may connect again. */
void mm_stream_disconnect(struct mm_stream *);
/* Closes an earlier connection. from: the local address to use, NULL: any; both borrowed for the call. */
enum mm_stream_end mm_stream_connect(struct mm_stream *, const struct sockaddr *to, size_t to_size,
	const struct sockaddr *from, size_t from_size, struct mm_stream_times, struct mm_stream_waiter);
/* From here on everything is TLS, or the end is FAILED and the connection is useless. See tls.h for name and peer. */
enum mm_stream_end mm_stream_secure(struct mm_stream *, struct mm_tls *, const char *name, const char *peer,
	struct mm_stream_times, struct mm_stream_waiter);

/* Copies the bytes when not all can be sent at once. mm_stream_sent() counts those that have been sent. */
enum mm_stream_end mm_stream_send(struct mm_stream *, const void *bytes, size_t size, struct mm_stream_times,
	struct mm_stream_waiter);
size_t mm_stream_sent(const struct mm_stream *);        /* of the latest send */

enum mm_stream_pattern {
	MM_STREAM_LINE,         /* up to LF, which is dropped */
	MM_STREAM_ALL,          /* until the peer closes */
	MM_STREAM_EXACT,        /* count bytes */
	MM_STREAM_ANY,          /* what has arrived: at least one byte, at most count */
};
/* ALL is DONE when the peer closes after at least one byte. At most MM_STREAM_RECEIVE_MAX
 * bytes, else FAILED "limit". */
enum mm_stream_end mm_stream_receive(struct mm_stream *, enum mm_stream_pattern, size_t count, struct mm_stream_times,
	struct mm_stream_waiter);
/* What the latest receive has got; a part of it when it did not end DONE. BORROWED until the next call,
 * and returned only once. */
struct mm_text mm_stream_received(struct mm_stream *);

/* Ends, with DONE or another end, when there is something to read or room to write; takes nothing. */
enum mm_stream_end mm_stream_await_readable(struct mm_stream *, struct mm_stream_times, struct mm_stream_waiter);
enum mm_stream_end mm_stream_await_writable(struct mm_stream *, struct mm_stream_times, struct mm_stream_waiter);

/* Stops the operation of a side; the bytes it has moved stay moved. Idle: nothing happens. */
void mm_stream_stop_reading(struct mm_stream *);
void mm_stream_stop_writing(struct mm_stream *);
bool mm_stream_is_reading(const struct mm_stream *);
bool mm_stream_is_writing(const struct mm_stream *);

/* No operation, no unread byte, not closed by the peer: fit for another user. */
bool mm_stream_is_quiet(struct mm_stream *);
bool mm_stream_has_unread(const struct mm_stream *);
bool mm_stream_is_connected(const struct mm_stream *);
bool mm_stream_shut_down(struct mm_stream *, bool reading, bool writing);
int mm_stream_descriptor(const struct mm_stream *);     /* -1: none. BORROWED */
struct mm_tls_connection *mm_stream_tls(const struct mm_stream *);    /* NULL: plain. BORROWED */
unsigned long long mm_stream_received_bytes(const struct mm_stream *);
unsigned long long mm_stream_sent_bytes(const struct mm_stream *);

/* Why the latest operation did not end DONE. code: "timeout" "closed" "refused" "unreachable" "tls" "limit" "busy"
 * "memory" "io"; text: LuaSocket's word where it has one. BORROWED until the next operation. */
const char *mm_stream_error(const struct mm_stream *, const char **code);

#endif
