#include "base/safe_path.h"

#include "base/users.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LINKS_MAX 40            /* as the kernel: path_resolution(7) */

struct walk {
	struct mm_safe_path *path;
	char                 rest[PATH_MAX];    /* what is left to walk */
	char                 so_far[PATH_MAX];  /* for messages */
	unsigned             links;
	struct mm_fault     *why;
};

static bool fail(struct walk *w, int error, const char *text)
{
	w->path->error = error;
	return mm_fault_set(w->why, MM_FAULT_CONFIG, "%s: %s", w->so_far[0] != '\0' ? w->so_far : "/", text);
}

/* Nobody but root may create, rename or remove an entry there. The sticky bit is not enough: it still lets everybody
 * create entries. An access list shows in the bits of the group. */
static bool is_roots_alone(const struct stat *s)
{
	return s->st_uid == 0 && (s->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* TAKES fd, the next directory of the walk; below 0: errno says why. */
static bool enter(struct walk *w, int fd, bool is_first)
{
	struct stat status;
	if (fd < 0 || fstat(fd, &status) != 0) {
		int error = errno;
		if (fd >= 0)
			close(fd);
		return fail(w, error, strerror(error));
	}
	mm_safe_path_close(w->path);
	w->path->directory = fd;
	w->path->is_trusted = (is_first || w->path->is_trusted) && is_roots_alone(&status);
	return true;
}

static bool start_at_root(struct walk *w)
{
	w->so_far[0] = '\0';
	return enter(w, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), true);
}

/* Takes the first component of the rest. False: there is none. */
static bool take_component(struct walk *w, char *to, size_t size, bool *is_last)
{
	const char *from = w->rest + strspn(w->rest, "/");
	size_t length = strcspn(from, "/");
	if (length == 0 || length >= size)
		return false;
	memcpy(to, from, length);
	to[length] = '\0';
	*is_last = from[length] == '\0';
	memmove(w->rest, from + length, strlen(from + length) + 1);
	return true;
}

static void note_component(struct walk *w, const char *name)
{
	size_t at = strlen(w->so_far);
	snprintf(w->so_far + at, sizeof w->so_far - at, "/%s", name);
}

/* Every link of procfs is the kernel's own: /dev/stdout -> /proc/self/fd/1, which leads to no path. */
static bool is_in_procfs(int directory)
{
	struct statfs s;
	return fstatfs(directory, &s) == 0 && s.f_type == PROC_SUPER_MAGIC;
}

static bool refuse_link(struct walk *w, const struct stat *link)
{
	char text[512];
	char name[48];
	bool is_name;
	mm_users_name(link->st_uid, name, sizeof name, &is_name);
	snprintf(text, sizeof text, "is a symbolic link of user %s%.40s%s, which root does not follow: it is root's "
		"own only where root alone may write; name the place that it leads to, or use a directory of root",
		is_name ? "\"" : "", is_name ? name : "without a name", is_name ? "\"" : "");
	return fail(w, ELOOP, text);
}

static bool follow(struct walk *w, const char *name)
{
	char target[PATH_MAX];
	ssize_t size = readlinkat(w->path->directory, name, target, sizeof target - 1);
	if (size < 0)
		return fail(w, errno, strerror(errno));
	if (++w->links > LINKS_MAX)
		return fail(w, ELOOP, strerror(ELOOP));
	size_t left = strlen(w->rest);
	if ((size_t)size + 1 + left >= sizeof w->rest)
		return fail(w, ENAMETOOLONG, strerror(ENAMETOOLONG));
	memmove(w->rest + size + 1, w->rest, left + 1);
	memcpy(w->rest, target, (size_t)size);
	w->rest[size] = '/';
	if (left == 0)
		w->rest[size] = '\0';
	if (target[0] == '/')
		return start_at_root(w);
	char *slash = strrchr(w->so_far, '/');
	if (slash != NULL)
		*slash = '\0';
	return true;
}

static bool go_up(struct walk *w)
{
	if (!w->path->is_trusted)
		return fail(w, ELOOP, "\"..\" after a directory that another user may move; write the path without it");
	return enter(w, openat(w->path->directory, "..", O_PATH | O_DIRECTORY | O_CLOEXEC), false);
}

enum step { STEP_ON, STEP_ARRIVED, STEP_FAILED };

static enum step step(struct walk *w, const char *name, bool is_last)
{
	struct stat status;
	int directory = w->path->directory;
	int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
	bool is_found = fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
	int error = errno;
	note_component(w, name);
	if (!is_found && !(is_last && error == ENOENT)) {
		fail(w, error, strerror(error));
		return STEP_FAILED;
	}
	bool is_link = is_found && S_ISLNK(status.st_mode), is_kernels = is_link && is_in_procfs(directory);
	if (is_link && !is_kernels) {
		bool may_follow = status.st_uid == 0 && w->path->is_trusted;
		return (may_follow ? follow(w, name) : refuse_link(w, &status)) ? STEP_ON : STEP_FAILED;
	}
	if (is_last) {
		snprintf(w->path->name, sizeof w->path->name, "%s", name);
		w->path->is_guarded = !is_kernels;
		return STEP_ARRIVED;
	}
	return enter(w, openat(directory, name, flags | (is_kernels ? 0 : O_NOFOLLOW)), false) ? STEP_ON : STEP_FAILED;
}

static bool walk(struct walk *w)
{
	char name[NAME_MAX + 1];
	bool is_last;
	if (!start_at_root(w))
		return false;
	while (take_component(w, name, sizeof name, &is_last)) {
		enum step next = STEP_ON;
		if (strcmp(name, "..") == 0)
			next = go_up(w) ? STEP_ON : STEP_FAILED;
		else if (strcmp(name, ".") != 0)
			next = step(w, name, is_last);
		if (next != STEP_ON)
			return next == STEP_ARRIVED;
	}
	return fail(w, w->rest[0] == '\0' || strspn(w->rest, "/") == strlen(w->rest) ? EISDIR : ENAMETOOLONG,
		"does not end in the name of a file");
}

static bool open_as_user(struct mm_safe_path *p, const char *path, struct mm_fault *why)
{
	char directory[PATH_MAX];
	const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
	if (slash == NULL)
		strcpy(directory, ".");
	else
		snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	p->error = name[0] == '\0' ? EISDIR : strlen(name) >= sizeof p->name ? ENAMETOOLONG : 0;
	if (p->error == 0) {
		strcpy(p->name, name);
		p->directory = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
		p->error = p->directory < 0 ? errno : 0;
	}
	return p->error == 0 || mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", p->error == EISDIR ? path : directory,
		strerror(p->error));
}

bool mm_safe_path_open(struct mm_safe_path *p, const char *path, struct mm_fault *why)
{
	*p = (struct mm_safe_path){ .directory = -1 };
	if (geteuid() != 0)
		return open_as_user(p, path, why);
	struct walk w = { .path = p, .why = why };
	size_t at = 0;
	if (path[0] != '/' && getcwd(w.rest, sizeof w.rest) != NULL)
		at = strlen(w.rest);
	if (snprintf(w.rest + at, sizeof w.rest - at, "%s%s", at > 0 ? "/" : "", path) >= (int)(sizeof w.rest - at))
		return fail(&w, ENAMETOOLONG, strerror(ENAMETOOLONG));
	if (walk(&w))
		return true;
	mm_safe_path_close(p);
	return false;
}

void mm_safe_path_close(struct mm_safe_path *p)
{
	if (p->directory >= 0)
		close(p->directory);
	p->directory = -1;
}

int mm_safe_path_flags(const struct mm_safe_path *p)
{
	return p->is_guarded ? O_NOFOLLOW : 0;
}

const char *mm_safe_path_entry(const struct mm_safe_path *p, const char *path, char *to, size_t size)
{
	int n = p->is_guarded && !p->is_trusted ? snprintf(to, size, "/proc/self/fd/%d/%s", p->directory, p->name)
		: snprintf(to, size, "%s", path);
	return n >= 0 && (size_t)n < size ? to : NULL;
}
