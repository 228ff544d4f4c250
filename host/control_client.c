#include "control_client.h"

#include "bounds.h"
#include "config.h"
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

/* Fills to, or says why not. */
static int find_socket(const struct mm_control_client *c, char *to, size_t size)
{
	struct mm_config config;
	struct mm_fault why;
	const char *file = c->config != NULL ? c->config : MM_CONTROL_DEFAULT_CONFIG;
	snprintf(to, size, "%s", c->path != NULL ? c->path : MM_CONTROL_DEFAULT_PATH);
	if (c->path != NULL || (c->config == NULL && access(file, R_OK) != 0))
		return EX_OK;
	if (!mm_config_load(&config, file, &why)) {
		fprintf(stderr, "%s: %s\n", c->name, why.text);
		return EX_CONFIG;
	}
	snprintf(to, size, "%s", config.control != NULL ? config.control : "");
	mm_config_free(&config);
	if (to[0] != '\0')
		return EX_OK;
	fprintf(stderr, "%s: %s sets no control socket; set control = \"%s\" there, or give --control PATH\n", c->name, file,
		MM_CONTROL_DEFAULT_PATH);
	return EX_CONFIG;
}

static int connect_to(const struct mm_control_client *c, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%.*s", (int)MM_UNIX_PATH_MAX, path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	fprintf(stderr, "%s: %s: %s; %s\n", c->name, path, strerror(errno), errno == EACCES || errno == EPERM
		? "ask as root or as the user that the host runs as"
		: "no host with this control socket is running (set control in its configuration, or name the socket: --control PATH)");
	if (fd >= 0)
		close(fd);
	return -1;
}

static int read_answer(const struct mm_control_client *c, int fd)
{
	struct mm_note note;
	int paper;
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	for (;;) {
		if (poll(&ready, 1, -1) < 0 && errno != EINTR)
			return EX_OSERR;
		enum mm_link got = mm_link_receive(fd, &note, &paper);
		if (got == MM_LINK_GONE) {
			fprintf(stderr, "%s: the host has ended, or does not listen to this user\n", c->name);
			return EX_UNAVAILABLE;
		}
		if (got == MM_LINK_NOTHING)
			continue;
		if (paper >= 0) {
			c->paper(c->self, paper);
			close(paper);
		} else if (note.kind == MM_NOTE_ANSWER) {
			c->line(c->self, note.text);
		}
		if (note.kind != MM_NOTE_END)
			continue;
		if (note.text[0] != '\0')
			fprintf(stderr, "%s: %s\n", c->name, note.text);
		return (int)(note.number & 0x7f);
	}
}

int mm_control_ask(const struct mm_control_client *c, const char *request)
{
	char path[MM_UNIX_PATH_MAX + 1];
	struct mm_note note = { .kind = MM_NOTE_REQUEST };
	int status = find_socket(c, path, sizeof path);
	if (status != EX_OK)
		return status;
	int fd = connect_to(c, path);
	if (fd < 0)
		return EX_UNAVAILABLE;
	snprintf(note.text, sizeof note.text, "%s", request);
	status = mm_link_send(fd, &note, -1) ? read_answer(c, fd) : EX_UNAVAILABLE;
	close(fd);
	return status;
}
