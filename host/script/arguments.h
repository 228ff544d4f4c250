/* script/arguments.h -- what a handler is called with after ctx; docs/scripting.md names it.
 * Reads the event; knows nothing of verdicts, and not which handlers run. */
#ifndef MM_SCRIPT_ARGUMENTS_H
#define MM_SCRIPT_ARGUMENTS_H

#include "task/task.h"

#define MM_ARGUMENTS_ALL 3      /* ctx and two more: no handler gets more */

/* Pushes the arguments of the session's event, as far as the function can see them: seen counts the parameters that
 * it declares, ctx included. A handler of one header field sees no name. Returns how many. May raise. */
int mm_arguments_push(struct lua_State *co, const struct mm_script_session *, unsigned seen);

#endif
