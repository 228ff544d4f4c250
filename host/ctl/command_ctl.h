/* ctl/command_ctl.h -- `moonmilter ctl`: sends a request to a running host through its control socket
 * and prints the answer. */
#ifndef MM_CTL_COMMAND_CTL_H
#define MM_CTL_COMMAND_CTL_H

int mm_command_ctl(int argc, char **argv);      /* argv[0] is "ctl"; an exit code of sysexits.h */

#endif
