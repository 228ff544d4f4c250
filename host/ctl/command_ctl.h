/* command_ctl.h -- `moonmilter ctl`: asks a running host through its control socket, prints what it says. */
#ifndef MM_COMMAND_CTL_H
#define MM_COMMAND_CTL_H

int mm_command_ctl(int argc, char **argv);      /* argv[0] is "ctl"; an exit code of sysexits.h */

#endif
