/* task/blame.h -- whose line an error is. What a primitive says of its arguments is reported at the script's line,
 * whatever of the runtime's own Lua stands between; tracebacks show what the script's author has written.
 * Looks at Lua stacks only; knows no tasks and no sessions. Modules of the runtime are told by their chunk names, which
 * begin with "moonmilter.". */
#ifndef MM_TASK_BLAME_H
#define MM_TASK_BLAME_H

#include "base/fault.h"

struct lua_State;
struct lua_Debug;

/* Does the frame, of which "S" is known, belong to the runtime or to C, and not to a script? */
bool mm_blame_is_ours(const struct lua_Debug *);
/* Pushes "file:line: " of the innermost frame of a script from a level on, or "". */
void mm_blame_push_location(struct lua_State *, int level);
/* luaL_error() with the script's file and line. Does not return. */
int mm_raise_at_script(struct lua_State *, const char *format, ...);
/* An error that pcall has caught from a primitive, on the stack that runs. Pushes its text with the script's line and
 * the name of the function that the script has called, unless message, which is on top, is right as it is. */
void mm_blame_caller(struct lua_State *, const char *message);

/* Fills why with the error on top of co, which is dead now (its stack is still there), and a traceback.
 * needs_location: the text stands alone, so file and line go before it when it has none. May raise in L, whose stack
 * it leaves as it likes: making strings may raise, and so may the script's __tostring. */
void mm_blame_describe(struct lua_State *L, struct lua_State *co, bool needs_location, struct mm_fault *why);
/* Takes what a script's author did not write out of a text with tracebacks, in place. */
void mm_blame_hide_runtime(char *text);

#endif
