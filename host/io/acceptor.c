/* io/acceptor.c -- see acceptor.h.
 * (a) Workers share one listening descriptor. A connection wakes every worker that watches it; workers with more
 *     sessions than the others look away (census.h), so that roughly the least loaded workers wake up.
 * (b) SO_REUSEPORT would spread connections, but a worker that ends loses the connections in its own queue, and unix
 *     sockets do not have it. EPOLLEXCLUSIVE gives nearly all connections to the worker that waited last. */
#include "io/acceptor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ACCEPTS_A_WAKE    16            /* so that a flood of new connections leaves time for the open ones */
#define PAUSE_IN_TROUBLE  0.5           /* seconds until accepting is tried again when descriptors are out */
#define PAUSE_FOR_OTHERS  0.001         /* seconds that a worker stops watching the listener, doubled each time */
#define PAUSE_MAX         0.032
#define LOOKS_FOR_OTHERS  20            /* after this many looks at a waiting connection, accept it although it
                                         * is another worker's turn */

struct mm_acceptor {
	ev_io                    readable;
	ev_timer                 retry;         /* after an error, or while other workers should accept */
	struct ev_loop          *loop;          /* borrowed */
	struct mm_acceptor_owner owner;
	bool                     is_paused;
	bool                     is_in_trouble;
	bool                     looks_away;
	unsigned                 waits_seen;    /* looks in a row at which a connection waited */
	double                   pause;         /* until the next look */
};

/* Returns NULL for a unix socket, and for an address we cannot read. */
static const struct mm_peer *peer_of(const struct sockaddr_storage *address, struct mm_peer *to)
{
	char ip[INET6_ADDRSTRLEN];
	*to = (struct mm_peer){ .size = 0 };
	if (address->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;
		inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
		snprintf(to->text, sizeof to->text, "%s:%u", ip, ntohs(in->sin_port));
		to->size = 4;
		memcpy(to->address, &in->sin_addr, 4);
		to->is_loopback = to->address[0] == 127;
		return to;
	}
	if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
		inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof ip);
		snprintf(to->text, sizeof to->text, "[%s]:%u", ip, ntohs(in->sin6_port));
		to->size = 16;
		memcpy(to->address, &in->sin6_addr, 16);
		to->is_loopback = IN6_IS_ADDR_LOOPBACK(&in->sin6_addr)
			|| (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr) && to->address[12] == 127);
		return to;
	}
	return NULL;
}

static void look_again_in(struct mm_acceptor *a, double seconds)
{
	ev_io_stop(a->loop, &a->readable);
	ev_timer_stop(a->loop, &a->retry);
	ev_timer_set(&a->retry, seconds, 0.);
	ev_timer_start(a->loop, &a->retry);
}

/* Out of descriptors or memory: the connection stays in the kernel's queue and would wake us for ever, so
 * look away for a while. */
static void step_back(struct mm_acceptor *a, int error)
{
	if (!a->is_in_trouble)
		a->owner.trouble(a->owner.self, "no connection can be accepted; trying again every half second", error);
	a->is_in_trouble = true;
	look_again_in(a, PAUSE_IN_TROUBLE);
}

/* False: we cannot accept a connection now. */
static bool accept_one(struct mm_acceptor *a)
{
	struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
	socklen_t size = sizeof address;
	struct mm_peer peer;
	int fd = accept4(a->readable.fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			step_back(a, errno);
		return errno == EINTR || errno == ECONNABORTED;
	}
	a->is_in_trouble = false;
	a->owner.take(a->owner.self, fd, peer_of(&address, &peer));
	return true;
}

static bool is_my_turn(const struct mm_acceptor *a)
{
	return a->owner.is_my_turn == NULL || a->owner.is_my_turn(a->owner.self);
}

static void on_acceptable(struct ev_loop *loop, ev_io *w, int events)
{
	struct mm_acceptor *a = w->data;
	(void)loop;
	(void)events;
	for (int i = 0; i < ACCEPTS_A_WAKE && !a->is_paused; i++) {
		if (!is_my_turn(a)) {
			a->looks_away = true;
			a->waits_seen = 1;
			a->pause = PAUSE_FOR_OTHERS;
			look_again_in(a, a->pause);
			return;
		}
		if (!accept_one(a))
			return;
	}
}

static bool one_waits(const struct mm_acceptor *a)
{
	struct pollfd p = { .fd = a->readable.fd, .events = POLLIN };
	return poll(&p, 1, 0) == 1;
}

/* A connection that still waits after several looks is not taken by the other workers: they are busy, hang or are full.
 * One look is not enough, because on a busy machine the others need some milliseconds to wake. */
static void look_for_others(struct mm_acceptor *a)
{
	bool waits = one_waits(a);
	a->looks_away = !is_my_turn(a);
	a->waits_seen = waits ? a->waits_seen + 1 : 0;
	if (a->looks_away && a->waits_seen > LOOKS_FOR_OTHERS)
		accept_one(a);
	if (a->is_paused || ev_is_active(&a->retry))
		return;                 /* taking it made us full, or failed */
	a->pause = waits ? PAUSE_FOR_OTHERS : a->pause * 2 < PAUSE_MAX ? a->pause * 2 : PAUSE_MAX;
	if (a->looks_away)
		look_again_in(a, a->pause);
	else
		ev_io_start(a->loop, &a->readable);
}

static void on_retry(struct ev_loop *loop, ev_timer *w, int events)
{
	struct mm_acceptor *a = w->data;
	(void)events;
	if (a->is_paused)
		return;
	if (a->looks_away)
		look_for_others(a);
	else
		ev_io_start(loop, &a->readable);
}

/* A listener passes these on to every socket that it accepts, whoever has opened it; a unix socket refuses the second
 * and does not mind the first. */
static void set_what_is_passed_on(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

struct mm_acceptor *mm_acceptor_new(void *loop, int fd, struct mm_acceptor_owner owner)
{
	struct mm_acceptor *a = calloc(1, sizeof *a);
	if (a == NULL)
		return NULL;
	a->loop = loop;
	a->owner = owner;
	ev_io_init(&a->readable, on_acceptable, fd, EV_READ);
	ev_init(&a->retry, on_retry);
	a->readable.data = a->retry.data = a;
	set_what_is_passed_on(fd);
	ev_io_start(a->loop, &a->readable);
	return a;
}

void mm_acceptor_free(struct mm_acceptor *a)
{
	if (a == NULL)
		return;
	ev_io_stop(a->loop, &a->readable);
	ev_timer_stop(a->loop, &a->retry);
	free(a);
}

void mm_acceptor_pause(struct mm_acceptor *a)
{
	a->is_paused = true;
	ev_io_stop(a->loop, &a->readable);
}

void mm_acceptor_resume(struct mm_acceptor *a)
{
	a->is_paused = false;
	if (!ev_is_active(&a->retry))
		ev_io_start(a->loop, &a->readable);
}

void mm_acceptor_look(struct mm_acceptor *a)
{
	if (!a->looks_away || a->is_paused || a->is_in_trouble || !is_my_turn(a))
		return;
	a->looks_away = false;
	ev_timer_stop(a->loop, &a->retry);
	ev_io_start(a->loop, &a->readable);
}
