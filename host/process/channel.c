#include "process/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

bool mm_channel_make(int ends[2], struct mm_fault *why)
{
	/* SEQPACKET: a note arrives whole or not at all */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "socketpair: %s", strerror(errno));
	return true;
}

bool mm_channel_send(int fd, const struct mm_note *note, int descriptor)
{
	union {
		struct cmsghdr header;
		char           space[CMSG_SPACE(sizeof(int))];
	} control = { .space = { 0 } };
	struct iovec bytes = { (void *)(uintptr_t)note, sizeof *note };
	struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };
	if (descriptor >= 0) {
		message.msg_control = control.space;
		message.msg_controllen = sizeof control.space;
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &descriptor, sizeof descriptor);
	}
	ssize_t n;
	do
		n = sendmsg(fd, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof *note;
}

bool mm_channel_post(int fd, enum mm_note_kind kind, uint32_t number, const char *text)
{
	struct mm_note note = { .kind = kind, .number = number };
	if (text != NULL)
		snprintf(note.text, sizeof note.text, "%s", text);
	return mm_channel_send(fd, &note, -1);
}

/* We never take several descriptors: there is room for one, and the kernel drops the rest. */
static int descriptor_of(struct msghdr *message)
{
	int fd = -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(message);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS
	    && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

enum mm_channel_state mm_channel_receive(int fd, struct mm_note *note, int *descriptor)
{
	union {
		struct cmsghdr header;
		char           space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec bytes = { note, sizeof *note };
	struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control.space,
		.msg_controllen = sizeof control.space };
	*descriptor = -1;
	ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return MM_CHANNEL_NOTHING;
	if (n >= 0)
		*descriptor = descriptor_of(&message);
	if (n == (ssize_t)sizeof *note && !(message.msg_flags & MSG_TRUNC) && note->kind < MM_NOTE_KIND_COUNT
	    && memchr(note->text, '\0', sizeof note->text) != NULL)
		return MM_CHANNEL_NOTE;
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
	return MM_CHANNEL_GONE;
}

int mm_listing_open(void)
{
	return memfd_create("moonmilter listing", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

void mm_listing_seal(int fd)
{
	fcntl(fd, F_ADD_SEALS, SEALS);
}

bool mm_listing_is_sound(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);     /* only files in memory have any */
	return seals >= 0 && (seals & SEALS) == SEALS;
}
