/* base/poison.h -- the events that have killed a worker, as numbers in memory that all workers of a host read: a worker
 * looks here before it runs an event. Only the master writes (process/suspects.h). Knows no mail: milter/digest.h makes
 * the numbers. */
#ifndef MM_BASE_POISON_H
#define MM_BASE_POISON_H

#include "base/bounds.h"

#include <stdbool.h>
#include <stdint.h>

/* Set in a digest that many messages share: one death is no proof then. */
#define MM_POISON_IS_WEAK UINT64_C(1)

struct mm_poison_entry {
	uint64_t digest;
	uint64_t until_ms;              /* of mm_clock_now() */
};

struct mm_poison {
	uint32_t count;                 /* entries in use, the first ones */
	uint64_t seed;                  /* of digests: nobody outside can make two messages that look alike */
	struct mm_poison_entry entries[MM_POISON_MAX];
};

/* Shared with the processes forked later. NULL: out of memory. */
struct mm_poison *mm_poison_new(void);
void mm_poison_free(struct mm_poison *);
/* For a worker: from now on this process can only read it. */
void mm_poison_protect(struct mm_poison *);

/* For the master: the first count entries are in force. */
void mm_poison_publish(struct mm_poison *, const struct mm_poison_entry *, uint32_t count);
/* True: the event has killed a worker, and its time is not over. */
bool mm_poison_has(const struct mm_poison *, uint64_t digest, double now);

/* In the header because it is asked before every event. */
static inline bool mm_poison_is_any(const struct mm_poison *p)
{
	return __atomic_load_n(&p->count, __ATOMIC_RELAXED) != 0;
}

#endif
