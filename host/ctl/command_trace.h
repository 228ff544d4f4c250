/* ctl/command_trace.h -- `moonmilter ctl trace`: sessions live, as the host's processes write them (story/trace.h). It
 * reads one socket until the host, or the user, ends it. */
#ifndef MM_CTL_COMMAND_TRACE_H
#define MM_CTL_COMMAND_TRACE_H

int mm_command_trace(int argc, char **argv);

#endif
