/* io/turn.h -- turns of a worker's loop, from one wait to the next: decides how long one session may work in a turn,
 * and logs turns that take long. */
#ifndef MM_IO_TURN_H
#define MM_IO_TURN_H

#include "base/log.h"
#include "milter/engine.h"
#include "task/profile.h"

struct mm_turns {
	struct mm_log           *log;           /* borrowed, as all pointers */
	struct mm_profile       *profile;
	struct mm_engine_shared *engines;
	double                   looked_at;     /* mm_clock_now(), as said_at; 0: never */
	double                   said_at;
};

void mm_turns_init(struct mm_turns *, struct mm_log *, struct mm_profile *, struct mm_engine_shared *);
/* Measures how many ticks a second has, which is known the better the longer the process runs; call it now and then.
 * Before the first call a session may work as long as it wants. */
void mm_turns_measure(struct mm_turns *);
/* Called by a timer of the loop every so many seconds: when it comes late, one turn has taken that long. */
void mm_turns_look(struct mm_turns *, double every);

#endif
