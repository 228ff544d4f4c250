#include "config/token.h"

#include "base/bounds.h"

#include <stdarg.h>
#include <stdio.h>

/* What people write out of habit, and what to write here. */
static const struct mm_token_hint words_of_code[] = {
	{ "local",    "write the key alone: name = value" },
	{ "return",   "leave it out: the file itself is a list of name = value" },
	{ "function", "put handlers into a script and name it in scripts" },
	{ "and",      "write the result" },
	{ "or",       "write the result" },
	{ "not",      "write true or false" },
	{ "if",       "write out the value; what differs between machines goes on the command line" },
	{ "then",     "write out the value" },
	{ "else",     "write out the value" },
	{ "elseif",   "write out the value" },
	{ "for",      "write out each item" },
	{ "while",    "write out each item" },
	{ "repeat",   "write out each item" },
	{ "until",    "write out each item" },
	{ "in",       "write out each item" },
	{ "do",       "leave it out" },
	{ "end",      "leave it out" },
	{ "break",    "leave it out" },
	{ "goto",     "leave it out" },
	{ NULL, NULL },
};

/* Longer ones first. */
static const struct mm_token_hint symbols[] = {
	{ "...", "write out the values" },
	{ "..",  "write the string in one piece" },
	{ "==",  "write one \"=\"" },
	{ "~=",  "write out the value" },
	{ "<=",  "write out the value" },
	{ ">=",  "write out the value" },
	{ "//",  "begin a comment with \"--\"" },
	{ "/*",  "begin a comment with \"--[[\" and end it with \"]]\"" },
	{ "+",   "write the result of the sum" },
	{ "-",   "write the result of the sum" },
	{ "*",   "write the product as one number, bytes as \"64M\"" },
	{ "/",   "write the result; put a path in quotes" },
	{ "%",   "write the result" },
	{ "^",   "write the result" },
	{ "<",   "write out the value" },
	{ ">",   "write out the value" },
	{ "#",   "begin a comment with \"--\"" },
	{ ":",   "write name = value" },
	{ "(",   "nothing is called here; write out the value" },
	{ ")",   "leave it out" },
	{ "[",   "write name = value, or [\"name\"] = value inside a table" },
	{ "]",   "leave it out" },
	{ "{",   "write name = { ... }" },
	{ "}",   "leave it out: no table is open here" },
	{ ".",   "only milter.NAME has a dot" },
	{ "=",   "a name belongs before it" },
	{ ",",   "leave it out" },
	{ ";",   "leave it out" },
	{ NULL, NULL },
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool starts_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool continues_name(char c)
{
	return starts_name(c) || is_digit(c);
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	char small = (char)(c | 0x20);
	return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

/* ---- refusals ---- */

bool mm_token_refuse_at(struct mm_token_reader *r, uint32_t line, uint32_t column, const char *format, ...)
{
	char text[sizeof r->why->text];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return mm_fault_set(r->why, MM_FAULT_CONFIG, "%.300s:%u:%u: %.700s", r->name, line, column, text);
}

#define refuse_here(r, ...) mm_token_refuse_at(r, (r)->line, (uint32_t)((r)->at - (r)->line_start) + 1, __VA_ARGS__)

bool mm_token_out_of_memory(struct mm_token_reader *r)
{
	return mm_fault_set(r->why, MM_FAULT_RESOURCE, "%.300s: out of memory", r->name);
}

struct mm_quoted mm_token_shown(const struct mm_token_reader *r)
{
	if (r->token == MM_TOKEN_END)
		return (struct mm_quoted){ "the end of the file" };
	if (r->token == MM_TOKEN_STRING)
		return mm_quote((const char *)r->string.bytes, r->string.size);
	return mm_quote(r->token_at, r->token_size);
}

const char *mm_token_hint(const struct mm_token_reader *r, const struct mm_token_hint *row)
{
	for (; row->written != NULL; row++)
		if (strlen(row->written) == r->token_size && memcmp(row->written, r->token_at, r->token_size) == 0)
			return row->instead;
	return NULL;
}

bool mm_token_refuse_unexpected(struct mm_token_reader *r, const char *where)
{
	const char *instead = NULL;
	if (r->token == MM_TOKEN_NAME && (instead = mm_token_hint(r, words_of_code)) != NULL)
		return mm_token_refuse(r, "%s is code, and a configuration holds none; %s",
			mm_token_shown(r).text, instead);
	if (r->token == MM_TOKEN_SYMBOL)
		instead = mm_token_hint(r, symbols);
	if (instead != NULL)
		return mm_token_refuse(r, "%s cannot stand %s; %s", mm_token_shown(r).text, where, instead);
	return mm_token_refuse(r, "%s cannot stand %s", mm_token_shown(r).text, where);
}

/* ---- tokens ---- */

static size_t left(const struct mm_token_reader *r)
{
	return (size_t)(r->end - r->at);
}

/* The byte n positions ahead, NUL past the end. */
static char peek(const struct mm_token_reader *r, size_t n)
{
	return n < left(r) ? r->at[n] : '\0';
}

static bool at_line_end(const struct mm_token_reader *r)
{
	return left(r) > 0 && (*r->at == '\n' || *r->at == '\r');
}

/* CR LF and LF CR count as one line end, as in Lua. */
static void skip_line_end(struct mm_token_reader *r)
{
	char first = *r->at++;
	if (at_line_end(r) && *r->at != first)
		r->at++;
	r->line++;
	r->line_start = r->at;
}

/* "[[", "[=[", …: the number of "=", or -1 when it is not a long bracket. */
static int long_bracket(const struct mm_token_reader *r)
{
	if (peek(r, 0) != '[')
		return -1;
	size_t level = 0;
	while (peek(r, 1 + level) == '=')
		level++;
	return peek(r, 1 + level) == '[' ? (int)level : -1;
}

static bool closes_long(const struct mm_token_reader *r, size_t level)
{
	if (peek(r, 0) != ']' || peek(r, 1 + level) != ']')
		return false;
	for (size_t i = 0; i < level; i++)
		if (peek(r, 1 + i) != '=')
			return false;
	return true;
}

/* At the opening bracket. to NULL: a comment. */
static bool read_long(struct mm_token_reader *r, size_t level, struct mm_buffer *to)
{
	uint32_t line = r->line, column = (uint32_t)(r->at - r->line_start) + 1;
	r->at += level + 2;
	if (at_line_end(r))
		skip_line_end(r);
	while (left(r) > 0) {
		if (closes_long(r, level)) {
			r->at += level + 2;
			return true;
		}
		if (at_line_end(r)) {
			skip_line_end(r);
			if (to != NULL)
				mm_buffer_append_u8(to, '\n');
			continue;
		}
		if (to != NULL)
			mm_buffer_append_u8(to, (uint8_t)*r->at);
		r->at++;
	}
	return mm_token_refuse_at(r, line, column, "the %s that begins here never ends; close it with \"]%.*s]\"",
		to != NULL ? "string" : "comment", (int)(level < 20 ? level : 20), "====================");
}

static bool skip_blanks(struct mm_token_reader *r)
{
	while (left(r) > 0) {
		char c = *r->at;
		if (at_line_end(r)) {
			skip_line_end(r);
		} else if (c == ' ' || c == '\t' || c == '\v' || c == '\f') {
			r->at++;
		} else if (c == '-' && peek(r, 1) == '-') {
			r->at += 2;
			int level = long_bracket(r);
			if (level >= 0) {
				if (!read_long(r, (size_t)level, NULL))
					return false;
				continue;
			}
			while (left(r) > 0 && !at_line_end(r))
				r->at++;
		} else {
			return true;
		}
	}
	return true;
}

static void append_utf8(struct mm_buffer *to, uint32_t code)
{
	if (code < 0x80) {
		mm_buffer_append_u8(to, (uint8_t)code);
		return;
	}
	unsigned tail = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	static const uint8_t heads[] = { 0, 0xc0, 0xe0, 0xf0 };
	mm_buffer_append_u8(to, (uint8_t)(heads[tail] | code >> 6 * tail));
	while (tail-- > 0)
		mm_buffer_append_u8(to, (uint8_t)(0x80 | (code >> 6 * tail & 0x3f)));
}

/* After "\u". */
static bool read_unicode(struct mm_token_reader *r)
{
	uint32_t code = 0;
	size_t n = 1;
	while (n < 8 && hex_digit(peek(r, n)) >= 0)
		code = code << 4 | (uint32_t)hex_digit(peek(r, n++));
	if (peek(r, 0) != '{' || n == 1 || peek(r, n) != '}' || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return refuse_here(r, "\"\\u\" takes a Unicode number: \\u{20AC}");
	r->at += n + 1;
	append_utf8(&r->string, code);
	return true;
}

/* After "\", at a digit. */
static bool read_decimal(struct mm_token_reader *r)
{
	unsigned value = 0;
	for (int n = 0; n < 3 && is_digit(peek(r, 0)); n++)
		value = value * 10 + (unsigned)(*r->at++ - '0');
	if (value > 255)
		return refuse_here(r, "\"\\%u\" is not a byte; a number after \"\\\" is at most 255", value);
	mm_buffer_append_u8(&r->string, (uint8_t)value);
	return true;
}

/* At a backslash. */
static bool read_escape(struct mm_token_reader *r)
{
	static const char letters[] = "abfnrtv\\\"'", bytes[] = "\a\b\f\n\r\t\v\\\"'";
	r->at++;
	char c = peek(r, 0);
	const char *plain = c != '\0' ? strchr(letters, c) : NULL;
	if (plain != NULL) {
		r->at++;
		mm_buffer_append_u8(&r->string, (uint8_t)bytes[plain - letters]);
		return true;
	}
	if (is_digit(c))
		return read_decimal(r);
	if (at_line_end(r)) {
		skip_line_end(r);
		mm_buffer_append_u8(&r->string, '\n');
		return true;
	}
	if (c == 'x' && hex_digit(peek(r, 1)) >= 0 && hex_digit(peek(r, 2)) >= 0) {
		mm_buffer_append_u8(&r->string, (uint8_t)(hex_digit(peek(r, 1)) << 4 | hex_digit(peek(r, 2))));
		r->at += 3;
		return true;
	}
	if (c == 'u') {
		r->at++;
		return read_unicode(r);
	}
	if (c == 'z') {
		r->at++;
		while (left(r) > 0 && strchr(" \t\v\f\r\n", *r->at) != NULL && *r->at != '\0')
			if (at_line_end(r))
				skip_line_end(r);
			else
				r->at++;
		return true;
	}
	return refuse_here(r, "%s after \"\\\" means nothing; write \"\\\\\" for a backslash",
		mm_quote(&c, left(r) > 0).text);
}

static bool read_string(struct mm_token_reader *r)
{
	uint32_t line = r->line, column = (uint32_t)(r->at - r->line_start) + 1;
	char quote = *r->at++;
	while (left(r) > 0 && *r->at != quote) {
		if (*r->at == '\\') {
			if (!read_escape(r))
				return false;
			continue;
		}
		if (at_line_end(r))
			break;
		mm_buffer_append_u8(&r->string, (uint8_t)*r->at++);
	}
	if (peek(r, 0) != quote)
		return mm_token_refuse_at(r, line, column, "the string that begins here has no closing %c on its line; "
			"write text of several lines as [[ ... ]]", quote);
	r->at++;
	return true;
}

/* Not strtod(): whether that reads "1,5" or "1.5" depends on the process's locale, and an embedder may have set one. A
 * mantissa below 2^53, multiplied or divided by a power of ten up to 22, is one correctly rounded operation, so the
 * result is exact for everything accepted here. */
#define DIGITS_MAX   15
#define EXPONENT_MAX 22

static bool scale(double mantissa, int exponent, double *out)
{
	static const double powers[EXPONENT_MAX + 1] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
		1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
	};
	if (mantissa == 0)
		exponent = 0;
	if (exponent > EXPONENT_MAX || exponent < -EXPONENT_MAX)
		return false;
	*out = exponent < 0 ? mantissa / powers[-exponent] : mantissa * powers[exponent];
	return true;
}

static bool decimal_number(const char *s, const char *end, double *out)
{
	double mantissa = 0;
	int digits = 0, exponent = 0, written = 0;
	bool has_point = false;
	for (; s < end && (is_digit(*s) || (*s == '.' && !has_point)); s++) {
		if (*s == '.') {
			has_point = true;
			continue;
		}
		written++;
		if (digits > 0 || *s != '0')
			digits++;
		if (digits > DIGITS_MAX)
			return false;
		mantissa = mantissa * 10 + (*s - '0');
		exponent -= has_point;
	}
	if (written == 0)
		return false;
	if (s < end && (*s == 'e' || *s == 'E')) {
		bool minus = ++s < end && *s == '-';
		s += s < end && (*s == '-' || *s == '+');
		int given = 0, n = 0;
		for (; s < end && is_digit(*s) && n < 4; s++, n++)
			given = given * 10 + (*s - '0');
		if (n == 0)
			return false;
		exponent += minus ? -given : given;
	}
	return s == end && scale(mantissa, exponent, out);
}

static bool hex_number(const char *s, const char *end, double *out)
{
	double value = 0;
	if (end - s < 1 || end - s > 13)        /* 52 bits */
		return false;
	for (; s < end; s++) {
		if (hex_digit(*s) < 0)
			return false;
		value = value * 16 + hex_digit(*s);
	}
	*out = value;
	return true;
}

/* Takes all adjoining letters and digits, so that "64M" is refused as one word. */
static bool read_number(struct mm_token_reader *r)
{
	const char *start = r->at;
	while (continues_name(peek(r, 0)) || peek(r, 0) == '.'
		|| ((peek(r, 0) == '-' || peek(r, 0) == '+') && (r->at[-1] | 0x20) == 'e' && is_digit(peek(r, 1))
			&& (start[0] != '0' || (start[1] | 0x20) != 'x')))
		r->at++;
	bool is_hex = r->at - start > 1 && start[0] == '0' && (start[1] | 0x20) == 'x';
	if (is_hex ? hex_number(start + 2, r->at, &r->number) : decimal_number(start, r->at, &r->number))
		return true;
	return mm_token_refuse(r, "%s is not a number; write digits (at most %d, or 13 after 0x), and put sizes such "
		"as \"64M\", modes and everything else in quotes",
		mm_quote(start, (size_t)(r->at - start)).text, DIGITS_MAX);
}

static void read_symbol(struct mm_token_reader *r)
{
	for (const struct mm_token_hint *row = symbols; row->written != NULL; row++) {
		size_t size = strlen(row->written);
		if (size <= left(r) && memcmp(r->at, row->written, size) == 0) {
			r->at += size;
			return;
		}
	}
	r->at++;
	while (left(r) > 0 && ((uint8_t)*r->at & 0xc0) == 0x80)        /* the rest of a UTF-8 letter, for the message */
		r->at++;
}

bool mm_token_next(struct mm_token_reader *r)
{
	if (!skip_blanks(r))
		return false;
	r->token_at = r->at;
	r->token_line = r->line;
	r->token_column = (uint32_t)(r->at - r->line_start) + 1;
	mm_buffer_clear(&r->string);
	char c = peek(r, 0);
	bool good = true;
	if (left(r) == 0) {
		r->token = MM_TOKEN_END;
	} else if (starts_name(c)) {
		r->token = MM_TOKEN_NAME;
		while (continues_name(peek(r, 0)))
			r->at++;
	} else if (is_digit(c) || (c == '.' && is_digit(peek(r, 1)))) {
		r->token = MM_TOKEN_NUMBER;
		good = read_number(r);
	} else if (c == '"' || c == '\'') {
		r->token = MM_TOKEN_STRING;
		good = read_string(r);
	} else if (long_bracket(r) >= 0) {
		r->token = MM_TOKEN_STRING;
		good = read_long(r, (size_t)long_bracket(r), &r->string);
	} else {
		r->token = MM_TOKEN_SYMBOL;
		read_symbol(r);
	}
	if (good && r->string.failed)
		return mm_token_out_of_memory(r);
	r->token_size = (size_t)(r->at - r->token_at);
	return good;
}

/* ---- the present token ---- */

bool mm_token_is_symbol(const struct mm_token_reader *r, char symbol)
{
	return r->token == MM_TOKEN_SYMBOL && r->token_size == 1 && *r->token_at == symbol;
}

bool mm_token_is_separator(const struct mm_token_reader *r)
{
	return mm_token_is_symbol(r, ',') || mm_token_is_symbol(r, ';');
}

bool mm_token_is_word(const struct mm_token_reader *r, const char *word)
{
	return r->token == MM_TOKEN_NAME && strlen(word) == r->token_size
		&& memcmp(word, r->token_at, r->token_size) == 0;
}

struct mm_text mm_token_string(const struct mm_token_reader *r)
{
	return (struct mm_text){ r->string.size > 0 ? (const char *)r->string.bytes : "", r->string.size };
}

bool mm_token_is_code(const struct mm_token_reader *r)
{
	return r->token == MM_TOKEN_NAME && mm_token_hint(r, words_of_code) != NULL;
}

bool mm_token_begin(struct mm_token_reader *r, struct mm_text text, const char *name, struct mm_fault *why)
{
	static const char byte_order_mark[] = "\xef\xbb\xbf";
	*r = (struct mm_token_reader){ .name = name, .line = 1, .why = why };
	if (text.size > MM_CONFIG_SIZE_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%.300s: over %u bytes; a configuration is shorter; check "
			"that this is the right file", name, MM_CONFIG_SIZE_MAX);
	if (text.size == 0)
		text.bytes = "";
	r->at = text.bytes;
	r->end = text.bytes + text.size;
	if (text.size >= 3 && memcmp(text.bytes, byte_order_mark, 3) == 0)
		r->at += 3;
	r->line_start = r->at;
	return true;
}

void mm_token_end(struct mm_token_reader *r)
{
	mm_buffer_free(&r->string);
}
