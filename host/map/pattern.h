/* map/pattern.h -- a regular expression (PCRE2, with its JIT) whose matches are bounded in time and memory.
 * Mail is hostile, and a pattern that is right for all usual texts may take hours for one: `(a+)+$`, or `\s+$` on a
 * line of blanks. So each attempt at one place has a limit of steps, and a search over all places a limit of CPU time.
 * A search that ends at a limit has found out nothing, and says so.
 * Knows no Lua. Ownership: a pattern OWNS its compiled form; the last match is part of it, so a pattern is used by one
 * thread, for one match at a time. */
#ifndef MM_MAP_PATTERN_H
#define MM_MAP_PATTERN_H

#include "base/fault.h"

#include <stdint.h>

#define MM_PATTERN_TEXT_MAX     65536           /* bytes of an expression */
#define MM_PATTERN_GROUPS_MAX   99
#define MM_PATTERN_STEPS        250000          /* of an attempt at one place: milliseconds */
#define MM_PATTERN_SECONDS      0.1             /* of CPU, of a search */

struct mm_pattern;

struct mm_pattern_options {
	bool     ignore_case, multiline, dotall, extended;
	bool     utf;           /* characters and their properties instead of bytes; what is not UTF-8 never matches */
	bool     anchored, dollar_endonly, ungreedy;    /* A, E and U of pcre_table(5) */
	uint32_t steps;         /* 0: MM_PATTERN_STEPS */
};

enum mm_pattern_result {
	MM_PATTERN_FOUND,
	MM_PATTERN_NONE,
	MM_PATTERN_LIMIT,       /* of steps, CPU time or memory */
	MM_PATTERN_BROKEN,      /* PCRE2 failed in a way that it should not */
};

/* Gives a pattern; NULL: *why says what is wrong and at which byte. */
struct mm_pattern *mm_pattern_new(const char *text, size_t size, const struct mm_pattern_options *,
	struct mm_fault *why);
void mm_pattern_free(struct mm_pattern *);      /* NULL is fine */

/* Searches from a byte on; lookbehind sees what is before it. *seconds: CPU time that is left, reduced by what the
 * search takes. is_after_empty: the last match ended at `from` and was empty, so another empty one there is none. */
enum mm_pattern_result mm_pattern_search(struct mm_pattern *, const char *text, size_t size, size_t from,
	bool is_after_empty, double *seconds);
/* Bytes of the last match: begin and end of the whole, then of each group; SIZE_MAX: the group took no part. BORROWED
 * until the next search. */
const size_t *mm_pattern_spans(const struct mm_pattern *);
unsigned mm_pattern_groups(const struct mm_pattern *);
/* The i-th name of a group, NULL after the last; *group: its number. BORROWED. */
const char *mm_pattern_group_name(const struct mm_pattern *, unsigned i, unsigned *group);

/* CPU time of this thread, seconds. */
double mm_pattern_clock(void);

#endif
