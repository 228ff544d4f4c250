/* story/trace.h -- the lines of `ctl trace`: what is traced, and a line on its way from the worker that writes it to
 * the program that shows it. Each line is one datagram; both ends belong to the same host, but the reader checks all
 * of it. Knows no sockets. Who writes lines: tracer.h; how they are shown: trace_show.h. */
#ifndef MM_STORY_TRACE_H
#define MM_STORY_TRACE_H

#include "base/fault.h"
#include "base/network.h"
#include "milter/session.h"
#include "milter/verdict.h"

#define MM_TRACES_MAX       4           /* traces of a host at the same time */
#define MM_TRACE_BUFFER     (1 << 20)   /* bytes of lines that wait for a reader, as far as net.core.wmem_max allows */
#define MM_TRACE_LINE_MAX   2048u       /* bytes of a line as it travels; longer ones are cut */
#define MM_TRACE_REQUEST_MAX 900u       /* bytes of a filter as text */
#define MM_TRACE_PATTERN_MAX 256u       /* bytes of a pattern */

/* ---- which sessions ---- */

/* All that are given must agree. Patterns are borrowed from the text that was read. */
struct mm_trace_filter {
	bool              has_network;
	struct mm_network network;              /* of the client */
	char              from[MM_TRACE_PATTERN_MAX], to[MM_TRACE_PATTERN_MAX];         /* "": any */
	char              session[MM_SESSION_ID_SIZE];          /* "": any */
};

/* "all", or words with tabs in between: client=192.0.2.0/24, from=PATTERN, to=PATTERN, session=ID. False: why says what
 * is wrong. */
bool mm_trace_filter_read(struct mm_trace_filter *, const char *text, struct mm_fault *why);
/* An address, or a pattern with "*" and "?" that covers all of it; without them, a part of it. The case of ASCII
 * letters does not matter. Takes time by the product of both sizes. */
bool mm_trace_matches(const char *pattern, struct mm_text address);

/* ---- a line ---- */

/* ORDER TRACE_KIND */
enum mm_trace_kind {
	MM_TRACE_SESSION,       /* begins to be traced. words: pairs of name and value, NUL after each */
	MM_TRACE_COMMAND,       /* name, size, words: arguments; stage */
	MM_TRACE_REPLY,         /* name, size, words: arguments; by: who decided */
	MM_TRACE_HANDLER,       /* took; name: file; line; stage, MM_STAGE_COUNT: a task; is_open: it waits now */
	MM_TRACE_WAIT,          /* words: what it asks; name: file; line */
	MM_TRACE_ANSWER,        /* words: what it asked; by: what came back; took */
	MM_TRACE_EDIT,          /* words; name: file; line */
	MM_TRACE_NOTE,
	MM_TRACE_ERROR,
	MM_TRACE_LOG,           /* level; words */
	MM_TRACE_ASIDE,         /* a verdict that decides no message: verdict, stage; by; words: reply */
	MM_TRACE_MESSAGE,       /* a message ended: the same; name: queue id; took; is_open: without a verdict */
	MM_TRACE_CLOSED,        /* words: why */
	MM_TRACE_WORKER,        /* a process watches from now on; of no session */
	MM_TRACE_KIND_COUNT
};

struct mm_trace_line {
	uint8_t  kind, stage, verdict, level;   /* enum mm_trace_kind, mm_stage, mm_verdict_kind, mm_level */
	bool     is_open, is_cut;
	double   at;                            /* seconds since 1970 */
	uint32_t pid;                           /* of the worker; 0: none */
	uint32_t lost;                          /* lines that the reader did not take before this one */
	uint32_t took;                          /* microseconds */
	uint32_t size;                          /* bytes of the packet, without its length and letter */
	uint32_t line;                          /* 0: none */
	struct mm_text session, name, words, by;        /* borrowed */
};

/* Returns the bytes written to `to`, which has MM_TRACE_LINE_MAX. */
size_t mm_trace_write(const struct mm_trace_line *, void *to);
/* The texts are BORROWED from bytes. False: it is no line. */
bool mm_trace_read(const void *bytes, size_t size, struct mm_trace_line *);
const char *mm_trace_kind_name(enum mm_trace_kind);             /* "command". Static. */

#endif
