/* map/json_table.h -- "json" (RFC 8259): an object of values by key, or an array of keys. A string is its text, a
 * number and a boolean are as they are written, an object or array is its JSON text; null: the key is not there. The
 * value of an item of an array is the item. Of equal keys the last counts. What is not JSON in UTF-8 is an error. */
#ifndef MM_MAP_JSON_TABLE_H
#define MM_MAP_JSON_TABLE_H

#include "map/table.h"

extern const struct mm_table_format mm_json_format;

#endif
