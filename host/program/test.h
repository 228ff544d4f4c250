/* program/test.h -- `moonmilter test`: runs specs for filters under busted, without any set-up. */
#ifndef MM_PROGRAM_TEST_H
#define MM_PROGRAM_TEST_H

/* argv[0] is the command's name. Returns an exit code; on success it does not return, busted takes over. */
int mm_command_test(int argc, char **argv);

#endif
