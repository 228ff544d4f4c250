/* map/posix_regex.h -- a regular expression of POSIX (regcomp of the C library), as Postfix's regexp: tables have them,
 * whose matches are bounded in time and memory.
 * The C library has no limits of its own. Its automaton takes linear time from one place of the text, but it begins
 * anew at each place, and keeps every state that a text has led it to. So we
 *   - look for `\`(.|\n)*(expression)`, which is tried at the beginning only, and says the same about the whole text;
 *   - try a long text's beginnings first, each a step longer, and look at the clock in between: what is known of them
 *     makes the next step short, unless each byte leads to a new state;
 *   - compile anew after so many bytes of texts, so that states go;
 *   - refuse back references, for which nothing bounds the time, and expressions that expand to too many positions;
 *   - ask for groups only after that, and only where text and expression are short: that takes quadratic time.
 * Knows no Lua. Ownership: as map/pattern.h: an expression OWNS its compiled form and its last match. */
#ifndef MM_MAP_POSIX_REGEX_H
#define MM_MAP_POSIX_REGEX_H

#include "base/text.h"
#include "map/pattern.h"

#define MM_POSIX_POSITIONS_MAX 1000             /* characters of an expression, with a{100} counted as 100 */
#define MM_POSIX_TEXT_MAX      131072           /* bytes of a text */
#define MM_POSIX_GROUPS_WORK   40000000.0       /* square of the text's bytes × positions, where groups are read */

struct mm_posix_regex;

struct mm_posix_options {
	bool ignore_case;
	bool newline;           /* REG_NEWLINE */
	bool basic;             /* without REG_EXTENDED */
	bool has_groups;        /* they will be read after a match */
};

/* Gives an expression; NULL: *why says what is wrong. */
struct mm_posix_regex *mm_posix_regex_new(struct mm_text, const struct mm_posix_options *, struct mm_fault *why);
void mm_posix_regex_free(struct mm_posix_regex *);      /* NULL is fine */
/* Does it match anywhere in the text? *seconds is reduced by the CPU time that it takes. */
enum mm_pattern_result mm_posix_regex_search(struct mm_posix_regex *, struct mm_text, double *seconds);
/* As mm_pattern_spans() and mm_pattern_groups(); spans only with has_groups. */
const size_t *mm_posix_regex_spans(const struct mm_posix_regex *);
unsigned mm_posix_regex_groups(const struct mm_posix_regex *);

#endif
