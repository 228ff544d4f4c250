/* script/arguments.h -- the arguments that a handler gets after ctx; docs/scripting.md lists them.
 * Reads the event. Does not know verdicts, nor which handlers run. */
#ifndef MM_SCRIPT_ARGUMENTS_H
#define MM_SCRIPT_ARGUMENTS_H

#include "task/task.h"

#define MM_ARGUMENTS_ALL 3      /* ctx and two more: the most that a handler gets */

/* Pushes those arguments of the session's event that the function declares: seen counts its parameters, ctx included. A
 * handler of one header field gets no name. Returns how many it pushed. May raise. */
int mm_arguments_push(struct lua_State *co, const struct mm_script_session *, unsigned seen);

#endif
