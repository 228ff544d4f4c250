/* base/log_output.h -- where log lines go, without ever waiting: what nobody takes is lost, and the caller counts it.
 * (a) A socket (the journal's, when stderr is one) is sent to with MSG_DONTWAIT. (b) A pipe or a terminal gets a
 *     descriptor of our
 * own that does not block: O_NONBLOCK on the one we were given would reach everybody who shares it. Where that cannot
 * be had it is asked first whether it takes a line; two processes that ask at once may then wait for a slow reader. (c)
 * A regular file waits for the kernel's memory only. (d) syslog(3) would block in a full socket, so /dev/log is spoken
 * to from here. */
#ifndef MM_BASE_LOG_OUTPUT_H
#define MM_BASE_LOG_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mm_log_output_kind { MM_LOG_NOWHERE, MM_LOG_FILE, MM_LOG_PIPE, MM_LOG_ASKED, MM_LOG_SOCKET, MM_LOG_SYSLOG };

struct mm_log_output {
	enum mm_log_output_kind kind;
	int                     fd;
	bool                    owns;           /* fd */
	int                     given;          /* the descriptor that we were given; -1: none */
	bool                    is_torn;        /* the last line is there in part: a disk was full */
	int64_t                 tried_at;       /* to connect to /dev/log */
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
