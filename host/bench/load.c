#include "bench/load.h"

#include "base/bounds.h"
#include "milter/frame.h"
#include "milter/reply.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX       256
#define OPENING_MAX      64             /* held sessions that we open at the same time; below any listen backlog */
#define FAILURES_MAX     50             /* connections lost in a row without an answer: no filter listens */
#define RETRY_NS         10000000u      /* after a failed connect, or a lost connection */
#define SECOND_NS        1000000000u

/* ORDER STATE: up to GREETING a session is still opening */
enum state { CLOSED, RETRYING, CONNECTING, NEGOTIATING, GREETING, READY, SENDING, HOLDING };

struct connection {
	/* the socket */
	int                            fd;              /* -1: none */
	bool                           is_held;         /* idle or asleep */
	bool                           sleeps;          /* held, with a message */
	bool                           waits_to_write;
	uint8_t                        state;
	struct mm_frame                frame;
	const struct mm_bench_traffic *traffic;         /* borrowed from the load; NULL before the filter's answer */
	unsigned                       messages_left;   /* until the session ends; 0: no end */
	uint64_t                       opened_ns;
	/* the write under way */
	struct iovec                   before;          /* sent before the next write; may be empty */
	const struct mm_bench_write   *write;
	size_t                         written;         /* bytes of before and write */
	uint64_t                       write_ns;
	/* the message */
	unsigned                       variant;
	unsigned                       at;              /* index of the current write in the message or the greeting */
	unsigned                       abort_at;        /* the write that is left out; UINT_MAX: none */
	unsigned                       refused;         /* recipients */
	int                            edits;
	bool                           has_new_body;
	uint64_t                       message_ns;
	struct connection             *next;            /* in the queue of ready connections */
	bool                           is_queued;       /* still in the queue, perhaps lost since */
};

struct mm_bench_load {
	const struct mm_bench_options *options;         /* borrowed */
	int                            epoll;
	int                            timer;
	struct connection             *connections;     /* options->connections of them */
	struct connection            **held;            /* each owned */
	unsigned                       held_count;
	struct mm_bench_traffic      **traffic;         /* owned; by the steps a filter answered, and
	                                                 * by the message's sender */
	bool                          *traffic_sleeps;
	unsigned                       traffic_count;
	struct mm_buffer               offer;
	struct connection             *ready_first, *ready_last;
	unsigned                       opening;         /* held sessions that are not open yet */
	unsigned                       retrying;
	unsigned                       failures;        /* in a row */
	uint64_t                       random;
	uint64_t                       variants;        /* handed out */
	/* the phase */
	bool                           is_running;
	uint64_t                       phase_ns, end_ns;
	uint64_t                       messages_max, given;
	double                         due_ns;          /* with a rate: when the next message begins */
	unsigned                       busy;            /* connections that are neither ready nor closed */
	struct mm_bench_result         result;
	uint8_t                        bytes[MM_READ_SIZE];
};

static const uint8_t abort_packet[] = { 0, 0, 0, 1, 'A' };
static const uint8_t quit_packet[] = { 0, 0, 0, 1, 'Q' };

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* xorshift64: which messages are aborted, and where, is the same in each run. */
static uint64_t next_random(struct mm_bench_load *l)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return l->random;
}

__attribute__((format(printf, 2, 3)))
static void complain(struct mm_bench_load *l, const char *format, ...)
{
	if (l->result.complaints == MM_BENCH_COMPLAINTS)
		return;
	va_list args;
	va_start(args, format);
	vsnprintf(l->result.complaint[l->result.complaints++], sizeof *l->result.complaint, format, args);
	va_end(args);
}

/* ---- states ---- */

static bool is_busy(uint8_t state)
{
	return state != CLOSED && state != READY && state != HOLDING;
}

static void set_state(struct mm_bench_load *l, struct connection *c, uint8_t state)
{
	l->retrying -= c->state == RETRYING;
	l->retrying += state == RETRYING;
	if (c->is_held) {
		l->opening -= is_busy(c->state);
		l->opening += is_busy(state);
	} else {
		l->busy -= is_busy(c->state);
		l->busy += is_busy(state);
	}
	c->state = state;
}

static void watch(struct mm_bench_load *l, struct connection *c, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = c };
	epoll_ctl(l->epoll, operation, c->fd, &event);
}

static void close_socket(struct mm_bench_load *l, struct connection *c, uint8_t state)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->waits_to_write = false;
	c->before.iov_len = 0;
	c->write = NULL;
	mm_frame_free(&c->frame);
	set_state(l, c, state);
}

/* The filter closed the connection, or its stream has become unreadable. */
static void lose(struct mm_bench_load *l, struct connection *c, const char *why)
{
	if (c->is_held && c->state == HOLDING)
		complain(l, "%s session: %s", c->sleeps ? "sleeping" : "idle", why);
	else
		complain(l, "%s: %s", c->state == SENDING && c->write != NULL ? mm_stage_name(c->write->stage) :
			c->state == READY ? "between messages" : "opening a session", why);
	l->result.lost++;
	l->failures++;
	close_socket(l, c, RETRYING);
	c->write_ns = now_ns();
}

/* ---- writing ---- */

/* Sends the rest of before and write. */
static void pump(struct mm_bench_load *l, struct connection *c)
{
	struct iovec part[1 + MM_BENCH_PARTS_MAX];
	unsigned parts = 0;
	size_t skip = c->written, left = 0;
	for (unsigned i = 0; i <= c->write->parts; i++) {
		struct iovec from = i == 0 ? c->before : c->write->part[i - 1];
		if (skip >= from.iov_len) {
			skip -= from.iov_len;
			continue;
		}
		part[parts++] = (struct iovec){ (uint8_t *)from.iov_base + skip, from.iov_len - skip };
		left += from.iov_len - skip;
		skip = 0;
	}
	ssize_t sent = 0;
	if (left > 0) {
		struct msghdr message = { .msg_iov = part, .msg_iovlen = parts };
		sent = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR) {
			lose(l, c, strerror(errno));
			return;
		}
		c->written += sent > 0 ? (size_t)sent : 0;
	}
	bool is_done = sent >= 0 && (size_t)sent == left;
	if (is_done)
		c->before.iov_len = 0, c->written = c->write->size;
	if (c->waits_to_write == is_done) {
		c->waits_to_write = !is_done;
		watch(l, c, EPOLL_CTL_MOD, is_done ? EPOLLIN : EPOLLIN | EPOLLOUT);
	}
}

static void send_write(struct mm_bench_load *l, struct connection *c, const struct mm_bench_write *w, uint64_t now)
{
	c->write = w;
	c->written = 0;
	c->write_ns = now;
	pump(l, c);
}

/* ---- a session's beginning ---- */

static void open_session(struct mm_bench_load *l, struct connection *c);
static void give_messages(struct mm_bench_load *l, uint64_t now);

static void retry_later(struct mm_bench_load *l, struct connection *c, uint64_t now)
{
	c->write_ns = now;
	close_socket(l, c, RETRYING);
}

static void send_offer(struct mm_bench_load *l, struct connection *c, uint64_t now)
{
	int yes = 1;
	if (l->options->address.ss_family != AF_UNIX)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	set_state(l, c, NEGOTIATING);
	c->write_ns = now;
	/* 17 bytes into an empty socket buffer: they fit */
	if (send(c->fd, l->offer.bytes, l->offer.size, MSG_NOSIGNAL) != (ssize_t)l->offer.size)
		lose(l, c, strerror(errno));
}

static void open_session(struct mm_bench_load *l, struct connection *c)
{
	uint64_t now = now_ns();
	c->opened_ns = c->write_ns = now;
	c->traffic = NULL;
	c->messages_left = l->options->messages_per_connection;
	mm_frame_init(&c->frame, MM_PACKET_DATA_MAX);
	c->fd = socket(l->options->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		lose(l, c, strerror(errno));
		return;
	}
	set_state(l, c, CONNECTING);
	int rc = connect(c->fd, (const struct sockaddr *)&l->options->address, l->options->address_size);
	if (rc != 0 && (errno == EAGAIN || errno == EADDRNOTAVAIL)) {   /* backlog full; ports in TIME_WAIT */
		retry_later(l, c, now);
		return;
	}
	if (rc != 0 && errno != EINPROGRESS) {
		lose(l, c, strerror(errno));
		return;
	}
	watch(l, c, EPOLL_CTL_ADD, rc == 0 ? EPOLLIN : EPOLLIN | EPOLLOUT);
	if (rc == 0)
		send_offer(l, c, now);
}

static void finish_connect(struct mm_bench_load *l, struct connection *c)
{
	int error = 0;
	socklen_t size = sizeof error;
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error != 0) {
		lose(l, c, strerror(error));
		return;
	}
	watch(l, c, EPOLL_CTL_MOD, EPOLLIN);
	send_offer(l, c, now_ns());
}

/* The traffic for steps, built when a filter first answers them; NULL: out of memory. */
static const struct mm_bench_traffic *traffic_for(struct mm_bench_load *l, uint32_t steps, bool sleeps)
{
	for (unsigned i = 0; i < l->traffic_count; i++)
		if (l->traffic[i]->steps == steps && l->traffic_sleeps[i] == sleeps)
			return l->traffic[i];

	struct mm_bench_shape shape = l->options->shape;
	if (sleeps)
		shape.sender = l->options->asleep_sender;
	struct mm_bench_traffic *built = mm_bench_traffic_new(&shape, steps);
	void *list = realloc(l->traffic, (l->traffic_count + 1) * sizeof *l->traffic);
	if (list != NULL)
		l->traffic = list;
	void *flags = realloc(l->traffic_sleeps, (l->traffic_count + 1) * sizeof *l->traffic_sleeps);
	if (flags != NULL)
		l->traffic_sleeps = flags;
	if (built == NULL || list == NULL || flags == NULL) {
		mm_bench_traffic_free(built);
		return NULL;
	}
	l->traffic[l->traffic_count] = built;
	l->traffic_sleeps[l->traffic_count++] = sleeps;
	return built;
}

static void send_message_write(struct mm_bench_load *l, struct connection *c, unsigned at, uint64_t now)
{
	c->at = at;
	send_write(l, c, &c->traffic->variant[c->variant].writes[at], now);
	if (c->sleeps && at == c->traffic->writes - 1 && c->state == SENDING)
		set_state(l, c, HOLDING);
}

static void begin_message(struct mm_bench_load *l, struct connection *c, uint64_t due, uint64_t now)
{
	c->variant = (unsigned)(l->variants++ % MM_BENCH_VARIANTS);
	c->refused = 0;
	c->edits = 0;
	c->has_new_body = false;
	c->message_ns = due;
	c->abort_at = UINT32_MAX;
	if (l->options->abort_share > 0 && c->traffic->writes > 1 && !c->is_held
			&& (double)(next_random(l) >> 11) / (double)(1ull << 53) < l->options->abort_share)
		c->abort_at = 1 + (unsigned)(next_random(l) % (c->traffic->writes - 1));
	set_state(l, c, SENDING);
	send_message_write(l, c, 0, now);
}

static void become_ready(struct mm_bench_load *l, struct connection *c, uint64_t now)
{
	set_state(l, c, READY);
	if (!c->is_queued) {
		c->is_queued = true;
		c->next = NULL;
		if (l->ready_first == NULL)
			l->ready_first = c;
		else
			l->ready_last->next = c;
		l->ready_last = c;
	}
	give_messages(l, now);
}

static void greeted(struct mm_bench_load *l, struct connection *c, uint64_t now)
{
	l->failures = 0;
	l->result.sessions++;
	mm_bench_histogram_add(&l->result.opening, now - c->opened_ns);
	if (c->is_held && !c->sleeps) {
		set_state(l, c, HOLDING);
		send_write(l, c, &c->traffic->greeting_rest, now);
		return;
	}
	c->before = c->traffic->greeting_rest.part[0];
	if (c->traffic->greeting_rest.parts == 0)
		c->before.iov_len = 0;
	if (c->is_held)
		begin_message(l, c, now, now);
	else
		become_ready(l, c, now);
}

static void go_on_greeting(struct mm_bench_load *l, struct connection *c, uint64_t now)
{
	set_state(l, c, GREETING);
	if (c->at < c->traffic->greetings)
		send_write(l, c, &c->traffic->greeting[c->at], now);
	else
		greeted(l, c, now);
}

static void take_answer(struct mm_bench_load *l, struct connection *c, const struct mm_packet *p, uint64_t now)
{
	struct mm_cursor data = mm_cursor_over(p->data, p->size);
	struct mm_offer answer = { mm_cursor_u32(&data), mm_cursor_u32(&data), mm_cursor_u32(&data) };
	if (p->letter != SMFIR_OPTNEG || data.failed) {
		l->result.wrong++;
		lose(l, c, "the answer to our offer is not an offer");
		return;
	}
	mm_bench_histogram_add(&l->result.stage[MM_STAGE_negotiate], now - c->write_ns);
	l->result.answer = answer;
	c->traffic = traffic_for(l, answer.steps, c->sleeps);
	if (c->traffic == NULL) {
		lose(l, c, "out of memory for the packets of a session");
		return;
	}
	c->at = 0;
	go_on_greeting(l, c, now);
}

/* ---- a session's end ---- */

static void quit(struct mm_bench_load *l, struct connection *c)
{
	struct iovec part[2] = { c->before, { (void *)(uintptr_t)quit_packet, sizeof quit_packet } };
	struct msghdr message = { .msg_iov = part, .msg_iovlen = 2 };
	(void)!sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);   /* if the filter is gone, it knows already */
	close_socket(l, c, CLOSED);
}

static bool may_go_on(const struct mm_bench_load *l, uint64_t now)
{
	return l->is_running && (l->messages_max > 0 ? l->given < l->messages_max : now < l->end_ns);
}

static void end_session(struct mm_bench_load *l, struct connection *c, uint64_t now)
{
	quit(l, c);
	if (may_go_on(l, now))
		open_session(l, c);
}

/* The message is over for the filter: through its verdict, or because we aborted it. */
static void end_message(struct mm_bench_load *l, struct connection *c, bool sends_abort, uint64_t now)
{
	c->before = (struct iovec){ (void *)(uintptr_t)abort_packet, sends_abort ? sizeof abort_packet : 0 };
	if (c->messages_left == 1) {
		end_session(l, c, now);
		return;
	}
	if (c->messages_left > 0)
		c->messages_left--;
	become_ready(l, c, now);
}

static void message_decided(struct mm_bench_load *l, struct connection *c, uint64_t now)
{
	l->result.messages++;
	mm_bench_histogram_add(&l->result.message, now - c->message_ns);
	end_message(l, c, !l->options->shape.is_sendmail, now);         /* protocol 5.6 */
}

static void next_write(struct mm_bench_load *l, struct connection *c, unsigned at, uint64_t now)
{
	if (c->abort_at <= at) {
		l->result.aborted++;
		end_message(l, c, true, now);
		return;
	}
	send_message_write(l, c, at, now);
}

/* ---- replies ---- */

/* enum mm_verdict_kind of a final reply; MM_VERDICT_COUNT for any other letter. */
static enum mm_verdict_kind verdict_of(const struct mm_packet *p)
{
	switch (p->letter) {
	case SMFIR_CONTINUE:  return MM_VERDICT_continue;
	case SMFIR_ACCEPT:    return MM_VERDICT_accept;
	case SMFIR_REJECT:    return MM_VERDICT_reject;
	case SMFIR_TEMPFAIL:  return MM_VERDICT_tempfail;
	case SMFIR_DISCARD:   return MM_VERDICT_discard;
	case SMFIR_SKIP:      return MM_VERDICT_skip;
	case SMFIR_REPLYCODE: return p->size > 0 && p->data[0] == '4' ? MM_VERDICT_tempfail : MM_VERDICT_reject;
	default:              return MM_VERDICT_COUNT;
	}
}

static void judge(struct mm_bench_load *l, const struct connection *c, const struct mm_packet *p,
	enum mm_verdict_kind verdict)
{
	enum mm_stage stage = c->write->stage;
	bool is_skip = verdict == MM_VERDICT_skip && stage == MM_STAGE_body && c->traffic->steps & SMFIP_SKIP;
	if (!(l->options->expect[stage] & 1u << verdict) && !is_skip) {
		l->result.wrong++;
		complain(l, "%s: answered '%c' %.*s", mm_stage_name(stage), p->letter,
			(int)(p->size < 80 ? p->size : 80), (const char *)p->data);
		return;
	}
	if (stage == MM_STAGE_eom && l->options->edits >= 0 && c->edits != l->options->edits) {
		l->result.wrong++;
		complain(l, "eom: %d edits instead of %d", c->edits, l->options->edits);
	}
}

static void take_edit(struct mm_bench_load *l, struct connection *c, const struct mm_packet *p)
{
	bool is_edit = memchr("+-2behimq", p->letter, 9) != NULL;
	if (c->write->stage != MM_STAGE_eom || (!is_edit && p->letter != SMFIR_PROGRESS)) {
		l->result.wrong++;
		complain(l, "%s: unexpected packet '%c' of %zu bytes", mm_stage_name(c->write->stage),
			p->letter, p->size);
		return;
	}
	if (!is_edit)
		return;
	if (p->letter == SMFIR_REPLBODY)
		l->result.body_bytes += p->size;
	if (p->letter == SMFIR_REPLBODY && c->has_new_body)     /* all chunks together are one edit */
		return;
	c->has_new_body |= p->letter == SMFIR_REPLBODY;
	c->edits++;
	l->result.edits++;
}

static unsigned after_skip(const struct connection *c)
{
	const struct mm_bench_write *writes = c->traffic->variant[c->variant].writes;
	unsigned at = c->at + 1;
	while (at < c->traffic->writes - 1 && writes[at].stage == writes[c->at].stage)
		at++;
	return at;
}

static void take_verdict(struct mm_bench_load *l, struct connection *c, enum mm_verdict_kind verdict, uint64_t now)
{
	bool is_rcpt = c->write->stage == MM_STAGE_rcpt;
	if (c->write->stage == MM_STAGE_eom || verdict == MM_VERDICT_accept || verdict == MM_VERDICT_discard)
		message_decided(l, c, now);
	else if (verdict == MM_VERDICT_skip)
		next_write(l, c, after_skip(c), now);
	else if (verdict == MM_VERDICT_continue)
		next_write(l, c, c->at + 1, now);
	else if (is_rcpt && ++c->refused < l->options->shape.recipients)
		next_write(l, c, c->at + 1, now);
	else
		message_decided(l, c, now);
}

static void take_reply(struct mm_bench_load *l, struct connection *c, const struct mm_packet *p, uint64_t now)
{
	if (c->state == NEGOTIATING) {
		take_answer(l, c, p, now);
		return;
	}
	enum mm_verdict_kind verdict = verdict_of(p);
	if (c->state == HOLDING) {
		if (c->sleeps && verdict != MM_VERDICT_COUNT)
			l->result.woken++;
		return;
	}
	if (c->state == READY || c->waits_to_write) {
		l->result.wrong++;
		lose(l, c, "a reply without a command");
		return;
	}
	if (verdict == MM_VERDICT_COUNT) {
		take_edit(l, c, p);
		return;
	}
	mm_bench_histogram_add(&l->result.stage[c->write->stage], now - c->write_ns);
	judge(l, c, p, verdict);
	if (c->state == SENDING) {
		take_verdict(l, c, verdict, now);
	} else if (verdict == MM_VERDICT_continue) {
		c->at++;
		go_on_greeting(l, c, now);
	} else {                        /* the client is accepted or refused: its messages do not come here */
		l->given++;
		l->result.messages++;
		end_session(l, c, now);
	}
}

static void take_input(struct mm_bench_load *l, struct connection *c)
{
	ssize_t size = read(c->fd, l->bytes, sizeof l->bytes);
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size <= 0) {
		lose(l, c, size == 0 ? "the filter closed the connection" : strerror(errno));
		return;
	}
	uint64_t now = now_ns();
	uint64_t opened_ns = c->opened_ns;
	struct mm_fault why = { 0 };
	struct mm_packet packet;
	bool is_good = mm_frame_feed(&c->frame, l->bytes, (size_t)size, &why);
	while (is_good) {
		enum mm_frame_next next = mm_frame_next(&c->frame, &packet, &why);
		is_good = next != MM_FRAME_BAD;
		if (next != MM_FRAME_PACKET)
			break;
		take_reply(l, c, &packet, now);
		if (c->fd < 0 || c->opened_ns != opened_ns)
			return;         /* this session is over, and its frame is gone */
		mm_frame_done(&c->frame);
	}
	if (!is_good || !mm_frame_keep(&c->frame, &why)) {
		l->result.wrong++;
		lose(l, c, why.text);
	}
}

/* ---- the loop ---- */

static void give_messages(struct mm_bench_load *l, uint64_t now)
{
	while (l->ready_first != NULL && may_go_on(l, now)) {
		uint64_t due = now;
		if (l->options->rate > 0) {
			if (l->due_ns > (double)now)
				return;
			due = (uint64_t)l->due_ns;
			l->due_ns += 1e9 / l->options->rate;
		}
		struct connection *c = l->ready_first;
		l->ready_first = c->next;
		c->is_queued = false;
		if (c->state != READY)          /* lost while it waited */
			continue;
		l->given++;
		begin_message(l, c, due, now);
	}
}

static void arm_timer(struct mm_bench_load *l, uint64_t at)
{
	struct itimerspec when = { .it_value = { (time_t)(at / SECOND_NS), (long)(at % SECOND_NS) } };
	timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void retry_connection(struct mm_bench_load *l, struct connection *c, uint64_t now)
{
	if (c->state != RETRYING || now - c->write_ns < RETRY_NS)
		return;
	if (c->is_held || may_go_on(l, now))
		open_session(l, c);
	else
		set_state(l, c, CLOSED);
}

static void retry_connections(struct mm_bench_load *l, uint64_t now)
{
	for (unsigned i = 0; i < l->options->connections && l->retrying > 0; i++)
		retry_connection(l, &l->connections[i], now);
	for (unsigned i = 0; i < l->held_count && l->retrying > 0; i++)
		retry_connection(l, l->held[i], now);
}

static void check_timeouts(struct mm_bench_load *l, uint64_t now)
{
	for (unsigned i = 0; i < l->options->connections; i++) {
		struct connection *c = &l->connections[i];
		if (!is_busy(c->state) || c->state == RETRYING
		    || (double)(now - c->write_ns) < l->options->timeout * 1e9)
			continue;
		l->result.wrong++;
		l->failures += FAILURES_MAX / 5;        /* each has taken time */
		lose(l, c, "no answer in time");
	}
}

static void handle_event(struct mm_bench_load *l, const struct epoll_event *event)
{
	struct connection *c = event->data.ptr;
	if (c == NULL) {
		uint64_t expirations;
		(void)!read(l->timer, &expirations, sizeof expirations);
		return;
	}
	if (c->fd < 0)
		return;
	if (c->state == CONNECTING) {
		finish_connect(l, c);
		return;
	}
	if (event->events & EPOLLOUT && c->waits_to_write)
		pump(l, c);
	if (c->fd >= 0 && event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		take_input(l, c);
}

/* One turn. False: the filter does not answer. */
static bool turn(struct mm_bench_load *l, struct mm_fault *why)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t now = now_ns();
	bool waits_for_due = l->options->rate > 0 && l->ready_first != NULL && may_go_on(l, now);
	if (waits_for_due)
		arm_timer(l, (uint64_t)l->due_ns + 1);
	int count = epoll_wait(l->epoll, events, EVENTS_MAX, l->retrying > 0 ? 5 : 100);
	for (int i = 0; i < count; i++)
		handle_event(l, &events[i]);
	now = now_ns();
	if (waits_for_due)
		give_messages(l, now);
	if (l->retrying > 0)
		retry_connections(l, now);
	if (l->failures < FAILURES_MAX)
		return true;
	return mm_fault_set(why, MM_FAULT_PEER, "%u connections in a row failed; %s", l->failures,
		l->result.complaints > 0 ? l->result.complaint[0] : "the filter does not answer");
}

bool mm_bench_load_hold(struct mm_bench_load *l, enum mm_bench_hold kind, unsigned count, struct mm_fault *why)
{
	struct connection **grown = realloc(l->held, (l->held_count + count) * sizeof *grown);
	if (grown == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for %u sessions", count);
	l->held = grown;
	l->result = (struct mm_bench_result){ .answer = l->result.answer };
	uint64_t begun = now_ns(), progress_ns = begun;
	unsigned left = count, were_missing = count;
	while (left > 0 || l->opening > 0) {
		while (left > 0 && l->opening < OPENING_MAX) {
			struct connection *c = calloc(1, sizeof *c);
			if (c == NULL)
				return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for %u sessions", count);
			c->fd = -1;
			c->is_held = true;
			c->sleeps = kind == MM_BENCH_ASLEEP;
			l->held[l->held_count++] = c;
			left--;
			open_session(l, c);
		}
		if (!turn(l, why))
			return false;
		uint64_t now = now_ns();
		if (left + l->opening != were_missing)
			progress_ns = now;
		were_missing = left + l->opening;
		if ((double)(now - progress_ns) > l->options->timeout * 1e9)
			return mm_fault_set(why, MM_FAULT_PEER, "%u of %u sessions are open and no more can be opened: "
				"the filter, its backlog or its descriptors are at their limit",
				count - were_missing, count);
	}
	l->result.seconds = (double)(now_ns() - begun) / 1e9;
	return true;
}

static void begin_phase(struct mm_bench_load *l, double seconds, uint64_t messages)
{
	l->result = (struct mm_bench_result){ .answer = l->result.answer };
	l->phase_ns = now_ns();
	l->end_ns = l->phase_ns + (uint64_t)(seconds * 1e9);
	l->messages_max = messages;
	l->given = 0;
	l->due_ns = (double)l->phase_ns;
	l->is_running = true;
	for (unsigned i = 0; i < l->options->connections; i++)
		if (l->connections[i].state == CLOSED)
			open_session(l, &l->connections[i]);
	give_messages(l, l->phase_ns);
}

bool mm_bench_load_run(struct mm_bench_load *l, double seconds, uint64_t messages, struct mm_fault *why)
{
	begin_phase(l, seconds, messages);
	uint64_t ticked = l->phase_ns, now = l->phase_ns;
	bool is_good = true;
	while (is_good && (may_go_on(l, now) || l->busy > 0)) {
		is_good = turn(l, why);
		now = now_ns();
		if (now - ticked < SECOND_NS)
			continue;
		ticked = now;
		check_timeouts(l, now);
		if (l->options->tick != NULL)
			l->options->tick(l->options, l->result.messages, (double)(now - l->phase_ns) / 1e9);
	}
	l->is_running = false;
	l->result.seconds = (double)(now - l->phase_ns) / 1e9;
	return is_good;
}

/* ---- life ---- */

struct mm_bench_load *mm_bench_load_new(const struct mm_bench_options *options, struct mm_fault *why)
{
	struct mm_bench_load *l = calloc(1, sizeof *l);
	if (l == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		return NULL;
	}
	l->options = options;
	l->random = 0x9e3779b97f4a7c15u;
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	l->connections = calloc(options->connections + 1u, sizeof *l->connections);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	if (l->epoll < 0 || l->timer < 0 || l->connections == NULL
			|| epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &event) != 0) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "cannot begin: %s", strerror(errno));
		mm_bench_load_free(l);
		return NULL;
	}
	for (unsigned i = 0; i < options->connections; i++)
		l->connections[i].fd = -1;
	mm_buffer_append_u32(&l->offer, 1 + MM_OFFER_SIZE);
	mm_buffer_append_u8(&l->offer, 'O');
	mm_buffer_append_u32(&l->offer, options->shape.version);
	mm_buffer_append_u32(&l->offer, options->shape.actions);
	mm_buffer_append_u32(&l->offer, options->shape.steps);
	return l;
}

void mm_bench_load_free(struct mm_bench_load *l)
{
	if (l == NULL)
		return;
	for (unsigned i = 0; l->connections != NULL && i < l->options->connections; i++)
		if (l->connections[i].fd >= 0)
			quit(l, &l->connections[i]);
	for (unsigned i = 0; i < l->held_count; i++) {
		if (l->held[i]->fd >= 0)
			quit(l, l->held[i]);
		free(l->held[i]);
	}
	for (unsigned i = 0; i < l->traffic_count; i++)
		mm_bench_traffic_free(l->traffic[i]);
	if (l->epoll >= 0)
		close(l->epoll);
	if (l->timer >= 0)
		close(l->timer);
	mm_buffer_free(&l->offer);
	free(l->traffic);
	free(l->traffic_sleeps);
	free(l->held);
	free(l->connections);
	free(l);
}

const struct mm_bench_result *mm_bench_load_result(const struct mm_bench_load *l)
{
	return &l->result;
}
