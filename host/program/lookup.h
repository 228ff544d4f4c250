/* program/lookup.h -- `moonmilter map`: looks keys up in maps, as a script would and as `postmap -q` does. */
#ifndef MM_PROGRAM_LOOKUP_H
#define MM_PROGRAM_LOOKUP_H

int mm_command_map(int argc, char **argv);      /* argv[0] is for error texts; an exit code of sysexits.h, or 1 */

#endif
