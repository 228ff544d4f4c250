/* Each operation is a step function that is called until it no longer returns WAITING: at once, then whenever the
 * descriptor is ready for it. TLS may need to write in order to read and the reverse, so a side says what it needs
 * (tls.h), and the one watch listens for the needs of both sides.
 *
 * A peer that sends faster than we read would keep a step busy for ever: after TURN_MAX bytes a step pauses with no
 * needs, and runs again at the next turn of the loop. So does an operation that would be done at once after others that
 * have moved TURN_MAX bytes without a wait: else a script that reads line after line would hold the loop for as long as
 * its peer is fast. */
#include "async/stream.h"

#include "base/bounds.h"
#include "base/buffer.h"
#include "base/watch.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE  (16u << 10)          /* bytes per read; one TLS record */
#define TURN_MAX   (256u << 10)         /* bytes that a step moves before other work gets its turn */
#define OPERATION  1024u                /* an operation counts as this many bytes, however short it is */
#define RETRY      0.02                 /* seconds until a unix socket with a full queue is tried again */

struct side {
	struct mm_stream      *stream;
	enum mm_stream_end   (*step)(struct mm_stream *);       /* NULL: idle */
	int                    needs;           /* mm_readiness; 0: only another turn */
	double                 retry;           /* seconds until that turn */
	bool                   is_done;         /* the operation, but its waiter hears of it at the next turn */
	struct mm_stream_times times;
	double                 until;           /* mm_clock_now() */
	struct mm_timer        timer;
	struct mm_timer        again;
	struct mm_stream_waiter waiter;
};

struct mm_stream {
	struct mm_clock      *clock;            /* borrowed */
	int                   fd;               /* owned; -1: none */
	struct mm_tls_connection   *tls;              /* owned; NULL: plain */
	struct mm_watch       watch;
	struct side           reading, writing;
	bool                  reads_next;       /* the side that goes first when both are ready */
	bool                  is_connected;
	bool                  is_at_end;        /* the peer has closed */
	bool                  was_reset;        /* what comes after this is no clean end, although recv() says so */

	struct sockaddr_storage to;             /* while connecting */
	socklen_t             to_size;

	struct mm_buffer      in;               /* owned */
	size_t                in_at;            /* first byte not taken */
	size_t                in_scanned;       /* no LF before this */
	enum mm_stream_pattern pattern;
	size_t                count;
	size_t                result_size;      /* of the latest receive's result, at in_at */
	size_t                result_skip;      /* bytes to drop with it: result and LF */

	struct mm_buffer      out;              /* owned: bytes that a waiting send still has to send */
	const uint8_t        *from;             /* bytes of the running send: the caller's, then out */
	size_t                from_size;
	size_t                sent;

	struct mm_account    *account;          /* borrowed; may be NULL */
	size_t                declared;         /* for it */
	unsigned long long    received_bytes, sent_bytes;
	/* bytes that operations have moved since the last wait, OPERATION at least each */
	size_t                at_once;
	const char           *code;             /* static */
	char                  text[256];
};

/* ---- errors ---- */

static enum mm_stream_end fail(struct mm_stream *s, enum mm_stream_end end, const char *code, const char *text)
{
	s->code = code;
	snprintf(s->text, sizeof s->text, "%.255s", text);
	return end;
}

/* Uses LuaSocket's words, because its users compare with them. */
static enum mm_stream_end fail_errno(struct mm_stream *s, int error)
{
	switch (error) {
	case ECONNREFUSED:
		return fail(s, MM_STREAM_FAILED, "refused", "connection refused");
	case ECONNRESET:
	case ECONNABORTED:
		s->was_reset = true;
		return fail(s, MM_STREAM_CLOSED, "closed", "closed");
	case EPIPE:             /* at a send: bytes that the peer sent before it closed can still be received */
		return fail(s, MM_STREAM_CLOSED, "closed", "closed");
	case ETIMEDOUT:
		return fail(s, MM_STREAM_TIMEOUT, "timeout", "timeout");
	case EHOSTUNREACH:
	case ENETUNREACH:
		return fail(s, MM_STREAM_FAILED, "unreachable", strerror(error));
	case EACCES:
		return fail(s, MM_STREAM_FAILED, "refused", "permission denied");
	case ENOENT:
		return fail(s, MM_STREAM_FAILED, "refused", strerror(error));
	default:
		return fail(s, MM_STREAM_FAILED, "io", strerror(error));
	}
}

static enum mm_stream_end closed(struct mm_stream *s)
{
	s->is_at_end = true;
	return fail(s, MM_STREAM_CLOSED, "closed", "closed");
}

static enum mm_stream_end out_of_memory(struct mm_stream *s)
{
	return fail(s, MM_STREAM_FAILED, "memory", "out of memory");
}

static enum mm_stream_end not_connected(struct mm_stream *s)
{
	return fail(s, MM_STREAM_CLOSED, "closed", "closed");
}

/* ---- operations ---- */

static int needs_of(const struct side *side)
{
	return side->step != NULL ? side->needs : 0;
}

static void listen_for_needs(struct mm_stream *s)
{
	int needs = needs_of(&s->reading) | needs_of(&s->writing);
	if (needs == 0 || s->fd < 0)
		mm_watch_stop(&s->watch);
	else
		mm_watch_start(&s->watch, s->fd, needs);
}

static void unread_result(struct mm_stream *s)
{
	s->result_size = s->result_skip = 0;
	s->in_scanned = s->in_at;
}

static void stop(struct side *side)
{
	if (side->step == NULL)
		return;
	side->step = NULL;
	if (side->is_done && side == &side->stream->reading)    /* nobody takes the result: the next receive finds it */
		unread_result(side->stream);
	side->is_done = false;
	mm_timer_stop(&side->timer);
	mm_timer_stop(&side->again);
	listen_for_needs(side->stream);
}

static void arm(struct side *side)
{
	double left = side->until - mm_clock_now();
	side->stream->at_once = 0;
	if (side->times.pause >= 0 && side->times.pause < left)
		left = side->times.pause;
	if (isfinite(left))
		mm_timer_start(&side->timer, left);
	if (side->needs == 0)
		mm_timer_start(&side->again, side->retry);
	listen_for_needs(side->stream);
}

static enum mm_stream_end end_next_turn(struct side *side)
{
	side->needs = 0;
	side->retry = 0;
	side->is_done = true;
	return MM_STREAM_WAITING;
}

/* An operation is done at once. True: it must wait for the next turn of the loop before it may say so. */
static bool has_had_its_turn(struct mm_stream *s, unsigned long long moved, struct mm_stream_times times)
{
	s->at_once += moved > OPERATION ? (size_t)moved : OPERATION;
	return s->at_once > TURN_MAX && times.pause != 0 && times.total != 0;
}

static enum mm_stream_end begin(struct side *side, enum mm_stream_end (*step)(struct mm_stream *),
	struct mm_stream_times times, struct mm_stream_waiter waiter)
{
	struct mm_stream *s = side->stream;
	side->step = step;
	side->times = times;
	side->waiter = waiter;
	side->until = times.total >= 0 ? mm_clock_now() + times.total : INFINITY;
	unsigned long long before = s->received_bytes + s->sent_bytes;
	enum mm_stream_end end = step(s);
	if (end == MM_STREAM_DONE && has_had_its_turn(s, s->received_bytes + s->sent_bytes - before, times))
		end = end_next_turn(side);
	if (end == MM_STREAM_WAITING && (times.pause == 0 || times.total == 0))
		end = fail(s, MM_STREAM_TIMEOUT, "timeout", "timeout");
	if (end == MM_STREAM_WAITING)
		arm(side);
	else
		side->step = NULL;
	return end;
}

/* Call it last in a callback: the waiter may free the stream. */
static void finish(struct side *side, enum mm_stream_end end)
{
	struct mm_stream_waiter waiter = side->waiter;
	if (side->is_done)
		end = MM_STREAM_DONE;
	side->is_done = false;
	stop(side);
	waiter.done(waiter.self, end);
}

static void go_on(struct side *side)
{
	enum mm_stream_end end = side->is_done ? MM_STREAM_DONE : side->step(side->stream);
	if (end == MM_STREAM_WAITING)
		arm(side);
	else
		finish(side, end);
}

static void on_ready(struct mm_watch *watch, int ready)
{
	struct mm_stream *s = MM_OWNER_OF(watch, struct mm_stream, watch);
	struct side *first = s->reads_next ? &s->reading : &s->writing;
	struct side *second = s->reads_next ? &s->writing : &s->reading;
	s->reads_next = !s->reads_next;
	/* one side per turn: afterwards the stream may be gone. The watch fires again for the other side. */
	if (needs_of(first) & ready)
		go_on(first);
	else if (needs_of(second) & ready)
		go_on(second);
}

static void on_again(struct mm_timer *timer)
{
	go_on(MM_OWNER_OF(timer, struct side, again));
}

static void on_time_over(struct mm_timer *timer)
{
	struct side *side = MM_OWNER_OF(timer, struct side, timer);
	finish(side, fail(side->stream, MM_STREAM_TIMEOUT, "timeout", "timeout"));
}

static enum mm_stream_end wait_for(struct side *side, int needs)
{
	side->needs = needs;
	side->retry = 0;
	return MM_STREAM_WAITING;
}

static enum mm_stream_end busy(struct mm_stream *s, const char *text)
{
	return fail(s, MM_STREAM_BUSY, "busy", text);
}

/* ---- life ---- */

static void init_side(struct side *side, struct mm_stream *s)
{
	side->stream = s;
	mm_timer_init(&side->timer, s->clock, on_time_over);
	mm_timer_init(&side->again, s->clock, on_again);
}

struct mm_stream *mm_stream_new(struct mm_clock *clock)
{
	struct mm_stream *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->clock = clock;
	s->fd = -1;
	init_side(&s->reading, s);
	init_side(&s->writing, s);
	mm_watch_init(&s->watch, clock, on_ready);
	not_connected(s);
	return s;
}

void mm_stream_disconnect(struct mm_stream *s)
{
	stop(&s->reading);
	stop(&s->writing);
	mm_watch_stop(&s->watch);
	mm_tls_connection_free(s->tls);
	s->tls = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->is_connected = s->is_at_end = s->was_reset = false;
	mm_buffer_clear(&s->in);
	s->in_at = s->in_scanned = s->result_size = s->result_skip = 0;
}

static void declare(struct mm_stream *s)
{
	if (s->account != NULL)
		mm_account_declare(s->account, &s->declared, s->in.capacity + s->out.capacity);
}

void mm_stream_charge(struct mm_stream *s, struct mm_account *account)
{
	if (s->account != NULL)
		mm_account_declare(s->account, &s->declared, 0);
	s->account = account;
	declare(s);
}

void mm_stream_free(struct mm_stream *s)
{
	if (s == NULL)
		return;
	mm_stream_disconnect(s);
	mm_buffer_free(&s->in);
	mm_buffer_free(&s->out);
	declare(s);
	free(s);
}

/* ---- connecting ---- */

static enum mm_stream_end connected(struct mm_stream *s)
{
	s->is_connected = true;
	return MM_STREAM_DONE;
}

static enum mm_stream_end step_connected(struct mm_stream *s)
{
	int error = 0;
	socklen_t size = sizeof error;
	getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error == 0 ? connected(s) : fail_errno(s, error);
}

static enum mm_stream_end step_connect(struct mm_stream *s)
{
	if (connect(s->fd, (struct sockaddr *)&s->to, s->to_size) == 0 || errno == EISCONN)
		return connected(s);
	if (errno == EINPROGRESS || errno == EINTR || errno == EALREADY) {
		s->writing.step = step_connected;
		return wait_for(&s->writing, MM_WRITABLE);
	}
	if (errno != EAGAIN)
		return fail_errno(s, errno);
	wait_for(&s->writing, 0);       /* a unix socket whose queue is full; no event reports that there is room */
	s->writing.retry = RETRY;
	return MM_STREAM_WAITING;
}

enum mm_stream_end mm_stream_connect(struct mm_stream *s, const struct sockaddr *to, size_t to_size,
	const struct sockaddr *from, size_t from_size, struct mm_stream_times times, struct mm_stream_waiter waiter)
{
	const int on = 1;
	if (s->reading.step != NULL || s->writing.step != NULL)
		return busy(s, "busy connecting");
	mm_stream_disconnect(s);
	s->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return fail_errno(s, errno);
	if (to->sa_family != AF_UNIX)
		setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);    /* requests are small, and
		                                                                 * the peer waits for them */
	if (from != NULL && bind(s->fd, from, (socklen_t)from_size) != 0)
		return fail_errno(s, errno);
	memcpy(&s->to, to, to_size);
	s->to_size = (socklen_t)to_size;
	return begin(&s->writing, step_connect, times, waiter);
}

/* ---- TLS ---- */

/* Turns the result of a TLS step into that of its side. */
static enum mm_stream_end after_tls(struct side *side, enum mm_tls_step step, const struct mm_fault *why)
{
	switch (step) {
	case MM_TLS_DONE:
		return MM_STREAM_DONE;
	case MM_TLS_WANTS_READ:
		return wait_for(side, MM_READABLE);
	case MM_TLS_WANTS_WRITE:
		return wait_for(side, MM_WRITABLE);
	case MM_TLS_CLOSED:
		return closed(side->stream);
	case MM_TLS_RESET:
		return fail_errno(side->stream, ECONNRESET);
	default:
		return fail(side->stream, MM_STREAM_FAILED, "tls", why->text);
	}
}

static enum mm_stream_end step_handshake(struct mm_stream *s)
{
	struct mm_fault why;
	return after_tls(&s->writing, mm_tls_handshake(s->tls, &why), &why);
}

enum mm_stream_end mm_stream_secure(struct mm_stream *s, struct mm_tls *tls, const char *name, const char *peer,
	struct mm_stream_times times, struct mm_stream_waiter waiter)
{
	struct mm_fault why;
	if (s->reading.step != NULL || s->writing.step != NULL)
		return busy(s, "busy");
	if (!s->is_connected)
		return not_connected(s);
	if (s->tls != NULL)
		return fail(s, MM_STREAM_FAILED, "tls", "TLS is already on");
	if (mm_stream_has_unread(s))    /* sent before the handshake, possibly by an attacker (as in CVE-2011-0411) */
		return fail(s, MM_STREAM_FAILED, "tls", "the peer sent plain text after it had agreed to TLS");
	s->tls = mm_tls_connection_new(tls, s->fd, name, peer, &why);
	if (s->tls == NULL)
		return fail(s, MM_STREAM_FAILED, "tls", why.text);
	return begin(&s->writing, step_handshake, times, waiter);
}

/* ---- sending ---- */

static enum mm_stream_end write_some(struct mm_stream *s, size_t *moved)
{
	if (s->tls != NULL) {
		struct mm_fault why;
		return after_tls(&s->writing, mm_tls_write(s->tls, s->from, s->from_size, moved, &why), &why);
	}
	ssize_t n = send(s->fd, s->from, s->from_size, MSG_NOSIGNAL);
	if (n < 0 && errno == EINTR)
		return MM_STREAM_DONE;
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? wait_for(&s->writing, MM_WRITABLE)
			: fail_errno(s, errno);
	*moved = (size_t)n;
	return MM_STREAM_DONE;
}

static enum mm_stream_end step_send(struct mm_stream *s)
{
	for (size_t turn = 0; s->from_size > 0;) {
		size_t moved = 0;
		if (turn >= TURN_MAX)
			return wait_for(&s->writing, 0);
		enum mm_stream_end end = write_some(s, &moved);
		if (end != MM_STREAM_DONE)
			return end;
		s->from += moved;
		s->from_size -= moved;
		s->sent += moved;
		s->sent_bytes += moved;
		turn += moved;
	}
	mm_buffer_clear(&s->out);
	mm_buffer_trim(&s->out, READ_SIZE);
	declare(s);
	return MM_STREAM_DONE;
}

enum mm_stream_end mm_stream_send(struct mm_stream *s, const void *bytes, size_t size, struct mm_stream_times times,
	struct mm_stream_waiter waiter)
{
	if (s->writing.step != NULL)
		return busy(s, "busy writing");
	s->sent = 0;
	if (!s->is_connected)
		return not_connected(s);
	s->from = bytes;
	s->from_size = size;
	enum mm_stream_end end = begin(&s->writing, step_send, times, waiter);
	if (end != MM_STREAM_WAITING)
		return end;
	mm_buffer_clear(&s->out);
	if (mm_account_allows(s->account, s->from_size))
		mm_buffer_append(&s->out, s->from, s->from_size);
	declare(s);
	if (s->out.size < s->from_size) {
		mm_buffer_free(&s->out);
		declare(s);
		stop(&s->writing);
		return out_of_memory(s);
	}
	s->from = s->out.bytes;
	return MM_STREAM_WAITING;
}

size_t mm_stream_sent(const struct mm_stream *s)
{
	return s->sent;
}

/* ---- receiving ---- */

/* Bytes received and not taken. */
static size_t unread(const struct mm_stream *s)
{
	return s->in.size - s->in_at;
}

/* Drops the result of the latest receive, and makes room when that is cheap. */
static void settle(struct mm_stream *s)
{
	s->in_at += s->result_skip;
	s->result_size = s->result_skip = 0;
	if (s->in_at == s->in.size) {
		mm_buffer_clear(&s->in);
		mm_buffer_trim(&s->in, READ_SIZE);
		s->in_at = 0;
	} else if (s->in_at > s->in.size / 2) {
		mm_buffer_consume(&s->in, s->in_at);
		s->in_at = 0;
	}
	declare(s);
	s->in_scanned = s->in_at;
}

/* DONE: at least one more byte has been received. */
static enum mm_stream_end read_some(struct mm_stream *s)
{
	size_t moved = 0;
	if (s->is_at_end)
		return closed(s);
	uint8_t *to = mm_account_allows(s->account, READ_SIZE) ? mm_buffer_reserve(&s->in, READ_SIZE) : NULL;
	declare(s);
	if (to == NULL)
		return out_of_memory(s);
	if (s->tls != NULL) {
		struct mm_fault why;
		enum mm_stream_end end = after_tls(&s->reading, mm_tls_read(s->tls, to, READ_SIZE, &moved, &why), &why);
		if (end != MM_STREAM_DONE)
			return end;
	} else {
		ssize_t n;
		do {
			n = recv(s->fd, to, READ_SIZE, 0);
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? wait_for(&s->reading, MM_READABLE)
				: fail_errno(s, errno);
		if (n == 0)
			return s->was_reset ? fail_errno(s, ECONNRESET) : closed(s);
		moved = (size_t)n;
	}
	s->in.size += moved;
	s->received_bytes += moved;
	return MM_STREAM_DONE;
}

static bool gives(struct mm_stream *s, size_t size, size_t skip)
{
	s->result_size = size;
	s->result_skip = skip;
	return true;
}

/* Do the received bytes satisfy the receive? */
static bool match(struct mm_stream *s)
{
	size_t have = unread(s);
	const uint8_t *start = s->in.bytes + s->in_at;
	switch (s->pattern) {
	case MM_STREAM_LINE: {
		size_t left = s->in.size - s->in_scanned;
		const uint8_t *lf = left > 0 ? memchr(s->in.bytes + s->in_scanned, '\n', left) : NULL;
		s->in_scanned = s->in.size;
		return lf != NULL && gives(s, (size_t)(lf - start), (size_t)(lf - start) + 1);
	}
	case MM_STREAM_EXACT:
		return have >= s->count && gives(s, s->count, s->count);
	case MM_STREAM_ANY:
		return have > 0 && gives(s, have < s->count ? have : s->count, have < s->count ? have : s->count);
	default:
		return false;
	}
}

static enum mm_stream_end step_receive(struct mm_stream *s)
{
	for (size_t turn = 0; !match(s);) {
		size_t before = unread(s);
		if (turn >= TURN_MAX)
			return wait_for(&s->reading, 0);
		if (before >= MM_STREAM_RECEIVE_MAX)
			return fail(s, MM_STREAM_FAILED, "limit", "the peer sends more than a script may take at once");
		enum mm_stream_end end = read_some(s);
		/* a reset is no end: what came may be a part */
		if (end == MM_STREAM_CLOSED && s->is_at_end && s->pattern == MM_STREAM_ALL && before > 0)
			return gives(s, before, before) ? MM_STREAM_DONE : end;
		if (end != MM_STREAM_DONE)
			return end;
		turn += unread(s) - before;
	}
	return MM_STREAM_DONE;
}

enum mm_stream_end mm_stream_receive(struct mm_stream *s, enum mm_stream_pattern pattern, size_t count,
	struct mm_stream_times times, struct mm_stream_waiter waiter)
{
	if (s->reading.step != NULL)
		return busy(s, "busy reading");
	settle(s);
	s->pattern = pattern;
	s->count = count;
	if (!s->is_connected)
		return not_connected(s);
	return begin(&s->reading, step_receive, times, waiter);
}

struct mm_text mm_stream_received(struct mm_stream *s)
{
	if (s->result_skip == 0 && s->reading.step == NULL)     /* it ended early: all received bytes
	                                                         * are the partial result */
		gives(s, unread(s), unread(s));
	return (struct mm_text){ (const char *)s->in.bytes + s->in_at, s->result_size };
}

/* ---- readiness ---- */

static enum mm_stream_end step_readable(struct mm_stream *s)
{
	return unread(s) > 0 ? MM_STREAM_DONE : read_some(s);
}

enum mm_stream_end mm_stream_await_readable(struct mm_stream *s, struct mm_stream_times times,
	struct mm_stream_waiter waiter)
{
	if (s->reading.step != NULL)
		return busy(s, "busy reading");
	settle(s);
	if (!s->is_connected)
		return not_connected(s);
	return begin(&s->reading, step_readable, times, waiter);
}

static enum mm_stream_end step_writable(struct mm_stream *s)
{
	struct pollfd look = { .fd = s->fd, .events = POLLOUT };
	return poll(&look, 1, 0) > 0 ? MM_STREAM_DONE : wait_for(&s->writing, MM_WRITABLE);
}

enum mm_stream_end mm_stream_await_writable(struct mm_stream *s, struct mm_stream_times times,
	struct mm_stream_waiter waiter)
{
	if (s->writing.step != NULL)
		return busy(s, "busy writing");
	if (!s->is_connected)
		return not_connected(s);
	return begin(&s->writing, step_writable, times, waiter);
}

/* ---- the rest ---- */

void mm_stream_stop_reading(struct mm_stream *s)
{
	stop(&s->reading);
}

void mm_stream_stop_writing(struct mm_stream *s)
{
	stop(&s->writing);
}

bool mm_stream_is_reading(const struct mm_stream *s)
{
	return s->reading.step != NULL;
}

bool mm_stream_is_writing(const struct mm_stream *s)
{
	return s->writing.step != NULL;
}

bool mm_stream_has_unread(const struct mm_stream *s)
{
	return s->in.size - s->in_at > s->result_skip;
}

bool mm_stream_is_quiet(struct mm_stream *s)
{
	if (!s->is_connected || s->is_at_end || s->reading.step != NULL || s->writing.step != NULL
	    || mm_stream_has_unread(s))
		return false;
	settle(s);
	return read_some(s) == MM_STREAM_WAITING;       /* TLS tickets are read here and mean nothing */
}

bool mm_stream_is_connected(const struct mm_stream *s)
{
	return s->is_connected;
}

bool mm_stream_shut_down(struct mm_stream *s, bool reading, bool writing)
{
	int how = reading && writing ? SHUT_RDWR : reading ? SHUT_RD : SHUT_WR;
	if (s->fd < 0)
		return false;
	return shutdown(s->fd, how) == 0;
}

int mm_stream_descriptor(const struct mm_stream *s)
{
	return s->fd;
}

struct mm_tls_connection *mm_stream_tls(const struct mm_stream *s)
{
	return s->tls;
}

unsigned long long mm_stream_received_bytes(const struct mm_stream *s)
{
	return s->received_bytes;
}

unsigned long long mm_stream_sent_bytes(const struct mm_stream *s)
{
	return s->sent_bytes;
}

const char *mm_stream_error(const struct mm_stream *s, const char **code)
{
	*code = s->code;
	return s->text;
}
