/* io/turn.h -- turns of a worker's loop, from one wait to the next: decides how long one session may work in a turn,
 * and logs turns that take long. */
#ifndef MM_IO_TURN_H
#define MM_IO_TURN_H

#include "base/log.h"
#include "milter/engine.h"
#include "task/profile.h"

struct mm_turns;

/* All arguments are borrowed; the watchers keep no loop running. NULL: out of memory. */
struct mm_turns *mm_turns_new(void *loop, struct mm_log *, struct mm_profile *, struct mm_engine_shared *);
void mm_turns_free(struct mm_turns *);
/* Measures how many ticks a second has, which is known the better the longer the process runs; call it now and then.
 * Before the first call a session may work as long as it wants. */
void mm_turns_measure(struct mm_turns *);

#endif
