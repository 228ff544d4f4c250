/* base/holding.h -- what a session, a message or a generation holds of the world outside: sockets, requests, places in
 * a queue. A holding is embedded in the thing itself. Its holder lists it, and when the holder ends, whatever is still
 * listed is dropped there and then: a descriptor never waits for a garbage collector. Knows nothing of what is held. */
#ifndef MM_BASE_HOLDING_H
#define MM_BASE_HOLDING_H

#include <stddef.h>

struct mm_holding {
	struct mm_holding  *next;
	struct mm_holding **link;       /* what points at this one; NULL: in no list */
	void              (*drop)(struct mm_holding *);
};

struct mm_holder {
	struct mm_holding *first;       /* borrowed */
};

/* drop is called at most once, by mm_holder_end(), with the holding already off the list. */
void mm_holder_add(struct mm_holder *, struct mm_holding *, void (*drop)(struct mm_holding *));
/* Off its list; on none: nothing happens. */
void mm_holding_leave(struct mm_holding *);
/* Drops everything, the newest first. Also what a drop adds. */
void mm_holder_end(struct mm_holder *);

#endif
