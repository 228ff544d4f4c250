/* command_send.h -- `moonmilter send`: an MTA at the command line, towards any milter. */
#ifndef MM_COMMAND_SEND_H
#define MM_COMMAND_SEND_H

/* argv[0] is "send". Returns an exit code. */
int mm_command_send(int argc, char **argv);

#endif
