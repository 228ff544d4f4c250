/* base/text.h -- bytes with a length. */
#ifndef MM_BASE_TEXT_H
#define MM_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/* Text from the wire is followed by a NUL that is not counted. */
struct mm_text {
	const char *bytes;      /* borrowed; NULL when absent */
	size_t      size;
};

/* Of a NUL-terminated string, BORROWED; NULL becomes "". */
static inline struct mm_text mm_text_of(const char *string)
{
	return (struct mm_text){ string != NULL ? string : "", string != NULL ? strlen(string) : 0 };
}

/* Are they equal, apart from the case of ASCII letters? In the header, because most differ in size. */
static inline bool mm_text_equal_blind(struct mm_text a, struct mm_text b)
{
	return a.size == b.size && strncasecmp(a.bytes, b.bytes, a.size) == 0;
}
/* Bytes below `least`, DEL and those above ASCII become question marks: text of others in lines of key=value must not
 * fake another key (least: '!') or another line (least: ' '). */
void mm_text_make_plain(char *text, unsigned char least);
/* FNV-1a. Not for keys that an attacker may choose to collide. */
uint64_t mm_text_hash(struct mm_text);
/* The same with all bits mixed, so that any of them choose a slot; never 0. */
uint64_t mm_text_hash_mixed(struct mm_text);

#endif
