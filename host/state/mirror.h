/* state/mirror.h -- copies of stores on a disk, so that they survive the host.
 *
 * A thread of each process tries to become the copyist of a store; the kernel lets one of them (flock) and frees the
 * place when that process ends, however it ends. Every MM_MIRROR_EVERY seconds the copyist writes what has changed to
 * DISK/NAME.mdb in one transaction, which is on the disk when it ends. So the file is always whole, and a power cut
 * costs what changed since the last round. The thread runs no Lua and touches nothing of the loop; a slow or full disk
 * holds up the copies only. */
#ifndef MM_STATE_MIRROR_H
#define MM_STATE_MIRROR_H

#include "base/fault.h"

#define MM_MIRROR_EVERY 0.5             /* seconds between rounds */

struct mm_mirror;
struct mm_store_options;

/* Begins to copy a store that is open; the options are its own. NULL: the fault says why. */
struct mm_mirror *mm_mirror_start(const char *disk, const char *memory, const char *name,
	const struct mm_store_options *, struct mm_fault *why);
/* Copies what has changed once more, if it is the copyist, and ends the thread. */
void mm_mirror_stop(struct mm_mirror *);                /* NULL is fine */
/* True once after the copies began to fail, with the reason, and once after they work again, with an empty text. */
bool mm_mirror_has_news(struct mm_mirror *, char *text, size_t size);

#endif
