/* still_server.c -- the control of page_bench.lua and exporter_bench.lua: answers HTTP requests with bytes that it has
 * from the beginning, and does nothing for mail. What mail loses beside it, it loses to the readers and their sockets.
 * usage: still_server PORT TARGET FILE [TARGET FILE]...
 *   PORT   on 127.0.0.1
 *   FILE   a whole answer to GET TARGET: status line, fields, body. Another target gets the first one */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWERS_MAX 16
#define READERS_MAX 1024
#define REQUEST_MAX 4096

static struct answer {
	const char *target;
	char       *bytes;
	size_t      size;
} answers[ANSWERS_MAX];
static unsigned answer_count;

/* What has come of a request, by descriptor. */
static struct reader {
	char   bytes[REQUEST_MAX];
	size_t size;
} readers[READERS_MAX];

static int fail(const char *what)
{
	fprintf(stderr, "still_server: %s: %s\n", what, strerror(errno));
	return 1;
}

static int read_answer(struct answer *a, const char *target, const char *path)
{
	FILE *from = fopen(path, "rb");
	FILE *to = open_memstream(&a->bytes, &a->size);
	char piece[4096];
	size_t n;
	a->target = target;
	if (from == NULL || to == NULL)
		return fail(path);
	while ((n = fread(piece, 1, sizeof piece, from)) > 0)
		fwrite(piece, 1, n, to);
	fclose(from);
	return fclose(to) != 0 ? fail(path) : 0;
}

static const struct answer *answer_to(const char *request)
{
	const char *target = strchr(request, ' ');
	for (unsigned i = 0; target != NULL && i < answer_count; i++) {
		size_t length = strlen(answers[i].target);
		if (strncmp(target + 1, answers[i].target, length) == 0 && target[1 + length] == ' ')
			return &answers[i];
	}
	return &answers[0];
}

/* Readers wait for an answer before they ask again, so one request is in the buffer at a time. */
static void read_request(int fd)
{
	struct reader *r = &readers[fd];
	ssize_t n = recv(fd, r->bytes + r->size, sizeof r->bytes - 1 - r->size, 0);
	if (n <= 0) {
		close(fd);
		r->size = 0;
		return;
	}
	r->size += (size_t)n;
	r->bytes[r->size] = '\0';
	if (strstr(r->bytes, "\r\n\r\n") == NULL)
		return;
	const struct answer *a = answer_to(r->bytes);
	r->size = 0;
	if (send(fd, a->bytes, a->size, MSG_NOSIGNAL) != (ssize_t)a->size)
		close(fd);
}

static void watch(int loop, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
	epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

static void serve(int listener)
{
	struct epoll_event events[64];
	int loop = epoll_create1(0), yes = 1;
	watch(loop, listener);
	for (;;) {
		int count = epoll_wait(loop, events, 64, -1);
		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;
			if (fd != listener) {
				read_request(fd);
				continue;
			}
			fd = accept(listener, NULL, NULL);
			if (fd < 0 || fd >= READERS_MAX)
				exit(fail("accept"));
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
			watch(loop, fd);
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	if (argc < 4 || argc % 2 != 0 || argc > 2 + 2 * ANSWERS_MAX) {
		fprintf(stderr, "usage: still_server PORT TARGET FILE [TARGET FILE]...\n");
		return 1;
	}
	for (int i = 2; i < argc; i += 2)
		if (read_answer(&answers[answer_count++], argv[i], argv[i + 1]) != 0)
			return 1;
	to.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(fd, (struct sockaddr *)&to, sizeof to) != 0 || listen(fd, 64) != 0)
		return fail(argv[1]);
	setpriority(PRIO_PROCESS, 0, 10);       /* as the page and the exporter */
	serve(fd);
	return 0;
}
