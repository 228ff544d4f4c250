/* task/vault.h -- Lua values that the host keeps, and userdata that the host recognises, out of the reach of scripts.
 * Lua's registry is open to every C module and, through the debug library, to every script: one loop that clears a
 * table too many empties it. So what the host must find again is not there but in a table on the stack of a coroutine
 * of its own, which no Lua code can name. A userdata is recognised by what is written in it, not by its metatable,
 * which debug.setmetatable can give to any other.
 *
 * Registry references of the other files (task/generation.h) are numbers of the vault. */
#ifndef MM_TASK_VAULT_H
#define MM_TASK_VAULT_H

#include "task/generation.h"

#include <stddef.h>

/* ---- the vault ---- */

/* Makes the vault of a new state: the first call protected, it may raise; the second one right after it, unprotected,
 * with nothing on the stack of the state. */
void mm_vault_make(struct lua_State *);
void mm_vault_fix(struct mm_generation *);

/* [value] -> []: keeps it and returns its number. May raise when memory runs out. */
int mm_vault_put(struct lua_State *);
/* Pushes the value of a number, nil for MM_NO_REF. Never raises if the stack has room for one value. The state is one
 * of the generation's. */
void mm_vault_push(const struct mm_generation *, struct lua_State *, int ref);
/* The values of some numbers, for less than as many calls cost. Never raises if the stack has room for them. */
void mm_vault_push_all(const struct mm_generation *, struct lua_State *, const int *refs, int count);
/* Forgets it and marks the number gone. Never raises. */
void mm_vault_drop(struct lua_State *, int *ref);

/* A few values are needed at every call or message: they stand on the vault's own stack, so that reaching them takes no
 * look-up. [value] -> []: keeps it until the end of the state and returns its place there. */
int mm_vault_stand(struct lua_State *);
/* As mm_vault_push(). */
void mm_vault_push_standing(const struct mm_generation *, struct lua_State *, int place);
/* Removes the field of a number from the table at a place, if it is there. Never raises. */
void mm_vault_forget(const struct mm_generation *, int place, int key);

/* The generation that a Lua state belongs to, found through the state's allocator (memory.h). */
struct mm_generation *mm_generation_of(struct lua_State *);
/* Around lua_close, which has its own allocator back but still runs finalizers. NULL: it is over. */
void mm_generation_closes(struct mm_generation *);

/* As lua_cpcall: runs the function with the pointer as its only value, and returns a status. The function is never
 * given to Lua, where a call hook would hand it to scripts. */
int mm_protected(struct lua_State *, int (*run)(struct lua_State *), void *self);

/* ---- userdata ---- */

/* The first member of each userdata of the host. kind is the address of something static. */
struct mm_tag {
	const void *kind;
	const void *self;
};

/* Pushes a userdata of that many bytes, all zero but its tag, without a metatable. */
void *mm_tagged_new(struct lua_State *, const void *kind, size_t size);
/* The userdata of a kind at an index, whatever its metatable; NULL: it is something else. */
void *mm_tagged(struct lua_State *, int at, const void *kind);

#endif
