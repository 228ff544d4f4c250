#include "io/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG           511
#define ACCEPTS_A_WAKE    16            /* so that a flood of connections leaves time for those that are served */
#define PAUSE_IN_TROUBLE  0.5           /* seconds until accepting is tried again when descriptors are out */
#define PAUSE_FOR_OTHERS  0.001         /* seconds until a worker that looks away looks again, doubled each time */
#define PAUSE_MAX         0.032
#define LOOKS_FOR_OTHERS  20            /* at which one waits, until we take it although it is another's turn */

/* ---- unix sockets ---- */

static void unix_address(const char *path, struct sockaddr_un *to)
{
	memset(to, 0, sizeof *to);
	to->sun_family = AF_UNIX;
	snprintf(to->sun_path, sizeof to->sun_path, "%s", path);
}

/* Removes what a dead process left. False: somebody answers there, or it is no socket. */
static bool clear_stale(const char *path, struct mm_fault *why)
{
	struct stat status;
	if (lstat(path, &status) != 0)
		return errno == ENOENT || mm_fault_set(why, MM_FAULT_CONFIG, "unix:%s cannot be bound: %s", path,
			strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: exists and is no socket; remove it or choose "
			"another path", path);
	struct sockaddr_un address;
	unix_address(path, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "socket: %s", strerror(errno));
	int rc = connect(fd, (struct sockaddr *)&address, sizeof address);
	int error = errno;
	close(fd);
	if (rc == 0 || error != ECONNREFUSED)
		return mm_fault_set(why, MM_FAULT_CONFIG, "unix:%s is in use: %s; stop the other instance or choose "
			"another path", path, rc == 0 ? "somebody answers there" : strerror(error));
	if (unlink(path) != 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: a dead process left this socket and it cannot be "
			"removed: %s", path, strerror(errno));
	return true;
}

/* Who is not named is who will serve; -1 without such a user: as it is. */
static bool find_owner(const struct mm_listener_options *o, uid_t *user, gid_t *group, struct mm_fault *why)
{
	*user = (uid_t)-1;
	*group = (gid_t)-1;
	if (o->user != NULL) {
		struct passwd *p = getpwnam(o->user);
		if (p == NULL)
			return mm_fault_set(why, MM_FAULT_CONFIG, "user: there is no user \"%s\"", o->user);
		*user = p->pw_uid;
		*group = p->pw_gid;
	}
	if (o->owner != NULL) {
		struct passwd *p = getpwnam(o->owner);
		if (p == NULL)
			return mm_fault_set(why, MM_FAULT_CONFIG, "socket_owner: there is no user \"%s\"", o->owner);
		*user = p->pw_uid;
	}
	if (o->group != NULL) {
		struct group *g = getgrnam(o->group);
		if (g == NULL)
			return mm_fault_set(why, MM_FAULT_CONFIG, "socket_group: there is no group \"%s\"", o->group);
		*group = g->gr_gid;
	}
	return true;
}

bool mm_listener_check(const struct mm_listener_options *o, struct mm_fault *why)
{
	uid_t user;
	gid_t group;
	return find_owner(o, &user, &group, why);
}

static bool set_owner(const char *path, const struct mm_listener_options *o, struct mm_fault *why)
{
	uid_t user;
	gid_t group;
	if (!find_owner(o, &user, &group, why))
		return false;
	/* lchown: the directory is often our later user's, who must not have root give him another
	 * file by way of a link */
	if ((user == (uid_t)-1 && group == (gid_t)-1) || lchown(path, user, group) == 0)
		return true;
	return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s%s cannot be set: %s%s", path,
		o->owner != NULL ? "socket_owner " : o->group != NULL ? "socket_group " : "owner ",
		o->owner != NULL ? o->owner : o->group != NULL ? o->group : o->user, strerror(errno), errno != EPERM
		? "" : "; that takes root, or membership in the "
		"group. Without socket_group, let the MTA's user join ours: usermod -aG moonmilter postfix");
}

static bool open_unix(struct mm_listener *l, const struct mm_listener_options *o, struct mm_fault *why)
{
	const char *path = l->spec.path;
	if (!clear_stale(path, why))
		return false;
	struct sockaddr_un address;
	unix_address(path, &address);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "socket: %s", strerror(errno));
	mode_t before = umask(0777 & ~o->mode);         /* never open to more than asked for, not for a moment */
	int rc = bind(l->fd, (struct sockaddr *)&address, sizeof address);
	int error = errno;
	umask(before);
	if (rc != 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "unix:%s cannot be bound: %s%s", path, strerror(error),
			error == ENOENT ? "; make its directory first, owned by the user we run as"
			: error == EACCES ? "; who starts moonmilter has to be able to write to its directory" : "");
	struct stat status;
	l->is_ours = lstat(path, &status) == 0;
	l->device = status.st_dev;
	l->inode = status.st_ino;
	return set_owner(path, o, why);
}

/* ---- TCP ---- */

static bool open_inet(struct mm_listener *l, struct mm_fault *why)
{
	struct sockaddr_storage address;
	socklen_t size = (socklen_t)mm_endpoint_address(&l->spec, &address);
	char text[MM_ENDPOINT_TEXT_SIZE];
	l->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "socket: %s", strerror(errno));
	int on = 1;
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (l->spec.kind == MM_ENDPOINT_INET6)
		setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (bind(l->fd, (struct sockaddr *)&address, size) == 0)
		return true;
	return mm_fault_set(why, MM_FAULT_CONFIG, "%s cannot be bound: %s%s",
		mm_endpoint_text(&l->spec, text, sizeof text), strerror(errno), errno == EADDRINUSE
		? "; another instance is running, or the port is taken"
		: errno == EACCES ? "; ports below 1024 need root at start" : "");
}

static bool check_inherited(int fd, struct mm_fault *why)
{
	int listens = 0;
	socklen_t size = sizeof listens;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens)
		return mm_fault_set(why, MM_FAULT_CONFIG, "fd:%d is no listening socket", fd);
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "fd:%d: %s", fd, strerror(errno));
	return true;
}

bool mm_listener_open(struct mm_listener *l, const struct mm_endpoint *spec, const struct mm_listener_options *o,
	struct mm_fault *why)
{
	*l = (struct mm_listener){ .spec = *spec, .fd = -1 };
	bool ok = false;
	switch (spec->kind) {
	case MM_ENDPOINT_UNIX:
		ok = open_unix(l, o, why);
		break;
	case MM_ENDPOINT_INET:
	case MM_ENDPOINT_INET6:
		ok = open_inet(l, why);
		break;
	case MM_ENDPOINT_FD:
		if (!check_inherited(spec->fd, why))
			return false;
		l->fd = spec->fd;
		return true;
	case MM_ENDPOINT_SYSTEMD:
		return mm_fault_set(why, MM_FAULT_BUG, "a systemd listener was not resolved");
	}
	if (ok && listen(l->fd, BACKLOG) != 0)
		ok = mm_fault_set(why, MM_FAULT_RESOURCE, "listen: %s", strerror(errno));
	if (!ok)
		mm_listener_close(l);
	return ok;
}

void mm_listener_close(struct mm_listener *l)
{
	struct stat status;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	if (l->is_ours && lstat(l->spec.path, &status) == 0 && status.st_dev == l->device && status.st_ino == l->inode)
		unlink(l->spec.path);
	l->is_ours = false;
}

bool mm_listener_is_lost(const struct mm_listener *l)
{
	struct stat status;
	return l->is_ours && (lstat(l->spec.path, &status) != 0 || status.st_dev != l->device
		|| status.st_ino != l->inode);
}

/* ---- accepting ----
 * (a) Workers share one listening descriptor. Every worker that watches it wakes for a connection; those that have more
 *     sessions than the others look away (census.h), so that about the right ones wake.
 * (b) SO_REUSEPORT would spread by itself, but a worker that ends takes the connections in its own queue with it, and
 *     unix sockets do not have it. EPOLLEXCLUSIVE gives nearly all to the worker that waited last. */

struct mm_acceptor {
	ev_io                    readable;
	ev_timer                 retry;         /* after trouble, or while others are to take connections */
	struct ev_loop          *loop;          /* borrowed */
	struct mm_acceptor_owner owner;
	bool                     is_paused;
	bool                     is_in_trouble;
	bool                     looks_away;
	unsigned                 waits_seen;    /* looks in a row at which a connection waited */
	double                   pause;         /* until the next look */
};

/* NULL: a unix socket, or an address we cannot read. */
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

/* Out of descriptors or memory: the connection stays in the kernel's queue and would wake us for ever. Look away for a
 * while instead. */
static void step_back(struct mm_acceptor *a, int error)
{
	if (!a->is_in_trouble)
		a->owner.trouble(a->owner.self, "no connection can be accepted; trying again every half second", error);
	a->is_in_trouble = true;
	look_again_in(a, PAUSE_IN_TROUBLE);
}

/* False: there is none to be had now. */
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
	int on = 1;
	if (address.ss_family != AF_UNIX) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	}
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

/* Where one waits at so many looks in a row the others do not take it: they are busy, hang or are full. It is some
 * looks, because on a busy machine the others need some milliseconds to wake. */
static void look_for_others(struct mm_acceptor *a)
{
	bool waits = one_waits(a);
	a->looks_away = !is_my_turn(a);
	a->waits_seen = waits ? a->waits_seen + 1 : 0;
	if (a->looks_away && a->waits_seen > LOOKS_FOR_OTHERS)
		accept_one(a);
	if (a->is_paused || ev_is_active(&a->retry))
		return;                 /* taking it has filled us up, or failed */
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
