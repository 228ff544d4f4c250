/* responder.c -- the least a milter can do, as a yardstick: one epoll, one read and one write per wake-up, packets are
 * found by their lengths, and every command that needs an answer gets "continue". No filter, no decoding, no memory per
 * message.
 * usage: responder PORT [STEPS [BODY]]
 *   PORT   on 127.0.0.1; one with a slash is the path of a unix socket
 *   STEPS  SMFIP_ bits to answer with, as far as they are offered: steps not sent, steps without reply. Default 0
 *   BODY   bytes of a new body to send at each end of message. Default 0, none */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PACKET_MAX (4 + 1 + 65535)
#define REPLY_SIZE 5

/* A connection keeps only what a whole read did not finish. */
struct connection {
	int      fd;
	uint8_t *kept;          /* the beginning of a packet; NULL: none */
	size_t   kept_size;
	uint8_t *unsent;        /* bytes that the socket did not take; NULL: none. Not owned when it is the new body */
	size_t   unsent_size, unsent_at;
	bool     wants_body;    /* the new body follows the output */
	uint32_t steps;
};

static uint8_t  input[256 << 10];
static uint8_t *output;         /* large enough for the answers to all packets of input, and new bodies */
static size_t   output_size, output_max;
static uint8_t *body;           /* the packets of a new body and the final reply after them */
static size_t   body_size;
static uint32_t wanted_steps;
static int      loop;

static uint32_t u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_u32(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)(value >> 24);
	to[1] = (uint8_t)(value >> 16);
	to[2] = (uint8_t)(value >> 8);
	to[3] = (uint8_t)value;
}

static void *need(void *memory)
{
	if (memory == NULL) {
		fputs("responder: out of memory\n", stderr);
		exit(1);
	}
	return memory;
}

static void reply(const void *bytes, size_t size)
{
	if (output_size + size > output_max) {
		output_max = (output_size + size) * 2;
		output = need(realloc(output, output_max));
	}
	memcpy(output + output_size, bytes, size);
	output_size += size;
}

/* SMFIP_NR_… of a command; ~0 for one that never gets an answer. */
static uint32_t silence_of(uint8_t letter)
{
	switch (letter) {
	case 'C': return 0x1000;
	case 'H': return 0x2000;
	case 'M': return 0x4000;
	case 'R': return 0x8000;
	case 'T': return 0x10000;
	case 'U': return 0x20000;
	case 'L': return 0x80;
	case 'N': return 0x40000;
	case 'B': return 0x80000;
	case 'E': return 0;
	default:  return ~0u;
	}
}

static void negotiate(struct connection *c, const uint8_t *data, size_t size)
{
	uint8_t answer[17] = { 0, 0, 0, 13, 'O' };
	if (size < 12)
		return;
	c->steps = wanted_steps & u32(data + 8);
	put_u32(answer + 5, u32(data) < 6 ? u32(data) : 6);
	put_u32(answer + 9, u32(data + 4) & 0x3);       /* add headers, replace the body */
	put_u32(answer + 13, c->steps);
	reply(answer, sizeof answer);
}

/* False: the connection is over. */
static bool answer_packet(struct connection *c, uint8_t letter, const uint8_t *data, size_t size)
{
	static const uint8_t go_on[REPLY_SIZE] = { 0, 0, 0, 1, 'c' };
	if (letter == 'Q')
		return false;
	if (letter == 'O') {
		negotiate(c, data, size);
		return true;
	}
	uint32_t silence = silence_of(letter);
	if (silence == ~0u || c->steps & silence)
		return true;
	if (letter == 'E' && body_size > 0)
		c->wants_body = true;
	else
		reply(go_on, sizeof go_on);
	return true;
}

/* Returns how many of the bytes were whole packets; SIZE_MAX: close. */
static size_t answer_packets(struct connection *c, const uint8_t *bytes, size_t size)
{
	size_t at = 0;
	while (size - at >= 5) {
		uint32_t length = u32(bytes + at);
		if (length == 0 || length > PACKET_MAX)
			return SIZE_MAX;
		if (size - at - 4 < length)
			break;
		if (!answer_packet(c, bytes[at + 4], bytes + at + 5, length - 1))
			return SIZE_MAX;
		at += 4 + length;
	}
	return at;
}

static void close_connection(struct connection *c)
{
	close(c->fd);
	free(c->kept);
	if (c->unsent != body)
		free(c->unsent);
	free(c);
}

static void watch(struct connection *c, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = c };
	epoll_ctl(loop, operation, c->fd, &event);
}

/* False: the connection is broken. */
static bool send_unsent(struct connection *c)
{
	ssize_t sent = send(c->fd, c->unsent + c->unsent_at, c->unsent_size - c->unsent_at, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return errno == EAGAIN;
	c->unsent_at += (size_t)sent;
	if (c->unsent_at == c->unsent_size) {
		if (c->unsent != body)
			free(c->unsent);
		c->unsent = NULL;
		watch(c, EPOLL_CTL_MOD, EPOLLIN);
	}
	return true;
}

static void keep_unsent(struct connection *c, uint8_t *bytes, size_t size)
{
	c->unsent = bytes;
	c->unsent_size = size;
	c->unsent_at = 0;
	watch(c, EPOLL_CTL_MOD, EPOLLOUT);      /* nothing is read before the replies are sent */
}

/* False: the connection is broken. */
static bool send_output(struct connection *c)
{
	ssize_t sent = output_size > 0 ? send(c->fd, output, output_size, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
	if (sent < 0 && errno != EAGAIN)
		return false;
	size_t left = output_size - (sent > 0 ? (size_t)sent : 0);
	if (left > 0) {
		keep_unsent(c, need(malloc(left)), left);
		memcpy(c->unsent, output + output_size - left, left);
	} else if (c->wants_body) {
		c->wants_body = false;
		keep_unsent(c, body, body_size);
		return send_unsent(c);
	}
	return true;
}

/* False: close. */
static bool serve(struct connection *c)
{
	if (c->unsent != NULL)
		return send_unsent(c);
	if (c->kept != NULL)
		memcpy(input, c->kept, c->kept_size);
	ssize_t got = read(c->fd, input + c->kept_size, sizeof input - c->kept_size);
	if (got < 0)
		return errno == EAGAIN;
	if (got == 0)
		return false;

	size_t size = c->kept_size + (size_t)got;
	output_size = 0;
	size_t done = answer_packets(c, input, size);
	if (done == SIZE_MAX || !send_output(c))
		return false;
	c->kept_size = size - done;
	if (c->kept_size == 0) {
		free(c->kept);
		c->kept = NULL;
		return true;
	}
	c->kept = need(realloc(c->kept, c->kept_size));
	memcpy(c->kept, input + done, c->kept_size);
	return true;
}

static void accept_all(int listener)
{
	int fd, yes = 1;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct connection *c = need(calloc(1, sizeof *c));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
		c->fd = fd;
		watch(c, EPOLL_CTL_ADD, EPOLLIN);
	}
}

static int listen_at(const char *where)
{
	struct sockaddr_un path = { .sun_family = AF_UNIX };
	struct sockaddr_in port = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	bool is_path = strchr(where, '/') != NULL;
	int fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1, rc;
	if (is_path) {
		snprintf(path.sun_path, sizeof path.sun_path, "%s", where);
		unlink(where);
		rc = bind(fd, (struct sockaddr *)&path, sizeof path);
	} else {
		port.sin_port = htons((uint16_t)atoi(where));
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
		rc = bind(fd, (struct sockaddr *)&port, sizeof port);
	}
	if (rc != 0 || listen(fd, 4096) != 0) {
		fprintf(stderr, "responder: %s: %s\n", where, strerror(errno));
		exit(1);
	}
	return fd;
}

static void build_body(size_t size)
{
	body = need(malloc(size + size / 65535 * 5 + 16));
	while (size > 0) {
		size_t chunk = size < 65535 ? size : 65535;
		put_u32(body + body_size, (uint32_t)chunk + 1);
		body[body_size + 4] = 'b';
		memset(body + body_size + 5, 'x', chunk);
		body_size += 5 + chunk;
		size -= chunk;
	}
	memcpy(body + body_size, "\0\0\0\1c", REPLY_SIZE);
	body_size += REPLY_SIZE;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fputs("usage: responder PORT [STEPS [BODY]]\n", stderr);
		return 64;
	}
	wanted_steps = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 0;
	if (argc > 3)
		build_body(strtoul(argv[3], NULL, 0));
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	signal(SIGPIPE, SIG_IGN);

	int listener = listen_at(argv[1]);
	loop = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		struct epoll_event events[64];
		int count = epoll_wait(loop, events, 64, -1);
		for (int i = 0; i < count; i++) {
			struct connection *c = events[i].data.ptr;
			if (c == NULL)
				accept_all(listener);
			else if (!serve(c))
				close_connection(c);
		}
	}
}
