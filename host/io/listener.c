#include "io/listener.h"

#include "base/safe_path.h"
#include "base/users.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- unix sockets ---- */

/* The entry's name in sockaddr_un. False: too long. */
static bool unix_address(const struct mm_safe_path *at, const char *path, struct sockaddr_un *to, struct mm_fault *why)
{
	memset(to, 0, sizeof *to);
	to->sun_family = AF_UNIX;
	return mm_safe_path_entry(at, path, to->sun_path, sizeof to->sun_path) != NULL
		|| mm_fault_set(why, MM_FAULT_CONFIG, "unix:%s: the name of the socket is too long for a directory "
		"that does not belong to root; choose a shorter one", path);
}

/* -> what connect() says on the socket file that is open as `entry` (O_PATH): 0, or errno. */
static int try_socket(const struct mm_safe_path *at, const char *path, int entry)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (at->is_guarded && !at->is_trusted)          /* the name may be a link by now */
		snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", entry);
	else
		snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	int error = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
	close(fd);
	return error;
}

/* Removes the socket of a dead process. False: a process answers there, or the file is not a socket. */
static bool clear_stale(const struct mm_safe_path *at, const char *path, bool *has_removed, struct mm_fault *why)
{
	struct stat status;
	int entry = openat(at->directory, at->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (entry < 0)
		return errno == ENOENT || mm_fault_set(why, MM_FAULT_CONFIG, "unix:%s cannot be bound: %s", path,
			strerror(errno));
	bool is_socket = fstat(entry, &status) == 0 && S_ISSOCK(status.st_mode);
	int error = is_socket ? try_socket(at, path, entry) : 0;
	close(entry);
	if (!is_socket)
		return mm_fault_because(why, MM_REASON_IS_BIND, "%s: exists and is not a socket; remove it or choose "
			"another path", path);
	if (error != ECONNREFUSED)
		return mm_fault_because(why, MM_REASON_IS_IN_USE,
			"unix:%s is in use: %s; stop the other instance or choose "
			"another path", path, error == 0 ? "a process answers there" : strerror(error));
	if (unlinkat(at->directory, at->name, 0) != 0)
		return mm_fault_because(why, MM_REASON_IS_BIND, "%s: a dead process left this socket and it cannot be "
			"removed: %s", path, strerror(errno));
	*has_removed = true;
	return true;
}

/* Without socket_owner or socket_group, the socket belongs to the user who will serve; without
 * such a user -1: leave it. */
static bool find_owner(const struct mm_listener_options *o, uid_t *user, gid_t *group, struct mm_fault *why)
{
	struct mm_user u;
	*user = (uid_t)-1;
	*group = (gid_t)-1;
	if (o->user != NULL) {
		if (!mm_users_find("user", o->user, &u, why))
			return false;
		*user = u.id;
		if (u.is_known)
			*group = u.group;
	}
	if (o->owner != NULL) {
		if (!mm_users_find("socket_owner", o->owner, &u, why))
			return false;
		*user = u.id;
	}
	return o->group == NULL || mm_users_find_group("socket_group", o->group, group, why);
}

bool mm_listener_check(const struct mm_listener_options *o, struct mm_fault *why)
{
	uid_t user;
	gid_t group;
	return find_owner(o, &user, &group, why);
}

/* The socket file that we have just created, as an O_PATH descriptor. Where another user may have renamed it, only a
 * socket of root without a second name is ours. -1: it is gone or replaced. */
static int created_entry(const struct mm_safe_path *at, struct stat *status)
{
	int entry = openat(at->directory, at->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	bool is_ours = entry >= 0 && fstat(entry, status) == 0 && S_ISSOCK(status->st_mode);
	if (is_ours && at->is_guarded && !at->is_trusted)
		is_ours = status->st_uid == 0 && status->st_nlink == 1;
	if (is_ours || entry < 0)
		return entry;
	close(entry);
	return -1;
}

/* Gives back what the umask has taken. chmod() follows the link of /proc to the file itself, whatever has its name. */
static bool set_mode(int entry, const char *path, unsigned mode, const struct stat *status, struct mm_fault *why)
{
	char name[32];
	snprintf(name, sizeof name, "/proc/self/fd/%d", entry);
	return (status->st_mode & 07777) == mode || chmod(name, mode) == 0
		|| mm_fault_set(why, MM_FAULT_CONFIG, "%s: socket_mode %03o cannot be set: %s", path, mode,
		strerror(errno));
}

static bool set_owner(int entry, const char *path, const struct mm_listener_options *o, struct mm_fault *why)
{
	uid_t user;
	gid_t group;
	if (!find_owner(o, &user, &group, why))
		return false;
	if ((user == (uid_t)-1 && group == (gid_t)-1) || fchownat(entry, "", user, group, AT_EMPTY_PATH) == 0)
		return true;
	return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s%s cannot be set: %s%s", path,
		o->owner != NULL ? "socket_owner " : o->group != NULL ? "socket_group " : "owner ",
		o->owner != NULL ? o->owner : o->group != NULL ? o->group : o->user, strerror(errno), errno != EPERM
		? "" : "; that needs root, or membership in the group. Without socket_group, add the MTA's user to our "
		"group: usermod -aG moonmilter postfix");
}

static bool bind_unix(struct mm_listener *l, const struct mm_safe_path *at, unsigned mode, struct mm_fault *why)
{
	struct sockaddr_un address;
	if (!unix_address(at, l->spec.path, &address, why))
		return false;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "socket: %s", strerror(errno));
	/* Never open to more users than configured, not even for a moment: the file gets the mode that the socket has
	 * when it is bound, less the umask, which belongs to the whole process and its threads. */
	int rc = fchmod(l->fd, mode) == 0 ? bind(l->fd, (struct sockaddr *)&address, sizeof address) : -1;
	int error = errno;
	return rc == 0 || mm_fault_because(why, mm_fault_reason_of(error),
		"unix:%s cannot be bound: %s%s", l->spec.path,
		strerror(error), error == EACCES ? "; the user who starts moonmilter must be able to write to its "
		"directory" : "");
}

static bool create_unix(struct mm_listener *l, const struct mm_safe_path *at, const struct mm_listener_options *o,
	struct mm_fault *why)
{
	struct stat status;
	if (!clear_stale(at, l->spec.path, &l->has_replaced, why) || !bind_unix(l, at, o->mode, why))
		return false;
	int entry = created_entry(at, &status);
	if (entry < 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "unix:%s: another process replaced the socket while it was "
			"being created", l->spec.path);
	l->is_ours = true;
	l->device = status.st_dev;
	l->inode = status.st_ino;
	bool ok = set_mode(entry, l->spec.path, o->mode, &status, why) && set_owner(entry, l->spec.path, o, why);
	close(entry);
	return ok;
}

static bool open_unix(struct mm_listener *l, const struct mm_listener_options *o, struct mm_fault *why)
{
	struct mm_safe_path at;
	struct mm_fault problem;
	if (!mm_safe_path_open(&at, l->spec.path, &problem))
		return mm_fault_because(why, MM_REASON_IS_BIND,
			"unix:%s cannot be bound: %s%s", l->spec.path, problem.text,
			at.error == ENOENT ? "; first create its directory, owned by the user we run as" : "");
	bool ok = create_unix(l, &at, o, why);
	mm_safe_path_close(&at);
	return ok;
}

/* Removes the file unless another process has replaced it. */
static void remove_unix(const struct mm_listener *l)
{
	struct mm_safe_path at;
	struct stat status;
	if (!mm_safe_path_open(&at, l->spec.path, NULL))
		return;
	if (fstatat(at.directory, at.name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_dev == l->device
	    && status.st_ino == l->inode)
		unlinkat(at.directory, at.name, 0);
	mm_safe_path_close(&at);
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
	return mm_fault_because(why, mm_fault_reason_of(errno), "%s cannot be bound: %s%s",
		mm_endpoint_text(&l->spec, text, sizeof text), strerror(errno), errno == EADDRINUSE
		? "; another instance is running, or the port is taken"
		: errno == EACCES ? "; ports below 1024 need root at start" : "");
}

static bool check_inherited(int fd, struct mm_fault *why)
{
	int listens = 0;
	socklen_t size = sizeof listens;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens)
		return mm_fault_because(why, MM_REASON_IS_BIND, "fd:%d is not a listening socket", fd);
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
	if (ok && listen(l->fd, (int)o->backlog) != 0)
		ok = mm_fault_set(why, MM_FAULT_RESOURCE, "listen: %s", strerror(errno));
	if (!ok)
		mm_listener_close(l);
	return ok;
}

void mm_listener_close(struct mm_listener *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	if (l->is_ours)
		remove_unix(l);
	l->is_ours = false;
}

bool mm_listener_is_lost(const struct mm_listener *l)
{
	struct stat status;
	return l->is_ours && (lstat(l->spec.path, &status) != 0 || status.st_dev != l->device
		|| status.st_ino != l->inode);
}
