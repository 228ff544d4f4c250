/* base/holding.h -- what a session, a message or a generation holds outside of itself: sockets, requests, places in a
 * queue. A holding is embedded in the thing that is held. Its holder lists it, and when the holder ends, everything
 * still listed is dropped at once: a descriptor never waits for a garbage collector. Knows nothing
 * about the things held. */
#ifndef MM_BASE_HOLDING_H
#define MM_BASE_HOLDING_H

#include <stddef.h>

struct mm_holding {
	struct mm_holding  *next;
	struct mm_holding **link;       /* the pointer that points at this one; NULL: in no list */
	void              (*drop)(struct mm_holding *);
};

struct mm_holder {
	struct mm_holding *first;       /* borrowed */
};

/* mm_holder_end() calls drop, at most once, after it has taken the holding off the list. */
void mm_holder_add(struct mm_holder *, struct mm_holding *, void (*drop)(struct mm_holding *));
/* Takes it off its list; on no list: nothing happens. */
void mm_holding_leave(struct mm_holding *);
/* Drops everything, the newest first, including what a drop adds. */
void mm_holder_end(struct mm_holder *);

#endif
