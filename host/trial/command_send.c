#include "trial/command_send.h"

#include "base/clock.h"
#include "config/endpoint.h"
#include "trial/trial.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#define CONNECT_TIMEOUT 30.0            /* seconds; milter_connect_timeout of Postfix */

/* ---- a blocking socket with time limits ---- */

struct link {
	struct mm_endpoint spec;
	char    name[MM_ENDPOINT_TEXT_SIZE];
	int     fd;                     /* owned; -1: closed */
	double  write_timeout_s;
	uint8_t bytes[65536];
};

/* True when the socket is ready; false: the time is over, or the socket is broken. */
static bool wait_for(int fd, short events, double deadline, const char *what, struct mm_fault *why)
{
	for (;;) {
		double left = deadline - mm_clock_real();
		struct pollfd p = { .fd = fd, .events = events };
		int n = poll(&p, 1, left <= 0 ? 0 : left > 2e6 ? 2000000000 : (int)(left * 1000) + 1);
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return mm_fault_set(why, MM_FAULT_RESOURCE, "poll: %s", strerror(errno));
		if (n == 0 && left <= 0)
			return mm_fault_set(why, MM_FAULT_PEER, "the filter did not %s in time", what);
	}
}

static bool write_all(void *self, const void *bytes, size_t n, struct mm_fault *why)
{
	struct link *l = self;
	const uint8_t *at = bytes;
	double deadline = mm_clock_real() + l->write_timeout_s;
	while (n > 0) {
		ssize_t written = send(l->fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (written >= 0) {
			at += written;
			n -= (size_t)written;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			if (!wait_for(l->fd, POLLOUT, deadline, "take what we wrote", why))
				return false;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			/* read first what it sent before closing; the reader reports the end */
			return true;
		} else if (errno != EINTR) {
			return mm_fault_set(why, MM_FAULT_PEER, "writing to the filter: %s", strerror(errno));
		}
	}
	return true;
}

static bool read_some(void *self, double timeout_s, const void **bytes, size_t *n, struct mm_fault *why)
{
	struct link *l = self;
	double deadline = mm_clock_real() + timeout_s;
	for (;;) {
		ssize_t got;
		if (!wait_for(l->fd, POLLIN, deadline, "answer", why))
			return false;
		got = recv(l->fd, l->bytes, sizeof l->bytes, MSG_DONTWAIT);
		if (got >= 0 || errno == ECONNRESET) {
			*bytes = l->bytes;
			*n = got > 0 ? (size_t)got : 0;
			return true;
		}
		if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
			return mm_fault_set(why, MM_FAULT_PEER, "reading from the filter: %s", strerror(errno));
	}
}

static bool connect_to(const struct mm_endpoint *spec, int *fd, struct mm_fault *why)
{
	struct sockaddr_storage address;
	socklen_t size = (socklen_t)mm_endpoint_address(spec, &address);
	if (size == 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "--to takes unix:PATH or inet:PORT@HOST, a socket "
			"to connect to");
	*fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "socket: %s", strerror(errno));
	int error = connect(*fd, (struct sockaddr *)&address, size) == 0 ? 0 : errno;
	if (error == EINPROGRESS) {
		socklen_t error_size = sizeof error;
		if (!wait_for(*fd, POLLOUT, mm_clock_real() + CONNECT_TIMEOUT, "accept the connection", why)) {
			close(*fd);
			return false;
		}
		getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
	}
	if (error == 0)
		return true;
	close(*fd);
	return mm_fault_set(why, MM_FAULT_PEER, "%s%s", strerror(error),
		error == ECONNREFUSED || error == ENOENT ? ": is the milter running, and does it listen there?" : "");
}

/* As an MTA does for its next client. */
static bool reconnect(void *self, struct mm_fault *why)
{
	struct link *l = self;
	close(l->fd);
	bool ok = connect_to(&l->spec, &l->fd, why);
	if (!ok)
		l->fd = -1;
	return ok;
}

/* ---- the command ---- */

enum { OPTION_TO = MM_TRIAL_END };

static bool take(void *self, int option, const char *argument, struct mm_fault *why)
{
	(void)option, (void)why;
	*(const char **)self = argument;
	return true;
}

static int help(void)
{
	printf("Usage: moonmilter send --to SPEC [OPTION]... MESSAGE...\n\n"
		"Connects to any milter and speaks to it as an MTA would, for each message, all over one connection. "
		"Shows every reply,\nevery edit, the verdict and the message as the MTA would pass it on. Marks "
		"replies that Postfix or Sendmail would not\naccept, or would treat differently, with a complaint. "
		"MESSAGE is a file, an mbox, a maildir, a directory of message\nfiles, or \"-\": standard "
		"input.\n\n"
		"  --to SPEC\n"
		"        Where the milter listens: unix:PATH, inet:PORT[@HOST], inet6:PORT[@HOST], inet:HOST:PORT.\n"
		"        HOST is a numeric address or localhost.\n");
	mm_trial_help_options();
	printf("\n"
		"The exit status is 0 when the milter answered, whatever the verdict; 1 when --expect is given and not "
		"met; 64 for a\nusage error, 65 when a file holds no message, 66 when it cannot be read, 69 when the "
		"milter cannot be reached, 73\nwhen --output cannot be written, and 76 when the milter broke the "
		"protocol, closed or did not answer in time.\n");
	return 0;
}

static int run(struct mm_trial *t, struct link *l, struct mm_mailbox *box)
{
	struct mm_fault why;
	char text[sizeof why.text + MM_ENDPOINT_TEXT_SIZE + 8];
	l->write_timeout_s = t->plan.command_timeout_s > 0 ? t->plan.command_timeout_s : 30;
	if (!connect_to(&l->spec, &l->fd, &why)) {
		snprintf(text, sizeof text, "%s: %s", l->name, why.text);
		return mm_trial_fail(t, why.class == MM_FAULT_CONFIG ? EX_USAGE : EX_UNAVAILABLE, text);
	}
	struct mm_trial_peer peer = {
		.transport = { .self = l, .write = write_all, .read = read_some }, .name = l->name, .self = l,
		.reopen = reconnect,
	};
	int code = mm_trial_run(t, &peer, box);
	if (l->fd >= 0)
		close(l->fd);
	return code;
}

static int run_files(struct mm_trial *t, const char *to, char **files)
{
	struct mm_mailbox box = { .count = 0 };
	struct mm_fault why;
	struct link *l = calloc(1, sizeof *l);
	int code = -1;
	if (l == NULL)
		return mm_trial_fail(t, EX_OSERR, "out of memory");
	if (!mm_endpoint_parse(to, &l->spec, &why))
		code = mm_trial_fail(t, EX_USAGE, why.text);
	for (; code < 0 && *files != NULL; files++)     /* before anything is sent to the filter */
		if (!mm_mailbox_add(&box, *files, &why))
			code = mm_trial_fail(t, EX_NOINPUT, why.text);
	if (code < 0)
		mm_endpoint_text(&l->spec, l->name, sizeof l->name);
	if (code < 0)
		code = run(t, l, &box);
	mm_mailbox_free(&box);
	free(l);
	return code;
}

int mm_command_send(int argc, char **argv)
{
	static const struct option own[] = { { "to", required_argument, NULL, OPTION_TO }, { NULL, 0, NULL, 0 } };
	struct mm_trial t;
	struct mm_fault why;
	const char *to = NULL;
	int first, code;
	mm_trial_init(&t, "send");
	t.shows_replies = true;
	if (!mm_trial_options(&t, argc, argv, own, take, &to, &first, &why))
		code = mm_trial_fail(&t, EX_USAGE, why.text);
	else if (t.wants_help)
		code = help();
	else if (to == NULL)
		code = mm_trial_fail(&t, EX_USAGE, "--to SPEC is missing; it says where the milter "
			"listens. See --help");
	else if (first == argc)
		code = mm_trial_fail(&t, EX_USAGE, "no message is given; name a file, an mbox, a "
			"maildir, or \"-\" for standard input");
	else
		code = run_files(&t, to, argv + first);
	mm_trial_free(&t);
	return code;
}
