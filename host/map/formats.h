/* map/formats.h -- the formats of tables by name. */
#ifndef MM_MAP_FORMATS_H
#define MM_MAP_FORMATS_H

#include "map/table.h"

/* Static; NULL: there is none of this name. */
const struct mm_table_format *mm_table_format_of(const char *name);

/* for specs, which cannot be called with structs: appends all entries, each "key=value" and a NUL. */
bool mm_table_list(struct mm_table *, struct mm_buffer *to, struct mm_fault *why);

#endif
