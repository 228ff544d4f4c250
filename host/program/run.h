/* program/run.h -- the commands of the program that serve or look at scripts; each is a main of its own.
 * argv[0] is the command's name. They return exit codes of sysexits.h. */
#ifndef MM_COMMAND_CHECK_H
#define MM_COMMAND_CHECK_H

int mm_command_run(int argc, char **argv);
int mm_command_check(int argc, char **argv);
int mm_command_help_config(void);

#endif
