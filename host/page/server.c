#include "page/server.h"

#include "base/clock.h"
#include "page/assets.h"
#include "page/live.h"
#include "page/screens.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX   64u       /* at a time, of each listener */
#define CLIENT_WAIT   10u       /* seconds of silence */
#define CLIENT_MEMORY 16384u    /* bytes for a request */
#define REQUESTS_MAX  1000u     /* of a connection; then it is closed after the answer */
#define ANSWER_MAX    30.0      /* seconds from the first byte of a request to the last of its answer */
#define FRESH_FOR     0.25      /* seconds that an answer is given again to the same question, at least */
#define FRESH_MOST    1.5       /* and at most */
#define FRESH_TIMES   50.0      /* and in between, times what making it took: a question costs 2 % of a processor */
#define KEPT_MAX      8u        /* answers that are kept for that */
#define TURN_MS       250       /* between two looks at readers of events and at slow clients */

#define POLICY "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; " \
	"frame-ancestors 'none'; base-uri 'none'"

/* ---- what a connection and a request are ---- */

struct client {
	int      fd;                    /* borrowed from MHD; -1: the place is free */
	unsigned requests;
	double   since;                 /* mm_clock_real() when it was last without a request */
	bool     is_live;
};

struct kept {
	char             target[MM_PAGE_TARGET_MAX + 2];
	struct mm_buffer bytes;         /* owned */
	const char      *type;          /* static */
	unsigned         status;
	double           made_at;       /* mm_clock_real(); 0: nothing is kept */
	double           fresh_for;     /* seconds */
};

struct serving;

struct door {
	struct serving    *serving;     /* borrowed */
	struct MHD_Daemon *daemon;      /* owned */
	bool               is_unix;
	struct client      clients[CLIENTS_MAX];
};

struct serving {
	const struct mm_page_server *server;    /* borrowed */
	struct mm_live              *live;      /* owned */
	struct door                  doors[MM_PAGE_LISTENERS];
	struct kept                  kept[KEPT_MAX];
};

/* Path and query, as they came. */
struct request {
	bool                 is_good, is_seen;
	struct mm_page_query query;
	char                 target[MM_PAGE_TARGET_MAX + 2];    /* one more, to see that it is too long */
};

/* ---- answers ---- */

static void add_headers(struct MHD_Response *r, const char *type)
{
	static const char *const headers[][2] = {
		{ "Content-Security-Policy", POLICY }, { "X-Content-Type-Options", "nosniff" },
		{ "Referrer-Policy", "no-referrer" }, { "Cache-Control", "no-store" },
		{ "Cross-Origin-Resource-Policy", "same-origin" }, { "Cross-Origin-Opener-Policy", "same-origin" },
	};
	MHD_add_response_header(r, "Content-Type", type);
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		MHD_add_response_header(r, headers[i][0], headers[i][1]);
}

static struct client *client_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info != NULL ? info->socket_context : NULL;
}

static enum MHD_Result send_response(struct MHD_Connection *c, unsigned status, const char *type, struct MHD_Response
	*r)
{
	struct client *client = client_of(c);
	if (r == NULL)
		return MHD_NO;
	add_headers(r, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, "Allow", "GET, HEAD");
	if (client == NULL || ++client->requests >= REQUESTS_MAX)
		MHD_add_response_header(r, "Connection", "close");
	enum MHD_Result result = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, const void *bytes, size_t
	size)
{
	return send_response(c, status, type, MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes,
		MHD_RESPMEM_MUST_COPY));
}

static enum MHD_Result say(struct MHD_Connection *c, unsigned status, const char *text)
{
	return answer(c, status, "text/plain; charset=utf-8", text, strlen(text));
}

static enum MHD_Result give(struct MHD_Connection *c, const char *type, const struct mm_page_asset *asset)
{
	return send_response(c, MHD_HTTP_OK, type, MHD_create_response_from_buffer(asset->size,
		(void *)(uintptr_t)asset->bytes, MHD_RESPMEM_PERSISTENT));
}

/* ---- who asks ---- */

static bool is_loopback(const char *name)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (strcasecmp(name, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, name, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* "page.example.org:443", "[::1]:9926". */
static bool name_of(const char *host, char *to, size_t size)
{
	bool has_brackets = host[0] == '[';
	host += has_brackets;
	size_t length = strcspn(host, has_brackets ? "]" : ":");
	const char *after = host + length + (has_brackets && host[length] == ']');
	if (length == 0 || length >= size || (*after != '\0' && *after != ':')
	    || (has_brackets && host[length] != ']') || (*after == ':' && after[1 + strspn(after + 1, "0123456789")] !=
	    '\0'))
		return false;
	memcpy(to, host, length);
	to[length] = '\0';
	return true;
}

bool mm_page_knows_host(const struct mm_page_server *p, const char *host)
{
	char name[256];
	if (host == NULL || !name_of(host, name, sizeof name))
		return false;
	for (unsigned i = 0; i < p->name_count; i++)
		if (strcasecmp(name, p->names[i]) == 0)
			return true;
	return is_loopback(name);
}

/* ---- pages ---- */

static const struct {
	mm_screen_show *show;
	mm_screen_json *json;
} screens[] = {         /* ORDER PAGE_ROUTE */
	{ mm_screen_now, mm_screen_now_json }, { mm_screen_messages, mm_screen_messages_json },
	{ mm_screen_message, mm_screen_message_json }, { mm_screen_scripts, mm_screen_scripts_json },
	{ mm_screen_state, mm_screen_state_json },
};

static struct kept *place_for(struct serving *s, const char *target, double now)
{
	struct kept *oldest = &s->kept[0];
	for (unsigned i = 0; i < KEPT_MAX; i++) {
		struct kept *k = &s->kept[i];
		if (k->made_at != 0 && now - k->made_at < k->fresh_for && strcmp(k->target, target) == 0)
			return k;
		if (k->made_at < oldest->made_at)
			oldest = k;
	}
	oldest->made_at = 0;
	return oldest;
}

/* Seconds of CPU that this thread has used. */
static double worked(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double fresh_for(double work)
{
	double seconds = FRESH_TIMES * work;
	return seconds < FRESH_FOR ? FRESH_FOR : seconds > FRESH_MOST ? FRESH_MOST : seconds;
}

static enum MHD_Result show(struct serving *s, struct MHD_Connection *c, const struct request *r)
{
	double now = mm_clock_real();
	struct kept *k = place_for(s, r->target, now);
	if (k->made_at == 0) {
		double before = worked();
		mm_buffer_clear(&k->bytes);
		struct mm_screen screen = { .source = s->server->source, .query = &r->query, .path = s->server->control,
			.now = mm_clock_wall(), .out = &k->bytes, .status = MHD_HTTP_OK };
		k->type = "text/html; charset=utf-8";
		if (r->query.is_json)
			k->type = screens[r->query.route].json(&screen);
		else
			screens[r->query.route].show(&screen);
		k->status = screen.status;
		snprintf(k->target, sizeof k->target, "%s", r->target);
		k->made_at = mm_clock_real();
		k->fresh_for = fresh_for(worked() - before);
	}
	if (k->bytes.failed) {
		mm_buffer_free(&k->bytes);
		k->made_at = 0;
		return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
	}
	return answer(c, k->status, k->type, k->bytes.bytes, k->bytes.size);
}

static enum MHD_Result tell_live(struct serving *s, struct MHD_Connection *c, const struct request *r)
{
	struct client *client = client_of(c);
	struct MHD_Response *response = mm_live_begin(s->live, c, r->target);
	if (response == NULL)
		return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "too many readers of events; the page itself goes on\n");
	if (client != NULL)
		client->is_live = true;
	return send_response(c, MHD_HTTP_OK, "text/event-stream; charset=utf-8", response);
}

static enum MHD_Result answer_request(struct serving *s, struct MHD_Connection *c, const struct request *r,
	bool is_head)
{
	switch (r->query.route) {
	case MM_PAGE_NOWHERE: return say(c, MHD_HTTP_NOT_FOUND, "there is no such page; begin at /\n");
	case MM_PAGE_STYLE:   return give(c, "text/css; charset=utf-8", &mm_page_style);
	case MM_PAGE_SCRIPT:  return give(c, "text/javascript; charset=utf-8", &mm_page_script);
	case MM_PAGE_LIVE_NOW:
	case MM_PAGE_LIVE_MESSAGES:
		return is_head ? answer(c, MHD_HTTP_OK, "text/event-stream; charset=utf-8", "", 0) : tell_live(s, c, r);
	default:              return show(s, c, r);
	}
}

/* ---- what MHD calls ---- */

/* The target as it came, before MHD decodes parts of it. What we return comes to on_request. */
static void *on_target(void *self, const char *target, struct MHD_Connection *c)
{
	struct request *r = calloc(1, sizeof *r);
	(void)self;
	(void)c;
	if (r == NULL)
		return NULL;
	snprintf(r->target, sizeof r->target, "%s", target);
	r->is_good = mm_page_query_read(&r->query, r->target, mm_clock_wall());
	return r;
}

static bool has_body(struct MHD_Connection *c)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding") != NULL
		|| MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length") != NULL;
}

static enum MHD_Result on_request(void *self, struct MHD_Connection *c, const char *url, const char *method,
	const char *version, const char *upload, size_t *upload_size, void **context)
{
	struct door *d = self;
	struct request *r = *context;
	bool is_head = strcmp(method, "HEAD") == 0;
	(void)url;
	(void)version;
	(void)upload;
	if (*upload_size > 0 || r == NULL)
		return MHD_NO;
	if (!is_head && strcmp(method, "GET") != 0)
		return say(c, MHD_HTTP_METHOD_NOT_ALLOWED, "this page is only read: GET and HEAD\n");
	if (has_body(c))
		return MHD_NO;          /* no question of ours has a body: nobody can send one without end */
	if (!r->is_seen) {
		r->is_seen = true;      /* MHD closes the connection after an answer at the first call */
		return MHD_YES;
	}
	if (!d->is_unix && !mm_page_knows_host(d->serving->server, MHD_lookup_connection_value(c, MHD_HEADER_KIND,
		"Host")))
		return say(c, 421, "this page is not served under this name; start moonmilter page with --name NAME "
		"for it\n");
	if (!r->is_good)
		return say(c, strlen(r->target) > MM_PAGE_TARGET_MAX ? MHD_HTTP_URI_TOO_LONG : MHD_HTTP_BAD_REQUEST,
			"the address is too long, or has a % that is no escape\n");
	return answer_request(d->serving, c, r, is_head);
}

static void on_completed(void *self, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode how)
{
	struct client *client = client_of(c);
	(void)self;
	(void)how;
	free(*context);
	*context = NULL;
	if (client == NULL)
		return;
	client->since = mm_clock_real();
	client->is_live = false;
}

static void on_connection(void *self, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode
	what)
{
	struct door *d = self;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (what == MHD_CONNECTION_NOTIFY_CLOSED && *context != NULL) {
		((struct client *)*context)->fd = -1;
		*context = NULL;
	}
	for (unsigned i = 0; what == MHD_CONNECTION_NOTIFY_STARTED && i < CLIENTS_MAX && *context == NULL; i++)
		if (d->clients[i].fd < 0 && info != NULL) {
			d->clients[i] = (struct client){ .fd = info->connect_fd, .since = mm_clock_real() };
			*context = &d->clients[i];
		}
}

/* ---- the loop ---- */

/* A client that sends or takes a byte now and then is never silent for long. */
static void hang_up_slow(struct door *d, double now)
{
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		if (d->clients[i].fd >= 0 && !d->clients[i].is_live && now - d->clients[i].since > ANSWER_MAX)
			shutdown(d->clients[i].fd, SHUT_RDWR);
}

static bool open_doors(struct serving *s)
{
	for (unsigned i = 0; i < s->server->count; i++) {
		struct door *d = &s->doors[i];
		d->serving = s;
		d->is_unix = s->server->is_unix[i];
		for (unsigned j = 0; j < CLIENTS_MAX; j++)
			d->clients[j].fd = -1;
		d->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, d,
			MHD_OPTION_LISTEN_SOCKET, s->server->fds[i], MHD_OPTION_CONNECTION_LIMIT, CLIENTS_MAX,
			MHD_OPTION_CONNECTION_TIMEOUT, CLIENT_WAIT, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
			(size_t)CLIENT_MEMORY,
			MHD_OPTION_URI_LOG_CALLBACK, on_target, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
			MHD_OPTION_NOTIFY_CONNECTION, on_connection, d, MHD_OPTION_END);
		if (d->daemon == NULL)
			return false;
	}
	return true;
}

static void turn(struct serving *s, double *looked_at)
{
	for (unsigned i = 0; i < s->server->count; i++)
		MHD_run(s->doors[i].daemon);
	double now = mm_clock_real();
	if (now - *looked_at < TURN_MS / 1000.0)
		return;
	*looked_at = now;
	mm_live_turn(s->live);
	for (unsigned i = 0; i < s->server->count; i++)
		hang_up_slow(&s->doors[i], now);
}

/* Until a signal comes. */
static void serve(struct serving *s, int signals)
{
	struct pollfd fds[MM_PAGE_LISTENERS + 1];
	double looked_at = 0;
	for (;;) {
		unsigned long long wait = TURN_MS, least;
		for (unsigned i = 0; i < s->server->count; i++) {
			const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->doors[i].daemon,
				MHD_DAEMON_INFO_EPOLL_FD);
			fds[i] = (struct pollfd){ .fd = info != NULL ? info->epoll_fd : -1, .events = POLLIN };
			if (MHD_get_timeout(s->doors[i].daemon, &least) == MHD_YES && least < wait)
				wait = least;
		}
		fds[s->server->count] = (struct pollfd){ .fd = signals, .events = POLLIN };
		poll(fds, s->server->count + 1, (int)wait);
		if (fds[s->server->count].revents != 0)
			return;
		turn(s, &looked_at);
	}
}

int mm_page_serve(const struct mm_page_server *p)
{
	static struct serving s;
	sigset_t ending;
	sigemptyset(&ending);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGINT);
	sigprocmask(SIG_BLOCK, &ending, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	int signals = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
	s.server = p;
	s.live = mm_live_new(p->source, p->control);
	if (signals < 0 || s.live == NULL || !open_doors(&s))
		return EX_OSERR;
	serve(&s, signals);
	return EX_OK;           /* the process ends: so do its connections */
}
