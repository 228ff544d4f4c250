/* map/cdb_table.h -- "cdb": constant databases (tinycdb, postmap), read where they are.
 * A lookup reads 8 bytes of the header, 8 of each slot that it tries, then the record, with pread: from the kernel's
 * memory, which all processes share, once the file was read when it was opened. Each offset is checked before it is
 * used, and a file that becomes shorter leads to an error, not to a signal; but programs that make such files always
 * make new ones. As in Postfix, keys are folded, and looked up with a NUL at their end and without. */
#ifndef MM_MAP_CDB_TABLE_H
#define MM_MAP_CDB_TABLE_H

#include "map/table.h"

extern const struct mm_table_format mm_cdb_format;

#endif
