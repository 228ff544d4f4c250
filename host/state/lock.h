/* state/lock.h -- a lock between the processes of a host, in a mapped file.
 * It survives its holder: when a process is killed with the lock, the next one gets it and goes on. It is never waited
 * for without end: a holder that is stopped (SIGSTOP, a debugger) makes others report "busy", not hang. The file also
 * holds a few bytes that the lock guards. */
#ifndef MM_STATE_LOCK_H
#define MM_STATE_LOCK_H

#include "base/fault.h"

#include <stddef.h>

struct mm_lock;

/* Maps the file, which is made when it is not there, with `size` guarded bytes, zero at first. Everybody must name the
 * same size. NULL: the fault says why. */
struct mm_lock *mm_lock_open(const char *path, size_t size, struct mm_fault *why);
void mm_lock_close(struct mm_lock *);                   /* NULL is fine; not while it is held */
void *mm_lock_guarded(const struct mm_lock *);          /* borrowed: the guarded bytes */
/* Waits some milliseconds at most. False: another process holds it. */
bool mm_lock_take(struct mm_lock *);
/* After a take: the holder before us has died with the lock. */
bool mm_lock_was_abandoned(const struct mm_lock *);
void mm_lock_give(struct mm_lock *);

#endif
