/* process/suspects.h -- what workers have died of: the master's memory of the events at which they ended, so that a
 * message that kills costs one worker and not one for each retry. An event that has crashed a worker, or that hung
 * until the worker was killed, is refused at once; one that a worker was killed at from outside (the operator, the
 * kernel's OOM killer), and one that many messages share, after its second death. The time doubles with each further
 * death, up to MM_POISON_TIME_MAX.
 * Bounded: MM_POISON_MAX entries. Only this process writes what the workers see (base/poison.h). Knows no processes. */
#ifndef MM_PROCESS_SUSPECTS_H
#define MM_PROCESS_SUSPECTS_H

#include "base/census.h"
#include "base/log.h"
#include "base/say.h"

struct mm_suspect {
	uint64_t digest;
	unsigned deaths;
	unsigned weight;                /* of these deaths: MM_SUSPECT_WEIGHT makes it poison */
	unsigned terms;                 /* how often it has been refused for a time */
	double   until;                 /* refused till then; 0: not */
	double   forget_at;
	struct mm_whereabouts at;       /* the last death that said anything; is_set 0: none did */
};

#define MM_SUSPECT_WEIGHT 2u

struct mm_suspects {
	struct mm_poison *poison;       /* borrowed: what workers see */
	struct mm_suspect items[MM_POISON_MAX];
	unsigned          count;
};

/* A worker has died at this event. is_certain: of the event, as far as anyone can tell. time: poison_time; 0: off.
 * Returns the seconds for which it is refused from now on; 0: not yet. Times are those of mm_clock_now(). */
double mm_suspects_add(struct mm_suspects *, uint64_t digest, bool is_certain, const struct mm_whereabouts *at,
	double time, double now);
/* Takes out what is over. Called now and then. */
void mm_suspects_sweep(struct mm_suspects *, double now);
/* New scripts serve: all may be tried again, but what kills again is refused for longer. */
void mm_suspects_pardon(struct mm_suspects *);
/* Returns how many were forgotten. */
unsigned mm_suspects_forget(struct mm_suspects *);
/* A line for each, for people: "poison fingerprint=… sender=…". */
void mm_suspects_describe(const struct mm_suspects *, double now, struct mm_say);

#endif
