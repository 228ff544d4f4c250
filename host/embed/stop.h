/* embed/stop.h -- how a host ends: it drains, then it halts, then it is stopped.
 * A drain closes the listeners and lets open sessions run until drain_timeout. A halt ends every session with a
 * temporary failure and gives the last replies a moment to go out. mm_host_stop() itself is public. */
#ifndef MM_EMBED_STOP_H
#define MM_EMBED_STOP_H

#include "moonmilter.h"

/* Accepts no more connections, and stops when the last session has ended, however long that takes. */
void mm_host_retire(struct mm_host *);
/* For signals and `moonmilter ctl stop`: the first call drains, a second one stops at once. */
void mm_host_stop_as_asked(struct mm_host *);
bool mm_host_is_stopping(const struct mm_host *);
/* The last session of the stopping host (self) has ended. */
void mm_host_on_drained(void *self);

#endif
