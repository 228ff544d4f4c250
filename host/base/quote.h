/* base/quote.h -- a value as a sentence for people shows it: in double quotes, on one line, short enough for a line.
 * Control bytes, quotes and backslashes are escaped as Lua would write them; a value that is too long ends in "...".
 * Bytes from 0x80 on pass unchanged. For messages only: the result is not meant to be read back. */
#ifndef MM_BASE_QUOTE_H
#define MM_BASE_QUOTE_H

#include <stddef.h>

#define MM_QUOTED_SIZE 96       /* bytes, quotes and NUL included */

struct mm_quoted {
	char text[MM_QUOTED_SIZE];      /* NUL-terminated */
};

/* Returned by value, so that mm_quote(s, n).text can be an argument of a call and lives until the call returns. */
struct mm_quoted mm_quote(const char *bytes, size_t size);

#endif
