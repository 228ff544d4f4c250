/* log.h -- one line per outcome: time, level, event, then key=value pairs, or the same as a JSON object.
 * Values from mail are escaped so that a line stays one line and a value cannot pose as another key. A line is built on
 * the stack and written at once; when the reader of stderr is too slow the line is dropped and counted, never waited for.
 * Not thread-safe: one log belongs to one loop. */
#ifndef MM_LOG_H
#define MM_LOG_H

#include "cursor.h"

/* ORDER LOG_LEVEL */
enum mm_log_level { MM_LOG_DEBUG, MM_LOG_INFO, MM_LOG_WARN, MM_LOG_ERROR };

#define MM_LOG_LINE_SIZE 4096   /* bytes; PIPE_BUF, so that a pipe takes a line whole or not at all */

struct mm_log {
	enum mm_log_level level;                /* less important lines are not built */
	bool              is_json;
	bool              is_terminal;          /* tracebacks over several lines, no time stamp */
	int               fd;                   /* borrowed; -1: sink only */
	/* When set, gets each line instead of fd. line has no newline and is borrowed. */
	void            (*sink)(void *self, enum mm_log_level level, const char *line, size_t size);
	void             *sink_self;
	unsigned long     dropped;              /* lines nobody took since the last one that went out */
};

struct mm_log_line {
	struct mm_log    *log;
	enum mm_log_level level;
	bool              is_on;
	bool              is_cut;
	bool              is_partial, is_open;  /* of a cut line: it ends within a value; which has a quote before it */
	size_t            size;
	char              bytes[MM_LOG_LINE_SIZE];
};

void mm_log_init(struct mm_log *, int fd);
/* Lines go to syslog(3), facility mail, instead of fd. */
void mm_log_to_syslog(struct mm_log *);
/* "debug" "info" "warn" "error"; false when it is none of them. */
bool mm_log_level_of_name(const char *name, enum mm_log_level *out);
const char *mm_log_level_name(enum mm_log_level);
static inline bool mm_log_wants(const struct mm_log *log, enum mm_log_level level) { return level >= log->level; }

void mm_log_begin(struct mm_log_line *, struct mm_log *, enum mm_log_level, const char *event);
void mm_log_text(struct mm_log_line *, const char *key, struct mm_text value);
void mm_log_string(struct mm_log_line *, const char *key, const char *value);   /* NULL: the pair is left out */
void mm_log_number(struct mm_log_line *, const char *key, long long value);
void mm_log_seconds(struct mm_log_line *, const char *key, double seconds);
void mm_log_end(struct mm_log_line *);
/* A whole line: event and one text, formatted. */
void mm_log_say(struct mm_log *, enum mm_log_level, const char *event, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
