#include "base/terminal.h"

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void append_escaped(struct mm_buffer *out, const unsigned char *bytes, size_t size)
{
	char piece[8];
	for (size_t i = 0; i < size; i++)
		mm_buffer_append(out, piece, (size_t)snprintf(piece, sizeof piece, "\\x%02x", bytes[i]));
}

/* Bytes that the character at p should have; 1 for what begins none. */
static size_t wanted_size(unsigned char c)
{
	return c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1;
}

/* Could the bytes be the beginning of a longer character? */
static bool is_beginning(const unsigned char *p, size_t size)
{
	if (size >= wanted_size(p[0]))
		return false;
	for (size_t i = 1; i < size; i++)
		if ((p[i] & 0xc0) != 0x80)
			return false;
	return true;
}

/* -> bytes taken; 0: more must come first, unless is_last. */
static size_t escape_one(const struct mm_terminal *t, const unsigned char *p, size_t size, bool is_last,
	struct mm_buffer *out)
{
	if (p[0] == '\r') {
		if (size == 1 && !is_last)
			return 0;
		if (size > 1 && p[1] == '\n')
			mm_buffer_append_u8(out, '\r');
		else
			append_escaped(out, p, 1);
		return 1;
	}
	if (p[0] < 0x80 || t->is_bytewise) {
		bool is_plain = (p[0] >= ' ' && p[0] < 0x7f) || p[0] == '\n' || p[0] == '\t';
		if (is_plain)
			mm_buffer_append_u8(out, p[0]);
		else
			append_escaped(out, p, 1);
		return 1;
	}
	if (!is_last && is_beginning(p, size))
		return 0;
	size_t n = mm_utf8_size((struct mm_text){ (const char *)p, size });
	if (n == 0 || mm_utf8_is_command((struct mm_text){ (const char *)p, n }))
		append_escaped(out, p, n > 0 ? n : 1);
	else
		mm_buffer_append(out, p, n);
	return n > 0 ? n : 1;
}

static void keep(struct mm_terminal *t, const unsigned char *bytes, size_t size)
{
	t->pending_size = size;
	memmove(t->pending, bytes, size);
}

/* Escapes pending bytes together with the first of the text. -> bytes of the text that were taken */
static size_t escape_pending(struct mm_terminal *t, struct mm_text text, struct mm_buffer *out)
{
	size_t taken = 0;
	while (t->pending_size > 0) {
		unsigned char joined[2 * sizeof t->pending];
		size_t before = t->pending_size, room = sizeof t->pending, more = text.size - taken;
		more = more < room ? more : room;
		memcpy(joined, t->pending, before);
		memcpy(joined + before, text.bytes + taken, more);
		size_t n = escape_one(t, joined, before + more, false, out);
		if (n == 0) {
			keep(t, joined, before + more);
			return text.size;
		}
		if (n >= before) {
			t->pending_size = 0;
			return taken + n - before;
		}
		keep(t, joined + n, before - n);
	}
	return taken;
}

void mm_terminal_escape(struct mm_terminal *t, struct mm_text text, struct mm_buffer *out)
{
	size_t at = escape_pending(t, text, out);
	while (at < text.size) {
		const unsigned char *p = (const unsigned char *)text.bytes + at;
		size_t n = escape_one(t, p, text.size - at, false, out);
		if (n == 0) {
			keep(t, p, text.size - at);
			return;
		}
		at += n;
	}
}

void mm_terminal_end(struct mm_terminal *t, struct mm_buffer *out)
{
	for (size_t at = 0; at < t->pending_size;)
		at += escape_one(t, t->pending + at, t->pending_size - at, true, out);
	t->pending_size = 0;
}

/* ---- the streams ---- */

struct guarded {
	struct mm_terminal terminal;
	int                fd;          /* borrowed */
};

static bool write_all(int fd, const struct mm_buffer *b)
{
	for (size_t at = 0; at < b->size;) {
		ssize_t n = write(fd, b->bytes + at, b->size - at);
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static ssize_t write_guarded(void *self, const char *bytes, size_t size)
{
	struct guarded *g = self;
	struct mm_buffer out = { .size = 0 };
	mm_terminal_escape(&g->terminal, (struct mm_text){ bytes, size }, &out);
	bool ok = !out.failed && write_all(g->fd, &out);
	mm_buffer_free(&out);
	return ok ? (ssize_t)size : 0;
}

/* LC_ALL=de_DE.ISO-8859-1. Without a charset the terminal is taken for one of UTF-8. */
static bool has_other_charset(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG", NULL };
	for (const char *const *name = names; *name != NULL; name++) {
		const char *value = getenv(*name), *dot = value != NULL ? strchr(value, '.') : NULL;
		if (value != NULL && value[0] != '\0')
			return dot != NULL && strncasecmp(dot, ".utf-8", 6) != 0 && strncasecmp(dot, ".utf8", 5) != 0;
	}
	return false;
}

/* NULL: out of memory, or not a terminal: the stream stays as it is. */
static FILE *guard(struct guarded *g, int fd, int buffering)
{
	static const cookie_io_functions_t functions = { .write = write_guarded };
	if (!isatty(fd))
		return NULL;
	*g = (struct guarded){ .terminal.is_bytewise = has_other_charset(), .fd = fd };
	FILE *f = fopencookie(g, "w", functions);
	if (f != NULL)
		setvbuf(f, NULL, buffering, 0);
	return f;
}

static struct guarded output, errors;

/* At exit: what looked like the beginning of a character was one's end. */
static void end_streams(void)
{
	struct guarded *const all[] = { &output, &errors };
	fflush(stdout);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct mm_buffer out = { .size = 0 };
		mm_terminal_end(&all[i]->terminal, &out);
		write_all(all[i]->fd, &out);
		mm_buffer_free(&out);
	}
}

void mm_terminal_guard(void)
{
	FILE *f = guard(&output, STDOUT_FILENO, _IOLBF);
	if (f != NULL)
		stdout = f;
	f = guard(&errors, STDERR_FILENO, _IONBF);
	if (f != NULL)
		stderr = f;
	atexit(end_streams);
}

bool mm_terminal_size(int fd, unsigned *columns, unsigned *rows)
{
	struct winsize size = { 0 };
	*columns = 80;
	*rows = 24;
	if (!isatty(fd))
		return false;
	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
		*columns = size.ws_col;
		*rows = size.ws_row;
	}
	return true;
}

/* ---- colour ---- */

static enum { AUTO, ALWAYS, NEVER } colour;

bool mm_terminal_set_colour(const char *when)
{
	static const char *const words[] = { "auto", "always", "never" };
	for (int i = AUTO; i <= NEVER; i++) {
		if (strcmp(words[i], when) != 0)
			continue;
		colour = i;
		return true;
	}
	return false;
}

bool mm_terminal_has_colour(int fd)
{
	const char *off = getenv("NO_COLOR"), *terminal = getenv("TERM");
	if (colour != AUTO)
		return colour == ALWAYS;
	return isatty(fd) && (off == NULL || off[0] == '\0') && terminal != NULL && terminal[0] != '\0'
		&& strcmp(terminal, "dumb") != 0;
}

/* Past the guard, which would show the escape sequence instead. */
void mm_terminal_paint(int fd, enum mm_paint paint)
{
	static const char *const codes[] = { "0", "31", "32", "33", "35", "36", "2" };          /* ORDER PAINT */
	char text[16];
	if (!mm_terminal_has_colour(fd))
		return;
	fflush(fd == STDERR_FILENO ? stderr : stdout);
	struct mm_buffer out = { .size = 0 };
	mm_buffer_append(&out, text, (size_t)snprintf(text, sizeof text, "\033[%sm", codes[paint]));
	write_all(fd, &out);
	mm_buffer_free(&out);
}
