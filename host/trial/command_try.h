/* command_try.h -- `moonmilter try`: a message file through scripts, in process. */
#ifndef MM_COMMAND_TRY_H
#define MM_COMMAND_TRY_H

/* argv[0] is "try". Returns an exit code. */
int mm_command_try(int argc, char **argv);

#endif
