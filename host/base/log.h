/* base/log.h -- one line per outcome: time, level, event, then key=value pairs, or the same as a JSON object.
 * Values from mail are escaped so that a line stays one line and a value cannot pose as another key. A line is built on
 * the stack and written at once; a line that finds no room is lost and counted, the log never waits (log_output.h).
 * Lines about verdicts may wait for some milliseconds and leave in one write (mm_log_gather()); any other line takes
 * them along, so lines keep their order.
 * Lines are held back and counted, too: repeated warnings and errors; and all lines about one MTA that makes us write
 * more than `rate` allows, those about the outcome of a message last.
 * Not thread-safe: one log belongs to one loop. */
#ifndef MM_BASE_LOG_H
#define MM_BASE_LOG_H

#include "base/cursor.h"
#include "base/log_output.h"
#include "moonmilter.h"

#define MM_LOG_LINE_SIZE 4096   /* bytes; PIPE_BUF, so that a pipe accepts a line whole or not at all */

#define MM_LOG_TAIL_SIZE 64     /* bytes of it kept free for the end of a cut line */

#define MM_LOG_KINDS     32     /* kinds of warnings that are told apart at the same time */
#define MM_LOG_PLACES    33     /* MM_LOG_KINDS, and one for all others */
#define MM_LOG_PEERS     64     /* MTAs that are told apart, by a hash of their addresses */

/* Lines of one kind within MM_LOG_REPEATS_EVERY. */
struct mm_log_repeats {
	uint32_t          kind;                 /* 0: free */
	uint32_t          count, held_back;
	double            since;                /* seconds of the monotonic clock */
	enum mm_level level;
	char              what[80];             /* event and part of the text */
};

/* Lines that an MTA has caused. */
struct mm_log_peer {
	double            left;                 /* bytes that it may cause now */
	double            at;                   /* seconds of the monotonic clock; 0: none yet */
	uint32_t          held_back, outcomes;  /* lines; of these about the outcome of a message */
	double            said_at;
	char              name[48];             /* of the last one with this hash */
};

/* Somebody who reads lines of every level, apart from the log: `ctl trace`. */
struct mm_log_tap {
	void  *self;
	/* Is the line that begins now, or that is asked about, of interest? */
	bool (*wants)(void *self);
	/* A line from its event on, or a whole JSON object, before any of its kind are held back; BORROWED for the
	 * call. */
	void (*line)(void *self, enum mm_level, const char *event, const char *line, size_t size);
};

/* Lines that wait for mm_log_flush(). Where processes share this memory, what ends one of them without a word (SIGKILL)
 * loses nothing: another writes what it has left (mm_log_inherit()). lines is written last. */
struct mm_log_waiting {
	uint32_t          lines;
	uint32_t          size;                 /* bytes of the lines, without the last one's newline */
	char              bytes[MM_LOG_LINE_SIZE];
};

struct mm_log_gathered {
	void                 (*begins)(void *self);     /* NULL: no line waits */
	void                  *self;
	struct mm_log_waiting *waiting;         /* borrowed; NULL: nothing waits */
	int                    pid;             /* of the process whose lines they are: a copy of it has none */
};

struct mm_log {
	enum mm_level level;                /* lines below it are not built */
	const struct mm_log_tap *tap;           /* borrowed; NULL: none */
	bool              is_json;
	bool              is_terminal;          /* tracebacks take several lines, no time stamp */
	struct mm_log_output output;
	/* When set, it gets each line instead of the output. line has no newline and is borrowed. */
	void            (*sink)(void *self, enum mm_level level, const char *line, size_t size);
	void             *sink_self;
	unsigned long     dropped;              /* lines lost since the last line that was written */
	unsigned long     dropped_ever;
	/* warnings that an MTA has caused, and the host's own: neither hides the other. The last place is for all kinds
	 * that found none */
	struct mm_log_repeats repeats[2 * MM_LOG_PLACES];
	double            rate;                 /* bytes a second about one MTA; 0: no limit */
	struct mm_log_peer peers[MM_LOG_PEERS];
	struct mm_log_gathered gathered;
	int64_t           stamp_second;         /* since 1970, of stamp; 0: none yet */
	char              stamp[24];            /* "2026-11-21T10:47:24." */
};

struct mm_log_line {
	struct mm_log    *log;
	enum mm_level level;
	bool              is_on;
	bool              is_tapped;
	uint32_t          kind;                 /* 0: never held back */
	const char       *event;                /* borrowed */
	const char       *peer;                 /* borrowed; NULL: no MTA caused it */
	bool              is_outcome;
	bool              may_wait;             /* for mm_log_flush() */
	bool              is_cut;
	bool              is_partial, is_open;  /* of a cut line: it ends within a value; which has a quote before it */
	size_t            size;
	size_t            event_at;             /* where time and level end; of JSON 0 */
	char              bytes[MM_LOG_LINE_SIZE];
};

/* fd is BORROWED; -1: sink only. */
void mm_log_init(struct mm_log *, int fd);
/* Where lines go from now on; counts and level stay. The first BORROWS fd, the second TAKES it; the third opens
 * syslog's socket. */
void mm_log_to_descriptor(struct mm_log *, int fd);
void mm_log_to_file(struct mm_log *, int fd);
void mm_log_to_syslog(struct mm_log *);
void mm_log_close(struct mm_log *);
/* "debug" "info" "warn" "error"; false for any other name. */
bool mm_log_level_of_name(const char *name, enum mm_level *out);
static inline bool mm_log_wants(const struct mm_log *log, enum mm_level level)
{
	return level >= log->level || (log->tap != NULL && log->tap->wants(log->tap->self));
}

void mm_log_begin(struct mm_log_line *, struct mm_log *, enum mm_level, const char *event);

/* Pairs, with a key that is a literal nearly always: its length is known when it is compiled. */
void mm_log_put_text(struct mm_log_line *, struct mm_text key, struct mm_text value);
void mm_log_put_word(struct mm_log_line *, struct mm_text key, struct mm_text value);
void mm_log_put_bare(struct mm_log_line *, struct mm_text key, struct mm_text value);
void mm_log_put_number(struct mm_log_line *, struct mm_text key, long long value);
void mm_log_put_seconds(struct mm_log_line *, struct mm_text key, double seconds);
inline void mm_log_text(struct mm_log_line *l, const char *key, struct mm_text value)
{
	mm_log_put_text(l, (struct mm_text){ key, strlen(key) }, value);
}
/* NULL: the pair is left out. */
inline void mm_log_string(struct mm_log_line *l, const char *key, const char *value)
{
	if (l->is_on && value != NULL)
		mm_log_put_text(l, (struct mm_text){ key, strlen(key) }, (struct mm_text){ value, strlen(value) });
}
/* One of the host's own words, not empty, of printable ASCII without space, quote, backslash and "=": its bytes are not
 * looked at. NULL: the pair is left out. */
inline void mm_log_word(struct mm_log_line *l, const char *key, const char *value)
{
	size_t key_size = strlen(key), size = value != NULL ? strlen(value) : 0;
	if (!l->is_on || value == NULL)
		return;
	if (l->is_cut || l->log->is_json
	    || key_size + size + 2 > MM_LOG_LINE_SIZE - MM_LOG_TAIL_SIZE - l->size) {
		mm_log_put_word(l, (struct mm_text){ key, key_size }, (struct mm_text){ value, size });
		return;
	}
	char *to = l->bytes + l->size;
	*to = ' ';
	memcpy(to + 1, key, key_size);          /* of a size that is known: without a call */
	to[1 + key_size] = '=';
	memcpy(to + 2 + key_size, value, size);
	l->size += key_size + size + 2;
}
/* A number or a boolean as text: whole or not at all, without quotes in JSON, too. */
inline void mm_log_bare(struct mm_log_line *l, const char *key, struct mm_text value)
{
	mm_log_put_bare(l, (struct mm_text){ key, strlen(key) }, value);
}
inline void mm_log_number(struct mm_log_line *l, const char *key, long long value)
{
	mm_log_put_number(l, (struct mm_text){ key, strlen(key) }, value);
}
inline void mm_log_seconds(struct mm_log_line *l, const char *key, double seconds)
{
	mm_log_put_seconds(l, (struct mm_text){ key, strlen(key) }, seconds);
}

/* This line is like others of its event with the same text: only MM_LOG_REPEATS_MAX of them are written in
 * MM_LOG_REPEATS_EVERY. text is a location, a path, the beginning of a sentence; call it again for further texts. */
void mm_log_alike(struct mm_log_line *, const char *text, size_t size);
/* An MTA has caused this line: its address and port, borrowed until the end of the line, NULL for this machine.
 * is_outcome: the line says what became of a message; it is the last to be held back. */
void mm_log_caused_by(struct mm_log_line *, const char *peer, bool is_outcome);
/* The line is about a verdict: it may wait. */
void mm_log_may_wait(struct mm_log_line *);
void mm_log_end(struct mm_log_line *);
/* From now on such lines wait for mm_log_flush(), in memory that is BORROWED; begins is called when the first one does,
 * so that its owner flushes in time. NULL, NULL: no more; those at hand are written. Closing the log and giving it
 * another output write them, too. */
void mm_log_gather(struct mm_log *, struct mm_log_waiting *, void (*begins)(void *self), void *self);
void mm_log_flush(struct mm_log *);
/* After a fork, in the child: the lines that wait are the parent's. */
void mm_log_forked(struct mm_log *);
/* Writes the lines that a dead process has left. It may have been out of its mind: lines with control bytes, or of an
 * impossible size, are not written. */
void mm_log_inherit(struct mm_log *, const struct mm_log_waiting *);
/* The same from a signal handler, when the process ends. */
void mm_log_last_words(struct mm_log *);
/* When the time of held-back lines is over, logs how many there were; called every few seconds. */
void mm_log_sweep(struct mm_log *);
/* A whole line: event and one text, formatted. Warnings and errors of one format are alike. */
void mm_log_say(struct mm_log *, enum mm_level, const char *event, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
