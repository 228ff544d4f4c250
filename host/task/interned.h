/* task/interned.h -- which short strings a walk over fields has handed to Lua lately, such as their names: each has a
 * place in a table that moonmilter.runtime.entry keeps, where Lua finds it without making it again. Mail decides what
 * comes, so there are a fixed number of places, and a string takes the place of the one before it. */
#ifndef MM_TASK_INTERNED_H
#define MM_TASK_INTERNED_H

#include "base/text.h"

#define MM_INTERNED_PLACES 128u
#define MM_INTERNED_MAX    30u          /* bytes of a string; longer ones have no place */

struct mm_interned {
	uint8_t making;                         /* the place that Lua fills now; 0: none */
	uint8_t making_size;                    /* of its string */
	struct {
		uint8_t size;                   /* 0: Lua has nothing there */
		char    bytes[MM_INTERNED_MAX + 1];
	}       places[MM_INTERNED_PLACES];     /* the first one stays free */
};

/* Where Lua finds the string. Less than 0: where Lua is to put it, at -place, before it goes further; 0: nowhere. */
int mm_interned_place(struct mm_interned *, struct mm_text);
/* Lua has gone further, so that what it was to put somewhere is there. */
static inline void mm_interned_made(struct mm_interned *in)
{
	if (in->making != 0)
		in->places[in->making].size = in->making_size;
	in->making = 0;
}
/* A new walk begins: whether the last one has got so far is not known. */
static inline void mm_interned_begin(struct mm_interned *in) { in->making = 0; }

#endif
