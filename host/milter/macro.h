/* milter/macro.h -- MTA variables, kept by stage (protocol 6).
 * Each stage has one set; a macro packet replaces the set of its stage. A command clears the sets of later stages, so
 * macros of one message are never seen by the next. Lookup goes from the latest stage back. */
#ifndef MM_MILTER_MACRO_H
#define MM_MILTER_MACRO_H

#include "base/cursor.h"
#include "milter/stage.h"

struct mm_macro_strings {
	uint32_t size, capacity;        /* bytes */
	char     bytes[];               /* name NUL value NUL ... as on the wire */
};

struct mm_macros {
	struct mm_macro_strings *sets[MM_MACRO_SET_COUNT];      /* owned; NULL: empty */
};

/* enum mm_macro_set of a command letter; -1: it has none. */
int mm_macro_set_of(uint8_t letter);
/* Replaces the set of a command letter. Letters without a set (L B U …) are ignored, as libmilter does.
 * False: out of memory. */
bool mm_macros_set(struct mm_macros *, uint8_t letter, struct mm_text strings);
/* Empties the sets from `first` on. */
void mm_macros_clear_from(struct mm_macros *, enum mm_macro_set first);
/* Returns true and the value, BORROWED until the set changes. Braces do not matter: "i", "{i}",
 * "auth_authen", "{auth_authen}". */
bool mm_macros_lookup(const struct mm_macros *, struct mm_text name, struct mm_text *value);
/* "{auth_authen}" without its braces. */
struct mm_text mm_macro_bare(struct mm_text name);
/* Walks name/value pairs of one set. *at starts at 0. False at the end. */
bool mm_macros_next(const struct mm_macros *, enum mm_macro_set set, size_t *at, struct mm_text *name,
	struct mm_text *value);
static inline bool mm_macros_is_empty(const struct mm_macros *m, enum mm_macro_set set)
{
	return m->sets[set] == NULL || m->sets[set]->size == 0;
}
/* Bytes of memory that they take. */
uint32_t mm_macros_capacity(const struct mm_macros *);
void mm_macros_free(struct mm_macros *);

#endif
