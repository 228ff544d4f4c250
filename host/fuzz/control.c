/* fuzz/control.c -- clients of the control socket send anything, whole notes and broken ones, hang up in between and do
 * not read: requests reach the owner with the arguments that their table promises, each client is ended once, and no
 * descriptor is leaked. Input: operations of two bytes, what and how; texts follow their operation. */
#include "process/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CHECK(claim) do { \
		if (!(claim)) { \
			fprintf(stderr, "model: %s does not hold (line %d)\n", #claim, __LINE__); \
			abort(); \
		} \
	} while (0)

#define CLIENTS 4
#define OPEN_MAX 40

static struct mm_control_client *open_clients[OPEN_MAX];
static unsigned open_count;
static unsigned answer_later;

static void asked(void *self, struct mm_control_client *a, enum mm_request request, const char *argument)
{
	(void)self;
	CHECK(request < MM_REQUEST_COUNT);
	CHECK((mm_request_rows[request].argument != NULL) == (argument[0] != '\0'));
	CHECK(strlen(argument) < sizeof ((struct mm_note *)0)->text);
	mm_control_client_say(a, "%s", argument);
	if (answer_later++ % 2 == 0 && open_count < OPEN_MAX)
		open_clients[open_count++] = a;
	else
		mm_control_client_end(a, 0, argument);
}

static int listening(void)
{
	struct sockaddr_un any = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any.sun_family) == 0 && listen(fd, 64) == 0);
	return fd;
}

static int join(int to)
{
	struct sockaddr_un address;
	socklen_t size = sizeof address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(getsockname(to, (struct sockaddr *)&address, &size) == 0);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, size) == 0);
	return fd;
}

/* how: 0 a note with these words, 1 one cut short, 2 one too long, 3 one whose text has no end, 4
 * one with a descriptor */
static void say(int fd, uint8_t how, uint32_t kind, const uint8_t *text, size_t size)
{
	static const char *const words[] = { "", "status", "reload", "stop", "loglevel ", "sessions" };
	struct { struct mm_note note; char more[16]; } packet = { .note = { .kind = kind } };
	int n = snprintf(packet.note.text, sizeof packet.note.text, "%s", words[how / 8 % 6]);
	memcpy(packet.note.text + n, text, size);
	if (how % 8 == 3)
		memset(packet.note.text, 'x', sizeof packet.note.text);
	if (how % 8 == 4) {
		mm_channel_send(fd, &packet.note, STDERR_FILENO);
		return;
	}
	send(fd, &packet, how % 8 == 1 ? size : how % 8 == 2 ? sizeof packet : sizeof packet.note, MSG_NOSIGNAL);
}

static void hear(int fd)
{
	struct mm_note note;
	int descriptor;
	while (mm_channel_receive(fd, &note, &descriptor) == MM_CHANNEL_NOTE) {
		CHECK(note.kind == MM_NOTE_ANSWER || note.kind == MM_NOTE_END);
		if (descriptor >= 0)
			close(descriptor);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int clients[CLIENTS] = { -1, -1, -1, -1 }, door = listening(), first_free = dup(door);
	struct mm_control *c = mm_control_new(door, (struct mm_control_owner){ NULL, 0, asked });
	CHECK(c != NULL);
	open_count = answer_later = 0;
	while (size >= 2) {
		uint8_t what = data[0], how = data[1];
		int *fd = &clients[what / 8 % CLIENTS];
		data += 2;
		size -= 2;
		switch (what % 8) {
		case 0: case 1: case 2: {
			size_t n = size < 1 ? 0 : data[0] < size - 1 ? data[0] : size - 1;
			if (*fd < 0)
				*fd = join(door);
			say(*fd, how, what % 8 == 0 ? MM_NOTE_REQUEST : how, data + 1, n);
			data += n + (size > 0);
			size -= n + (size > 0);
			break;
		}
		case 3:
			if (*fd >= 0)
				close(*fd);
			*fd = -1;
			break;
		case 4:
			if (*fd >= 0)
				hear(*fd);
			break;
		case 5:
			if (open_count > 0)
				mm_control_client_end(open_clients[--open_count], how, "late");
			break;
		default:
			for (unsigned i = 0; i < 8; i++)
				mm_control_turn(c);
		}
	}
	for (unsigned i = 0; i < 64; i++)
		mm_control_turn(c);
	for (int i = 0; i < CLIENTS; i++)
		if (clients[i] >= 0)
			close(clients[i]);
	for (unsigned i = 0; i < 64; i++)
		mm_control_turn(c);
	mm_control_free(c);             /* frees clients without an answer */
	close(door);
	close(first_free);
	CHECK(dup(STDERR_FILENO) == door && close(door) == 0);
	return 0;
}
