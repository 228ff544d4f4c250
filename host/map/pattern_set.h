/* map/pattern_set.h -- many regular expressions over one text: which of them match.
 * Where Vectorscan is installed (or Hyperscan, whose interface it has), it looks for all of them in one pass and says
 * which may match; PCRE2 then decides about those. So the result is the same without it, only later. It is loaded when
 * the first set is made, because few hosts need it, and it is large.
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
/* Is Vectorscan used for it? How many expressions does it not take, so that they are always tried? */
bool mm_pattern_set_is_filtered(const struct mm_pattern_set *, unsigned *others);
/* What each expression says about a text, by its number; BORROWED until the next scan. seconds: CPU time for all. */
const enum mm_pattern_result *mm_pattern_set_scan(struct mm_pattern_set *, const char *text, size_t size,
	double seconds);

#endif
