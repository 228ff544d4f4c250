/* map/database_copy.h -- the formats whose databases are copied into an image: "hash" and "btree" (Berkeley DB, as
 * postmap makes them) and "lmdb".
 * Programs change such databases in their place. A copy is never half changed, lies in memory once for all processes,
 * and no lookup waits for a disk or for a lock. libdb is loaded when the first file is opened, because few hosts still
 * have such tables, and all of Debian's libdb5.3 that is needed is its interface of version 1.85.
 * As in Postfix, keys are folded, and a NUL at the end of key and value is not part of them. */
#ifndef MM_MAP_DATABASE_COPY_H
#define MM_MAP_DATABASE_COPY_H

#include "map/table.h"

extern const struct mm_table_format mm_hash_format, mm_btree_format, mm_lmdb_format;

#endif
