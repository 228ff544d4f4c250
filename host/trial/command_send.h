/* trial/command_send.h -- `moonmilter send`: plays an MTA towards any milter, from the command line. */
#ifndef MM_TRIAL_COMMAND_SEND_H
#define MM_TRIAL_COMMAND_SEND_H

/* argv[0] is "send". Returns an exit code. */
int mm_command_send(int argc, char **argv);

#endif
