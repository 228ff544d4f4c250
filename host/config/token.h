/* config/token.h -- the tokens of moonmilter.conf, one after the other: names, numbers, strings, symbols, without
 * blanks and comments. Also the refusals, which name the place of an error in the file and what to write instead.
 *
 * Knows no grammar (syntax.h). Ownership: the text and its name are BORROWED until mm_token_end(); the reader OWNS the
 * value of the present string token. A function that returns bool returns false when it has filled the fault; the
 * caller then returns false, too. */
#ifndef MM_CONFIG_TOKEN_H
#define MM_CONFIG_TOKEN_H

#include "base/buffer.h"
#include "base/fault.h"
#include "base/quote.h"
#include "base/text.h"

enum mm_token {
	MM_TOKEN_END,
	MM_TOKEN_NAME,
	MM_TOKEN_NUMBER,
	MM_TOKEN_STRING,
	MM_TOKEN_SYMBOL,                /* one byte, or an operator of several bytes that people write out of habit */
};

struct mm_token_reader {
	const char      *name;          /* borrowed: name of the file, for faults */
	const char      *at, *end;      /* borrowed: the text not read yet */
	const char      *line_start;
	uint32_t         line;          /* of at */
	struct mm_fault *why;           /* borrowed */
	unsigned         depth;         /* open tables; the grammar counts them */

	/* the present token */
	enum mm_token    token;
	const char      *token_at;      /* borrowed */
	size_t           token_size;    /* bytes as written */
	uint32_t         token_line, token_column;
	double           number;        /* MM_TOKEN_NUMBER */
	struct mm_buffer string;        /* owned. MM_TOKEN_STRING: its value */
};

/* Call it before the first token. False: the text is too long; mm_token_end() is then not needed. */
bool mm_token_begin(struct mm_token_reader *, struct mm_text text, const char *name, struct mm_fault *why);
/* Moves on to the next token; the first call reads the first token. */
bool mm_token_next(struct mm_token_reader *);
void mm_token_end(struct mm_token_reader *);

bool mm_token_is_symbol(const struct mm_token_reader *, char symbol);
bool mm_token_is_separator(const struct mm_token_reader *);             /* "," or ";" */
bool mm_token_is_word(const struct mm_token_reader *, const char *word);
/* A name that Lua reserves for code: local, return, if, … */
bool mm_token_is_code(const struct mm_token_reader *);
/* The value of a string, BORROWED until the next token. */
struct mm_text mm_token_string(const struct mm_token_reader *);
/* The token as a fault shows it. */
struct mm_quoted mm_token_shown(const struct mm_token_reader *);

/* A thing that people write out of habit, and what to write instead. A NULL row ends a table. */
struct mm_token_hint {
	const char *written;
	const char *instead;
};

/* `instead` of the table's row for the token, or NULL. */
const char *mm_token_hint(const struct mm_token_reader *, const struct mm_token_hint *table);

/* These fill the fault and return false. */
__attribute__((format(printf, 4, 5)))
bool mm_token_refuse_at(struct mm_token_reader *, uint32_t line, uint32_t column, const char *format, ...);
#define mm_token_refuse(r, ...) mm_token_refuse_at(r, (r)->token_line, (r)->token_column, __VA_ARGS__)
/* The token is not allowed here; `where` says what is. */
bool mm_token_refuse_unexpected(struct mm_token_reader *, const char *where);
bool mm_token_out_of_memory(struct mm_token_reader *);

#endif
