#include "page/command_page.h"

#include "ctl/client.h"
#include "embed/rights.h"
#include "io/listener.h"
#include "page/server.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_LISTEN "unix:/run/moonmilter-page/page.sock"
#define DESCRIPTORS    512u     /* more than connections and files need */

struct arguments {
	struct mm_ctl_query   query;
	struct mm_endpoint    listen[MM_PAGE_LISTENERS];
	unsigned              listen_count, mode;
	const char           *user, *group, *socket_group;
	bool                  has_anyone;
	struct mm_listener    listeners[MM_PAGE_LISTENERS];
	struct mm_page_server server;
};

static void print_help(FILE *to)
{
	fputs("Usage: moonmilter page [OPTION...]\n\n"
		"Serves a page about a running host over HTTP: what happens now, the last messages and why they got "
		"their "
		"verdict,\nscripts, state. It is only read: GET and HEAD, and nothing on it changes anything. It has "
		"no "
		"login: reach it by\nssh -L, or put a web server with one before it (docs/page.md).\n\n"
		"  --listen SPEC      where: unix:PATH, inet:PORT@127.0.0.1; up to four times\n"
		"                     (default " DEFAULT_LISTEN ")\n"
		"  --anyone           also listen on addresses that other machines reach; whoever reaches them may "
		"read it\n"
		"  --name NAME        a name of the page in a browser, besides localhost; up to 16 times. A web "
		"server\n"
		"                     before it that passes its own name on needs one\n"
		"  --mode MODE        permissions of unix sockets (default 0660)\n"
		"  --socket-group GROUP\n"
		"                     group of unix sockets: that of the web server\n"
		"  --user USER        started by root: who serves (default moonmilter-page, or nobody)\n"
		"  -c, --config FILE, --control PATH\n"
		"                     the host: its control socket, or the configuration that names it\n"
		"  -h, --help         this text\n\n"
		"The page's user needs no more than to look: name its group in the host's configuration, "
		"control_readers = "
		"\n\"moonmilter-page\". Exit status: 0 ended by a signal, 64 wrong usage, 67 no such user, 69 a "
		"socket is in "
		"use,\n71 out of resources, 78 wrong configuration.\n", to);
}

static int wrong(const char *text, const char *what)
{
	fprintf(stderr, "moonmilter page: %s%s%s\n", what, what[0] != '\0' ? ": " : "", text);
	return EX_USAGE;
}

/* ---- options ---- */

static bool is_for_us_only(const struct mm_endpoint *e)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (e->kind == MM_ENDPOINT_INET)
		return inet_pton(AF_INET, e->host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
	return e->kind == MM_ENDPOINT_UNIX || (inet_pton(AF_INET6, e->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

static int take_listen(struct arguments *a, const char *text)
{
	struct mm_fault why;
	if (a->listen_count == MM_PAGE_LISTENERS)
		return wrong("at most four", "--listen");
	struct mm_endpoint *e = &a->listen[a->listen_count];
	if (!mm_endpoint_parse(text, e, &why))
		return wrong(why.text, "--listen");
	if (!mm_endpoint_has_address(e))
		return wrong("write unix:PATH or inet:PORT@ADDRESS", "--listen");
	a->listen_count++;
	return EX_OK;
}

static int take_mode(struct arguments *a, const char *text)
{
	char *end;
	a->mode = (unsigned)strtoul(text, &end, 8);
	return text[0] >= '0' && text[0] <= '7' && *end == '\0' && a->mode <= 0777 ? EX_OK
		: wrong("write permissions as 0660", "--mode");
}

static int take_name(struct arguments *a, const char *text)
{
	if (a->server.name_count == MM_PAGE_NAMES || text[0] == '\0' || strpbrk(text, "/:[] ") != NULL)
		return wrong("give up to 16 names as page.example.org, without a port", "--name");
	a->server.names[a->server.name_count++] = text;
	return EX_OK;
}

enum { LISTEN = 256, ANYONE, NAME, MODE, SOCKET_GROUP, USER, CONTROL };

static int take_option(struct arguments *a, int option, const char *value)
{
	switch (option) {
	case LISTEN:       return take_listen(a, value);
	case MODE:         return take_mode(a, value);
	case NAME:         return take_name(a, value);
	case ANYONE:       a->has_anyone = true; return EX_OK;
	case SOCKET_GROUP: a->socket_group = value; return EX_OK;
	case USER:         a->user = value; return EX_OK;
	case CONTROL:      a->query.path = strncmp(value, "unix:", 5) == 0 ? value + 5 : value; return EX_OK;
	case 'c':          a->query.config = value; return EX_OK;
	default:           fprintf(stderr, "see moonmilter page --help\n"); return EX_USAGE;
	}
}

static int check_addresses(struct arguments *a)
{
	char text[MM_ENDPOINT_TEXT_SIZE];
	if (a->listen_count == 0)
		take_listen(a, DEFAULT_LISTEN);
	for (unsigned i = 0; i < a->listen_count; i++) {
		if (is_for_us_only(&a->listen[i]))
			continue;
		mm_endpoint_text(&a->listen[i], text, sizeof text);
		if (!a->has_anyone) {
			fprintf(stderr, "moonmilter page: --listen %s: other machines reach this address, and the "
				"page has no "
				"login; listen on inet:%u@127.0.0.1 and use ssh -L, or a web server with a login "
				"before it; "
				"--anyone listens nevertheless\n", text, a->listen[i].port);
			return EX_USAGE;
		}
		fprintf(stderr, "moonmilter page: warning: whoever reaches %s may read who writes to whom; the page "
			"has no "
			"login and no encryption\n", text);
	}
	return EX_OK;
}

/* ---- rights ---- */

static int choose_user(struct arguments *a)
{
	if (a->user != NULL && geteuid() != 0)
		return wrong("only root may choose who serves", "--user");
	if (a->user == NULL && geteuid() == 0)
		a->user = getpwnam("moonmilter-page") != NULL ? "moonmilter-page" : "nobody";
	return EX_OK;
}

static int open_listeners(struct arguments *a)
{
	struct mm_fault why;
	struct mm_listener_options o = { .mode = a->mode, .group = a->socket_group, .user = a->user,
		.backlog = MM_BACKLOG };
	for (unsigned i = 0; i < a->listen_count; i++) {
		if (!mm_listener_open(&a->listeners[i], &a->listen[i], &o, &why)) {
			fprintf(stderr, "moonmilter page: %s\n", why.text);
			return mm_fault_status(&why);
		}
		a->server.fds[i] = a->listeners[i].fd;
		a->server.is_unix[i] = a->listen[i].kind == MM_ENDPOINT_UNIX;
		a->server.count++;
	}
	return EX_OK;
}

static void set_limit(int what, rlim_t most)
{
	setrlimit(what, &(struct rlimit){ most, most });
}

/* Mail goes first: a batch process that wakes up does not push aside one that is running. Not SCHED_IDLE, under which
 * readers wait for seconds on a busy machine. And a fault in what parses HTTP meets a process that may do little. */
static int give_up_rights(const struct arguments *a)
{
	struct mm_fault why;
	setpriority(PRIO_PROCESS, 0, 10);
	sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 });
	set_limit(RLIMIT_NOFILE, DESCRIPTORS);
	set_limit(RLIMIT_CORE, 0);
	if (!mm_rights_drop(a->user, NULL, &why)) {
		fprintf(stderr, "moonmilter page: %s\n", why.text);
		return mm_fault_status(&why);
	}
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return EX_OK;
}

static void say_ready(const struct arguments *a)
{
	char text[MM_ENDPOINT_TEXT_SIZE];
	for (unsigned i = 0; i < a->listen_count; i++) {
		const struct mm_endpoint *e = &a->listen[i];
		struct mm_endpoint near = mm_endpoint_reachable(e);
		fprintf(stderr, "moonmilter page: listens on %s", mm_endpoint_text(e, text, sizeof text));
		if (e->kind == MM_ENDPOINT_INET)
			fprintf(stderr, ", http://%s:%u/", near.host, e->port);
		if (e->kind == MM_ENDPOINT_INET6)
			fprintf(stderr, ", http://[%s]:%u/", near.host, e->port);
		fprintf(stderr, "\n");
	}
	fprintf(stderr, "moonmilter page: ready\n");
}

/* As root, before anything is read from outside; then as the user who serves. */
static int run(struct arguments *a)
{
	char path[sizeof ((struct mm_endpoint *)0)->path];
	int status = check_addresses(a);
	if (status == EX_OK)
		status = choose_user(a);
	if (status == EX_OK)
		status = mm_ctl_find_socket(&a->query, path, sizeof path);
	if (status == EX_OK)
		status = open_listeners(a);
	if (status == EX_OK)
		status = give_up_rights(a);
	if (status != EX_OK)
		return status;
	a->server.control = path;
	a->server.source = mm_inquiry_new(path);
	if (a->server.source == NULL)
		return wrong("out of memory or threads", "") - EX_USAGE + EX_OSERR;
	say_ready(a);
	status = mm_page_serve(&a->server);
	for (unsigned i = 0; i < a->server.count; i++)
		mm_listener_close(&a->listeners[i]);
	return status;
}

int mm_command_page(int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, LISTEN }, { "anyone", no_argument, NULL, ANYONE },
		{ "name", required_argument, NULL, NAME }, { "mode", required_argument, NULL, MODE },
		{ "socket-group", required_argument, NULL, SOCKET_GROUP }, { "user", required_argument, NULL, USER },
		{ "config", required_argument, NULL, 'c' }, { "control", required_argument, NULL, CONTROL },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	static struct arguments a = { .query = { .name = "moonmilter page" }, .mode = 0660 };
	int status = EX_OK;
	optind = 1;
	for (int c; status == EX_OK && (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		if (c == 'h') {
			print_help(stdout);
			return EX_OK;
		}
		status = take_option(&a, c, optarg);
	}
	if (status == EX_OK && optind < argc)
		status = wrong("only options are allowed; see moonmilter page --help", "");
	return status != EX_OK ? status : run(&a);
}
