#include "ctl/client.h"

#include "base/bounds.h"
#include "base/clock.h"
#include "config/config.h"
#include "process/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#define LOOK_EVERY_MS 1000      /* while no answer comes: is the host stopped? */

__attribute__((format(printf, 2, 3)))
static void complain(const struct mm_ctl_query *c, const char *format, ...)
{
	char text[sizeof ((struct mm_note *)0)->text + MM_UNIX_PATH_MAX];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	if (!c->is_silent)
		fprintf(stderr, "%s: %s\n", c->name, text);
	if (c->failed != NULL)
		c->failed(c->self, text);
}

/* The file names the running host's socket even when it no longer loads. Users ask through the socket what is wrong, so
 * look for its name in a broken file, too. */
static int find_in_broken(const struct mm_ctl_query *c, const char *file, const struct mm_fault *why,
	char *to, size_t size)
{
	char *control = mm_config_control_of(file);
	if (control != NULL)
		snprintf(to, size, "%s", control);
	bool is_found = control != NULL || (c->config == NULL && access(MM_CONTROL_DEFAULT_PATH, F_OK) == 0);
	free(control);
	if (is_found)
		return EX_OK;
	complain(c, "%s; to ask the running host nevertheless, name its socket: --control PATH", why->text);
	return EX_CONFIG;
}

int mm_ctl_find_socket(const struct mm_ctl_query *c, char *to, size_t size)
{
	struct mm_config config;
	struct mm_fault why;
	const char *file = c->config != NULL ? c->config : MM_CONFIG_DEFAULT_PATH;
	snprintf(to, size, "%s", c->path != NULL ? c->path : MM_CONTROL_DEFAULT_PATH);
	if (c->path != NULL || (c->config == NULL && access(file, R_OK) != 0))
		return EX_OK;
	if (!mm_config_load(&config, file, &why))
		return find_in_broken(c, file, &why, to, size);
	snprintf(to, size, "%s", config.control != NULL ? config.control : "");
	mm_config_free(&config);
	if (to[0] != '\0')
		return EX_OK;
	complain(c, "%s sets no control socket; set control = \"%s\" there, or give --control PATH", file,
		MM_CONTROL_DEFAULT_PATH);
	return EX_CONFIG;
}

static int connect_to(const struct mm_ctl_query *c, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%.*s", (int)MM_UNIX_PATH_MAX, path);
	if (fd >= 0 && c->patience > 0)         /* a stopped host accepts nobody, and its queue may be full */
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){ .tv_sec = (time_t)c->patience + 1 },
			sizeof(struct timeval));
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	complain(c, "%s: %s; %s", path, strerror(errno), errno == EACCES || errno == EPERM
		? "ask as root or as the user that the host runs as"
		: "no host with this control socket is running (set control in its configuration, or name the socket: "
		"--control PATH)");
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The process that listens, if it is stopped; 0: it is not, or we cannot see it. */
static int stopped_host(int fd)
{
	struct ucred host;
	socklen_t size = sizeof host;
	char path[64], text[512];
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &host, &size) != 0)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)host.pid);
	FILE *f = fopen(path, "re");
	size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
	if (f != NULL)
		fclose(f);
	text[n] = '\0';
	const char *state = strrchr(text, ')');         /* the end of the name, which may hold anything */
	return state != NULL && strlen(state) > 2 && (state[2] == 'T' || state[2] == 't') ? (int)host.pid : 0;
}

static int read_answer(const struct mm_ctl_query *c, int fd)
{
	struct mm_note note;
	int listing_fd;
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	double until = mm_clock_real() + c->patience;
	for (;;) {
		int count = poll(&ready, 1, LOOK_EVERY_MS), pid;
		if (count < 0 && errno != EINTR)
			return EX_OSERR;
		if (count == 0 && (pid = stopped_host(fd)) != 0) {
			complain(c, "process %d does not answer; it is stopped (SIGSTOP, a debugger): kill -CONT %d "
				"lets it go on", pid, pid);
			return EX_TEMPFAIL;
		}
		if (c->patience > 0 && mm_clock_real() > until) {
			complain(c, "the host has not answered for %.0f s", c->patience);
			return EX_TEMPFAIL;
		}
		if (count <= 0)
			continue;
		enum mm_channel_state got = mm_channel_receive(fd, &note, &listing_fd);
		if (got == MM_CHANNEL_GONE) {
			complain(c, "the host has ended, or does not accept this user");
			return EX_UNAVAILABLE;
		}
		if (got == MM_CHANNEL_NOTHING)
			continue;
		if (listing_fd >= 0) {
			c->listing(c->self, listing_fd);
			close(listing_fd);
		} else if (note.kind == MM_NOTE_ANSWER) {
			c->line(c->self, note.text);
		}
		if (note.kind != MM_NOTE_END)
			continue;
		if (note.text[0] != '\0')
			complain(c, "%s", note.text);
		return (int)(note.number & 0x7f);
	}
}

int mm_ctl_ask(const struct mm_ctl_query *c, const char *request)
{
	char path[MM_UNIX_PATH_MAX + 1];
	struct mm_note note = { .kind = MM_NOTE_REQUEST };
	int status = mm_ctl_find_socket(c, path, sizeof path);
	if (status != EX_OK)
		return status;
	int fd = connect_to(c, path);
	if (fd < 0)
		return EX_UNAVAILABLE;
	snprintf(note.text, sizeof note.text, "%s", request);
	mm_channel_send(fd, &note, -1);         /* a host that turns us away has closed its end and said why */
	status = read_answer(c, fd);
	close(fd);
	return status;
}

void mm_ctl_print_line(void *self, const char *text)
{
	(void)self;
	puts(text);
}

void mm_ctl_print_listing(void *self, int descriptor)
{
	char bytes[8192];
	off_t at = 0;
	(void)self;
	for (ssize_t n; (n = pread(descriptor, bytes, sizeof bytes, at)) > 0; at += n)
		fwrite(bytes, 1, (size_t)n, stdout);
}
