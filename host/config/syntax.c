#include "config/syntax.h"

#include "base/bounds.h"
#include "base/buffer.h"
#include "base/quote.h"

#include <stdarg.h>
#include <stdio.h>

enum token {
	TOKEN_END,
	TOKEN_NAME,
	TOKEN_NUMBER,
	TOKEN_STRING,
	TOKEN_SYMBOL,           /* one byte, or an operator of the table below */
};

struct reader {
	const char      *name;          /* of the file, for faults */
	const char      *at, *end;
	const char      *line_start;
	uint32_t         line;          /* of at */
	unsigned         depth;         /* open tables */
	struct mm_fault *why;

	enum token       token;         /* the one looked at */
	const char      *token_at;
	size_t           token_size;    /* bytes as written */
	uint32_t         token_line, token_column;
	double           number;        /* TOKEN_NUMBER */
	struct mm_buffer string;        /* owned. TOKEN_STRING: what it means */
};

/* What people write out of habit, and what is meant here. A NULL line ends each table. */
struct hint {
	const char *written;
	const char *instead;
};

static const struct hint words_of_code[] = {
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

static const struct hint words_for_values[] = {
	{ "yes", "true" }, { "on", "true" }, { "True", "true" }, { "TRUE", "true" },
	{ "no", "false" }, { "off", "false" }, { "False", "false" }, { "FALSE", "false" },
	{ "none", "nil" }, { "null", "nil" }, { "NULL", "nil" },
	{ NULL, NULL },
};

/* Longer ones first. */
static const struct hint symbols[] = {
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

/* ---- saying no ---- */

__attribute__((format(printf, 4, 5)))
static bool refuse_at(struct reader *r, uint32_t line, uint32_t column, const char *format, ...)
{
	char text[sizeof r->why->text];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return mm_fault_set(r->why, MM_FAULT_CONFIG, "%.300s:%u:%u: %.700s", r->name, line, column, text);
}

#define refuse_token(r, ...) refuse_at(r, (r)->token_line, (r)->token_column, __VA_ARGS__)
#define refuse_here(r, ...) refuse_at(r, (r)->line, (uint32_t)((r)->at - (r)->line_start) + 1, __VA_ARGS__)

static bool out_of_memory(struct reader *r)
{
	return mm_fault_set(r->why, MM_FAULT_RESOURCE, "%.300s: out of memory", r->name);
}

static struct mm_quoted token_text(const struct reader *r)
{
	if (r->token == TOKEN_END)
		return (struct mm_quoted){ "the end of the file" };
	if (r->token == TOKEN_STRING)
		return mm_quote((const char *)r->string.bytes, r->string.size);
	return mm_quote(r->token_at, r->token_size);
}

static const char *hint_for(const struct hint *row, const struct reader *r)
{
	for (; row->written != NULL; row++)
		if (strlen(row->written) == r->token_size && memcmp(row->written, r->token_at, r->token_size) == 0)
			return row->instead;
	return NULL;
}

/* The token cannot stand here; where says what could. */
static bool refuse_unexpected(struct reader *r, const char *where)
{
	const char *instead = NULL;
	if (r->token == TOKEN_NAME && (instead = hint_for(words_of_code, r)) != NULL)
		return refuse_token(r, "%s is code, and a configuration holds none; %s", token_text(r).text, instead);
	if (r->token == TOKEN_SYMBOL)
		instead = hint_for(symbols, r);
	if (instead != NULL)
		return refuse_token(r, "%s cannot stand %s; %s", token_text(r).text, where, instead);
	return refuse_token(r, "%s cannot stand %s", token_text(r).text, where);
}

/* ---- tokens ---- */

static size_t left(const struct reader *r)
{
	return (size_t)(r->end - r->at);
}

/* The byte n ahead, NUL past the end. */
static char peek(const struct reader *r, size_t n)
{
	return n < left(r) ? r->at[n] : '\0';
}

static bool at_line_end(const struct reader *r)
{
	return left(r) > 0 && (*r->at == '\n' || *r->at == '\r');
}

/* CR LF and LF CR count as one line end, as in Lua. */
static void skip_line_end(struct reader *r)
{
	char first = *r->at++;
	if (at_line_end(r) && *r->at != first)
		r->at++;
	r->line++;
	r->line_start = r->at;
}

/* "[[", "[=[", …: how many "=" there are, or -1 when it is none. */
static int long_bracket(const struct reader *r)
{
	if (peek(r, 0) != '[')
		return -1;
	size_t level = 0;
	while (peek(r, 1 + level) == '=')
		level++;
	return peek(r, 1 + level) == '[' ? (int)level : -1;
}

static bool closes_long(const struct reader *r, size_t level)
{
	if (peek(r, 0) != ']' || peek(r, 1 + level) != ']')
		return false;
	for (size_t i = 0; i < level; i++)
		if (peek(r, 1 + i) != '=')
			return false;
	return true;
}

/* At the opening bracket. to NULL: a comment. */
static bool read_long(struct reader *r, size_t level, struct mm_buffer *to)
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
	return refuse_at(r, line, column, "the %s that begins here never ends; close it with \"]%.*s]\"",
		to != NULL ? "string" : "comment", (int)(level < 20 ? level : 20), "====================");
}

static bool skip_blanks(struct reader *r)
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

/* Behind "\u". */
static bool read_unicode(struct reader *r)
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

/* Behind "\", at a digit. */
static bool read_decimal(struct reader *r)
{
	unsigned value = 0;
	for (int n = 0; n < 3 && is_digit(peek(r, 0)); n++)
		value = value * 10 + (unsigned)(*r->at++ - '0');
	if (value > 255)
		return refuse_here(r, "\"\\%u\" is no byte; a number behind \"\\\" is at most 255", value);
	mm_buffer_append_u8(&r->string, (uint8_t)value);
	return true;
}

/* At a backslash. */
static bool read_escape(struct reader *r)
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
	return refuse_here(r, "%s behind \"\\\" means nothing; write \"\\\\\" for a backslash",
		mm_quote(&c, left(r) > 0).text);
}

static bool read_string(struct reader *r)
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
		return refuse_at(r, line, column, "the string that begins here has no closing %c on its line; "
			"write text of several lines as [[ ... ]]", quote);
	r->at++;
	return true;
}

/* Not strtod(): that reads "1,5" or "1.5" as the process's locale says, and an embedder may have set one. A mantissa
 * below 2^53 times or by a power of ten up to 22 is one correctly rounded operation, so this is exact within what it
 * accepts. */
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

/* Takes all that clings together, so that "64M" is refused as one word. */
static bool read_number(struct reader *r)
{
	const char *start = r->at;
	while (continues_name(peek(r, 0)) || peek(r, 0) == '.'
		|| ((peek(r, 0) == '-' || peek(r, 0) == '+') && (r->at[-1] | 0x20) == 'e' && is_digit(peek(r, 1))
			&& (start[0] != '0' || (start[1] | 0x20) != 'x')))
		r->at++;
	bool is_hex = r->at - start > 1 && start[0] == '0' && (start[1] | 0x20) == 'x';
	if (is_hex ? hex_number(start + 2, r->at, &r->number) : decimal_number(start, r->at, &r->number))
		return true;
	return refuse_token(r, "%s is not a number as it stands; write digits (at most %d, or 13 behind 0x), "
		"and put sizes such as \"64M\", modes and all else in quotes",
		mm_quote(start, (size_t)(r->at - start)).text, DIGITS_MAX);
}

static void read_symbol(struct reader *r)
{
	for (const struct hint *row = symbols; row->written != NULL; row++) {
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

/* Moves on to the next token. */
static bool next(struct reader *r)
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
		r->token = TOKEN_END;
	} else if (starts_name(c)) {
		r->token = TOKEN_NAME;
		while (continues_name(peek(r, 0)))
			r->at++;
	} else if (is_digit(c) || (c == '.' && is_digit(peek(r, 1)))) {
		r->token = TOKEN_NUMBER;
		good = read_number(r);
	} else if (c == '"' || c == '\'') {
		r->token = TOKEN_STRING;
		good = read_string(r);
	} else if (long_bracket(r) >= 0) {
		r->token = TOKEN_STRING;
		good = read_long(r, (size_t)long_bracket(r), &r->string);
	} else {
		r->token = TOKEN_SYMBOL;
		read_symbol(r);
	}
	if (good && r->string.failed)
		return out_of_memory(r);
	r->token_size = (size_t)(r->at - r->token_at);
	return good;
}

/* ---- grammar ---- */

static bool is_symbol(const struct reader *r, char symbol)
{
	return r->token == TOKEN_SYMBOL && r->token_size == 1 && *r->token_at == symbol;
}

static bool is_separator(const struct reader *r)
{
	return is_symbol(r, ',') || is_symbol(r, ';');
}

static bool is_word(const struct reader *r, const char *word)
{
	return r->token == TOKEN_NAME && strlen(word) == r->token_size && memcmp(word, r->token_at, r->token_size) == 0;
}

static struct mm_text string_text(const struct reader *r)
{
	return (struct mm_text){ r->string.size > 0 ? (const char *)r->string.bytes : "", r->string.size };
}

static bool read_table(struct reader *r, struct mm_value *out);

/* A name where a value should be. Behind it: the token that followed. */
static bool refuse_name_as_value(struct reader *r, struct mm_text name, uint32_t line, uint32_t column)
{
	struct mm_quoted shown = mm_quote(name.bytes, name.size);
	if (is_symbol(r, '(') || is_symbol(r, '.') || is_symbol(r, ':') || r->token == TOKEN_STRING)
		return refuse_at(r, line, column, "%s: nothing is called or looked up here; write out the value, "
			"and give what differs between machines on the command line", shown.text);
	return refuse_at(r, line, column, "%s is a name, and names have no values here; put it in quotes: \"%.*s\"",
		shown.text, (int)(name.size < 60 ? name.size : 60), name.bytes);
}

static bool read_word_value(struct reader *r, struct mm_value *out)
{
	if (is_word(r, "true") || is_word(r, "false")) {
		out->kind = MM_VALUE_BOOLEAN;
		out->boolean = is_word(r, "true");
		return next(r);
	}
	if (is_word(r, "nil"))
		return next(r);
	if (hint_for(words_of_code, r) != NULL)
		return refuse_unexpected(r, "here");
	const char *meant = hint_for(words_for_values, r);
	if (meant != NULL)
		return refuse_token(r, "%s is a name, and names have no values here; write %s, or put it in quotes",
			token_text(r).text, meant);
	struct mm_text name = { r->token_at, r->token_size };
	uint32_t line = r->token_line, column = r->token_column;
	return next(r) && refuse_name_as_value(r, name, line, column);
}

static bool read_negative(struct reader *r, struct mm_value *out)
{
	if (!next(r))
		return false;
	if (r->token != TOKEN_NUMBER)
		return refuse_unexpected(r, "behind \"-\", where a number belongs");
	out->kind = MM_VALUE_NUMBER;
	out->number = -r->number;
	return next(r);
}

/* The value the token begins. */
static bool read_value(struct reader *r, struct mm_value *out)
{
	out->line = r->token_line;
	if (r->token == TOKEN_NAME)
		return read_word_value(r, out);
	if (r->token == TOKEN_NUMBER) {
		out->kind = MM_VALUE_NUMBER;
		out->number = r->number;
		return next(r);
	}
	if (r->token == TOKEN_STRING) {
		if (!mm_value_set_string(out, string_text(r)))
			return out_of_memory(r);
		return next(r);
	}
	if (is_symbol(r, '-'))
		return read_negative(r, out);
	if (is_symbol(r, '{'))
		return read_table(r, out);
	return refuse_unexpected(r, "where a value belongs");
}

/* The "=" behind a name. */
static bool read_equals(struct reader *r, struct mm_text name)
{
	if (is_symbol(r, '='))
		return next(r);
	return refuse_token(r, "%s behind the name %s, where \"=\" belongs; write %.*s = value", token_text(r).text,
		mm_quote(name.bytes, name.size).text, (int)(name.size < 60 ? name.size : 60), name.bytes);
}

/* `= value` into a new field of the table. nil leaves it out; the name of the field counts as given all the same. */
static bool read_field(struct reader *r, struct mm_value *table, struct mm_text name, uint32_t line)
{
	if (!read_equals(r, name))
		return false;
	struct mm_value *v = mm_value_add(table, name);
	if (v == NULL)
		return out_of_memory(r);
	if (!read_value(r, v))
		return false;
	v->line = line;
	return true;
}

/* `["name"] = value`, at the bracket. */
static bool read_bracket_field(struct reader *r, struct mm_value *table)
{
	uint32_t line = r->token_line;
	if (!next(r))
		return false;
	if (r->token != TOKEN_STRING)
		return refuse_token(r, "%s cannot stand in brackets; a name is a string, [\"name\"] = value, and "
			"list items are written without numbers", token_text(r).text);
	struct mm_value name = { 0 };
	if (!mm_value_set_string(&name, string_text(r)))
		return out_of_memory(r);
	bool good = next(r);
	if (good && !is_symbol(r, ']'))
		good = refuse_token(r, "%s where \"]\" belongs; write [\"name\"] = value", token_text(r).text);
	good = good && next(r) && read_field(r, table, (struct mm_text){ name.string.bytes, name.string.size }, line);
	mm_value_free(&name);
	return good;
}

/* A field or an item that begins with a name. */
static bool read_named(struct reader *r, struct mm_value *table)
{
	struct mm_text name = { r->token_at, r->token_size };
	uint32_t line = r->token_line, column = r->token_column;
	if (is_word(r, "true") || is_word(r, "false")) {
		struct mm_value *v = mm_value_add(table, (struct mm_text){ NULL, 0 });
		return v != NULL ? read_value(r, v) : out_of_memory(r);
	}
	if (is_word(r, "nil"))
		return refuse_token(r, "nil in a list would leave a hole; leave it out");
	if (hint_for(words_of_code, r) != NULL)
		return refuse_unexpected(r, "here");
	if (!next(r))
		return false;
	if (is_separator(r) || is_symbol(r, '}') || is_symbol(r, '(') || is_symbol(r, '.') || r->token == TOKEN_STRING)
		return refuse_name_as_value(r, name, line, column);
	return read_field(r, table, name, line);
}

static bool read_item(struct reader *r, struct mm_value *table)
{
	if (r->token == TOKEN_NAME)
		return read_named(r, table);
	if (is_symbol(r, '['))
		return read_bracket_field(r, table);
	struct mm_value *v = mm_value_add(table, (struct mm_text){ NULL, 0 });
	return v != NULL ? read_value(r, v) : out_of_memory(r);
}

/* A finished table: no name twice, no nil. */
static bool settle(struct reader *r, struct mm_value *table, const char *what)
{
	bool failed;
	const struct mm_value_entry *first = NULL, *second = mm_value_repeated(table, &first, &failed);
	if (failed)
		return out_of_memory(r);
	if (second != NULL)
		return mm_fault_set(r->why, MM_FAULT_CONFIG, "%.300s:%u: %s%s is set a second time, the first is in "
			"line %u; keep one", r->name, second->value.line, what,
			mm_quote(second->name, second->name_size).text, first->value.line);
	mm_value_drop_nils(table);
	return true;
}

/* At the opening brace. */
static bool read_table(struct reader *r, struct mm_value *out)
{
	uint32_t line = r->token_line;
	if (r->depth >= MM_CONFIG_DEPTH_MAX)
		return refuse_token(r, "tables are %u deep here; at most %u", r->depth + 1, MM_CONFIG_DEPTH_MAX);
	out->kind = MM_VALUE_TABLE;
	r->depth++;
	if (!next(r))
		return false;
	while (!is_symbol(r, '}')) {
		if (r->token == TOKEN_END)
			return refuse_token(r, "the file ends inside the table that line %u begins; close it "
				"with \"}\"", line);
		if (!read_item(r, out))
			return false;
		if (is_separator(r)) {
			if (!next(r))
				return false;
		} else if (!is_symbol(r, '}') && r->token != TOKEN_END) {
			if (r->token == TOKEN_SYMBOL)
				return refuse_unexpected(r, "behind an item of a table");
			return refuse_token(r, "%s follows an item directly; put a comma between them, or close the "
				"table of line %u with \"}\"", token_text(r).text, line);
		}
	}
	r->depth--;
	return settle(r, out, "") && next(r);
}

/* Behind "milter": `.NAME = {` or `["NAME"] = {`. */
static bool read_milter(struct reader *r, struct mm_value *milters, uint32_t line)
{
	if (is_symbol(r, '['))
		return read_bracket_field(r, milters);
	if (!is_symbol(r, '.'))
		return refuse_token(r, "%s behind \"milter\"; each milter has a name: milter.NAME = { ... }",
			token_text(r).text);
	if (!next(r))
		return false;
	bool is_keyword = r->token == TOKEN_NAME
		&& (hint_for(words_of_code, r) != NULL || is_word(r, "true") || is_word(r, "false")
		|| is_word(r, "nil"));
	if (r->token != TOKEN_NAME || is_keyword)
		return refuse_token(r, "%s cannot be a milter's name; write milter.NAME = { ... } with letters, "
			"digits and \"_\", or milter[\"NAME\"] = { ... }", token_text(r).text);
	struct mm_text name = { r->token_at, r->token_size };
	return next(r) && read_field(r, milters, name, line);
}

static bool read_statement(struct reader *r, struct mm_value *top, struct mm_value *milters)
{
	if (r->token != TOKEN_NAME || hint_for(words_of_code, r) != NULL)
		return refuse_unexpected(r, "at the beginning of a setting");
	struct mm_text name = { r->token_at, r->token_size };
	uint32_t line = r->token_line;
	bool is_milter = is_word(r, "milter");
	if (!next(r))
		return false;
	if (is_milter)
		return read_milter(r, milters, line);
	if (is_symbol(r, '(') || is_symbol(r, '.') || is_symbol(r, '['))
		return refuse_unexpected(r, "behind a name");
	return read_field(r, top, name, line);
}

static bool read_all(struct reader *r, struct mm_value *top, struct mm_value *milters)
{
	if (!next(r))
		return false;
	while (r->token != TOKEN_END) {
		if (!read_statement(r, top, milters))
			return false;
		if (is_separator(r) && !next(r))
			return false;
	}
	return settle(r, top, "") && settle(r, milters, "milter ");
}

static bool begin(struct reader *r, struct mm_text text, const char *name, struct mm_fault *why)
{
	static const char byte_order_mark[] = "\xef\xbb\xbf";
	*r = (struct reader){ .name = name, .line = 1, .why = why };
	if (text.size > MM_CONFIG_SIZE_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%.300s: over %u bytes; a configuration is shorter, look "
			"whether this is the right file", name, MM_CONFIG_SIZE_MAX);
	if (text.size == 0)
		text.bytes = "";
	r->at = text.bytes;
	r->end = text.bytes + text.size;
	if (text.size >= 3 && memcmp(text.bytes, byte_order_mark, 3) == 0)
		r->at += 3;
	r->line_start = r->at;
	return true;
}

bool mm_config_syntax_read(struct mm_text text, const char *name, struct mm_value *top, struct mm_value *milters,
	struct mm_fault *why)
{
	struct reader r;
	if (!begin(&r, text, name, why))
		return false;
	top->kind = milters->kind = MM_VALUE_TABLE;
	bool good = read_all(&r, top, milters);
	mm_buffer_free(&r.string);
	if (!good) {
		mm_value_free(top);
		mm_value_free(milters);
	}
	return good;
}

bool mm_config_syntax_read_value(struct mm_text text, const char *name, struct mm_value *out, struct mm_fault *why)
{
	struct reader r;
	if (!begin(&r, text, name, why))
		return false;
	bool good = next(&r) && read_value(&r, out);
	if (good && r.token != TOKEN_END)
		good = refuse_unexpected(&r, "behind the value");
	mm_buffer_free(&r.string);
	if (!good)
		mm_value_free(out);
	return good;
}
