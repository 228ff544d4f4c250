/* async/http_head.h -- the lines of an HTTP answer before and after its body, as libcurl hands them over one by one.
 * Tells the fields of the last head from those of earlier heads (100 Continue …) and from trailers, which come after
 * the body and must not pass for header fields (RFC 9110 6.5.1). Judges Content-Length, of which libcurl takes any.
 * Knows no libcurl and keeps no bytes. */
#ifndef MM_ASYNC_HTTP_HEAD_H
#define MM_ASYNC_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>

enum mm_http_line {
	MM_HTTP_STATUS,         /* a head begins: the fields of an earlier one do not count */
	MM_HTTP_FIELD,
	MM_HTTP_TRAILER,
	MM_HTTP_BLANK,          /* or a line that means nothing */
	MM_HTTP_MALFORMED,      /* nobody can tell where the answer ends (RFC 9112 6.3) */
};

/* Zeroed: before the first line. */
struct mm_http_head {
	bool is_over;           /* the last head is complete */
	bool is_interim;        /* 1xx: another head follows */
	char length[20];        /* the digits of Content-Length, "": none yet */
};

enum mm_http_line mm_http_head_read(struct mm_http_head *, const char *line, size_t size);

#endif
