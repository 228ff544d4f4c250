/* task/blame.h -- which line an error belongs to. A primitive's argument errors are reported at the script's line, even
 * when the runtime's own Lua is in between; tracebacks show only the lines of the script's author.
 * Looks only at Lua stacks; knows no tasks and no sessions. Modules of the runtime are recognised by their chunk names,
 * which begin with "moonmilter.". */
#ifndef MM_TASK_BLAME_H
#define MM_TASK_BLAME_H

#include "base/fault.h"

struct lua_State;
struct lua_Debug;

/* Does the frame (filled with "S") belong to the runtime or to C, and not to a script? */
bool mm_blame_is_ours(const struct lua_Debug *);
/* Pushes "file:line: " of the innermost script frame from a level on, or "". */
void mm_blame_push_location(struct lua_State *, int level);
/* luaL_error() with the script's file and line. Does not return. */
int mm_raise_at_script(struct lua_State *, const char *format, ...);
/* For an error that pcall has caught from a primitive, on the running stack. Pushes its text with the script's line and
 * the name of the function that the script called, unless message, which is on top, is already right. */
void mm_blame_caller(struct lua_State *, const char *message);

/* Fills why with the error on top of co, which is dead now (its stack is still there), and a traceback.
 * needs_location:
 * no traceback follows the text, so file and line go before it when it has none. May raise in L and leaves anything on
 * its stack: making strings may raise, and so may the script's __tostring. */
void mm_blame_describe(struct lua_State *L, struct lua_State *co, bool needs_location, struct mm_fault *why);
/* Removes lines of the runtime from a text with tracebacks, in place. */
void mm_blame_hide_runtime(char *text);

#endif
