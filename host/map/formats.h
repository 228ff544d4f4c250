/* map/formats.h -- the formats of tables by name. */
#ifndef MM_MAP_FORMATS_H
#define MM_MAP_FORMATS_H

#include "map/table.h"

/* for specs, until maps are opened by it. Static; NULL: there is none of this name. */
const struct mm_table_format *mm_table_format_of(const char *name);

#endif
