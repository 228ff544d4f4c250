/* ctl/command_profile.h -- `moonmilter profile`, also `ctl profile`: asks a running host what handlers
 * cost, and on which lines. */
#ifndef MM_CTL_COMMAND_PROFILE_H
#define MM_CTL_COMMAND_PROFILE_H

int mm_command_profile(int argc, char **argv);  /* argv[0] is "profile"; an exit code of sysexits.h */

#endif
