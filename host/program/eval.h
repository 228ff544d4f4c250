/* program/eval.h -- `moonmilter eval`: runs Lua as a handler would run it, in this process, and prints what comes
 * back. */
#ifndef MM_PROGRAM_EVAL_H
#define MM_PROGRAM_EVAL_H

int mm_command_eval(int argc, char **argv);     /* argv[0] is for error texts; an exit code of sysexits.h, or 1 */

#endif
