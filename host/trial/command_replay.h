/* trial/command_replay.h -- `moonmilter replay`: runs recorded conversations through other scripts and
 * shows what would differ. */
#ifndef MM_TRIAL_COMMAND_REPLAY_H
#define MM_TRIAL_COMMAND_REPLAY_H

/* argv[0] is "replay". Returns an exit code. */
int mm_command_replay(int argc, char **argv);

#endif
