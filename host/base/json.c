#include "base/json.h"

#include <stdio.h>

static void append(struct mm_json *j, const char *s)
{
	mm_buffer_append(j->out, s, strlen(s));
}

static void before_value(struct mm_json *j)
{
	if (j->needs_comma)
		append(j, ",");
	j->needs_comma = true;
}

void mm_json_open(struct mm_json *j, char bracket)
{
	before_value(j);
	mm_buffer_append_u8(j->out, (uint8_t)bracket);
	j->needs_comma = false;
}

void mm_json_close(struct mm_json *j, char bracket)
{
	mm_buffer_append_u8(j->out, (uint8_t)bracket);
	j->needs_comma = true;
}

void mm_json_key(struct mm_json *j, const char *name)
{
	mm_json_string(j, name);
	append(j, ":");
	j->needs_comma = false;
}

size_t mm_utf8_size(struct mm_text t)
{
	const unsigned char *p = (const unsigned char *)t.bytes;
	size_t size = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	if (size > t.size)
		return 0;
	for (size_t i = 1; i < size; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* over-long forms, surrogates, beyond U+10FFFF */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90)
	    || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return size;
}

static void append_char(struct mm_json *j, unsigned char c)
{
	char text[8];
	switch (c) {
	case '"':  append(j, "\\\""); break;
	case '\\': append(j, "\\\\"); break;
	case '\n': append(j, "\\n"); break;
	case '\r': append(j, "\\r"); break;
	case '\t': append(j, "\\t"); break;
	default:
		if (c < ' ' || c == 0x7f) {
			snprintf(text, sizeof text, "\\u%04x", c);
			append(j, text);
		} else {
			mm_buffer_append_u8(j->out, c);
		}
	}
}

void mm_json_text(struct mm_json *j, struct mm_text t)
{
	before_value(j);
	if (t.bytes == NULL) {
		append(j, "null");
		return;
	}
	append(j, "\"");
	while (t.size > 0) {
		size_t size = mm_utf8_size(t);
		if (size == 0)
			append(j, "\\ufffd");
		else if (size == 1)
			append_char(j, (unsigned char)t.bytes[0]);
		else
			mm_buffer_append(j->out, t.bytes, size);
		t.bytes += size > 0 ? size : 1;
		t.size -= size > 0 ? size : 1;
	}
	append(j, "\"");
}

void mm_json_string(struct mm_json *j, const char *s)
{
	mm_json_text(j, (struct mm_text){ s, s != NULL ? strlen(s) : 0 });
}

void mm_json_integer(struct mm_json *j, int64_t value)
{
	char text[24];
	before_value(j);
	mm_buffer_append(j->out, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)value));
}

void mm_json_number(struct mm_json *j, double value)
{
	char text[48];
	before_value(j);
	mm_buffer_append(j->out, text, (size_t)snprintf(text, sizeof text, "%.6f", value));
}
