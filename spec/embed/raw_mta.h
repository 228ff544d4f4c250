/* raw_mta.h -- an MTA in the least words, for programs of specs: packets over a blocking unix socket, every step
 * answered. A function returns false when the filter does not answer as it should. */
#ifndef RAW_MTA_H
#define RAW_MTA_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RAW_ACTIONS 0x1ff

static inline int raw_dial(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline bool raw_send(int fd, char command, const void *data, size_t size)
{
	unsigned char head[5] = { 0, 0, (unsigned char)((size + 1) >> 8), (unsigned char)(size + 1), (unsigned char)command };
	return write(fd, head, 5) == 5 && (size == 0 || write(fd, data, size) == (ssize_t)size);
}

/* The command of the next packet; 0: the filter has hung up. */
static inline char raw_hear(int fd)
{
	unsigned char head[5], rest[512];
	size_t size;
	for (size_t at = 0; at < sizeof head;) {
		ssize_t n = read(fd, head + at, sizeof head - at);
		if (n <= 0)
			return 0;
		at += (size_t)n;
	}
	size = ((size_t)head[2] << 8 | head[3]) - 1;
	while (size > 0) {
		ssize_t n = read(fd, rest, size < sizeof rest ? size : sizeof rest);
		if (n <= 0)
			return 0;
		size -= (size_t)n;
	}
	return (char)head[4];
}

static inline bool raw_ask(int fd, char command, const void *data, size_t size)
{
	return raw_send(fd, command, data, size) && raw_hear(fd) == 'c';
}

#define RAW_ASK(fd, command, literal) raw_ask(fd, command, literal, sizeof literal)

/* From the negotiation to the body; the end of the message is the caller's. */
static inline bool raw_begin(int fd)
{
	static const unsigned char offer[12] = { 0, 0, 0, 6, 0, 0, RAW_ACTIONS >> 8, RAW_ACTIONS & 0xff, 0, 0, 0, 0 };
	return raw_send(fd, 'O', offer, sizeof offer) && raw_hear(fd) == 'O'
		&& RAW_ASK(fd, 'C', "client.example\0004\x27\x10" "192.0.2.1") && RAW_ASK(fd, 'H', "client.example");
}

static inline bool raw_message(int fd)
{
	return RAW_ASK(fd, 'M', "<a@example.org>") && RAW_ASK(fd, 'R', "<b@example.org>")
		&& raw_ask(fd, 'T', "", 0) && RAW_ASK(fd, 'L', "Subject\0hello") && raw_ask(fd, 'N', "", 0)
		&& raw_ask(fd, 'B', "body\r\n", 6);
}

/* The number of edits before the final reply; -1: the message is not accepted. */
static inline int raw_end(int fd)
{
	int edits = 0;
	char heard = raw_send(fd, 'E', "", 0) ? raw_hear(fd) : 0;
	for (; heard != 0 && strchr("acrtdy", heard) == NULL; heard = raw_hear(fd))
		edits += heard != 'p';
	return heard == 'c' || heard == 'a' ? edits : -1;
}

#endif
