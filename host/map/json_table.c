#include "map/json_table.h"

#include "base/utf8.h"
#include "map/image.h"
#include "map/logical_lines.h"

#define DEPTH_MAX 64u

struct reader {
	struct mm_text   whole, rest;
	struct mm_fault *why;           /* borrowed */
	struct mm_buffer key, value;    /* owned: strings without their escapes */
};

static bool complain(struct reader *r, const char *what)
{
	unsigned line = 1;
	for (const char *c = r->whole.bytes; c < r->rest.bytes; c++)
		line += *c == '\n';
	return mm_fault_set(r->why, MM_FAULT_CONFIG, "line %u: %s", line, what);
}

static char peek(struct reader *r)
{
	while (r->rest.size > 0 && (r->rest.bytes[0] == ' ' || r->rest.bytes[0] == '\t' || r->rest.bytes[0] == '\n'
	    || r->rest.bytes[0] == '\r'))
		mm_text_take(&r->rest, 1);
	return r->rest.size > 0 ? r->rest.bytes[0] : '\0';
}

static bool take(struct reader *r, char c)
{
	if (peek(r) != c || r->rest.size == 0)
		return false;
	mm_text_take(&r->rest, 1);
	return true;
}

/* ---- strings ---- */

static bool take_hex(struct reader *r, uint32_t *unit)
{
	*unit = 0;
	for (int i = 0; i < 4; i++) {
		static const char digits[] = "0123456789abcdef0123456789ABCDEF";
		const char *digit = r->rest.size > 0 && r->rest.bytes[0] != '\0' ? strchr(digits, r->rest.bytes[0])
			: NULL;
		if (digit == NULL)
			return complain(r, "four hexadecimal digits are expected after \\u");
		*unit = *unit << 4 | (uint32_t)((digit - digits) % 16);
		mm_text_take(&r->rest, 1);
	}
	return true;
}

static void append_utf8(struct mm_buffer *to, uint32_t c)
{
	if (c < 0x80) {
		mm_buffer_append_u8(to, (uint8_t)c);
		return;
	}
	unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	static const uint8_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };
	mm_buffer_append_u8(to, (uint8_t)(lead[more] | c >> 6 * more));
	while (more-- > 0)
		mm_buffer_append_u8(to, (uint8_t)(0x80 | (c >> 6 * more & 0x3f)));
}

/* After "\u": a character, of two units when they are surrogates. */
static bool take_unicode(struct reader *r, struct mm_buffer *to)
{
	uint32_t unit, low;
	if (!take_hex(r, &unit))
		return false;
	if (unit >= 0xd800 && unit < 0xe000) {
		if (unit >= 0xdc00 || r->rest.size < 2 || memcmp(r->rest.bytes, "\\u", 2) != 0)
			return complain(r, "half of a surrogate pair");
		mm_text_take(&r->rest, 2);
		if (!take_hex(r, &low))
			return false;
		if (low < 0xdc00 || low >= 0xe000)
			return complain(r, "half of a surrogate pair");
		unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
	}
	append_utf8(to, unit);
	return true;
}

static bool take_escape(struct reader *r, struct mm_buffer *to)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	if (r->rest.size == 0)
		return complain(r, "a string is not closed");
	char c = mm_text_take(&r->rest, 1).bytes[0];
	if (c == 'u')
		return take_unicode(r, to);
	const char *at = c != '\0' ? strchr(names, c) : NULL;
	if (at == NULL)
		return complain(r, "an unknown escape in a string");
	mm_buffer_append_u8(to, (uint8_t)values[at - names]);
	return true;
}

/* A string, whose quote is next, to `to`, which is cleared. */
static bool take_string(struct reader *r, struct mm_buffer *to)
{
	mm_buffer_clear(to);
	if (!take(r, '"'))
		return complain(r, "a string is expected");
	while (r->rest.size > 0) {
		unsigned char c = (unsigned char)r->rest.bytes[0];
		size_t size = c < 0x80 ? 1 : mm_utf8_size(r->rest);
		if (c < 0x20)
			return complain(r, "a control character in a string");
		if (size == 0)
			return complain(r, "a string is not UTF-8");
		struct mm_text taken = mm_text_take(&r->rest, size);
		if (c == '"')
			return true;
		if (c != '\\')
			mm_buffer_append(to, taken.bytes, size);
		else if (!take_escape(r, to))
			return false;
	}
	return complain(r, "a string is not closed");
}

/* ---- values ---- */

static size_t digits(struct mm_text t, size_t at)
{
	size_t begin = at;
	while (at < t.size && t.bytes[at] >= '0' && t.bytes[at] <= '9')
		at++;
	return at - begin;
}

/* The size of a number at the begin; 0: there is none. */
static size_t number_size(struct mm_text t)
{
	size_t at = t.size > 0 && t.bytes[0] == '-', n = digits(t, at);
	if (n == 0 || (n > 1 && t.bytes[at] == '0'))
		return 0;
	at += n;
	if (at < t.size && t.bytes[at] == '.') {
		if ((n = digits(t, ++at)) == 0)
			return 0;
		at += n;
	}
	if (at < t.size && (t.bytes[at] == 'e' || t.bytes[at] == 'E')) {
		at++;
		at += at < t.size && (t.bytes[at] == '+' || t.bytes[at] == '-');
		if ((n = digits(t, at)) == 0)
			return 0;
		at += n;
	}
	return at;
}

static size_t word_size(struct mm_text t)
{
	static const char *const words[] = { "true", "false", "null" };
	for (int i = 0; i < 3; i++)
		if (t.size >= strlen(words[i]) && memcmp(t.bytes, words[i], strlen(words[i])) == 0)
			return strlen(words[i]);
	return number_size(t);
}

static bool skip_value(struct reader *r, unsigned depth);

static bool skip_members(struct reader *r, char end, unsigned depth)
{
	mm_text_take(&r->rest, 1);
	if (take(r, end))
		return true;
	do {
		if (end == '}' && (!take_string(r, &r->value) || !take(r, ':')))
			return complain(r, "a name and \":\" are expected");
		if (!skip_value(r, depth + 1))
			return false;
	} while (take(r, ','));
	return take(r, end) || complain(r, "a comma or the end of an object or array is expected");
}

static bool skip_value(struct reader *r, unsigned depth)
{
	char c = peek(r);
	if (depth > DEPTH_MAX)
		return complain(r, "more than 64 objects and arrays inside each other");
	if (c == '"')
		return take_string(r, &r->value);
	if (c == '{' || c == '[')
		return skip_members(r, c == '{' ? '}' : ']', depth);
	size_t size = word_size(r->rest);
	mm_text_take(&r->rest, size);
	return size > 0 || complain(r, "a value is expected");
}

/* *value: BORROWED until the next one; bytes NULL: null. */
static bool take_value(struct reader *r, struct mm_text *value)
{
	char c = peek(r);
	struct mm_text begin = r->rest;
	if (!skip_value(r, 1))
		return false;
	*value = (struct mm_text){ begin.bytes, begin.size - r->rest.size };
	if (c == '"')
		*value = (struct mm_text){ r->value.size > 0 ? (const char *)r->value.bytes : "", r->value.size };
	else if (c == 'n')
		*value = (struct mm_text){ NULL, 0 };
	return true;
}

/* ---- the table ---- */

static bool add_member(struct reader *r, bool is_object, struct mm_image_writer *w)
{
	struct mm_text key, value;
	if (is_object && (!take_string(r, &r->key) || !take(r, ':')))
		return complain(r, "a key and \":\" are expected");
	if (!take_value(r, &value))
		return false;
	if (r->key.failed || r->value.failed)
		return mm_fault_set(r->why, MM_FAULT_RESOURCE, "out of memory for the table");
	key = is_object ? (struct mm_text){ r->key.size > 0 ? (const char *)r->key.bytes : "", r->key.size } : value;
	if (value.bytes != NULL)
		return mm_image_replace(w, key, value, r->why);
	if (is_object)
		mm_image_remove(w, key);
	return true;
}

static bool read_table(struct reader *r, struct mm_image_writer *w)
{
	bool is_object = peek(r) == '{';
	char end = is_object ? '}' : ']';
	if (!is_object && peek(r) != '[')
		return complain(r, "an object or an array is expected");
	mm_text_take(&r->rest, 1);
	if (!take(r, end)) {
		do {
			if (!add_member(r, is_object, w))
				return false;
		} while (take(r, ','));
		if (!take(r, end))
			return complain(r, "a comma or the end of the table is expected");
	}
	return (peek(r) == '\0' && r->rest.size == 0) || complain(r, "there is something after the table");
}

static bool compile(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	struct reader r = { .whole = source, .rest = source, .why = why };
	if (!o->keeps_case)
		mm_image_fold(w);
	bool good = read_table(&r, w);
	mm_buffer_free(&r.key);
	mm_buffer_free(&r.value);
	return good;
}

const struct mm_table_format mm_json_format = { .name = "json", .compile = compile };
