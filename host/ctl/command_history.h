/* ctl/command_history.h -- `moonmilter ctl history`, `ctl tail` and `ctl explain`: the last messages of a host. The
 * host hands out the memory that they are in (story/history.h); looking, choosing and showing is done here. */
#ifndef MM_CTL_COMMAND_HISTORY_H
#define MM_CTL_COMMAND_HISTORY_H

/* argv[0] is a name for the command, options and words follow. Each returns the exit status. */
int mm_command_history(int argc, char **argv);
int mm_command_tail(int argc, char **argv);
int mm_command_explain(int argc, char **argv);

#endif
