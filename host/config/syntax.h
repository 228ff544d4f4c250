/* config/syntax.h -- the language of moonmilter.conf: Lua tables without code, read into value trees.
 *
 *     file   = { ( Name "=" value | "milter" ( "." Name | "[" String "]" ) "=" table ) [";" | ","] }
 *     value  = String | Number | "true" | "false" | "nil" | table
 *     table  = "{" [ field { ( "," | ";" ) field } [ "," | ";" ] ] "}"
 *     field  = value | Name "=" value | "[" String "]" "=" value
 *
 * Strings, numbers and comments are Lua's (5.1 with LuaJIT's \x, \z and \u{}), so a file that is accepted here means
 * the same to Lua, commas between settings apart. Anything more (calls, operators, names as values, local, return) is
 * refused with file:line:column and what to write instead. nil leaves a field unset. A name given twice in one table is
 * refused: Lua would forget the first in silence.
 *
 * Knows no keys and no units (config.h), runs no Lua. Bounds: MM_CONFIG_SIZE_MAX bytes, tables MM_CONFIG_DEPTH_MAX
 * deep; numbers have at most 15 significant digits, which is what survives a double both ways. */
#ifndef MM_CONFIG_SYNTAX_H
#define MM_CONFIG_SYNTAX_H

#include "base/fault.h"
#include "base/value.h"

/* Reads a whole file. top gets the plain names, milters a field for each milter.NAME; both must be nil and are tables
 * owned by the caller afterwards. name stands in faults. False: both are nil again and the fault says where. */
bool mm_config_syntax_read(struct mm_text text, const char *name, struct mm_value *top, struct mm_value *milters,
	struct mm_fault *why);
/* Reads one value and nothing else, as `{ threshold = 5 }` on a command line. The same rules. */
bool mm_config_syntax_read_value(struct mm_text text, const char *name, struct mm_value *out, struct mm_fault *why);

#endif
