#include "base/log_output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define SYSLOG_SOCKET "/dev/log"
#define HEAD_SIZE     80                /* bytes before a line: for syslog, or to end a torn line */

void mm_log_output_close(struct mm_log_output *o)
{
	if (o->owns && o->fd >= 0)
		close(o->fd);
	*o = (struct mm_log_output){ .kind = MM_LOG_NOWHERE, .fd = -1, .given = -1 };
}

void mm_log_output_open(struct mm_log_output *o, int fd)
{
	char path[32];
	struct stat s;
	mm_log_output_close(o);
	if (fd < 0 || fstat(fd, &s) != 0)
		return;
	*o = (struct mm_log_output){ .kind = MM_LOG_FILE, .fd = fd, .given = fd };
	if (S_ISSOCK(s.st_mode))
		o->kind = MM_LOG_SOCKET;
	if (!S_ISFIFO(s.st_mode) && !S_ISCHR(s.st_mode))
		return;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int own = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	o->kind = own >= 0 ? MM_LOG_PIPE : MM_LOG_ASKED;
	o->owns = own >= 0;
	o->fd = own >= 0 ? own : fd;
}

void mm_log_output_file(struct mm_log_output *o, int fd)
{
	mm_log_output_close(o);
	*o = (struct mm_log_output){ .kind = MM_LOG_FILE, .fd = fd, .owns = true, .given = -1 };
}

/* ---- syslog ---- */

static void connect_to_syslog(struct mm_log_output *o)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = SYSLOG_SOCKET };
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (o->fd >= 0 || now.tv_sec == o->tried_at)            /* once a second is enough */
		return;
	o->tried_at = now.tv_sec;
	o->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	o->owns = true;
	if (o->fd < 0 || connect(o->fd, (struct sockaddr *)&address, sizeof address) == 0)
		return;
	close(o->fd);
	o->fd = -1;
}

void mm_log_output_syslog(struct mm_log_output *o)
{
	mm_log_output_close(o);
	o->kind = MM_LOG_SYSLOG;
	mm_log_output_name(o, LOG_MAIL, "moonmilter");
	connect_to_syslog(o);
}

void mm_log_output_name(struct mm_log_output *o, int facility, const char *ident)
{
	o->facility = facility;
	snprintf(o->ident, sizeof o->ident, "%s", ident);
}

/* RFC 3164 4.1, as every /dev/log reads it: "<22>Nov 21 10:47:24 moonmilter[17]: " */
static size_t write_head(const struct mm_log_output *o, char *to, int priority)
{
	struct timespec now;
	struct tm local;
	char when[32];
	clock_gettime(CLOCK_REALTIME, &now);
	strftime(when, sizeof when, "%b %e %H:%M:%S", localtime_r(&now.tv_sec, &local));
	int n = snprintf(to, HEAD_SIZE, "<%d>%s %s[%d]: ", o->facility | priority, when, o->ident, (int)getpid());
	return (size_t)(n < HEAD_SIZE ? n : HEAD_SIZE - 1);
}

static bool send_to_syslog(struct mm_log_output *o, int priority, const char *line, size_t size)
{
	char head[HEAD_SIZE];
	size_t head_size = write_head(o, head, priority);
	struct iovec parts[] = { { head, head_size }, { (void *)(size_t)line, size } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	connect_to_syslog(o);
	if (o->fd < 0)
		return false;
	if (sendmsg(o->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	if (errno != EAGAIN && errno != ENOBUFS && errno != EMSGSIZE) {         /* the daemon has been restarted */
		close(o->fd);
		o->fd = -1;
	}
	return false;
}

/* ---- descriptors ---- */

static bool takes_a_line(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

/* Lines whose end is among the first n bytes of these and one newline. */
static unsigned count_lines(const char *lines, size_t size, size_t n)
{
	unsigned count = n > size;
	const char *at = lines, *end = lines + (n < size ? n : size);
	while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
		at++;
		count++;
	}
	return count;
}

/* A newline that ends a torn line goes first, so that the next line is whole. */
static unsigned write_lines(struct mm_log_output *o, const char *lines, size_t size)
{
	struct iovec parts[] = { { (void *)(size_t)"\n", o->is_torn }, { (void *)(size_t)lines, size },
		{ (void *)(size_t)"\n", 1 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 3 };
	size_t torn = o->is_torn;
	if (o->kind == MM_LOG_ASKED && !takes_a_line(o->fd))
		return 0;
	ssize_t n = o->kind == MM_LOG_SOCKET ? sendmsg(o->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
		: writev(o->fd, parts, 3);
	if (n <= 0)
		return 0;
	o->is_torn = (size_t)n < torn + size + 1;
	return count_lines(lines, size, (size_t)n - torn);
}

unsigned mm_log_output_write(struct mm_log_output *o, int priority, const char *lines, size_t size)
{
	switch (o->kind) {
	case MM_LOG_NOWHERE: return count_lines(lines, size, size + 1);
	case MM_LOG_SYSLOG:  return send_to_syslog(o, priority, lines, size);
	default:             return write_lines(o, lines, size);
	}
}
