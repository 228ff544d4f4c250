/* config/token.h -- the words of moonmilter.conf one after the other: names, numbers, strings, symbols, with blanks and
 * comments skipped. And the refusals that name where in the file something is wrong and what to write instead.
 *
 * Knows no grammar (syntax.h). Ownership: the text and its name are BORROWED until mm_token_end(); the reader OWNS the
 * meaning of the string it looks at. A function that returns bool returns false when it has filled the fault: what is
 * refused stays refused, and the caller returns false, too. */
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
	MM_TOKEN_SYMBOL,                /* one byte, or an operator of several that people write out of habit */
};

struct mm_token_reader {
	const char      *name;          /* borrowed. Of the file, for faults */
	const char      *at, *end;      /* borrowed. What is not read yet */
	const char      *line_start;
	uint32_t         line;          /* of at */
	struct mm_fault *why;           /* borrowed */
	unsigned         depth;         /* open tables; the grammar counts them */

	/* the token looked at */
	enum mm_token    token;
	const char      *token_at;      /* borrowed */
	size_t           token_size;    /* bytes as written */
	uint32_t         token_line, token_column;
	double           number;        /* MM_TOKEN_NUMBER */
	struct mm_buffer string;        /* owned. MM_TOKEN_STRING: what it means */
};

/* Before the first token. False: the text is too long; there is nothing to end then. */
bool mm_token_begin(struct mm_token_reader *, struct mm_text text, const char *name, struct mm_fault *why);
/* Moves on to the next token, the first one at first. */
bool mm_token_next(struct mm_token_reader *);
void mm_token_end(struct mm_token_reader *);

bool mm_token_is_symbol(const struct mm_token_reader *, char symbol);
bool mm_token_is_separator(const struct mm_token_reader *);             /* "," or ";" */
bool mm_token_is_word(const struct mm_token_reader *, const char *word);
/* A name that Lua keeps for code: local, return, if, … */
bool mm_token_is_code(const struct mm_token_reader *);
/* What a string means, borrowed until the next token. */
struct mm_text mm_token_string(const struct mm_token_reader *);
/* The token as a fault shows it. */
struct mm_quoted mm_token_shown(const struct mm_token_reader *);

/* What people write out of habit, and what to write instead. A NULL row ends a table. */
struct mm_token_hint {
	const char *written;
	const char *instead;
};

/* The row of the table for the token: its instead, or NULL. */
const char *mm_token_hint(const struct mm_token_reader *, const struct mm_token_hint *table);

/* These fill the fault and return false. */
__attribute__((format(printf, 4, 5)))
bool mm_token_refuse_at(struct mm_token_reader *, uint32_t line, uint32_t column, const char *format, ...);
#define mm_token_refuse(r, ...) mm_token_refuse_at(r, (r)->token_line, (r)->token_column, __VA_ARGS__)
/* The token cannot stand here; where says what could. */
bool mm_token_refuse_unexpected(struct mm_token_reader *, const char *where);
bool mm_token_out_of_memory(struct mm_token_reader *);

#endif
