/* trial/command_try.h -- `moonmilter try`: runs a message file through scripts in this process. */
#ifndef MM_TRIAL_COMMAND_TRY_H
#define MM_TRIAL_COMMAND_TRY_H

/* argv[0] is "try". Returns an exit code. */
int mm_command_try(int argc, char **argv);

#endif
