/* ctl/columns.h -- what a host answers to `moonmilter ctl` in lines of key=value, for people at a terminal: the lines
 * of items become a table with a head, the others "name  value". Columns without a value are left out, and where the
 * table is wider than the terminal, those that are looked at least. Knows no sockets. A program reads the lines
 * themselves, or --json. */
#ifndef MM_CTL_COLUMNS_H
#define MM_CTL_COLUMNS_H

#include "ctl/answer_json.h"

/* Has this request an answer that becomes a table? */
bool mm_columns_has(const struct mm_request_row *);
/* Prints to standard output, at most so many columns wide if that is possible, and frees the lines. The error of the
 * answer is not printed: it has been. False: memory ran out. */
bool mm_columns_print(struct mm_answer_lines *, const struct mm_request_row *, unsigned width);

/* The value of a key in a line of key=value; at most size - 1 bytes of it. NULL: the line has no such key. */
const char *mm_columns_value(const char *line, const char *key, char *to, size_t size);

#endif
