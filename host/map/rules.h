/* map/rules.h -- tables of regular expressions, as Postfix has them: regexp_table(5) and pcre_table(5).
 *   /pattern/flags result          !/pattern/flags result          if /pattern/flags … endif
 * Rules are tried in turn; the first that matches gives its result, with $1 to $99 replaced by what its groups have.
 * A lookup takes at most MM_PATTERN_SECONDS of CPU time, and then some for the expression at work (posix_regex.h).
 * A limit ends it with an error, because a later rule must not answer for one of which nothing is known.
 * Where Postfix warns and goes on without a rule, the whole table is refused here, with the line.
 * Knows no Lua. Keys are bytes; letters are those of ASCII. */
#ifndef MM_MAP_RULES_H
#define MM_MAP_RULES_H

#include "map/table.h"

#define MM_RULES_MAX      100000
#define MM_RULES_TEXT_MAX (16u << 20)           /* bytes of a table */

extern const struct mm_table_format mm_regexp_format, mm_pcre_format;

struct mm_rules;

/* The rules of a text, for one thread. GIVES; NULL: *why names the line. */
struct mm_rules *mm_rules_new(struct mm_text, bool is_pcre, uint32_t steps, struct mm_fault *why);
void mm_rules_free(struct mm_rules *);          /* NULL is fine */
enum mm_table_result mm_rules_get(struct mm_rules *, struct mm_text key, struct mm_buffer *value, struct mm_fault *why);

#endif
