/* page/rows.h -- messages of the history as rows of a table, which a phone shows as cards. */
#ifndef MM_PAGE_ROWS_H
#define MM_PAGE_ROWS_H

#include "page/layout.h"

#define MM_PAGE_LOOKED_AT 20000u        /* messages that one request looks at; the next one goes on from there */

/* Some messages, the newest first. */
struct mm_rows {
	uint64_t numbers[MM_PAGE_ROWS_MAX];
	unsigned count;
	uint64_t next;          /* look on before this one; 0: that was all */
	bool     has_more;      /* there are further ones that fit, or perhaps are */
};

/* The newest `count` messages before the number `before` (0: of all) that the filter wants. */
void mm_rows_find(struct mm_rows *, const struct mm_story_reader *, const struct mm_story_filter *, uint64_t before,
	unsigned count, double now);
/* <table> to </table>. */
void mm_rows_put(const struct mm_rows *, struct mm_screen *, const struct mm_story_reader *);
/* <tr>s alone, for tables that grow. */
void mm_rows_put_bare(const struct mm_rows *, struct mm_screen *, const struct mm_story_reader *);
/* One JSON object a line, as ctl history --json: the oldest first. */
void mm_rows_json(const struct mm_rows *, struct mm_buffer *, const struct mm_story_reader *, double now);

#endif
