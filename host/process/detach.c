#include "process/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define LOOK_EVERY 200          /* milliseconds between looks at whether the child lives */

/* What the parent waits with. */
struct waiting {
	pid_t child;
	int   news;             /* a byte: it serves */
	int   said;             /* what it writes to standard output and error */
};

/* ---- the parent ---- */

static void copy(int from)
{
	char bytes[4096];
	for (ssize_t n; (n = read(from, bytes, sizeof bytes)) > 0;)
		if (write(STDERR_FILENO, bytes, (size_t)n) < 0)
			return;
}

static int status_of(int status)
{
	if (WIFEXITED(status))
		return WEXITSTATUS(status) != EX_OK ? WEXITSTATUS(status) : EX_SOFTWARE;
	fprintf(stderr, "moonmilter: signal %d ended the daemon before it served\n", WTERMSIG(status));
	return EX_SOFTWARE;
}

static int wait_for(const struct waiting *w)
{
	char byte;
	int status;
	for (;;) {
		struct pollfd fds[] = { { .fd = w->said, .events = POLLIN }, { .fd = w->news, .events = POLLIN } };
		poll(fds, 2, LOOK_EVERY);
		bool serves = read(w->news, &byte, 1) == 1;
		bool is_over = waitpid(w->child, &status, serves ? WNOHANG : fds[1].revents & POLLHUP ? 0 : WNOHANG)
			== w->child;
		copy(w->said);
		if (serves)
			return EX_OK;
		if (is_over)
			return status_of(status);
	}
}

/* ---- the child ---- */

static void point_at_nothing(int from, int to)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = from; null >= 0 && fd <= to; fd++)
		dup2(null, fd);
	if (null > to)
		close(null);
}

static void be_daemon(int said)
{
	setsid();
	point_at_nothing(STDIN_FILENO, STDIN_FILENO);
	dup2(said, STDOUT_FILENO);
	dup2(said, STDERR_FILENO);
	close(said);
}

void mm_detached_leave(struct mm_detached *d)
{
	if (d->news < 0)
		return;
	close(d->news);
	d->news = -1;
	point_at_nothing(STDOUT_FILENO, STDERR_FILENO);
}

void mm_detached_serves(struct mm_detached *d)
{
	if (d->news < 0)
		return;
	fflush(NULL);
	bool is_heard = write(d->news, "", 1) == 1;
	mm_detached_leave(d);
	if (!is_heard)
		kill(getpid(), SIGTERM);        /* the command was ended: nobody wants us */
}

enum mm_detach mm_detach(struct mm_detached *d, int *status)
{
	int news[2] = { -1, -1 }, said[2] = { -1, -1 };
	*d = (struct mm_detached){ .news = -1 };
	fflush(NULL);
	bool has_pipes = pipe2(news, O_CLOEXEC) == 0 && pipe2(said, O_CLOEXEC) == 0;
	pid_t child = has_pipes ? fork() : -1;
	if (child < 0) {
		fprintf(stderr, "moonmilter: daemon: %s\n", strerror(errno));
		*status = EX_OSERR;
		return MM_DETACH_FAILED;
	}
	close(news[child != 0]);
	close(said[child != 0]);
	if (child == 0) {
		d->news = news[1];
		be_daemon(said[1]);
		return MM_DETACH_CHILD;
	}
	fcntl(news[0], F_SETFL, O_NONBLOCK);
	fcntl(said[0], F_SETFL, O_NONBLOCK);
	*status = wait_for(&(struct waiting){ child, news[0], said[0] });
	return MM_DETACH_PARENT;
}
