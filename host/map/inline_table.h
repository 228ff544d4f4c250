/* map/inline_table.h -- "inline": a table written where it is used, as in Postfix: { key=value, { key = some words } }.
 * Of equal keys the last counts; an empty value is none. A mistake is an error: there is no line to leave out. */
#ifndef MM_MAP_INLINE_TABLE_H
#define MM_MAP_INLINE_TABLE_H

#include "map/table.h"

extern const struct mm_table_format mm_inline_format;

#endif
