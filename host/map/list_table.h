/* map/list_table.h -- "list": one key a line. Blanks around it are left out, and so are empty lines and comments: from
 * a "#" at the begin of a line or after a blank to its end. The value of a key is the key as it is written. */
#ifndef MM_MAP_LIST_TABLE_H
#define MM_MAP_LIST_TABLE_H

#include "map/table.h"

extern const struct mm_table_format mm_list_format;

#endif
