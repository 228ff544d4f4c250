/* base/log_output.h -- where log lines go, without ever waiting: a line that finds no room is lost, and the caller
 * counts it.
 * (a) A socket (the journal's, when stderr is one) is sent to with MSG_DONTWAIT.
 * (b) A pipe or a terminal gets a descriptor of our own that does not block: O_NONBLOCK on the one we were given would
 *     reach every process that shares it. Where that cannot be had, poll(2) says first whether it takes a line; two
 *     processes that ask at once may then wait for a slow reader.
 * (c) A regular file waits for the kernel's memory only.
 * (d) syslog(3) would block in a full socket, so lines go to /dev/log from here. */
#ifndef MM_BASE_LOG_OUTPUT_H
#define MM_BASE_LOG_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mm_log_output_kind { MM_LOG_NOWHERE, MM_LOG_FILE, MM_LOG_PIPE, MM_LOG_ASKED, MM_LOG_SOCKET, MM_LOG_SYSLOG };

struct mm_log_output {
	enum mm_log_output_kind kind;
	int                     fd;             /* OWNED or BORROWED, as owns says; -1: none */
	bool                    owns;
	int                     given;          /* BORROWED: the descriptor that we were given; -1: none */
	bool                    is_torn;        /* the last line is there in part: a disk was full */
	int64_t                 tried_at;       /* to connect to /dev/log: seconds of the monotonic clock */
};

/* fd is BORROWED; -1: lines go nowhere. */
void mm_log_output_open(struct mm_log_output *, int fd);
/* TAKES fd, a file opened for appending. */
void mm_log_output_file(struct mm_log_output *, int fd);
void mm_log_output_syslog(struct mm_log_output *);
/* One line without its newline, at most PIPE_BUF - 64 bytes. priority: of syslog(3). False: it is lost. */
bool mm_log_output_write(struct mm_log_output *, int priority, const char *line, size_t size);
void mm_log_output_close(struct mm_log_output *);

#endif
