/* async/append.h -- appends bytes to a file without waiting for the disk: a thread does it, and the loop hears when it
 * is done. The bytes are whole in the file and on the disk, or the file is as it was: what a full disk took is cut off
 * again. A line that a crash has left without its end is ended first, so that it spoils no line of ours.
 *
 * The file is opened anew each time, so whoever renames it (logrotate) need not tell us; it is made when it is not
 * there, mode 0640. It must be a regular file. A lock (flock) keeps two writers apart; nobody waits for it. */
#ifndef MM_ASYNC_APPEND_H
#define MM_ASYNC_APPEND_H

#include "base/clock.h"
#include "base/cursor.h"
#include "base/fault.h"

struct mm_append;

/* From the loop, once: text NULL when the bytes are on the disk; else what is wrong, BORROWED for the call. */
typedef void mm_append_done(void *self, const char *text);

/* Begins. Copies path and bytes. NULL: the fault says why. The result is BORROWED until done was called. */
struct mm_append *mm_append_start(struct mm_clock *, const char *path, struct mm_text bytes, mm_append_done *done,
	void *self, struct mm_fault *why);
/* done will not be called any more; the bytes may be written or not. */
void mm_append_leave(struct mm_append *);

#endif
