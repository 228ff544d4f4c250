#include "milter/verdict.h"

#include "base/bounds.h"

#include <stdio.h>

struct verdict_row {
	const char          *name;
	enum mm_reply_letter letter;
	uint32_t             stages;
};

static const struct verdict_row rows[] = {      /* ORDER VERDICT */
#define X(name, letter, stages) { #name, letter, stages },
	MM_VERDICTS(X)
#undef X
};

const char *mm_verdict_name(enum mm_verdict_kind kind)
{
	return rows[kind].name;
}

enum mm_reply_letter mm_verdict_letter(enum mm_verdict_kind kind)
{
	return rows[kind].letter;
}

uint32_t mm_verdict_stages(enum mm_verdict_kind kind)
{
	return rows[kind].stages;
}

enum mm_verdict_kind mm_verdict_of_name(struct mm_text name)
{
	for (int kind = 0; kind < MM_VERDICT_COUNT; kind++)
		if (strlen(rows[kind].name) == name.size && memcmp(rows[kind].name, name.bytes, name.size) == 0)
			return (enum mm_verdict_kind)kind;
	return MM_VERDICT_COUNT;
}

void mm_verdict_move(struct mm_verdict *to, struct mm_verdict *from)
{
	mm_verdict_reset(to);
	*to = *from;
	*from = (struct mm_verdict){ 0 };
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool mm_enhanced_is_good(struct mm_text t)
{
	size_t at = 0;
	if (t.size < 5 || (t.bytes[0] != '2' && t.bytes[0] != '4' && t.bytes[0] != '5'))
		return false;
	at = 1;
	for (int part = 0; part < 2; part++) {
		if (at >= t.size || t.bytes[at++] != '.')
			return false;
		size_t first = at;
		while (at < t.size && is_digit(t.bytes[at]))
			at++;
		if (at == first || at - first > 3)
			return false;
	}
	return at == t.size;
}

static bool line_is_good(struct mm_text line, size_t number, struct mm_fault *why)
{
	if (line.size > MM_REPLY_LINE_MAX)
		return mm_fault_because(why, MM_REASON_IS_TOO_LARGE,
			"line %zu of the reply has %zu bytes; at most %u (RFC "
			"5321 4.5.3.1)", number, line.size, MM_REPLY_LINE_MAX);
	for (size_t i = 0; i < line.size; i++) {
		unsigned char c = (unsigned char)line.bytes[i];
		if (c == '\r' || c == '\n' || c == '\0')
			return mm_fault_set(why, MM_FAULT_SCRIPT, "line %zu of the reply holds %s at byte %zu; "
				"give several lines as several arguments", number,
				c == '\r' ? "CR" : c == '\n' ? "LF" : "NUL", i + 1);
	}
	return true;
}

static void append_doubled(struct mm_buffer *to, struct mm_text line)
{
	/* Sendmail uses our text as a format and drops all of it at a lone "%"; Postfix turns "%%" into "%" and drops a
	 * lone one (protocol 3.4). */
	for (size_t i = 0; i < line.size; i++) {
		if (line.bytes[i] == '%')
			mm_buffer_append_u8(to, '%');
		mm_buffer_append_u8(to, (uint8_t)line.bytes[i]);
	}
}

bool mm_verdict_worded(struct mm_verdict *v, enum mm_verdict_kind kind, unsigned code, struct mm_text enhanced,
	const struct mm_text *lines, size_t line_count, struct mm_fault *why)
{
	unsigned class = kind == MM_VERDICT_tempfail ? 4 : 5;
	if (code / 100 != class)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "code %u does not fit: %s takes %u00 to %u99 "
			"(RFC 5321 4.2.1)", code, mm_verdict_name(kind), class, class);
	if (enhanced.size == 0)
		enhanced = class == 4 ? (struct mm_text){ "4.7.1", 5 } : (struct mm_text){ "5.7.1", 5 };
	if (!mm_enhanced_is_good(enhanced))
		return mm_fault_set(why, MM_FAULT_SCRIPT, "enhanced status \"%.*s\" is not of the form %u.x.y "
			"(RFC 3463 2)", (int)(enhanced.size < 40 ? enhanced.size : 40), enhanced.bytes, class);
	if ((unsigned)(enhanced.bytes[0] - '0') != class)
		return mm_fault_set(why, MM_FAULT_SCRIPT, "code %u and enhanced status \"%.*s\" disagree; both "
			"must start with %u (RFC 2034 4)", code, (int)enhanced.size, enhanced.bytes, class);
	if (line_count > MM_REPLY_LINES_MAX)
		return mm_fault_because(why, MM_REASON_IS_TOO_LARGE, "%zu lines; a reply has at most %u", line_count,
			MM_REPLY_LINES_MAX);
	for (size_t i = 0; i < line_count; i++)
		if (!line_is_good(lines[i], i + 1, why))
			return false;

	mm_verdict_plain(v, kind);
	v->hangs_up = code == 421;
	static const struct mm_text refused = { "Command rejected", 16 },
		later = { "Service unavailable - try again later", 37 };
	if (line_count == 0) {
		lines = class == 4 ? &later : &refused;
		line_count = 1;
	}
	for (size_t i = 0; i < line_count; i++) {
		char head[8];
		bool last = i + 1 == line_count;
		mm_buffer_append(&v->reply, head,
			(size_t)snprintf(head, sizeof head, "%03u%c", code, last ? ' ' : '-'));
		mm_buffer_append(&v->reply, enhanced.bytes, enhanced.size);
		mm_buffer_append_u8(&v->reply, ' ');
		append_doubled(&v->reply, lines[i]);
		if (!last)
			mm_buffer_append(&v->reply, "\r\n", 2);
	}
	if (v->reply.failed) {
		mm_verdict_plain(v, kind);
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the text of a reply");
	}
	return true;
}
