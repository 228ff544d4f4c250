/* map/logical_lines.h -- the lines of Postfix's text tables, postmap(1) and cidr_table(5): a line that begins with a
 * blank continues the one before, empty lines and those whose first other character is "#" are left out, also inside of
 * a continued one. A carriage return is a blank. A line ends at its first NUL.
 * Knows no formats. Ownership: the text is BORROWED from the caller; the joined bytes are OWNED until the end. */
#ifndef MM_MAP_LOGICAL_LINES_H
#define MM_MAP_LOGICAL_LINES_H

#include "base/buffer.h"
#include "base/text.h"

struct mm_logical_lines {
	struct mm_text   rest;          /* of the text; set at first, with the others 0 */
	unsigned         physical;      /* lines read so far */
	unsigned         first;         /* number of the first physical line of the present one, from 1 */
	unsigned         orphans;       /* lines left out because they continue nothing */
	struct mm_buffer joined;
};

/* The next line, BORROWED until the next call; its end is not trimmed. False: there is none, or memory ran out
 * (joined.failed). */
bool mm_logical_lines_next(struct mm_logical_lines *, struct mm_text *line);
void mm_logical_lines_end(struct mm_logical_lines *);

/* What Postfix takes for a blank: that of C, never that of the locale. */
static inline bool mm_is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Without blanks at its begin and end. */
static inline struct mm_text mm_trimmed(struct mm_text t)
{
	while (t.size > 0 && mm_is_blank(t.bytes[0]))
		t = (struct mm_text){ t.bytes + 1, t.size - 1 };
	while (t.size > 0 && mm_is_blank(t.bytes[t.size - 1]))
		t.size--;
	return t;
}

/* The first n bytes, which are taken off. */
static inline struct mm_text mm_text_take(struct mm_text *from, size_t n)
{
	struct mm_text head = { from->bytes, n };
	*from = (struct mm_text){ from->bytes + n, from->size - n };
	return head;
}

#endif
