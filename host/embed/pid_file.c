#include "embed/pid_file.h"

#include "base/remedy.h"
#include "base/safe_path.h"
#include "embed/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES       10          /* while others that end remove the file under us */
#define NUMBER_SIZE 16          /* of what such a file can hold, and its NUL */

/* A file of a foreign user could be changed by it at any time, and one with a second name is somebody's other file. */
static bool may_use(int fd, const char *user, struct mm_fault *why)
{
	struct stat s;
	if (fstat(fd, &s) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "%s", strerror(errno));
	if (!S_ISREG(s.st_mode) || s.st_nlink != 1)
		return mm_fault_because(why, MM_REASON_IS_NOT_ALLOWED, "it is not a plain file with one name");
	return s.st_uid == geteuid() || s.st_uid == 0 || mm_rights_is_user(s.st_uid, user)
		|| mm_fault_because(why, MM_REASON_IS_NOT_ALLOWED, "user %u owns it; remove it, or choose a "
		"directory in which others may not write", (unsigned)s.st_uid);
}

static void read_number(int fd, char *to)
{
	ssize_t n = pread(fd, to, NUMBER_SIZE - 1, 0);
	to[n > 0 ? n : 0] = '\0';
}

/* A mistaken path must not empty somebody's file. */
static bool holds_a_number(int fd)
{
	char text[NUMBER_SIZE];
	struct stat s;
	read_number(fd, text);
	return fstat(fd, &s) == 0 && s.st_size < NUMBER_SIZE && text[strspn(text, "0123456789 \n")] == '\0';
}

/* False: errno is EWOULDBLOCK or says why. */
static bool lock(int fd, struct mm_fault *why)
{
	char holder[NUMBER_SIZE];
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (errno != EWOULDBLOCK)
		return mm_fault_because(why, MM_REASON_IS_NOT_ALLOWED, "it cannot be locked: %s", strerror(errno));
	read_number(fd, holder);
	holder[strspn(holder, "0123456789")] = '\0';
	return mm_fault_because(why, MM_REASON_IS_IN_USE, "process %s holds it: moonmilter runs already; stop it first",
		holder[0] != '\0' ? holder : "(unknown)");
}

/* Is the locked file still the one of that name? Another process may have removed it between our open and our lock. */
static bool is_still_there(const struct mm_safe_path *p, int fd)
{
	struct stat ours, named;
	return fstat(fd, &ours) == 0 && fstatat(p->directory, p->name, &named, AT_SYMLINK_NOFOLLOW) == 0
		&& ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

/* -1: why is filled. */
static int open_and_lock(const struct mm_safe_path *p, const char *user, struct mm_fault *why)
{
	static const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	for (int i = 0; i < TRIES; i++) {
		int fd = openat(p->directory, p->name, flags, 0644);
		if (fd < 0) {
			mm_fault_because(why, MM_REASON_IS_NOT_ALLOWED, "%s%s", errno == ELOOP
				? "it is a symbolic link, which is not followed" : strerror(errno),
				mm_remedy_of_writing(errno));
			return -1;
		}
		bool is_ours = may_use(fd, user, why) && lock(fd, why);
		if (is_ours && !holds_a_number(fd))
			is_ours = mm_fault_because(why, MM_REASON_IS_NOT_ALLOWED, "it holds something else than a "
				"number; remove it, or choose another path");
		if (is_ours && is_still_there(p, fd))
			return fd;
		close(fd);
		if (!is_ours)
			return -1;
	}
	mm_fault_because(why, MM_REASON_IS_IN_USE, "other processes create and remove it all the time");
	return -1;
}

static bool write_number(int fd)
{
	char text[16];
	int size = snprintf(text, sizeof text, "%d\n", (int)getpid());
	return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)size, 0) == size;
}

bool mm_pid_file_open(struct mm_pid_file *f, const char *path, const char *user, struct mm_fault *why)
{
	struct mm_safe_path p;
	struct mm_fault problem;
	*f = (struct mm_pid_file){ .fd = -1 };
	if (!mm_safe_path_open(&p, path, &problem))
		return mm_fault_because(why, MM_REASON_IS_NOT_ALLOWED, "pid_file: %.300s cannot be opened: %s%s", path,
			problem.text, mm_remedy_of_writing(p.error));
	f->fd = open_and_lock(&p, user, &problem);
	mm_safe_path_close(&p);
	if (f->fd < 0)
		return mm_fault_because(why, problem.reason, "pid_file: %.300s cannot be used: %s", path, problem.text);
	f->path = strdup(path);
	f->writer = getpid();
	if (f->path != NULL && write_number(f->fd))
		return true;
	mm_fault_because(why, MM_REASON_IS_NOT_ALLOWED, "pid_file: %.300s cannot be written: %s%s", path,
		strerror(errno), mm_remedy_of_writing(errno));
	mm_pid_file_close(f);
	return false;
}

void mm_pid_file_renew(struct mm_pid_file *f)
{
	if (f->fd < 0)
		return;
	f->writer = getpid();
	write_number(f->fd);
}

void mm_pid_file_leave(struct mm_pid_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->path);
	*f = (struct mm_pid_file){ .fd = -1 };
}

void mm_pid_file_close(struct mm_pid_file *f)
{
	struct mm_safe_path p;
	if (f->fd >= 0 && f->writer == getpid() && ftruncate(f->fd, 0) == 0
	    && mm_safe_path_open(&p, f->path, NULL)) {
		if (is_still_there(&p, f->fd))
			unlinkat(p.directory, p.name, 0);
		mm_safe_path_close(&p);
	}
	mm_pid_file_leave(f);
}
