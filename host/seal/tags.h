/* seal/tags.h -- lists of tags, "a=b; c=d" (RFC 6376 3.2), one tag at a time.
 *
 * Knows no Lua and no meaning of a tag; that a name occurs once is for the caller to see. Nothing is allocated; tags
 * BORROW the text. Blanks and folds may stand around names and values; a fold is CRLF or LF. */
#ifndef MM_SEAL_TAGS_H
#define MM_SEAL_TAGS_H

#include <stdbool.h>
#include <stddef.h>

struct mm_tags {
	const char *text;       /* borrowed */
	size_t      size, at;
	bool        has_tag;    /* one was read */
};

struct mm_tag {
	const char *name, *value;       /* borrowed; the value without blanks around it */
	size_t      name_size, value_size;
	size_t      start;              /* of the tag in the text */
	size_t      first, end;         /* what stands between "=" and ";", blanks included */
};

enum mm_tags_step {
	MM_TAGS_TAG,
	MM_TAGS_END,            /* the list is whole */
	MM_TAGS_EMPTY,          /* wrong: nothing between two ";" */
	MM_TAGS_NAMELESS,       /* wrong: no name and "=" */
	MM_TAGS_CONTROL,        /* wrong: the value has a control character */
};

void mm_tags_begin(struct mm_tags *, const char *text, size_t size);
/* The next tag, or what is wrong with it; tag->start is set unless the list has ended. */
enum mm_tags_step mm_tags_next(struct mm_tags *, struct mm_tag *);

bool mm_tags_is_blank(char);    /* space, tab, CR, LF */

#endif
