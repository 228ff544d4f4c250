/* map/geo_table.h -- "mmdb": a MaxMind DB as a map of a file, for moonmilter.geo. Its image has the whole file under
 * the key "", so it is in memory once for all processes, and mm_geo_get() answers from there. */
#ifndef MM_MAP_GEO_TABLE_H
#define MM_MAP_GEO_TABLE_H

#include "map/geo.h"
#include "map/table.h"

extern const struct mm_table_format mm_geo_format;

/* The database in an opened table, BORROWED from it. False: the fault says why there is none. */
bool mm_geo_of_table(struct mm_table *, struct mm_geo *, struct mm_fault *why);

#endif
