#include "log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = { "debug", "info", "warn", "error" };  /* ORDER LOG_LEVEL */

#define TAIL_SIZE 64    /* bytes kept free for the end of a cut line */

void mm_log_init(struct mm_log *log, int fd)
{
	*log = (struct mm_log){ .level = MM_LOG_INFO, .fd = fd, .is_terminal = fd >= 0 && isatty(fd) };
}

static void write_to_syslog(void *self, enum mm_log_level level, const char *line, size_t size)
{
	static const int priorities[] = { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR };  /* ORDER LOG_LEVEL */
	(void)self;
	syslog(priorities[level], "%.*s", (int)size, line);
}

void mm_log_to_syslog(struct mm_log *log)
{
	openlog("moonmilter", LOG_PID | LOG_NDELAY, LOG_MAIL);
	log->fd = -1;
	log->sink = write_to_syslog;
}

bool mm_log_level_of_name(const char *name, enum mm_log_level *out)
{
	for (int level = MM_LOG_DEBUG; level <= MM_LOG_ERROR; level++) {
		if (strcmp(level_names[level], name) != 0)
			continue;
		*out = (enum mm_log_level)level;
		return true;
	}
	return false;
}

const char *mm_log_level_name(enum mm_log_level level)
{
	return level_names[level];
}

static void put(struct mm_log_line *l, const char *bytes, size_t n)
{
	if (l->is_cut || n > sizeof l->bytes - TAIL_SIZE - l->size) {
		l->is_cut = true;
		return;
	}
	memcpy(l->bytes + l->size, bytes, n);
	l->size += n;
}

static void put_string(struct mm_log_line *l, const char *text)
{
	put(l, text, strlen(text));
}

/* Length of a valid UTF-8 sequence at p, 0 when there is none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	size_t n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
	bool surrogate = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
	bool separator = p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9);        /* U+2028, U+2029 */
	return overlong || surrogate || separator ? 0 : n;
}

static void put_escaped(struct mm_log_line *l, struct mm_text t)
{
	const unsigned char *p = (const unsigned char *)t.bytes;
	for (size_t i = 0; i < t.size && !l->is_cut;) {
		char escape[8];
		if (p[i] == '"' || p[i] == '\\') {
			put(l, (char[]){ '\\', (char)p[i] }, 2);
		} else if (p[i] == '\n') {
			if (l->log->is_terminal && !l->log->is_json)
				put_string(l, "\n      ");
			else
				put_string(l, "\\n");
		} else if (p[i] >= 0x20 && p[i] < 0x7f) {
			put(l, (const char *)p + i, 1);
		} else if (p[i] >= 0x80 && utf8_length(p + i, t.size - i) > 0) {
			size_t n = utf8_length(p + i, t.size - i);
			put(l, (const char *)p + i, n);
			i += n;
			continue;
		} else {
			/* JSON knows \u only; a lone byte is shown as the code point of the same number */
			snprintf(escape, sizeof escape, l->log->is_json ? "\\u%04x" : "\\x%02x", p[i]);
			put_string(l, escape);
		}
		i++;
	}
}

static void put_key(struct mm_log_line *l, const char *key)
{
	if (!l->log->is_json) {
		put_string(l, " ");
		put_string(l, key);
		put_string(l, "=");
		return;
	}
	put_string(l, ",\"");
	put_string(l, key);
	put_string(l, "\":");
}

static void put_time(struct mm_log_line *l)
{
	struct timespec now;
	struct tm utc;
	char text[32], line[48];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(line, sizeof line, "%s.%03ldZ", text, now.tv_nsec / 1000000);
	put_string(l, line);
}

void mm_log_begin(struct mm_log_line *l, struct mm_log *log, enum mm_log_level level, const char *event)
{
	l->log = log;
	l->level = level;
	l->is_on = mm_log_wants(log, level);
	l->is_cut = l->is_partial = l->is_open = false;
	l->size = 0;
	if (!l->is_on)
		return;
	if (log->is_json) {
		put_string(l, "{\"time\":\"");
		put_time(l);
		put_string(l, "\",\"level\":\"");
		put_string(l, level_names[level]);
		put_string(l, "\",\"event\":\"");
		put_string(l, event);
		put_string(l, "\"");
		return;
	}
	if (!log->is_terminal) {
		put_time(l);
		put_string(l, " ");
	}
	put_string(l, level_names[level]);
	put_string(l, " ");
	put_string(l, event);
}

static bool needs_quotes(struct mm_text t)
{
	if (t.size == 0)
		return true;
	for (size_t i = 0; i < t.size; i++) {
		unsigned char c = (unsigned char)t.bytes[i];
		if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=')
			return true;
	}
	return false;
}

void mm_log_text(struct mm_log_line *l, const char *key, struct mm_text value)
{
	if (!l->is_on || l->is_cut)
		return;
	size_t before = l->size;
	bool quotes = l->log->is_json || needs_quotes(value);
	put_key(l, key);
	if (quotes)
		put_string(l, "\"");
	if (l->is_cut) {                        /* no half a key */
		l->size = before;
		return;
	}
	put_escaped(l, value);
	if (quotes)
		put_string(l, "\"");
	l->is_partial = l->is_cut;
	l->is_open = l->is_cut && quotes;
}

/* A value that stands as it is, whole or not at all. */
static void put_bare(struct mm_log_line *l, const char *key, const char *text)
{
	if (!l->is_on || l->is_cut)
		return;
	size_t before = l->size;
	put_key(l, key);
	put_string(l, text);
	if (l->is_cut)
		l->size = before;
}

void mm_log_string(struct mm_log_line *l, const char *key, const char *value)
{
	if (l->is_on && value != NULL)
		mm_log_text(l, key, (struct mm_text){ value, strlen(value) });
}

void mm_log_number(struct mm_log_line *l, const char *key, long long value)
{
	char text[24];
	snprintf(text, sizeof text, "%lld", value);
	put_bare(l, key, text);
}

void mm_log_seconds(struct mm_log_line *l, const char *key, double seconds)
{
	char text[40];
	snprintf(text, sizeof text, "%.3f", seconds);
	put_bare(l, key, text);
}

/* A pipe or terminal whose reader is slow must not stop the mail: one look, no waiting. */
static bool takes_a_line(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

static void write_line(struct mm_log *log, const char *bytes, size_t size)
{
	if (log->fd < 0)
		return;
	if (!takes_a_line(log->fd)) {
		log->dropped++;
		return;
	}
	if (log->dropped > 0) {
		char text[64];
		unsigned long dropped = log->dropped;
		log->dropped = 0;
		int n = snprintf(text, sizeof text, "warn log dropped=%lu\n", dropped);
		if (write(log->fd, text, (size_t)n) < 0 || !takes_a_line(log->fd)) {
			log->dropped = dropped + 1;
			return;
		}
	}
	if (write(log->fd, bytes, size) < 0)    /* a full disk or a closed reader changes no verdict */
		log->dropped++;
}

void mm_log_end(struct mm_log_line *l)
{
	if (!l->is_on)
		return;
	if (l->is_cut) {
		l->is_cut = false;
		/* TAIL_SIZE bytes are kept free for it */
		l->size += (size_t)snprintf(l->bytes + l->size, TAIL_SIZE, "%s%s%s", l->is_partial ? "..." : "", l->is_open ? "\"" : "",
			l->log->is_json ? ",\"is_cut\":true" : " is_cut=true");
	}
	if (l->log->is_json)
		l->bytes[l->size++] = '}';
	if (l->log->sink != NULL) {
		l->log->sink(l->log->sink_self, l->level, l->bytes, l->size);
		return;
	}
	l->bytes[l->size++] = '\n';
	write_line(l->log, l->bytes, l->size);
}

void mm_log_say(struct mm_log *log, enum mm_log_level level, const char *event, const char *format, ...)
{
	if (!mm_log_wants(log, level))
		return;
	char text[2048];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	struct mm_log_line line;
	mm_log_begin(&line, log, level, event);
	mm_log_string(&line, "text", text);
	mm_log_end(&line);
}
