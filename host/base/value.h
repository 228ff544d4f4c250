/* base/value.h -- a tree of plain values: the content of a configuration file, which scripts read as host.settings.
 * Lua's shapes without Lua: nil, booleans, numbers, strings, tables of list items and named fields. A value OWNS
 * everything below it. Readers may look at the fields; only the functions here change a table. A zeroed struct is nil.
 * Names in a table are found by walking it: meant for tens of names, not for a database. */
#ifndef MM_BASE_VALUE_H
#define MM_BASE_VALUE_H

#include "base/cursor.h"

enum mm_value_kind { MM_VALUE_NIL, MM_VALUE_BOOLEAN, MM_VALUE_NUMBER, MM_VALUE_STRING, MM_VALUE_TABLE };

struct mm_value_entry;

struct mm_value {
	enum mm_value_kind kind;
	uint32_t           line;                /* in the file it comes from, from 1; 0 when it comes from no file */
	union {
		bool   boolean;
		double number;
		struct {
			char  *bytes;           /* owned, NUL-terminated; may hold NUL */
			size_t size;
		} string;
		struct {
			struct mm_value_entry *entries; /* owned, in the order of the file */
			uint32_t               count, capacity;
		} table;
	};
};

struct mm_value_entry {
	char           *name;           /* owned, NUL-terminated, may hold NUL; NULL for a list item */
	size_t          name_size;
	struct mm_value value;
};

/* Makes *v, which must be nil, a copy of the text. False: out of memory. */
bool mm_value_set_string(struct mm_value *v, struct mm_text);
/* A new nil in the table, BORROWED until the next add to the same table; name.bytes NULL for a list item.
 * NULL: out of memory. Does not look for a field of the same name. */
struct mm_value *mm_value_add(struct mm_value *table, struct mm_text name);
/* The field of that name, BORROWED, or NULL. v may be NULL or of any kind. */
const struct mm_value *mm_value_field(const struct mm_value *v, const char *name);
/* The second of two fields of the same name; *first is the other. Both are BORROWED. NULL: each name occurs once, or,
 * when *failed is set, memory ran out. */
const struct mm_value_entry *mm_value_repeated(const struct mm_value *table, const struct mm_value_entry **first,
	bool *failed);
/* Removes nil fields and items from the table itself, not from tables inside it. */
void mm_value_drop_nils(struct mm_value *table);
/* A deep copy into *to, which is overwritten. False: out of memory, *to is nil. Recursive: as deep as the tree, which
 * its reader bounds (MM_CONFIG_DEPTH_MAX). */
bool mm_value_copy(struct mm_value *to, const struct mm_value *from);
void mm_value_free(struct mm_value *);                  /* back to nil */

/* for specs */
/* List item n, from 1, BORROWED, or NULL. v may be NULL or of any kind. */
const struct mm_value *mm_value_item(const struct mm_value *v, uint32_t n);

#endif
