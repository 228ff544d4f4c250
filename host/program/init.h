/* program/init.h -- `moonmilter init`: writes a new project, which runs and passes its spec as it stands. */
#ifndef MM_PROGRAM_INIT_H
#define MM_PROGRAM_INIT_H

int mm_command_init(int argc, char **argv);

#endif
