/* bind/handle.h -- a script's handle of a thing outside of Lua: a socket, a UDP socket, a request, a map.
 * A handle is a userdata with a pointer to its thing. It is open until the thing ends: the script closes it, its owner
 * ends (message, client or generation), the thing itself ends, or, as a last resort, the garbage collector ends it.
 * From then on the handle is closed, and every use of it fails with an error that says so.
 *
 * A handle is made before its thing: closed, with its metatable. So an error while the thing is made leaks nothing, and
 * no error can come between a thing and its handle.
 *
 * Knows nothing about the things, nor about tasks that wait for them. An open handle OWNS its thing, and its holder
 * lists it (base/holding.h). */
#ifndef MM_BIND_HANDLE_H
#define MM_BIND_HANDLE_H

#include "task/task.h"

enum mm_handle_number { MM_HANDLE_SOCKET = 1, MM_HANDLE_DATAGRAM, MM_HANDLE_HTTP,
	MM_HANDLE_DATABASE, MM_HANDLE_MAP, MM_HANDLE_PLACE, MM_HANDLE_SERVICE };

/* The class of handles; static. */
struct mm_handle_class {
	const char *complaint;          /* error text for something else at index 1, "a map is expected, not a %s";
	                                 * %s: its type. What stands before " is expected" is the class's noun */
	void      (*end)(void *thing);  /* frees it; the handle is already closed. Runs no Lua, raises nothing */
	enum mm_handle_number number;   /* of its metatable in the vault */
};

struct mm_handle;       /* what the userdata leads to; freed when that is collected */

/* Makes the class, once for each Lua state: adds close(handle) to the table of functions on top of the stack and pushes
 * the metatable, whose __gc does the same and more. The caller adds __index and __tostring. */
void mm_handle_push_class(struct lua_State *, const struct mm_handle_class *);
/* Pushes a closed handle; the result is BORROWED while Lua can reach it or it is open. Raises when memory runs out, so
 * the caller must hold nothing. */
struct mm_handle *mm_handle_new(struct lua_State *, const struct mm_handle_class *);
/* TAKES the thing: the handle is now open, and the thing ends with the message or the client of the current task, or
 * with the generation. Never fails. */
void mm_handle_open(struct mm_handle *, void *thing, struct mm_generation *);
/* The same for a thing that ends with another holder, which is of the same generation. */
void mm_handle_open_in(struct mm_handle *, void *thing, struct mm_holder *);
/* The thing of the handle at index 1, BORROWED; NULL: closed. Raises when it is not a handle of the class. */
void *mm_handle_check(struct lua_State *, const struct mm_handle_class *);
/* Closes the handle and ends its thing. Already closed: nothing happens. */
void mm_handle_close(struct mm_handle *);

#endif
