#include "async/datagram.h"

#include "base/bounds.h"
#include "base/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct mm_datagram {
	int                     fd;             /* owned; -1 until the family is known */
	struct mm_watch         watch;
	struct mm_timer         timer;
	void                  (*done)(void *self, enum mm_datagram_end);        /* NULL: none receives */
	void                   *self;
	int                     error;
	uint8_t                *bytes;          /* owned: MM_DATAGRAM_MAX, from the first receive on */
	size_t                  size;
	struct sockaddr_storage from;
	socklen_t               from_size;
};

static enum mm_datagram_end step(struct mm_datagram *d)
{
	ssize_t n;
	do {
		d->from_size = sizeof d->from;
		n = recvfrom(d->fd, d->bytes, MM_DATAGRAM_MAX, 0, (struct sockaddr *)&d->from, &d->from_size);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return MM_DATAGRAM_WAITING;
	d->error = n < 0 ? errno : 0;
	d->size = n < 0 ? 0 : (size_t)n;
	return n < 0 ? MM_DATAGRAM_FAILED : MM_DATAGRAM_DONE;
}

void mm_datagram_stop(struct mm_datagram *d)
{
	mm_watch_stop(&d->watch);
	mm_timer_stop(&d->timer);
	d->done = NULL;
}

static void finish(struct mm_datagram *d, enum mm_datagram_end end)
{
	void (*done)(void *self, enum mm_datagram_end) = d->done;
	mm_datagram_stop(d);
	done(d->self, end);
}

static void on_ready(struct mm_watch *watch, int ready)
{
	struct mm_datagram *d = MM_OWNER_OF(watch, struct mm_datagram, watch);
	enum mm_datagram_end end = step(d);
	(void)ready;
	if (end != MM_DATAGRAM_WAITING)
		finish(d, end);
}

static void on_time_over(struct mm_timer *timer)
{
	finish(MM_OWNER_OF(timer, struct mm_datagram, timer), MM_DATAGRAM_TIMEOUT);
}

struct mm_datagram *mm_datagram_new(struct mm_clock *clock)
{
	struct mm_datagram *d = calloc(1, sizeof *d);
	if (d == NULL)
		return NULL;
	d->fd = -1;
	mm_watch_init(&d->watch, clock, on_ready);
	mm_timer_init(&d->timer, clock, on_time_over);
	return d;
}

void mm_datagram_free(struct mm_datagram *d)
{
	if (d == NULL)
		return;
	mm_datagram_stop(d);
	if (d->fd >= 0)
		close(d->fd);
	free(d->bytes);
	free(d);
}

static int ensure_open(struct mm_datagram *d, int family)
{
	if (d->fd < 0)
		d->fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return d->fd < 0 ? errno : 0;
}

int mm_datagram_connect(struct mm_datagram *d, const struct sockaddr *peer, size_t size)
{
	static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	int error = d->fd < 0 && peer != NULL ? ensure_open(d, peer->sa_family) : 0;
	if (error != 0 || d->fd < 0)
		return error;
	return connect(d->fd, peer != NULL ? peer : &nobody, peer != NULL ? (socklen_t)size : sizeof nobody)
		== 0 ? 0 : errno;
}

int mm_datagram_bind(struct mm_datagram *d, const struct sockaddr *own, size_t size)
{
	int error = ensure_open(d, own->sa_family);
	return error != 0 ? error : bind(d->fd, own, (socklen_t)size) == 0 ? 0 : errno;
}

int mm_datagram_send(struct mm_datagram *d, const void *bytes, size_t count, const struct sockaddr *to, size_t to_size)
{
	int error = to != NULL ? ensure_open(d, to->sa_family) : d->fd < 0 ? EDESTADDRREQ : 0;
	if (error != 0)
		return error;
	ssize_t n = sendto(d->fd, bytes, count, MSG_NOSIGNAL, to, (socklen_t)to_size);
	return n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ? 0 : errno;
}

enum mm_datagram_end mm_datagram_receive(struct mm_datagram *d, double seconds,
	void (*done)(void *self, enum mm_datagram_end), void *self)
{
	if (d->bytes == NULL)
		d->bytes = malloc(MM_DATAGRAM_MAX);
	d->size = 0;
	d->error = d->bytes == NULL ? ENOMEM : d->fd < 0 ? ENOTCONN : 0;
	if (d->error != 0)
		return MM_DATAGRAM_FAILED;
	enum mm_datagram_end end = step(d);
	if (end != MM_DATAGRAM_WAITING)
		return end;
	if (seconds == 0)
		return MM_DATAGRAM_TIMEOUT;
	d->done = done;
	d->self = self;
	mm_watch_start(&d->watch, d->fd, MM_READABLE);
	if (seconds > 0)
		mm_timer_start(&d->timer, seconds);
	return MM_DATAGRAM_WAITING;
}

bool mm_datagram_is_receiving(const struct mm_datagram *d)
{
	return d->done != NULL;
}

struct mm_text mm_datagram_received(const struct mm_datagram *d, const struct sockaddr **from, size_t *from_size)
{
	if (from != NULL) {
		*from = (const struct sockaddr *)&d->from;
		*from_size = d->from_size;
	}
	return (struct mm_text){ (const char *)d->bytes, d->size };
}

int mm_datagram_error(const struct mm_datagram *d)
{
	return d->error;
}

int mm_datagram_descriptor(const struct mm_datagram *d)
{
	return d->fd;
}
