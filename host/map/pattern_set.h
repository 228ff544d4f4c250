/* map/pattern_set.h -- many regular expressions over one text: which of them match.
 * They are tried in turn: no library that tries all in one pass finds what PCRE2 finds (docs/ARCHITECTURE.md).
 * Knows no Lua. Ownership: a set OWNS its patterns; used by one thread, for one text at a time. */
#ifndef MM_MAP_PATTERN_SET_H
#define MM_MAP_PATTERN_SET_H

#include "base/text.h"
#include "map/pattern.h"

struct mm_pattern_set;

/* Gives a set; NULL: *why says what is wrong, and *wrong which expression; its number is count when it is none. */
struct mm_pattern_set *mm_pattern_set_new(const struct mm_text *expressions, unsigned count,
	const struct mm_pattern_options *, unsigned *wrong, struct mm_fault *why);
void mm_pattern_set_free(struct mm_pattern_set *);      /* NULL is fine */
unsigned mm_pattern_set_count(const struct mm_pattern_set *);
/* What each expression says about a text, by its number; BORROWED until the next scan. seconds: CPU time for all. */
const enum mm_pattern_result *mm_pattern_set_scan(struct mm_pattern_set *, const char *text, size_t size,
	double seconds);

#endif
