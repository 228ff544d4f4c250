#include "io/connection.h"

#include "base/bounds.h"
#include "base/clock.h"
#include "base/list.h"
#include "io/outcome.h"

#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STARVED_LOOK  0.01              /* seconds until another look at a packet that did not fit ... */
#define STARVED_NEWLY 0.1               /* ... for so long */

/* What an MTA has not taken yet. */
struct unsent {
	ev_io                  writable;        /* active as long as this exists */
	struct mm_buffer       bytes;
	size_t                 at;              /* how many of them it has taken since */
	ev_tstamp              since;           /* its time to read began */
	size_t                 taken;           /* bytes it has read in that time */
};

struct mm_connection {
	ev_io                  readable;
	struct mm_connections *all;             /* borrowed */
	struct mm_connection  *next, *previous;
	struct mm_connection  *next_more, *previous_more;       /* of all->more_first; borrowed */
	struct mm_engine      *engine;          /* owned */
	struct mm_shadow      *shadow;          /* owned; NULL: it has none */
	struct mm_record      *record;          /* owned; NULL: not recorded */
	int                    fd;              /* owned; -1 when the MTA is gone while a last handler still runs */
	bool                   is_tcp : 1;
	bool                   is_wide : 1;     /* its socket takes MM_SEND_WIDE bytes */
	bool                   is_feeding : 1;
	bool                   is_broken : 1;   /* no more bytes can go out */
	bool                   is_closing : 1;  /* close when all is written */
	bool                   is_in_more : 1;
	struct unsent         *unsent;          /* owned; NULL: the MTA has taken all */
	struct mm_admitted     admitted;        /* given back at the end */
	/* loop times; those of a state that does not hold mean nothing */
	ev_tstamp              active_at;       /* the last whole packet or answer; until the offer: accepted */
	ev_tstamp              partial_at;      /* the first byte of a packet that has not ended; 0: there is none */
	ev_tstamp              starved_at;      /* since when it is not read for lack of memory; 0: it is read */
	struct mm_account     *account;         /* borrowed: its session's */
	size_t                 declared;        /* for it, besides what the engine declares */
};

static struct ev_loop *loop_of(const struct mm_connections *all)
{
	return all->loop;
}

static void on_more(struct ev_loop *, ev_timer *, int events);
static void on_soon(struct ev_loop *, ev_timer *, int events);

bool mm_connections_init(struct mm_connections *all, void *loop, struct mm_log *log)
{
	ev_timer *more = malloc(sizeof *more), *soon = malloc(sizeof *soon);
	*all = (struct mm_connections){ .loop = loop, .log = log, .logs_messages = true };
	if (more == NULL || soon == NULL) {
		free(more);
		free(soon);
		return false;
	}
	ev_timer_init(more, on_more, 0., 0.);
	ev_timer_init(soon, on_soon, STARVED_LOOK, 0.);
	more->data = soon->data = all;
	all->more = more;
	all->soon = soon;
	all->read_buffer = malloc(MM_READ_SIZE);
	return all->read_buffer != NULL;        /* mm_connections_free() frees the timers in any case */
}

/* ---- connections that have more to do ---- */

static void leave_more(struct mm_connection *c)
{
	struct mm_connections *all = c->all;
	if (!c->is_in_more)
		return;
	c->is_in_more = false;
	if (c->previous_more != NULL)
		c->previous_more->next_more = c->next_more;
	else
		all->more_first = c->next_more;
	if (c->next_more != NULL)
		c->next_more->previous_more = c->previous_more;
	else
		all->more_last = c->previous_more;
}

static void join_more(struct mm_connection *c)
{
	struct mm_connections *all = c->all;
	if (c->is_in_more)
		return;
	c->is_in_more = true;
	c->next_more = NULL;
	c->previous_more = all->more_last;
	if (all->more_last != NULL)
		all->more_last->next_more = c;
	else
		all->more_first = c;
	all->more_last = c;
	if (!ev_is_active((ev_timer *)all->more))
		ev_timer_start(loop_of(all), all->more);
}

/* ---- the end of a connection ---- */

static void drop_unsent(struct mm_connection *c)
{
	if (c->unsent == NULL)
		return;
	ev_io_stop(loop_of(c->all), &c->unsent->writable);
	mm_buffer_free(&c->unsent->bytes);
	free(c->unsent);
	c->unsent = NULL;
}

static void close_socket(struct mm_connection *c)
{
	if (c->fd < 0)
		return;
	ev_io_stop(loop_of(c->all), &c->readable);
	drop_unsent(c);
	close(c->fd);
	c->fd = -1;
}

static void connection_free(struct mm_connection *c)
{
	struct mm_connections *all = c->all;
	close_socket(c);
	leave_more(c);
	MM_LIST_REMOVE(all->first, c);
	all->count--;
	struct mm_admitted admitted = c->admitted;
	mm_record_end(c->record);
	mm_account_declare(c->account, &c->declared, 0);
	mm_engine_free(c->engine);
	if (c->shadow != NULL)
		mm_shadow_leave(c->shadow);
	free(c);
	if (all->on_close != NULL)
		all->on_close(all->self, &admitted);
}

void mm_connections_free(struct mm_connections *all)
{
	all->on_close = NULL;
	while (all->first != NULL)
		connection_free(all->first);
	mm_engine_shared_free(&all->engines);
	mm_buffer_free(&all->out);
	mm_recorder_free(all->recorder);
	all->recorder = NULL;
	free(all->read_buffer);
	all->read_buffer = NULL;
	if (all->more != NULL) {
		ev_timer_stop(loop_of(all), all->more);
		ev_timer_stop(loop_of(all), all->soon);
	}
	free(all->more);
	free(all->soon);
	all->more = all->soon = NULL;
}

static void record(struct mm_connection *c, char from, const void *bytes, size_t n)
{
	if (c->record == NULL)
		return;
	if (!mm_account_fits(c->account, n))
		mm_record_cut(c->record);       /* mail goes first */
	mm_record_bytes(c->record, from, bytes, n);
}

/* ---- writing ---- */

static size_t unsent_size(const struct mm_connection *c)
{
	return c->unsent != NULL ? c->unsent->bytes.size - c->unsent->at : 0;
}

/* With a larger send buffer, up to net.core.wmem_max, a new body of megabytes wakes the MTA and us less often. The
 * kernel enlarges the buffers of TCP by itself, and stops doing so once a size is set. */
static void widen(struct mm_connection *c)
{
	if (c->is_tcp || c->is_wide)
		return;
	setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &(int){ MM_SEND_WIDE }, sizeof(int));
	c->is_wide = true;
}

static void on_writable(struct ev_loop *, ev_io *, int events);

/* NULL: out of memory. */
static struct unsent *begin_unsent(struct mm_connection *c)
{
	struct unsent *u = calloc(1, sizeof *u);
	if (u == NULL)
		return NULL;
	u->since = ev_now(loop_of(c->all));
	ev_io_init(&u->writable, on_writable, c->fd, EV_WRITE);
	u->writable.data = c;
	ev_io_start(loop_of(c->all), &u->writable);
	return u;
}

/* Keeps the shared buffer's bytes from `from` on. Does not copy many bytes, such as a new body of megabytes: the
 * connection takes the buffer, and the next connection that writes gets a new one. */
static void keep_unsent(struct mm_connection *c, size_t from)
{
	struct mm_buffer *out = &c->all->out;
	bool begins = c->unsent == NULL;
	if (begins && (c->unsent = begin_unsent(c)) == NULL) {
		c->is_broken = true;
		return;
	}
	struct unsent *u = c->unsent;
	if (begins && out->size - from > MM_OUTPUT_KEEP) {
		u->bytes = *out;
		u->at = from;
		*out = (struct mm_buffer){ 0 };
		widen(c);
	} else {
		mm_buffer_append(&u->bytes, out->bytes + from, out->size - from);
	}
	if (u->bytes.failed)
		c->is_broken = true;            /* half a reply is worse than none: without one the MTA tempfails */
}

/* Sends what the engine has appended to the shared buffer, or keeps it. The buffer is empty afterwards. */
static void flush(struct mm_connection *c)
{
	struct mm_buffer *out = &c->all->out;
	if (out->failed) {
		c->is_broken = true;
		mm_buffer_free(out);
	}
	if (out->size == 0)
		return;
	record(c, MM_RECORD_FROM_US, out->bytes, out->size);
	if (c->fd >= 0 && !c->is_broken) {
		ssize_t n = 0;
		if (c->unsent == NULL) {
			n = send(c->fd, out->bytes, out->size, MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN && errno != EINTR)
				c->is_broken = true;
			if (n < 0)
				n = 0;
		}
		if (!c->is_broken && (size_t)n < out->size)
			keep_unsent(c, (size_t)n);
		c->active_at = ev_now(loop_of(c->all));
	}
	mm_buffer_clear(out);
	mm_buffer_trim(out, MM_OUTPUT_KEEP);
}

static void declare(struct mm_connection *c)
{
	mm_account_declare(c->account, &c->declared, (c->unsent != NULL ? c->unsent->bytes.capacity : 0)
		+ (c->record != NULL ? mm_record_held(c->record) : 0));
}

/* An MTA that leaves its answers unread gets no further ones meanwhile. */
static bool reads_its_answers(const struct mm_connection *c)
{
	return unsent_size(c) < MM_PENDING_MAX;
}

/* Reads while there is room for more. */
static void watch_input(struct mm_connection *c)
{
	bool wants = mm_engine_wants_input(c->engine) && reads_its_answers(c);
	if (c->fd < 0 || wants == ev_is_active(&c->readable))
		return;
	if (wants)
		ev_io_start(loop_of(c->all), &c->readable);
	else
		ev_io_stop(loop_of(c->all), &c->readable);
}

/* Packets have been handled. Before its offer an MTA gets no more time for anything. */
static void note_progress(struct mm_connection *c)
{
	c->partial_at = 0;
	if (mm_engine_session(c->engine)->is_negotiated)
		c->active_at = ev_now(loop_of(c->all));
}

/* Does the MTA owe the rest of a packet? While we have more to do, what it has sent after that is not looked at. */
static void note_partial(struct mm_connection *c)
{
	bool is_partial = mm_engine_pending(c->engine) > 0 && !mm_engine_is_waiting(c->engine)
		&& !mm_engine_has_more(c->engine) && c->starved_at == 0;
	if (!is_partial)
		c->partial_at = 0;
	else if (c->partial_at == 0)
		c->partial_at = ev_now(loop_of(c->all));
}

/* Called after every event: writes, then closes the connection if this was the end. The connection
 * may be gone afterwards. */
static void settle(struct mm_connection *c)
{
	flush(c);
	declare(c);
	if (c->is_broken && !mm_engine_is_finished(c->engine)) {
		c->is_broken = false;           /* once */
		close_socket(c);
		mm_engine_end(c->engine, MM_CANCEL_DISCONNECT);
		mm_buffer_clear(&c->all->out);
	}
	if (!mm_engine_is_finished(c->engine)) {
		note_partial(c);
		if (mm_engine_has_more(c->engine) && reads_its_answers(c))
			join_more(c);
		watch_input(c);
		mm_engine_rest(c->engine);
		return;
	}
	if (c->fd >= 0 && c->unsent != NULL && !c->is_broken) {
		c->is_closing = true;
		ev_io_stop(loop_of(c->all), &c->readable);
		return;
	}
	connection_free(c);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events)
{
	struct mm_connection *c = w->data;
	struct unsent *u = c->unsent;
	(void)events;
	ssize_t n = send(c->fd, u->bytes.bytes + u->at, unsent_size(c), MSG_NOSIGNAL);
	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return;
		c->is_broken = true;
		drop_unsent(c);
		settle(c);
		return;
	}
	c->active_at = ev_now(loop);
	u->at += (size_t)n;
	u->taken += (size_t)n;
	if ((double)u->taken >= MM_WRITE_RATE * c->all->times.write) {
		u->since = ev_now(loop);
		u->taken = 0;
	}
	if (unsent_size(c) > 0)
		return;
	drop_unsent(c);
	declare(c);
	settle(c);
}

/* ---- reading ---- */

static bool is_newly_starved(const struct mm_connection *c)
{
	return c->starved_at != 0 && ev_now(loop_of(c->all)) - c->starved_at < STARVED_NEWLY;
}

/* Its bytes stay in the kernel. We look again soon, because the rest of a packet is often on its way; after a while
 * only mm_connections_sweep() does. */
static void starve(struct mm_connection *c)
{
	struct mm_connections *all = c->all;
	ev_timer *soon = all->soon;
	ev_io_stop(loop_of(all), &c->readable);
	if (c->starved_at == 0)
		c->starved_at = ev_now(loop_of(all));
	all->engines.held.refusals++;
	if (!is_newly_starved(c) || ev_is_active(soon))
		return;
	ev_timer_set(soon, STARVED_LOOK, 0.);
	ev_timer_start(loop_of(all), soon);
}

static void on_soon(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct mm_connections *all = timer->data;
	(void)loop;
	(void)events;
	for (struct mm_connection *c = all->first; c != NULL; c = c->next)
		if (is_newly_starved(c))
			watch_input(c);
}

/* Reads, when memory is short, whole packets, which are handled at once: if they bring something to keep that does not
 * fit, the answer is a temporary failure, and that gives memory back. A part of a packet is taken only if it fits. */
static ssize_t read_whole(struct mm_connection *c)
{
	ssize_t n = recv(c->fd, c->all->read_buffer, MM_READ_SIZE, MSG_PEEK);
	if (n <= 0)
		return n;
	size_t size = mm_engine_complete(c->engine, c->all->read_buffer, (size_t)n);
	if (size == 0 && mm_account_fits(c->account, (size_t)n))
		size = (size_t)n;
	if (size > 0)
		return recv(c->fd, c->all->read_buffer, size, 0);
	starve(c);
	errno = EAGAIN;
	return -1;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct mm_connection *c = w->data;
	struct mm_fault why;
	(void)loop;
	(void)events;
	ssize_t n = mm_account_fits(c->account, MM_READ_SIZE) ? recv(c->fd, c->all->read_buffer, MM_READ_SIZE, 0)
		: read_whole(c);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	c->is_feeding = true;
	if (n <= 0) {
		/* A closed peer reads nothing more. No MTA half-closes, so a shutdown is treated as a close. */
		close_socket(c);
		mm_engine_end(c->engine, MM_CANCEL_DISCONNECT);
		mm_buffer_clear(&c->all->out);
	} else {
		size_t before = mm_engine_pending(c->engine);
		c->starved_at = 0;
		record(c, MM_RECORD_FROM_MTA, c->all->read_buffer, (size_t)n);
		mm_engine_feed(c->engine, c->all->read_buffer, (size_t)n, &why);
		/* only whole packets count: a peer that sends a byte a minute gets no more time for it */
		if (mm_engine_pending(c->engine) < before + (size_t)n)
			note_progress(c);
		if (c->shadow != NULL)
			mm_shadow_feed(c->shadow, c->all->read_buffer, (size_t)n);
	}
	c->is_feeding = false;
	/* Sendmail writes macros and command as two packets. Its kernel holds back the second until ours acknowledges
	 * the first, and ours would delay that by 40 ms when we send no answer. */
	if (c->is_tcp && c->fd >= 0 && c->all->out.size == 0)
		setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 1 }, sizeof(int));
	settle(c);
}

/* Each connection in turn; those that still have more then stand at the end. Sessions without packets in stock are
 * served between two calls, so all turns together have a limit, too. */
static void on_more(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct mm_connections *all = timer->data;
	struct mm_connection *c, *last = all->more_last;
	uint64_t began = mm_clock_ticks(), most = mm_profile_share(all->profile);
	(void)events;
	for (bool is_last = false; !is_last && (c = all->more_first) != NULL && mm_clock_ticks() - began <= most;) {
		struct mm_fault why;
		is_last = c == last;
		leave_more(c);
		c->is_feeding = true;
		mm_engine_go_on(c->engine, &why);
		c->is_feeding = false;
		note_progress(c);
		settle(c);
	}
	if (all->more_first != NULL && !ev_is_active(timer))
		ev_timer_start(loop, timer);
}

/* ---- calls from the engine ---- */

static void on_wake(void *self)
{
	struct mm_connection *c = self;
	if (c->is_feeding) {
		flush(c);               /* progress from inside a handler; feed() does the rest */
	} else if (mm_engine_is_waiting(c->engine)) {
		/* Progress, perhaps from inside a handler: its session must not end while it runs. */
		flush(c);
		declare(c);
		if (c->is_broken && c->fd >= 0)
			ev_feed_event(loop_of(c->all), &c->readable, EV_READ);
		else
			watch_input(c);
	} else {
		note_progress(c);
		settle(c);
	}
}

static void on_report(void *self, const struct mm_outcome_report *r)
{
	struct mm_connection *c = self;
	mm_tell_outcome(c->all->desk, mm_engine_session(c->engine), r);
	mm_count_outcome(c->all->row, r);
	if (c->all->logs_messages)
		mm_log_outcome(c->all->log, c->all->profile, r);
	if (c->shadow != NULL)
		mm_shadow_report(c->shadow, r);
}

static void on_aside(void *self, const struct mm_outcome_report *r)
{
	struct mm_connection *c = self;
	mm_tell_aside(c->all->desk, mm_engine_session(c->engine), r);
	if (c->all->logs_messages)
		mm_log_aside(c->all->log, r);
	if (c->shadow != NULL)
		mm_shadow_aside(c->shadow, r);
}

static void on_edits(void *self)
{
	struct mm_connection *c = self;
	if (c->shadow != NULL)
		mm_shadow_edits(c->shadow, mm_engine_session(c->engine));
}

static void on_fault(void *self, const struct mm_fault *why)
{
	struct mm_connection *c = self;
	mm_log_fault(c->all->log, mm_engine_session(c->engine), why);
}

static void on_note(void *self, const char *text)
{
	struct mm_connection *c = self;
	mm_log_mta(c->all->log, mm_engine_session(c->engine), text);
}

/* ---- the beginning ---- */

bool mm_connection_open(struct mm_connections *all, int fd, const char *peer, const char *milter,
	struct mm_figures *figures, const struct mm_admitted *admitted, struct mm_runtime runtime,
	const struct mm_shadow_of *shadow)
{
	struct mm_connection *c = calloc(1, sizeof *c);
	if (c == NULL) {
		close(fd);
		return false;
	}
	static const struct mm_engine_owner ops = { on_wake, on_report, on_fault, on_aside, on_note, on_edits };
	c->engine = mm_engine_new(&all->engines, runtime, &ops, c, &all->out);
	if (c->engine == NULL) {
		free(c);
		close(fd);
		return false;
	}
	if (peer != NULL)
		mm_engine_session(c->engine)->peer = strdup(peer);
	mm_engine_session(c->engine)->milter = milter;
	mm_engine_session(c->engine)->figures = figures;
	if (shadow != NULL)
		c->shadow = mm_shadow_open(shadow, mm_engine_session(c->engine),
			mm_joint_wanted(mm_engine_runtime_session(c->engine)));
	c->account = &mm_engine_session(c->engine)->account;
	c->all = all;
	c->fd = fd;
	c->is_tcp = peer != NULL;
	c->admitted = *admitted;
	c->record = mm_record_begin(all->recorder, mm_engine_session(c->engine)->id);
	c->active_at = ev_now(loop_of(all));
	MM_LIST_PUSH(all->first, c);
	all->count++;
	ev_io_init(&c->readable, on_readable, fd, EV_READ);
	c->readable.data = c;
	ev_io_start(loop_of(all), &c->readable);
	return true;
}

/* ---- times ---- */

static const char *time_is_over(const struct mm_connection *c, ev_tstamp now)
{
	const struct mm_connection_times *t = &c->all->times;
	double quiet = now - c->active_at;
	if (c->fd < 0)
		return NULL;
	if (c->starved_at != 0 && now - c->starved_at > MM_STARVED_TIMEOUT && !mm_engine_is_waiting(c->engine)
	    && !mm_account_fits(c->account, MM_READ_SIZE))
		return "there is no memory for the rest of its packet (memory_held)";
	if (c->unsent != NULL)
		return now - c->unsent->since > t->write ? "the MTA does not read its replies (write_timeout)" : NULL;
	if (mm_engine_is_waiting(c->engine) || mm_engine_has_more(c->engine))
		return NULL;                    /* it is not the MTA that we wait for */
	if (!mm_engine_session(c->engine)->is_negotiated)
		return quiet > t->negotiate ? "the MTA sent no offer in time (negotiate_timeout)" : NULL;
	if (c->partial_at != 0 && now - c->partial_at > t->read)
		return "the MTA began a packet and did not end it in time (read_timeout)";
	return quiet > t->idle ? "the MTA sent nothing in time (idle_timeout)" : NULL;
}

bool mm_connections_sweep(struct mm_connections *all)
{
	ev_tstamp now = ev_now(loop_of(all));
	uint64_t began = mm_clock_ticks();
	for (struct mm_connection *c = all->first, *next; c != NULL; c = next) {
		next = c->next;
		if (c->starved_at != 0)
			watch_input(c);         /* others may have given memory back since */
		const char *over = time_is_over(c, now);
		if (over == NULL)
			continue;
		if (all->engines.turn_ticks > 0 && mm_clock_ticks() - began > all->engines.turn_ticks)
			return false;           /* on_abort and on_close of each may take a while */
		struct mm_fault why;
		mm_fault_set(&why, MM_FAULT_PEER, "%s", over);
		on_fault(c, &why);
		close_socket(c);
		mm_engine_end(c->engine, MM_CANCEL_TIMEOUT);
		mm_buffer_clear(&all->out);
		settle(c);
	}
	return true;
}

void mm_connections_each(const struct mm_connections *all, mm_each_engine *each, void *self)
{
	const struct mm_connection *c = all->first;
	while (c != NULL && each(self, c->engine))
		c = c->next;
}

bool mm_connections_end(struct mm_connections *all, const char *id)
{
	struct mm_connection *c = all->first;
	while (c != NULL && strcmp(mm_engine_session(c->engine)->id, id) != 0)
		c = c->next;
	if (c == NULL)
		return false;
	mm_engine_shut_down(c->engine);
	settle(c);
	return true;
}

const struct mm_session *mm_connections_largest(const struct mm_connections *all)
{
	const struct mm_connection *largest = all->first;
	for (const struct mm_connection *c = all->first; c != NULL; c = c->next)
		if (c->account->held > largest->account->held)
			largest = c;
	return largest != NULL ? mm_engine_session(largest->engine) : NULL;
}

void mm_connections_close_copies(struct mm_connections *all)
{
	for (struct mm_connection *c = all->first; c != NULL; c = c->next)
		if (c->fd >= 0)
			close(c->fd);
}

void mm_connections_shut_down(struct mm_connections *all)
{
	for (struct mm_connection *c = all->first, *next; c != NULL; c = next) {
		next = c->next;
		mm_engine_shut_down(c->engine);
		settle(c);
	}
}
