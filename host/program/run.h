/* program/run.h -- the commands that serve or check scripts; each works like a main().
 * argv[0] is the command's name. Each returns an exit code of sysexits.h. */
#ifndef MM_PROGRAM_RUN_H
#define MM_PROGRAM_RUN_H

int mm_command_run(int argc, char **argv);
int mm_command_check(int argc, char **argv);
int mm_command_help_config(void);

#endif
