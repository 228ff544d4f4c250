/* page/server.h -- serves the page over HTTP with libmicrohttpd: GET and HEAD, each answer with a strict policy. In a
 * process of its own that may do nothing else; it ends with a SIGTERM. Bounds: 64 connections of each listener, 10 s of
 * silence, 30 s for an answer, 1000 requests of a connection, 16 KiB of a request, MM_LIVE_MAX readers of events. */
#ifndef MM_PAGE_SERVER_H
#define MM_PAGE_SERVER_H

#include "page/inquiry.h"

#define MM_PAGE_LISTENERS 4u
#define MM_PAGE_NAMES     16u

struct mm_page_server {
	struct mm_inquiry  *source;              /* borrowed */
	const char        *control;             /* path of the control socket; borrowed */
	int                fds[MM_PAGE_LISTENERS];              /* listening; taken */
	bool               is_unix[MM_PAGE_LISTENERS];
	unsigned           count;
	/* Names that a browser may have in its address bar, besides those of the loopback device: else a foreign site
		whose
	 * name points here could read the page (DNS rebinding). Unix sockets take any name. */
	const char        *names[MM_PAGE_NAMES];        /* borrowed */
	unsigned           name_count;
};

/* Returns an exit status of sysexits.h. */
int mm_page_serve(const struct mm_page_server *);
/* May this Host header be answered? NULL: there is none. */
bool mm_page_knows_host(const struct mm_page_server *, const char *host);

#endif
