/* map/texthash.h -- "texthash": the source of a hash table of Postfix, "key whitespace value" a line, as postmap(1)
 * reads it. Of equal keys the first counts. Lines that Postfix ignores are ignored. */
#ifndef MM_MAP_TEXTHASH_H
#define MM_MAP_TEXTHASH_H

#include "map/table.h"

extern const struct mm_table_format mm_texthash_format;

#endif
