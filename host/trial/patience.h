/* trial/patience.h -- watches over calls into a host that may not come back: a script may wait, or be stuck in a C
 * function, where nothing else can end it. A thread says that it still waits, and in the end reports that the time is
 * over; what it calls must end the process. Knows no scripts: what to say is the caller's. */
#ifndef MM_TRIAL_PATIENCE_H
#define MM_TRIAL_PATIENCE_H

#include <stdbool.h>

struct mm_patience_report {
	void *self;
	/* Called from the thread: after two seconds, then less and less often. */
	void (*still_waiting)(void *self, double seconds, double limit);
	/* Called from the thread when the watched call has not returned at its limit; must not return. */
	void (*overdue)(void *self, double limit);
};

/* Starts the thread, once. False: it cannot be started, and nothing is watched. */
bool mm_patience_start(struct mm_patience_report);
/* What follows, up to mm_patience_rest(), may take so many seconds. */
void mm_patience_watch(double limit);
void mm_patience_rest(void);

#endif
