/* bind/packed.h -- Lua values as the bytes of state/packed.h, for stores. */
#ifndef MM_BIND_PACKED_H
#define MM_BIND_PACKED_H

#include "base/buffer.h"
#include "state/packed.h"

struct lua_State;

/* Appends the value at an index. NULL: done; else what is wrong with it, static: "a function". The buffer may then hold
 * a part. */
const char *mm_packed_write(struct lua_State *, int at, struct mm_buffer *to);
/* Pushes the value; nil when the bytes are not a packed value. May raise: out of memory. */
void mm_packed_push(struct lua_State *, struct mm_text);

#endif
