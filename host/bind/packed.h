/* bind/packed.h -- Lua values as bytes, for stores: strings, numbers, booleans, and tables of those.
 * A letter, then: n a double of this machine; s at the top the rest of the bytes, inside a table a 4-byte size and the
 * bytes; t and f nothing; { pairs of key and value, then }. */
#ifndef MM_BIND_PACKED_H
#define MM_BIND_PACKED_H

#include "base/buffer.h"
#include "base/text.h"

struct lua_State;

#define MM_PACKED_DEPTH_MAX 16u         /* levels of tables */
#define MM_PACKED_SIZE_MAX  (1u << 20)  /* bytes */

/* Appends the value at an index. NULL: done; else what is wrong with it, static: "a function". The buffer may then hold
 * a part. */
const char *mm_packed_write(struct lua_State *, int at, struct mm_buffer *to);
/* Pushes the value; nil when the bytes are not a packed value. May raise: out of memory. */
void mm_packed_push(struct lua_State *, struct mm_text);

#endif
