/* async/handshake.h -- the beginning of a connection, on a thread of its own: for libraries that block there (TLS), or
 * work for milliseconds (4096 rounds of a hash for a SCRAM password). The loop waits for a descriptor meanwhile. It may
 * leave at any time: then the socket is shut down, so that the library fails in whatever it waits for, and the thread
 * ends by itself. At the end of the process all are left, and waited for, for a second at most.
 *
 * At most MM_HANDSHAKES_MAX of a process are under way. Threads get no signals; SIGPIPE ends no process there.
 * Ownership: a handshake OWNS its job, and what the job has made until mm_handshake_look() GIVES it. */
#ifndef MM_ASYNC_HANDSHAKE_H
#define MM_ASYNC_HANDSHAKE_H

#include "base/fault.h"

struct mm_handshake;

struct mm_handshake_work {
	/* On the thread. May block, by mm_handshake_wait() or while a guarded socket is waited for. GIVES a connection;
	 * NULL: *why says the reason. */
	void *(*run)(struct mm_handshake *, void *job, struct mm_fault *why);
	/* On the thread, or in mm_handshake_leave(). */
	void  (*close)(void *job, void *connection);    /* nobody waits for it any more */
	void  (*free_job)(void *job);
};

/* ---- for the loop ---- */

enum mm_handshake_state { MM_HANDSHAKE_RUNS, MM_HANDSHAKE_DONE, MM_HANDSHAKE_FAILED };

/* TAKES the job, also when it fails. The work is BORROWED for good. seconds: until the thread gives up.
 * NULL: *why says the reason. */
struct mm_handshake *mm_handshake_start(const struct mm_handshake_work *, void *job, double seconds,
	struct mm_fault *why);
/* Readable when the handshake is over. */
int mm_handshake_descriptor(const struct mm_handshake *);
/* DONE, once: GIVES the connection. FAILED: *why says the reason. */
enum mm_handshake_state mm_handshake_look(struct mm_handshake *, void **connection, struct mm_fault *why);
/* At any time, and after it is over: it must not be used any more. NULL is fine. */
void mm_handshake_leave(struct mm_handshake *);

/* ---- for the thread ---- */

/* From now on leaving shuts this socket down, instead of another one; -1: none. It may be closed without notice. */
void mm_handshake_guard(struct mm_handshake *, int fd);
/* Guards the socket, and waits until it is ready (mm_readiness; it may also have failed). 0: the time is over, or the
 * loop has left; else what it is ready for. */
int mm_handshake_wait(struct mm_handshake *, int fd, int readiness);
double mm_handshake_seconds(const struct mm_handshake *);      /* that are left, at least 0.001 */

#endif
