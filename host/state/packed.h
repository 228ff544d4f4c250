/* state/packed.h -- values of scripts as bytes: strings, numbers, booleans, and tables of those; read token by token.
 * A letter, then: n a double of this machine; s at the top the rest of the bytes, inside a table a 4-byte size and the
 * bytes; t and f nothing; { pairs of key and value, then }. A key is no table and no NaN.
 *
 * The reader believes nothing: it never reads beyond the bytes and needs no memory. Knows no Lua (bind/packed.h). */
#ifndef MM_STATE_PACKED_H
#define MM_STATE_PACKED_H

#include "base/text.h"

#include <stdint.h>

#define MM_PACKED_DEPTH_MAX   16u               /* levels of tables */
#define MM_PACKED_SIZE_MAX    (1u << 20)        /* bytes of a value that is written */
#define MM_PACKED_NUMBER_SIZE 9u                /* bytes of a packed number */

enum mm_packed_token {
	MM_PACKED_NONE,                 /* the end, or bytes that are no value (mm_packed_is_whole) */
	MM_PACKED_STRING,
	MM_PACKED_NUMBER,
	MM_PACKED_BOOLEAN,
	MM_PACKED_OPEN,                 /* a table begins */
	MM_PACKED_CLOSE,                /* and ends */
};

struct mm_packed {
	const char    *at, *end;        /* borrowed from the text that is read */
	unsigned       depth;           /* tables that are open */
	uint32_t       due;             /* a bit for each of them: its key was read, its value is due */
	bool           is_over;         /* the value has been read */
	/* of the token that was read last */
	bool           is_key;          /* a string, number or boolean that is a key of a table */
	struct mm_text string;          /* BORROWED likewise */
	double         number;
	bool           boolean;
};

struct mm_packed mm_packed_of(struct mm_text);
/* The next token. After NONE there is none. */
enum mm_packed_token mm_packed_next(struct mm_packed *);
/* After NONE: all bytes were one value. */
bool mm_packed_is_whole(const struct mm_packed *);
/* False: the text is not a packed number. */
bool mm_packed_read_number(struct mm_text, double *to);
void mm_packed_write_number(double, char to[MM_PACKED_NUMBER_SIZE]);

#endif
