/* config/syntax.h -- the language of moonmilter.conf: Lua tables without code, read into value trees.
 *
 *     file   = { ( Name "=" value | "milter" ( "." Name | "[" String "]" ) "=" table ) [";" | ","] }
 *     value  = String | Number | "true" | "false" | "nil" | table
 *     table  = "{" [ field { ( "," | ";" ) field } [ "," | ";" ] ] "}"
 *     field  = value | Name "=" value | "[" String "]" "=" value
 *
 * Strings, numbers and comments are Lua's (5.1 with LuaJIT's \x, \z and \u{}), so a file that is accepted here means
 * the same to Lua, apart from commas between settings. Anything more (calls, operators, names as values, local, return)
 * is refused with file:line:column and what to write instead. nil leaves a field unset. A name given twice in one table
 * is refused: Lua would silently forget the first.
 *
 * Knows no keys and no units (config.h), runs no Lua. Bounds: MM_CONFIG_SIZE_MAX bytes, tables MM_CONFIG_DEPTH_MAX
 * deep; numbers have at most 15 significant digits, which survive a double in both directions. */
#ifndef MM_CONFIG_SYNTAX_H
#define MM_CONFIG_SYNTAX_H

#include "base/fault.h"
#include "base/value.h"

/* Reads a whole file. top gets the plain names, milters gets a field for each milter.NAME; both must be nil before and
 * are tables OWNED by the caller afterwards. name is shown in faults. False: both are nil again and the fault
 * says where the error is. */
bool mm_config_syntax_read(struct mm_text text, const char *name, struct mm_value *top, struct mm_value *milters,
	struct mm_fault *why);
/* Reads exactly one value, such as `{ threshold = 5 }` on a command line, by the same rules. */
bool mm_config_syntax_read_value(struct mm_text text, const char *name, struct mm_value *out, struct mm_fault *why);

#endif
