/* program/place.h -- where this program is, and what lies beside it: in the source tree or installed. */
#ifndef MM_PROGRAM_PLACE_H
#define MM_PROGRAM_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#define MM_PLACE_SIZE 4096

/* Writes the directory of this program, without "/" at the end. */
bool mm_place_of_program(char *out, size_t size);
/* Writes the directory of the stubs for editors. False: there is none. */
bool mm_place_of_stubs(char *out, size_t size);

#endif
