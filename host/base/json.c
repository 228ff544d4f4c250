#include "base/json.h"

#include "base/utf8.h"

#include <math.h>
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
	mm_json_member(j, mm_text_of(name));
}

void mm_json_member(struct mm_json *j, struct mm_text name)
{
	mm_json_text(j, name);
	append(j, ":");
	j->needs_comma = false;
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

/* What a terminal would obey: a character of two or three bytes. */
static void append_command(struct mm_json *j, const unsigned char *p, size_t size)
{
	char text[8];
	unsigned point = size == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)
		: (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
	snprintf(text, sizeof text, "\\u%04x", point);
	append(j, text);
}

/* Bytes at the beginning that stand for themselves. */
static size_t plain_size(struct mm_text t)
{
	size_t n = 0;
	while (n < t.size && t.bytes[n] >= ' ' && t.bytes[n] < 0x7f && t.bytes[n] != '"' && t.bytes[n] != '\\')
		n++;
	return n;
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
		size_t plain = plain_size(t);
		if (plain > 0) {
			mm_buffer_append(j->out, t.bytes, plain);
			t.bytes += plain;
			t.size -= plain;
			continue;
		}
		size_t size = mm_utf8_size(t);
		if (size == 0)
			append(j, "\\ufffd");
		else if (size == 1)
			append_char(j, (unsigned char)t.bytes[0]);
		else if (mm_utf8_is_command((struct mm_text){ t.bytes, size }))
			append_command(j, (const unsigned char *)t.bytes, size);
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

void mm_json_boolean(struct mm_json *j, bool value)
{
	before_value(j);
	append(j, value ? "true" : "false");
}

void mm_json_real(struct mm_json *j, double value)
{
	char text[48];
	before_value(j);
	snprintf(text, sizeof text, "%.15g", value);
	append(j, isfinite(value) ? text : "null");
}

void mm_json_number(struct mm_json *j, double value)
{
	char text[48];
	before_value(j);
	mm_buffer_append(j->out, text, (size_t)snprintf(text, sizeof text, "%.6f", value));
}

void mm_json_key_string(struct mm_json *j, const char *name, const char *s)
{
	mm_json_key(j, name);
	mm_json_string(j, s);
}

void mm_json_key_integer(struct mm_json *j, const char *name, int64_t value)
{
	mm_json_key(j, name);
	mm_json_integer(j, value);
}

void mm_json_key_number(struct mm_json *j, const char *name, double value)
{
	mm_json_key(j, name);
	mm_json_number(j, value);
}
