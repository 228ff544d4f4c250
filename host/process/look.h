/* process/look.h -- a look around, every now and then: have the files changed that a generation is made of, and are the
 * listening sockets' files still there? Says what it finds; a reload, and handing new sockets to workers, is the
 * caller's. Lost sockets are bound anew, and logged.
 * Ownership: the host is BORROWED. */
#ifndef MM_PROCESS_LOOK_H
#define MM_PROCESS_LOOK_H

#include "embed/host.h"

struct mm_look {
	struct mm_host *host;                   /* borrowed */
	uint64_t        fingerprint;            /* of the files, as seen last; 0: not yet */
	bool            has_said_lost;          /* a socket that cannot be bound anew */
};

/* True when files have changed since the last call. With watch = false in the configuration, and at the first call,
 * never. */
bool mm_look_at_files(struct mm_look *);
/* Binds lost sockets anew. renewed is called for each that is back; may be NULL. */
void mm_look_at_sockets(struct mm_look *, void (*renewed)(void *self, unsigned listener), void *self);

#endif
