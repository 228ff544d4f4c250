#include "doctor/reach.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <poll.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUPS_MAX      64
#define CONNECT_MS      3000

int mm_reach_connect_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	int why = errno;
	close(fd);
	errno = why;
	return -1;
}

bool mm_reach_is_same_socket(const char *path, const char *other)
{
	struct stat a, b;
	return strcmp(path, other) == 0
		|| (stat(path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino);
}

static void nobody_answers(struct mm_findings *f, const struct mm_caller *c)
{
	if (c->is_ours)
		mm_find_remedy(f, "start moonmilter (systemctl start moonmilter), or look into its log");
	else
		mm_find_remedy(f, "start the filter that should listen there, or remove it from the "
			"configuration of %s", c->mta);
}

/* ---- do the modes allow a user to open this? ---- */

struct who {
	const char *name;
	uid_t       uid;
	gid_t       group;
	gid_t       groups[GROUPS_MAX];
	int         group_count;
};

static bool who_is(const char *name, struct who *to)
{
	const struct passwd *p = getpwnam(name);
	if (p == NULL)
		return false;
	*to = (struct who){ .name = name, .uid = p->pw_uid, .group = p->pw_gid, .group_count = GROUPS_MAX };
	if (getgrouplist(name, p->pw_gid, to->groups, &to->group_count) < 0)
		to->group_count = GROUPS_MAX;
	return true;
}

enum { SEARCH = 1, WRITE = 2 };         /* permission bits of a mode */

static bool may(const struct who *w, const struct stat *s, unsigned bit)
{
	if (w->uid == 0)
		return true;
	if (s->st_uid == w->uid)
		return s->st_mode & bit << 6;
	for (int i = 0; i < w->group_count; i++)
		if (w->groups[i] == s->st_gid)
			return s->st_mode & bit << 3;
	return s->st_mode & bit;
}

static const char *group_name(gid_t gid)
{
	const struct group *g = getgrgid(gid);
	return g != NULL ? g->gr_name : "?";
}

/* A group that nothing may be given to: root's, and those of processes that have been given no group of their own. */
static bool is_shared_group(gid_t gid)
{
	static const char *const names[] = { "root", "nogroup", "nobody", "users", NULL };
	const char *name = group_name(gid);
	for (int i = 0; names[i] != NULL; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return gid == 0 || name[0] == '?';
}

/* The socket is in a group that the user must not join: a better one is needed. */
static void find_group(struct mm_findings *f, const struct who *w, const struct mm_caller *c)
{
	if (is_shared_group(w->group))
		mm_find_remedy(f, "give them a group of their own: groupadd milters; usermod -aG milters %s; "
			"socket_group = \"milters\", socket_mode = \"0660\" in moonmilter.conf; then restart "
			"moonmilter and %s", w->name, c->mta);
	else
		mm_find_remedy(f, "socket_group = \"%s\", socket_mode = \"0660\" in moonmilter.conf, then "
			"restart moonmilter", group_name(w->group));
}

/* Finds the first directory or file on the way that keeps the user out; false when there is none. */
static bool explain_refusal(struct mm_findings *f, const struct who *w, const struct mm_caller *c, const char *path)
{
	char part[MM_UNIX_PATH_MAX + 1];
	struct stat s;
	for (const char *slash = path + strlen(c->root); (slash = strchr(slash + 1, '/')) != NULL;) {
		snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
		if (stat(part, &s) != 0 || may(w, &s, SEARCH))
			continue;
		mm_find_wrong(f, "%s: user %s may not pass through this directory (mode %04o, group %s)", part, w->name,
			(unsigned)s.st_mode & 07777, group_name(s.st_gid));
		if (s.st_mode & SEARCH << 3 && !is_shared_group(s.st_gid))
			mm_find_remedy(f, "usermod -aG %s %s, then restart %s", group_name(s.st_gid), w->name, c->mta);
		else
			mm_find_remedy(f, "chmod o+x %s, or let moonmilter listen elsewhere", part);
		return true;
	}
	if (stat(path, &s) != 0 || may(w, &s, WRITE))
		return false;
	mm_find_wrong(f, "%s: user %s may not connect (mode %04o, group %s)", path, w->name,
		(unsigned)s.st_mode & 07777, group_name(s.st_gid));
	if (is_shared_group(s.st_gid))
		find_group(f, w, c);
	else
		mm_find_remedy(f, "%susermod -aG %s %s, then restart %s", s.st_mode & WRITE << 3 ? ""
			: "socket_mode = \"0660\" in moonmilter.conf, restart moonmilter; ", group_name(s.st_gid),
			w->name, c->mta);
	return true;
}

/* ---- connecting for real ---- */

static int become_and_connect(const struct who *w, const struct mm_caller *c, const char *path)
{
	const char *seen = path + strlen(c->root);
	if (c->root[0] != '\0' && (chroot(c->root) != 0 || chdir("/") != 0))
		return errno;
	if (setgroups((size_t)w->group_count, w->groups) != 0 || setgid(w->group) != 0 || setuid(w->uid) != 0)
		return errno;
	return mm_reach_connect_unix(seen) >= 0 ? 0 : errno;
}

/* 0, or the errno that says why not. */
static int try_as(const struct who *w, const struct mm_caller *c, const char *path)
{
	int status;
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		return errno;
	if (pid == 0)
		_exit(become_and_connect(w, c, path) & 0xff);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static int try_as_we_are(const char *path)
{
	int fd = mm_reach_connect_unix(path);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

bool mm_reach_unix(struct mm_findings *f, const struct mm_caller *c, const char *path)
{
	struct who w;
	if (!who_is(c->user, &w)) {
		mm_find_wrong(f, "%s runs as user %s, which does not exist", c->mta, c->user);
		mm_find_remedy(f, "look at mail_owner in main.cf, or RunAsUser in sendmail.cf");
		return false;
	}
	bool is_root = geteuid() == 0;
	if (!is_root && explain_refusal(f, &w, c, path))
		return false;
	int why = is_root ? try_as(&w, c, path) : try_as_we_are(path);
	if (why == 0) {
		mm_find_ok(f, "%s: user %s can connect%s%s", path, w.name, c->root[0] != '\0' ? ", in the chroot "
			: "", c->root);
		return true;
	}
	if (why == EACCES && !is_root) {
		mm_find_note(f, "%s: this user cannot check whether a process listens there; for user %s the modes "
			"are right", path, w.name);
		mm_find_remedy(f, "run moonmilter doctor as root");
	} else if (why == EACCES && explain_refusal(f, &w, c, path)) {
		return false;
	} else if (why == EACCES) {
		mm_find_wrong(f, "%s: user %s may not connect, although modes and groups allow it", path, w.name);
		mm_find_remedy(f, "look for an access control list (getfacl %s) or a refusal by AppArmor or "
			"SELinux (dmesg)", path);
	} else {
		mm_find_wrong(f, "%s: no process answers: %s", path, strerror(why));
		nobody_answers(f, c);
	}
	return false;
}

/* ---- TCP ---- */

static bool answers(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
	socklen_t size = sizeof error;
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	bool ok = fd >= 0 && (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS)
		&& poll(&p, 1, CONNECT_MS) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0;
	if (ok)
		errno = error;
	else if (errno == EINPROGRESS)
		errno = ETIMEDOUT;
	ok = ok && error == 0;
	int why = errno;
	if (fd >= 0)
		close(fd);
	errno = why;
	return ok;
}

bool mm_reach_inet(struct mm_findings *f, const struct mm_caller *c, const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	int failed = getaddrinfo(host, port, &hints, &list);
	if (failed != 0) {
		mm_find_wrong(f, "%s port %s: %s", host, port, gai_strerror(failed));
		mm_find_remedy(f, "name the milter by a numeric address where %s does", c->mta);
		return false;
	}
	bool ok = false;
	int why = 0;
	/* as both MTAs do: the name may stand for an address where the milter does not listen, such as ::1 */
	for (const struct addrinfo *a = list; a != NULL && !ok; a = a->ai_next) {
		ok = answers(a);
		why = errno;
	}
	freeaddrinfo(list);
	if (ok) {
		mm_find_ok(f, "%s port %s: a process listens", host, port);
		return true;
	}
	mm_find_wrong(f, "%s port %s: no process answers: %s", host, port, strerror(why));
	nobody_answers(f, c);
	return false;
}
