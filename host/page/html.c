#include "page/html.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>

void mm_html_put(struct mm_buffer *out, const char *markup)
{
	mm_buffer_append(out, markup, strlen(markup));
}

void mm_html_format(struct mm_buffer *out, const char *format, ...)
{
	char text[1001];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	mm_html_put(out, text);
}

static uint32_t point_of(const unsigned char *p, size_t size)
{
	switch (size) {
	case 1:  return p[0];
	case 2:  return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
	case 3:  return (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
	default: return (p[0] & 0x7u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
	}
}

/* Characters that nobody sees, or that move others: a name must not look like another. */
static bool is_hidden(uint32_t point)
{
	static const struct { uint32_t first, last; } ranges[] = {
		{ 0x80, 0x9f }, { 0xad, 0xad }, { 0x34f, 0x34f }, { 0x61c, 0x61c }, { 0x115f, 0x1160 },
		{ 0x17b4, 0x17b5 }, { 0x180b, 0x180f }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f },
		{ 0x3164, 0x3164 }, { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff }, { 0xffa0, 0xffa0 }, { 0xfff0, 0xfffb },
		{ 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
	};
	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
		if (point >= ranges[i].first && point <= ranges[i].last)
			return true;
	return false;
}

static const char *entity_of(uint32_t point)
{
	switch (point) {
	case '&':  return "&amp;";
	case '<':  return "&lt;";
	case '>':  return "&gt;";
	case '"':  return "&quot;";
	case '\'': return "&#39;";
	case '`':  return "&#96;";
	default:   return NULL;
	}
}

void mm_html_text(struct mm_buffer *out, struct mm_text t)
{
	while (t.size > 0) {
		size_t size = mm_utf8_size(t);
		uint32_t point = size > 0 ? point_of((const unsigned char *)t.bytes, size) : 0;
		const char *entity = entity_of(point);
		if (size == 0 || point < ' ' || point == 0x7f)
			mm_html_format(out, "\\x%02x", (unsigned char)t.bytes[0]);
		else if (entity != NULL)
			mm_html_put(out, entity);
		else if (is_hidden(point))
			mm_html_format(out, "\\u{%04x}", point);
		else
			mm_buffer_append(out, t.bytes, size);
		t.bytes += size > 0 ? size : 1;
		t.size -= size > 0 ? size : 1;
	}
}

void mm_html_string(struct mm_buffer *out, const char *text)
{
	mm_html_text(out, mm_text_of(text));
}

static bool is_word_byte(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.'
		|| c == '_' || c == '~';
}

void mm_html_url(struct mm_buffer *out, struct mm_text t)
{
	for (size_t i = 0; i < t.size; i++) {
		unsigned char c = (unsigned char)t.bytes[i];
		if (is_word_byte(c))
			mm_buffer_append_u8(out, c);
		else
			mm_html_format(out, "%%%02X", c);
	}
}

void mm_html_shell(struct mm_buffer *out, const char *text)
{
	bool is_plain = text[0] != '\0';
	for (const char *c = text; *c != '\0'; c++)
		is_plain = is_plain && (is_word_byte((unsigned char)*c) || strchr("/:@,+=", *c) != NULL);
	if (is_plain) {
		mm_html_string(out, text);
		return;
	}
	mm_html_string(out, "'");
	for (; *text != '\0'; text++) {
		size_t plain = strcspn(text, "'");
		mm_html_text(out, (struct mm_text){ text, plain });
		text += plain;
		if (*text == '\0')
			break;
		mm_html_string(out, "'\\''");
	}
	mm_html_string(out, "'");
}
