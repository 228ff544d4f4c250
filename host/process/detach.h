/* process/detach.h -- the start as a daemon, for hosts without a service manager: the command ends when the host
 * serves, or with what keeps it from doing so.
 *
 * The process forks after sockets are bound and before anything has a loop or threads. The parent waits; it copies what
 * the child says to its own standard error, and ends with status 0 when the child serves, else with the child's status.
 * The child leads a session of its own without a terminal, reads nothing, and writes nowhere once it serves. A command
 * that has been ended before that (Ctrl-C) ends the host, too. */
#ifndef MM_PROCESS_DETACH_H
#define MM_PROCESS_DETACH_H

struct mm_detached {
	int news;               /* owned: tells the parent that we serve; -1: there is no parent that waits */
};

enum mm_detach {
	MM_DETACH_CHILD,        /* go on */
	MM_DETACH_PARENT,       /* *status is what to exit with, at once: all that it holds belongs to the child now */
	MM_DETACH_FAILED,       /* it cannot fork, and has said so; *status likewise */
};

enum mm_detach mm_detach(struct mm_detached *, int *status);
/* Everything serves. */
void mm_detached_serves(struct mm_detached *);
/* In a process that the child has forked: it says nothing. */
void mm_detached_leave(struct mm_detached *);

#endif
