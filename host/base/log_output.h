/* base/log_output.h -- where log lines go.
 * It never waits: a line that finds no room is lost, and the caller counts it.
 * (a) A socket (the journal's, when stderr is one) is sent to with MSG_DONTWAIT.
 * (b) A pipe or a terminal gets a non-blocking descriptor of our own: O_NONBLOCK on the one we were given would affect
 *     every process that shares it. Where we cannot open one, poll(2) is asked first whether there is room for a line;
 *     two processes that ask at once may then wait for a slow reader.
 * (c) A regular file waits only for the kernel's memory.
 * (d) syslog(3) would block on a full socket, so this file writes to /dev/log itself. */
#ifndef MM_BASE_LOG_OUTPUT_H
#define MM_BASE_LOG_OUTPUT_H

#include "base/bounds.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mm_log_output_kind { MM_LOG_NOWHERE, MM_LOG_FILE, MM_LOG_PIPE, MM_LOG_ASKED, MM_LOG_SOCKET, MM_LOG_SYSLOG };

struct mm_log_output {
	enum mm_log_output_kind kind;
	int                     fd;             /* OWNED or BORROWED, as owns says; -1: none */
	bool                    owns;
	int                     given;          /* BORROWED: the descriptor that we were given; -1: none */
	bool                    is_torn;        /* only a part of the last line was written: the disk was full */
	int64_t                 tried_at;       /* last attempt to connect to /dev/log: seconds
	                                         * of the monotonic clock */
	int                     facility;       /* of syslog(3) */
	char                    ident[MM_SYSLOG_IDENT_MAX + 1];
};

/* fd is BORROWED; -1: lines go nowhere. */
void mm_log_output_open(struct mm_log_output *, int fd);
/* TAKES fd, a file opened for appending. */
void mm_log_output_file(struct mm_log_output *, int fd);
/* Facility mail, and our own name. */
void mm_log_output_syslog(struct mm_log_output *);
/* What lines in syslog carry: LOG_DAEMON, "inbound". */
void mm_log_output_name(struct mm_log_output *, int facility, const char *ident);
/* Writes a line, or several with newlines between them, given without the last newline; at most PIPE_BUF - 80 bytes, so
 * that a pipe accepts all of them or none. priority: as for syslog(3), which takes one line at a time. Returns how many
 * newlines have been written: of lines that are complete. */
unsigned mm_log_output_write(struct mm_log_output *, int priority, const char *line, size_t size);
void mm_log_output_close(struct mm_log_output *);

#endif
