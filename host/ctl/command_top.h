/* ctl/command_top.h -- `moonmilter ctl top`: what a running host does now, drawn again and again until q. */
#ifndef MM_CTL_COMMAND_TOP_H
#define MM_CTL_COMMAND_TOP_H

int mm_command_top(int argc, char **argv);      /* argv[0] is for error texts; an exit code of sysexits.h */

#endif
