/* libcurl asks for watches and one timer by callbacks; events go back in by curl_multi_socket_action(), after which
 * finished transfers are collected. A finished request does not call done at once: the request's own timer does that at
 * the next turn of the loop. So done never runs inside a libcurl function, and it may free all of this. */
#include "async/http.h"

#include "base/bounds.h"
#include "base/buffer.h"
#include "base/list.h"
#include "base/watch.h"
#include "moonmilter.h"

#include "base/network.h"
#include "async/http_head.h"
#include "async/tls.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOO_LARGE 100   /* CURLE_TOO_LARGE, which libcurl has since 8.6 */

struct socket_watch {
	struct mm_watch      watch;
	struct mm_http      *http;
	curl_socket_t        fd;
	struct socket_watch *next, *previous;
};

/* Requests to one server: those that run, and those that wait for their turn. */
struct server {
	struct server          *next, *previous;
	struct mm_http_request *queue, *queue_end;      /* borrowed */
	unsigned                running;
	char                    name[];                 /* "https://host:port", or a socket's path */
};

struct mm_http {
	struct mm_clock     *clock;             /* borrowed */
	CURLM               *multi;             /* owned */
	struct mm_timer      timer;
	struct socket_watch *watches;           /* owned list */
	struct server       *servers;           /* owned list */
	unsigned             running;
};

struct mm_http_request {
	struct mm_http    *http;                /* borrowed */
	CURL              *easy;                /* owned */
	char              *origin;              /* owned: the name of its server */
	struct server     *server;              /* borrowed; NULL: neither runs nor waits */
	struct mm_http_request *next, *previous;        /* in the server's queue */
	double             until;               /* mm_clock_now() */
	double             connect_timeout;
	char              *tls_name;            /* owned: what the certificate must be for; NULL: anything */
	bool               no_private, met_private;     /* the server's address may not be private; it is */
	struct curl_slist *fields, *resolve;    /* owned */
	struct mm_http_head lines;
	struct mm_buffer   head, trailers, body;        /* owned */
	size_t             body_max;
	struct mm_account *account;             /* borrowed; may be NULL */
	size_t             declared;            /* for it */
	bool               is_over;             /* more bytes came than body_max */
	bool               is_head_over;        /* or than MM_HTTP_FIELDS_MAX */
	bool               is_malformed;        /* nobody can tell where the answer ends */
	bool               is_queued;           /* waits for its turn */
	bool               lacks_memory;        /* more bytes came than the account may hold */
	bool               is_running;          /* in the multi handle */
	CURLcode           result;
	struct mm_timer    finish;
	void             (*done)(void *self);
	void              *self;
	char               text[CURL_ERROR_SIZE];
};

/* ---- whose turn it is ---- */

/* GIVES "https://host:port", or the socket's path. */
static char *origin_of(const struct mm_http_options *o)
{
	const char *host = strstr(o->url, "://");
	if (o->unix_socket != NULL || host == NULL)
		return strdup(o->unix_socket != NULL ? o->unix_socket : o->url);
	return strndup(o->url, (size_t)(host - o->url) + 3 + strcspn(host + 3, "/?#"));
}

static struct server *find_or_make_server(struct mm_http *http, const char *name)
{
	struct server *s = http->servers;
	while (s != NULL && strcmp(s->name, name) != 0)
		s = s->next;
	if (s != NULL)
		return s;
	s = calloc(1, sizeof *s + strlen(name) + 1);
	if (s == NULL)
		return NULL;
	strcpy(s->name, name);
	MM_LIST_PUSH(http->servers, s);
	return s;
}

static void forget_if_unused(struct mm_http *http, struct server *s)
{
	if (s->running > 0 || s->queue != NULL)
		return;
	MM_LIST_REMOVE(http->servers, s);
	free(s);
}

static void enqueue(struct server *s, struct mm_http_request *r)
{
	r->next = NULL;
	r->previous = s->queue_end;
	if (s->queue_end != NULL)
		s->queue_end->next = r;
	else
		s->queue = r;
	s->queue_end = r;
}

static void dequeue(struct server *s, struct mm_http_request *r)
{
	if (r->next == NULL)
		s->queue_end = r->previous;
	MM_LIST_REMOVE(s->queue, r);
}

static struct mm_http_request *dequeue_first(struct server *s)
{
	struct mm_http_request *r = s->queue;
	r->is_queued = false;
	dequeue(s, r);
	return r;
}

/* A request that runs, or waits, does so no more. */
static void leave_server(struct mm_http_request *r)
{
	struct server *s = r->server;
	if (s == NULL)
		return;
	r->server = NULL;
	if (r->is_queued) {
		r->is_queued = false;
		dequeue(s, r);
	} else {
		s->running--;
		r->http->running--;
	}
	forget_if_unused(r->http, s);
}

static long milliseconds(double seconds)
{
	return seconds < 0.001 ? 1 : seconds > 86400 ? 86400000 : (long)(seconds * 1000);
}

static bool has_room(const struct mm_http *http, const struct server *s)
{
	return http->running < MM_HTTP_CONNECTIONS_MAX && s->running < MM_HTTP_HOST_MAX;
}

static void run(struct mm_http_request *r)
{
	double left = r->until - mm_clock_now();
	mm_timer_stop(&r->finish);
	r->server->running++;
	r->http->running++;
	curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, milliseconds(left));
	curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS,
		milliseconds(left < r->connect_timeout ? left : r->connect_timeout));
	r->is_running = curl_multi_add_handle(r->http->multi, r->easy) == CURLM_OK;
	if (r->is_running)
		return;
	r->result = CURLE_OUT_OF_MEMORY;
	leave_server(r);
	mm_timer_soon(&r->finish);
}

/* Starts what has room. The server with the fewest requests under way comes first: many that wait for dead servers do
 * not keep those to a healthy one waiting. */
static void serve(struct mm_http *http)
{
	for (struct server *next;; run(dequeue_first(next))) {
		next = NULL;
		for (struct server *s = http->servers; s != NULL; s = s->next)
			if (s->queue != NULL && has_room(http, s) && (next == NULL || s->running < next->running))
				next = s;
		if (next == NULL)
			return;
	}
}

/* ---- libcurl's events ---- */

static void collect(struct mm_http *http)
{
	int left;
	bool has_ended = false;
	for (CURLMsg *message; (message = curl_multi_info_read(http->multi, &left)) != NULL;) {
		struct mm_http_request *r;
		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &r);
		r->result = message->data.result;
		r->is_running = false;
		curl_multi_remove_handle(http->multi, r->easy);
		leave_server(r);
		mm_timer_soon(&r->finish);
		has_ended = true;
	}
	if (has_ended)
		serve(http);
}

static void on_ready(struct mm_watch *watch, int ready)
{
	struct socket_watch *w = MM_OWNER_OF(watch, struct socket_watch, watch);
	struct mm_http *http = w->http;         /* the call may free w */
	int events = (ready & MM_READABLE ? CURL_CSELECT_IN : 0) | (ready & MM_WRITABLE ? CURL_CSELECT_OUT : 0),
		running;
	curl_multi_socket_action(http->multi, w->fd, events, &running);
	collect(http);
}

static void on_timer(struct mm_timer *timer)
{
	struct mm_http *http = MM_OWNER_OF(timer, struct mm_http, timer);
	int running;
	curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(http);
}

static int want_timer(CURLM *multi, long milliseconds, void *self)
{
	struct mm_http *http = self;
	(void)multi;
	if (milliseconds < 0)
		mm_timer_stop(&http->timer);
	else if (milliseconds == 0)
		mm_timer_soon(&http->timer);    /* do not use the multi handle inside its own callback */
	else
		mm_timer_start(&http->timer, (double)milliseconds / 1000);
	return 0;
}

static void drop_watch(struct socket_watch *w)
{
	mm_watch_stop(&w->watch);
	MM_LIST_REMOVE(w->http->watches, w);
	free(w);
}

static struct socket_watch *add_watch(struct mm_http *http, curl_socket_t fd)
{
	struct socket_watch *w = calloc(1, sizeof *w);
	if (w == NULL)
		return NULL;
	mm_watch_init(&w->watch, http->clock, on_ready);
	w->http = http;
	w->fd = fd;
	MM_LIST_PUSH(http->watches, w);
	curl_multi_assign(http->multi, fd, w);
	return w;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *self, void *assigned)
{
	struct socket_watch *w = assigned;
	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (w != NULL)
			drop_watch(w);
		return 0;
	}
	if (w == NULL && (w = add_watch(self, fd)) == NULL)
		return -1;
	mm_watch_start(&w->watch, fd, (what & CURL_POLL_IN ? MM_READABLE : 0)
		| (what & CURL_POLL_OUT ? MM_WRITABLE : 0));
	return 0;
}

static curl_socket_t open_socket(void *self, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct mm_http_request *r = self;
	(void)purpose;
	if (r->no_private && mm_network_is_private(&address->addr)) {
		r->met_private = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* Before the request is sent, on a connection that another request may have opened. */
static int look_at_peer(void *self, char *ip, char *own_ip, int port, int own_port)
{
	struct mm_http_request *r = self;
	union {
		struct sockaddr     any;
		struct sockaddr_in  inet;
		struct sockaddr_in6 inet6;
	} peer = { .any.sa_family = AF_UNSPEC };
	(void)own_ip;
	(void)port;
	(void)own_port;
	if (inet_pton(AF_INET, ip, &peer.inet.sin_addr) == 1)
		peer.any.sa_family = AF_INET;
	else if (inet_pton(AF_INET6, ip, &peer.inet6.sin6_addr) == 1)
		peer.any.sa_family = AF_INET6;
	r->met_private = mm_network_is_private(&peer.any);
	return r->met_private ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* libcurl alone would accept the subject's CN of a certificate without other names. */
static CURLcode expect_tls_name(CURL *easy, void *context, void *self)
{
	struct mm_http_request *r = self;
	(void)easy;
	return mm_tls_expect_name(context, r->tls_name) ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

/* ---- life ---- */

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct mm_http *mm_http_new(struct mm_clock *clock)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, init_curl);
	struct mm_http *http = calloc(1, sizeof *http);
	if (http == NULL || (http->multi = curl_multi_init()) == NULL) {
		free(http);
		return NULL;
	}
	http->clock = clock;
	mm_timer_init(&http->timer, clock, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)MM_HTTP_CONNECTIONS_MAX);
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)MM_HTTP_IDLE_MAX);
	return http;
}

void mm_http_free(struct mm_http *http)
{
	if (http == NULL)
		return;
	curl_multi_cleanup(http->multi);
	while (http->watches != NULL)
		drop_watch(http->watches);
	mm_timer_stop(&http->timer);
	free(http);
}

/* ---- a request ---- */

static void declare(struct mm_http_request *r)
{
	if (r->account != NULL)
		mm_account_declare(r->account, &r->declared, r->head.capacity + r->trailers.capacity
			+ r->body.capacity);
}

static bool append(struct mm_http_request *r, struct mm_buffer *to, const char *bytes, size_t size)
{
	r->lacks_memory = !mm_account_allows(r->account, size);
	if (r->lacks_memory)
		return false;
	mm_buffer_append(to, bytes, size);
	declare(r);
	r->lacks_memory = to->failed;
	return !to->failed;
}

static size_t take_head(char *bytes, size_t one, size_t size, void *self)
{
	struct mm_http_request *r = self;
	(void)one;
	enum mm_http_line line = mm_http_head_read(&r->lines, bytes, size);
	r->is_malformed = line == MM_HTTP_MALFORMED;
	r->is_head_over = size > MM_HTTP_FIELDS_MAX - r->head.size - r->trailers.size;
	if (r->is_malformed || r->is_head_over)
		return 0;
	if (line == MM_HTTP_STATUS)
		mm_buffer_clear(&r->head);
	if (line != MM_HTTP_FIELD && line != MM_HTTP_TRAILER)
		return size;
	return append(r, line == MM_HTTP_FIELD ? &r->head : &r->trailers, bytes, size) ? size : 0;
}

static size_t take_body(char *bytes, size_t one, size_t size, void *self)
{
	struct mm_http_request *r = self;
	(void)one;
	r->is_over = size > r->body_max - r->body.size;
	return !r->is_over && append(r, &r->body, bytes, size) ? size : 0;
}

/* The end, or of a request that waits for its turn the end of its time. */
static void on_finish(struct mm_timer *timer)
{
	struct mm_http_request *r = MM_OWNER_OF(timer, struct mm_http_request, finish);
	if (r->is_queued) {
		r->result = CURLE_OPERATION_TIMEDOUT;
		snprintf(r->text, sizeof r->text, "no connection was free in time: %u requests to the server and %u in "
			"all are running", r->server->running, r->http->running);
		leave_server(r);
	}
	r->done(r->self);
}

static bool add(struct curl_slist **list, const char *text)
{
	struct curl_slist *longer = curl_slist_append(*list, text);
	if (longer != NULL)
		*list = longer;
	return longer != NULL;
}

static bool has_field(const char *const *fields, const char *name)
{
	size_t size = strlen(name);
	for (; *fields != NULL; fields++)
		if (strncasecmp(*fields, name, size) == 0 && (*fields)[size] == ':')
			return true;
	return false;
}

/* curl adds its own fields; an empty field removes them. */
static bool set_fields(struct mm_http_request *r, const struct mm_http_options *o)
{
	bool ok = add(&r->fields, "Expect:");   /* servers that do not know it delay the request by a second */
	if (!has_field(o->fields, "Content-Type"))
		ok = ok && add(&r->fields, "Content-Type:");
	if (!has_field(o->fields, "User-Agent"))
		ok = ok && add(&r->fields, "User-Agent: moonmilter/" MM_VERSION);
	for (const char *const *field = o->fields; ok && *field != NULL; field++)
		ok = add(&r->fields, *field);
	return ok && curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->fields) == CURLE_OK;
}

static void set_body(struct mm_http_request *r, const struct mm_http_options *o)
{
	bool is_head = strcmp(o->method, "HEAD") == 0;
	if (o->body.bytes != NULL) {
		curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body.size);
		curl_easy_setopt(r->easy, CURLOPT_COPYPOSTFIELDS, o->body.bytes);
	}
	if (is_head)
		curl_easy_setopt(r->easy, CURLOPT_NOBODY, 1L);
	else
		curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, o->method);
}

/* The URL's host, as a certificate has it: without brackets and last dot. */
static bool set_tls_name(struct mm_http_request *r, const struct mm_http_options *o)
{
	struct mm_fault ignored;
	struct mm_http_url url;
	if (o->no_verify || strncmp(o->url, "https:", 6) != 0)
		return true;
	if (!mm_http_url(o->url, NULL, &url, &ignored))
		return false;
	size_t size = strlen(url.host);
	bool is_bracketed = url.host[0] == '[', is_cut = is_bracketed || (size > 1 && url.host[size - 1] == '.');
	r->tls_name = strndup(url.host + is_bracketed, size - is_bracketed - is_cut);
	mm_http_url_free(&url);
	return r->tls_name != NULL
		&& curl_easy_setopt(r->easy, CURLOPT_SSL_CTX_FUNCTION, expect_tls_name) == CURLE_OK
		&& curl_easy_setopt(r->easy, CURLOPT_SSL_CTX_DATA, r) == CURLE_OK;
}

static void set_tls(struct mm_http_request *r, const struct mm_http_options *o)
{
	struct stat status;
	curl_easy_setopt(r->easy, CURLOPT_SSL_VERIFYPEER, o->no_verify ? 0L : 1L);
	curl_easy_setopt(r->easy, CURLOPT_SSL_VERIFYHOST, o->no_verify ? 0L : 2L);
	curl_easy_setopt(r->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (o->ca != NULL && stat(o->ca, &status) == 0 && S_ISDIR(status.st_mode)) {
		curl_easy_setopt(r->easy, CURLOPT_CAPATH, o->ca);
		curl_easy_setopt(r->easy, CURLOPT_CAINFO, NULL);
	} else if (o->ca != NULL) {
		curl_easy_setopt(r->easy, CURLOPT_CAINFO, o->ca);
		curl_easy_setopt(r->easy, CURLOPT_CAPATH, NULL);
	}
	if (o->certificate != NULL) {
		curl_easy_setopt(r->easy, CURLOPT_SSLCERT, o->certificate);
		curl_easy_setopt(r->easy, CURLOPT_SSLKEY, o->key != NULL ? o->key : o->certificate);
	}
}

static void set_limits(struct mm_http_request *r, const struct mm_http_options *o)
{
	r->until = mm_clock_now() + o->timeout;
	r->connect_timeout = o->connect_timeout;
	curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(r->easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(r->easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(r->easy, CURLOPT_PROXY, "");           /* ignore http_proxy in the environment */
	curl_easy_setopt(r->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(r->easy, CURLOPT_HTTP09_ALLOWED, 0L);
	r->body_max = o->body_max;
	r->account = o->account;
}

static void set_callbacks(struct mm_http_request *r)
{
	curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
	curl_easy_setopt(r->easy, CURLOPT_ERRORBUFFER, r->text);
	curl_easy_setopt(r->easy, CURLOPT_HEADERFUNCTION, take_head);
	curl_easy_setopt(r->easy, CURLOPT_HEADERDATA, r);
	curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(r->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(r->easy, CURLOPT_OPENSOCKETDATA, r);
	if (r->no_private) {
		curl_easy_setopt(r->easy, CURLOPT_PREREQFUNCTION, look_at_peer);
		curl_easy_setopt(r->easy, CURLOPT_PREREQDATA, r);
	}
}

static bool set_address(struct mm_http_request *r, const struct mm_http_options *o)
{
	if (o->unix_socket != NULL)
		curl_easy_setopt(r->easy, CURLOPT_UNIX_SOCKET_PATH, o->unix_socket);
	if (o->resolve != NULL) {
		if (!add(&r->resolve, o->resolve))
			return false;
		curl_easy_setopt(r->easy, CURLOPT_RESOLVE, r->resolve);
	}
	return curl_easy_setopt(r->easy, CURLOPT_URL, o->url) == CURLE_OK;
}

struct mm_http_request *mm_http_request_new(struct mm_http *http, const struct mm_http_options *o, struct mm_fault *why)
{
	struct mm_http_request *r = calloc(1, sizeof *r);
	if (r != NULL) {
		r->http = http;
		mm_timer_init(&r->finish, http->clock, on_finish);
		r->easy = curl_easy_init();
		r->origin = origin_of(o);
	}
	if (r == NULL || r->easy == NULL || r->origin == NULL || !set_fields(r, o) || !set_address(r, o)
	    || !set_tls_name(r, o)) {
		mm_http_request_free(r);
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for an HTTP request");
		return NULL;
	}
	r->no_private = o->no_private;
	set_body(r, o);
	set_tls(r, o);
	set_limits(r, o);
	set_callbacks(r);
	return r;
}

void mm_http_start(struct mm_http_request *r, void (*done)(void *self), void *self)
{
	r->done = done;
	r->self = self;
	r->server = find_or_make_server(r->http, r->origin);
	if (r->server == NULL) {
		r->result = CURLE_OUT_OF_MEMORY;
		mm_timer_soon(&r->finish);
	} else if (r->server->queue == NULL && has_room(r->http, r->server)) {
		run(r);
	} else {
		r->is_queued = true;
		enqueue(r->server, r);
		mm_timer_start(&r->finish, r->until - mm_clock_now());
	}
}

void mm_http_request_free(struct mm_http_request *r)
{
	if (r == NULL)
		return;
	if (r->is_running)
		curl_multi_remove_handle(r->http->multi, r->easy);
	if (r->server != NULL) {
		leave_server(r);
		serve(r->http);
	}
	if (r->easy != NULL)
		curl_easy_cleanup(r->easy);
	mm_timer_stop(&r->finish);
	curl_slist_free_all(r->fields);
	curl_slist_free_all(r->resolve);
	free(r->origin);
	free(r->tls_name);
	mm_buffer_free(&r->head);
	mm_buffer_free(&r->trailers);
	mm_buffer_free(&r->body);
	declare(r);
	free(r);
}

/* ---- the answer ---- */

static const char *code_of(const struct mm_http_request *r)
{
	long error = 0;
	switch (r->result) {
	case CURLE_OPERATION_TIMEDOUT:
		return "timeout";
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(r->easy, CURLINFO_OS_ERRNO, &error);
		return error == EHOSTUNREACH || error == ENETUNREACH ? "unreachable" : "refused";
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return "tls";
	case CURLE_RECV_ERROR:
		/* also when the chunks of a body make no sense */
		return strstr(r->text, "chunk") != NULL ? "protocol" : "closed";
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_SEND_ERROR:
		return "closed";
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_BAD_CONTENT_ENCODING:
		return "protocol";
	case CURLE_OUT_OF_MEMORY:
		return "memory";
	default:
		return "io";
	}
}

/* libcurl reports a header line that is too long for it as a lack of memory, up to 8.5, then as TOO_LARGE. */
static bool is_head_too_large(const struct mm_http_request *r)
{
	long sent = 0;
	curl_easy_getinfo(r->easy, CURLINFO_REQUEST_SIZE, &sent);
	return r->is_head_over || (int)r->result == TOO_LARGE
		|| (r->result == CURLE_OUT_OF_MEMORY && sent > 0 && !r->lines.is_over && !r->lacks_memory)
		|| (r->result == CURLE_RECV_ERROR && strstr(r->text, "response headers") != NULL);
}

/* NULL: libcurl's own reason. */
static const char *own_error(const struct mm_http_request *r, const char **code)
{
	*code = "limit";
	if (r->is_over)
		return "the answer is larger than max_body";
	if (is_head_too_large(r))
		return "the header of the answer is larger than allowed: 256 KB, or 100 KB in one field";
	*code = "private";
	if (r->met_private)
		return "the server's address is private, and allow_private is false";
	*code = "memory";
	if (r->lacks_memory)
		return "there is no memory for the answer (memory_held)";
	*code = "protocol";
	if (r->is_malformed)
		return "the answer's Content-Length is not a number, or there are two";
	return NULL;
}

const char *mm_http_error(const struct mm_http_request *r, const char **code)
{
	if (r->result == CURLE_OK && r->lines.is_over)
		return NULL;
	const char *text = own_error(r, code);
	if (text != NULL)
		return text;
	if (r->result == CURLE_OK) {            /* libcurl takes half a head for a whole one */
		*code = "closed";
		return "the server closed the connection in the middle of the answer's header";
	}
	*code = code_of(r);
	return r->text[0] != '\0' ? r->text : curl_easy_strerror(r->result);
}

int mm_http_status(const struct mm_http_request *r)
{
	long status = 0;
	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

struct mm_text mm_http_fields(const struct mm_http_request *r)
{
	return (struct mm_text){ (const char *)r->head.bytes, r->head.size };
}

struct mm_text mm_http_trailers(const struct mm_http_request *r)
{
	return (struct mm_text){ (const char *)r->trailers.bytes, r->trailers.size };
}

struct mm_text mm_http_body(const struct mm_http_request *r)
{
	return (struct mm_text){ (const char *)r->body.bytes, r->body.size };
}

/* ---- URLs ---- */

static bool take_part(CURLU *u, CURLUPart part, unsigned flags, char **to)
{
	char *text = NULL;
	if (curl_url_get(u, part, &text, flags) != CURLUE_OK)
		return false;
	*to = strdup(text);
	curl_free(text);
	return *to != NULL;
}

static bool read_url(CURLU *u, const char *url, const char *base, struct mm_http_url *out, struct mm_fault *why)
{
	char *port = NULL;
	CURLUcode code = base != NULL ? curl_url_set(u, CURLUPART_URL, base, 0) : CURLUE_OK;
	if (code == CURLUE_OK)
		code = curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
	if (code != CURLUE_OK)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "url \"%.200s\": %s", url, curl_url_strerror(code));
	if (!take_part(u, CURLUPART_SCHEME, 0, &out->scheme)
	    || (strcmp(out->scheme, "http") != 0 && strcmp(out->scheme, "https") != 0))
		return mm_fault_set(why, MM_FAULT_SCRIPT, "url \"%.200s\": give http or https", url);
	curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
	if (!take_part(u, CURLUPART_HOST, CURLU_PUNYCODE, &out->host)
	    || curl_url_set(u, CURLUPART_HOST, out->host, 0) != CURLUE_OK)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "url \"%.200s\": its host is not valid", url);
	if (!take_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port) || !take_part(u, CURLUPART_URL, 0, &out->text)) {
		free(port);
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a URL");
	}
	out->port = (unsigned)strtoul(port, NULL, 10);
	free(port);
	return true;
}

bool mm_http_url(const char *url, const char *base, struct mm_http_url *out, struct mm_fault *why)
{
	*out = (struct mm_http_url){ 0 };
	CURLU *u = curl_url();
	if (u == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a URL");
	bool ok = read_url(u, url, base, out, why);
	curl_url_cleanup(u);
	if (!ok)
		mm_http_url_free(out);
	return ok;
}

void mm_http_url_free(struct mm_http_url *url)
{
	free(url->text);
	free(url->scheme);
	free(url->host);
	*url = (struct mm_http_url){ 0 };
}
