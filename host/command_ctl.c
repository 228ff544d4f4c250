#include "command_ctl.h"

#include "bounds.h"
#include "config.h"
#include "control.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_CONFIG  "/etc/moonmilter/moonmilter.conf"
#define DEFAULT_CONTROL "/run/moonmilter/control.sock"

struct request_help {
	const char *name, *argument, *about;
};

static const struct request_help requests[] = {
#define X(name, text, takes, about) { text, takes, about },
	MM_REQUESTS(X)
#undef X
};

static void print_help(FILE *to)
{
	fprintf(to, "Usage: moonmilter ctl [-c FILE] [--control PATH] REQUEST\n\nAsks the host that listens on the control socket: "
		"PATH, or what FILE (default: %s)\nsays, or %s.\n\n", DEFAULT_CONFIG, DEFAULT_CONTROL);
	for (int i = 0; i < MM_REQUEST_COUNT; i++) {
		char words[32];
		snprintf(words, sizeof words, "%s%s%s", requests[i].name, requests[i].argument != NULL ? " " : "",
			requests[i].argument != NULL ? requests[i].argument : "");
		fprintf(to, "  %-16s %s\n", words, requests[i].about);
	}
	fprintf(to, "\nExit status: 0 done, 64 no such request, 69 no host answers, 75 it cannot now, 78 the scripts do not load.\n");
}

static const char *path_of_config(const char *file, char *to, size_t size)
{
	struct mm_config c;
	struct mm_fault why;
	bool is_default = file == NULL;
	if (is_default && access(DEFAULT_CONFIG, R_OK) != 0)
		return DEFAULT_CONTROL;
	if (!mm_config_load(&c, is_default ? DEFAULT_CONFIG : file, &why)) {
		fprintf(stderr, "moonmilter ctl: %s\n", why.text);
		exit(EX_CONFIG);
	}
	snprintf(to, size, "%s", c.control != NULL ? c.control : "");
	mm_config_free(&c);
	return to;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%.*s", (int)MM_UNIX_PATH_MAX, path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	fprintf(stderr, "moonmilter ctl: %s: %s; %s\n", path, strerror(errno), errno == EACCES || errno == EPERM
		? "ask as root or as the user that the host runs as"
		: "no host with this control socket is running (set control in its configuration, or name the socket: --control PATH)");
	if (fd >= 0)
		close(fd);
	return -1;
}

static void print_paper(int fd)
{
	char bytes[8192];
	off_t at = 0;
	for (ssize_t n; (n = pread(fd, bytes, sizeof bytes, at)) > 0; at += n)
		fwrite(bytes, 1, (size_t)n, stdout);
}

static int read_answer(int fd)
{
	struct mm_note note;
	int paper;
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	for (;;) {
		if (poll(&ready, 1, -1) < 0 && errno != EINTR)
			return EX_OSERR;
		enum mm_link got = mm_link_receive(fd, &note, &paper);
		if (got == MM_LINK_GONE) {
			fprintf(stderr, "moonmilter ctl: the host has ended, or does not listen to this user\n");
			return EX_UNAVAILABLE;
		}
		if (got == MM_LINK_NOTHING)
			continue;
		if (paper >= 0) {
			print_paper(paper);
			close(paper);
		} else if (note.kind == MM_NOTE_ANSWER) {
			puts(note.text);
		}
		if (note.kind != MM_NOTE_END)
			continue;
		if (note.text[0] != '\0')
			fprintf(stderr, "moonmilter ctl: %s\n", note.text);
		return (int)(note.number & 0x7f);
	}
}

static bool is_known(const char *name, bool has_argument)
{
	for (int i = 0; i < MM_REQUEST_COUNT; i++)
		if (strcmp(requests[i].name, name) == 0)
			return (requests[i].argument != NULL) == has_argument;
	return false;
}

int mm_command_ctl(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "control", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	const char *config = NULL, *path = NULL;
	char buffer[MM_UNIX_PATH_MAX + 1];
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		switch (c) {
		case 'c': config = optarg; break;
		case 's': path = optarg; break;
		case 'h': print_help(stdout); return EX_OK;
		default:  print_help(stderr); return EX_USAGE;
		}
	}
	int words = argc - optind;
	if (words < 1 || words > 2 || !is_known(argv[optind], words == 2)) {
		print_help(stderr);
		return EX_USAGE;
	}
	if (path == NULL)
		path = path_of_config(config, buffer, sizeof buffer);
	if (path[0] == '\0') {
		fprintf(stderr, "moonmilter ctl: %s sets no control socket; set control = \"%s\" there, or give --control PATH\n",
			config != NULL ? config : DEFAULT_CONFIG, DEFAULT_CONTROL);
		return EX_CONFIG;
	}
	int fd = connect_to(path);
	if (fd < 0)
		return EX_UNAVAILABLE;
	struct mm_note note = { .kind = MM_NOTE_REQUEST };
	snprintf(note.text, sizeof note.text, "%s%s%s", argv[optind], words == 2 ? " " : "", words == 2 ? argv[optind + 1] : "");
	int status = mm_link_send(fd, &note, -1) ? read_answer(fd) : EX_UNAVAILABLE;
	close(fd);
	return status;
}
