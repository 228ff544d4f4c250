/* process/look.h -- a regular check: have the files of a generation changed, and are the listening sockets' files still
 * there? Binds lost sockets again and logs that; says once that the control socket is lost. The caller begins a reload
 * and passes new sockets to workers.
 * Ownership: the host is BORROWED. */
#ifndef MM_PROCESS_LOOK_H
#define MM_PROCESS_LOOK_H

#include "embed/host.h"

struct mm_look {
	struct mm_host *host;                   /* borrowed */
	uint64_t        fingerprint;            /* of the files at the last look; 0: none yet */
	bool            has_said_lost;          /* a socket that cannot be bound again */
	bool            has_said_control;       /* the control socket is lost */
};

/* True when files have changed since the last call. Always false at the first call and with watch = false
 * in the configuration. */
bool mm_look_at_files(struct mm_look *);
/* Binds lost sockets again. Calls renewed for each one that is back; may be NULL. */
void mm_look_at_sockets(struct mm_look *, void (*renewed)(void *self, unsigned listener), void *self);

#endif
