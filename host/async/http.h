/* async/http.h -- HTTP and HTTPS requests, many at once, over libcurl's multi interface. Only http.c uses libcurl. One
 * mm_http keeps the connections of a generation for reuse, and a queue for each server, so that requests which wait for
 * a dead one delay no others. A request is made, started, and ends with done, which is
 * called from the loop and never from inside a libcurl callback. When the request is freed before its end, done is not
 * called. done may free the request and the mm_http.
 * Resolves no names: Debian's libcurl would do that in a thread and then wait for it, which stops the loop for seconds.
 * The caller resolves names and passes the addresses in `resolve`. Follows no redirect, uses no proxy, reads no
 * environment and no .netrc; http and https only. Ownership: a request owns its answer. */
#ifndef MM_ASYNC_HTTP_H
#define MM_ASYNC_HTTP_H

#include "base/account.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/fault.h"

struct mm_http;
struct mm_http_request;

/* All borrowed for the call. */
struct mm_http_options {
	const char        *method;              /* "GET" */
	const char        *url;                 /* absolute, as mm_http_url() gives it */
	const char *const *fields;              /* "Name: value", NULL-ended */
	const char        *resolve;             /* "host:port:address,address"; NULL: the host is an address */
	const char        *unix_socket;         /* path; NULL: none */
	struct mm_text     body;                /* bytes NULL: none */
	bool               no_verify;
	bool               no_private;          /* connect to addresses of the public internet only */
	const char        *ca;                  /* file or directory; NULL: the system's */
	const char        *certificate, *key;   /* PEM files; NULL: none */
	double             timeout;             /* seconds for the whole request */
	double             connect_timeout;     /* seconds, TLS handshake included */
	size_t             body_max;            /* bytes of answer */
	struct mm_account *account;             /* of the answer; outlives the request; NULL: not counted */
};

/* Parts of a URL. OWNS its texts: mm_http_url_free(). */
struct mm_http_url {
	char    *text;          /* whole, absolute, host in ASCII */
	char    *scheme;        /* "http" or "https" */
	char    *host;          /* IPv6 in brackets */
	unsigned port;
};

/* url may be relative to base, which may be NULL. False: it cannot be used; why says the reason. */
bool mm_http_url(const char *url, const char *base, struct mm_http_url *out, struct mm_fault *why);
void mm_http_url_free(struct mm_http_url *);

struct mm_http *mm_http_new(struct mm_clock *);                 /* NULL: out of memory */
void mm_http_free(struct mm_http *);                            /* after its last request has
                                                                 * been freed; NULL is fine */

/* A request ready to start. NULL: why says the reason. */
struct mm_http_request *mm_http_request_new(struct mm_http *, const struct mm_http_options *, struct mm_fault *why);
void mm_http_start(struct mm_http_request *, void (*done)(void *self), void *self);
/* Ends a running request at once. NULL is fine. */
void mm_http_request_free(struct mm_http_request *);

/* After done: NULL, or why there is no answer. code: "timeout" "refused" "unreachable" "tls" "closed"
 * "limit" "protocol" "private" "io". */
const char *mm_http_error(const struct mm_http_request *, const char **code);
int mm_http_status(const struct mm_http_request *);
struct mm_text mm_http_fields(const struct mm_http_request *);  /* lines as they came, without the
                                                                 * status line. BORROWED */
struct mm_text mm_http_trailers(const struct mm_http_request *);        /* lines that came after the body. BORROWED */
struct mm_text mm_http_body(const struct mm_http_request *);    /* BORROWED */

#endif
