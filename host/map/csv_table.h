/* map/csv_table.h -- "csv": rows of columns (RFC 4180), of which one is the key and one the value; options name them.
 * Of equal keys the first row counts. Rows without a key are left out, one that has a key and no value has an empty
 * value. A quote that is not closed, or text after one, is an error: rows would be mixed up. */
#ifndef MM_MAP_CSV_TABLE_H
#define MM_MAP_CSV_TABLE_H

#include "map/table.h"

extern const struct mm_table_format mm_csv_format;

#endif
