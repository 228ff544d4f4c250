#include "trial/log_lines.h"

#include "base/pairs.h"
#include "base/terminal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- key=value ---- */

static unsigned hex(char c)
{
	return c >= 'a' ? (unsigned)(c - 'a') + 10 : (unsigned)(c - '0');
}

/* Undoes the escapes of a quoted value; stops at its quote. -> bytes written */
static size_t unquote(const char *at, const char *end, char *to, size_t size)
{
	size_t n = 0;
	for (; at < end && *at != '"' && n + 1 < size; at++) {
		char c = *at;
		if (c == '\\' && end - at > 1) {
			c = *++at;
			if (c == 'n') {
				c = '\n';
			} else if (c == 'x' && end - at > 2) {
				c = (char)(hex(at[1]) << 4 | hex(at[2]));
				at += 2;
			}
		}
		to[n++] = c;
	}
	return n;
}

/* Past a value, and the blank after it. */
static const char *skip_value(const char *at, const char *end)
{
	if (at < end && *at == '"') {
		for (at++; at < end && *at != '"'; at++)
			at += *at == '\\';
		at++;
	}
	while (at < end && *at != ' ')
		at++;
	return at < end ? at + 1 : end;
}

bool mm_log_line_value(struct mm_text line, const char *key, char *to, size_t size)
{
	const char *at = line.bytes, *end = line.bytes + line.size;
	size_t key_size = strlen(key);
	for (int i = 0; i < 3; i++)             /* time, level, event */
		at = skip_value(at, end);
	while (at < end) {
		const char *equals = memchr(at, '=', (size_t)(end - at));
		if (equals == NULL)
			return false;
		const char *value = equals + 1;
		if ((size_t)(equals - at) != key_size || memcmp(at, key, key_size) != 0) {
			at = skip_value(value, end);
			continue;
		}
		bool is_quoted = value < end && *value == '"';
		const char *stop = is_quoted ? end : memchr(value, ' ', (size_t)(end - value));
		stop = stop != NULL ? stop : end;
		size_t n = is_quoted ? unquote(value + 1, end, to, size) : (size_t)(stop - value);
		n = n < size ? n : size - 1;
		if (!is_quoted)
			memcpy(to, value, n);
		to[n] = '\0';
		return true;
	}
	return false;
}

/* ---- showing ---- */

static bool is_event(struct mm_text event, const char *name)
{
	return event.size == strlen(name) && memcmp(event.bytes, name, event.size) == 0;
}

static struct mm_text event_of(struct mm_text line)
{
	const char *end = line.bytes + line.size, *at = skip_value(skip_value(line.bytes, end), end);
	return (struct mm_text){ at, (size_t)(skip_value(at, end) - at) - (skip_value(at, end) < end) };
}

static void begin(enum mm_level level)
{
	static const struct {
		const char   *word;
		enum mm_paint paint;
	} rows[] = {                            /* ORDER LOG_LEVEL */
		{ "debug", MM_PAINT_DIM }, { "info ", MM_PAINT_CYAN }, { "warn ", MM_PAINT_YELLOW },
		{ "error", MM_PAINT_RED },
	};
	mm_terminal_paint(STDERR_FILENO, rows[level].paint);
	fputs(rows[level].word, stderr);
	mm_terminal_paint(STDERR_FILENO, MM_PAINT_NONE);
	fputs(" ", stderr);
}

/* Further lines of a text begin below its first. */
static void print_indented(const char *text)
{
	for (const char *at = text; *at != '\0';) {
		size_t size = strcspn(at, "\n");
		fprintf(stderr, "%s%.*s\n", at > text ? "      " : "", (int)size, at);
		at += size + (at[size] != '\0');
	}
	if (text[0] == '\0')
		fputs("\n", stderr);
}

/* "10-tag at mail: hello" */
static void show_said(enum mm_level level, struct mm_text line)
{
	char script[256] = "", stage[32] = "", text[MM_LOG_LINE_SIZE] = "";
	begin(level);
	if (mm_log_line_value(line, "script", script, sizeof script))
		fputs(script, stderr);
	if (mm_log_line_value(line, "stage", stage, sizeof stage))
		fprintf(stderr, " at %s", stage);
	fputs(script[0] != '\0' ? ": " : "", stderr);
	mm_log_line_value(line, "text", text, sizeof text);
	print_indented(text);
}

/* "on_eom of tag.lua: tag.lua:3: attempt to …", and the traceback. */
static void show_error(enum mm_level level, struct mm_text line)
{
	char script[256] = "", handler[32] = "", text[MM_LOG_LINE_SIZE] = "";
	mm_log_line_value(line, "script", script, sizeof script);
	mm_log_line_value(line, "handler", handler, sizeof handler);
	mm_log_line_value(line, "error", text, sizeof text);
	const char *slash = strrchr(script, '/');
	begin(level);
	if (handler[0] != '\0')
		fprintf(stderr, "%s of %s: ", handler, slash != NULL ? slash + 1 : script);
	print_indented(text);
}

/* "fields: country=NL score=5": what scripts have added to the line of the message. */
static void show_fields(struct mm_text line)
{
	const char *at = line.bytes, *end = line.bytes + line.size;
	bool has_begun = false;
	for (int i = 0; i < 3; i++)             /* time, level, event */
		at = skip_value(at, end);
	while (at < end) {
		const char *equals = memchr(at, '=', (size_t)(end - at));
		if (equals == NULL)
			break;
		const char *next = skip_value(equals + 1, end);
		struct mm_text name = { at, (size_t)(equals - at) };
		if (!mm_pairs_is_reserved(name)) {
			if (!has_begun)
				begin(MM_LEVEL_INFO);
			fprintf(stderr, "%s%.*s", has_begun ? " " : "fields: ", (int)(next - at - (next < end)), at);
			has_begun = true;
		}
		at = next;
	}
	if (has_begun)
		fputs("\n", stderr);
}

/* "event of orders: {…}": what a script would have sent. */
static void show_event(struct mm_text line)
{
	char sink[64] = "", event[MM_LOG_LINE_SIZE] = "";
	mm_log_line_value(line, "sink", sink, sizeof sink);
	mm_log_line_value(line, "event", event, sizeof event);
	begin(MM_LEVEL_INFO);
	fprintf(stderr, "event of %s: ", sink);
	print_indented(event);
}

void mm_log_line_show(enum mm_level level, struct mm_text line)
{
	struct mm_text event = event_of(line);
	if (is_event(event, "script")) {
		show_said(level, line);
	} else if (is_event(event, "message")) {
		show_fields(line);
	} else if (is_event(event, "event")) {
		show_event(line);
	} else if (is_event(event, "script_error")) {
		show_error(level, line);
	} else if (level >= MM_LEVEL_WARN) {
		begin(level);
		fprintf(stderr, "%.*s\n", (int)(line.bytes + line.size - event.bytes), event.bytes);
	}
}
