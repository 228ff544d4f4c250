/* map/cidr_table.h -- "cidr": blocks of addresses and what they lead to, as cidr_table(5) of Postfix has them: the
 * first rule that matches counts, with IF, ENDIF and "!". Rules become ranges that do not overlap, each with the value
 * of its first rule, so a search takes the same few steps whatever the order. Rules that Postfix skips are skipped. */
#ifndef MM_MAP_CIDR_TABLE_H
#define MM_MAP_CIDR_TABLE_H

#include "map/table.h"

extern const struct mm_table_format mm_cidr_format;

#endif
