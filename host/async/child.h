/* async/child.h -- programs that run beside the loop: their input, output and end.
 * posix_spawn with an argument list, never a shell. The child leads its own process group, has only descriptors 0, 1
 * and 2, and no blocked or ignored signals. A pidfd reports its exit, so it neither needs nor disturbs SIGCHLD. Until
 * its output has been read to the end it stays unreaped: the kernel cannot give its id to another process that we might
 * then kill. Every early end (timeout, too much output, cancelled) is the same: its pipes close, the group gets
 * SIGTERM, and SIGKILL after a grace period; no task waits for that.
 * mm_children OWNS a child from its start; the struct mm_child is borrowed until done. */
#ifndef MM_ASYNC_CHILD_H
#define MM_ASYNC_CHILD_H

#include "base/account.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/fault.h"

struct mm_child;

/* The programs of one worker. */
struct mm_children {
	struct mm_clock *clock;                 /* borrowed */
	struct mm_child *first;                 /* owned list */
	unsigned         count;
	struct mm_account account;              /* of their input and output; its sum may be set */
};

struct mm_child_order {
	const char *const *argv;                /* borrowed for the call; argv[0] is looked up in
	                                         * PATH when it has no slash */
	const char *const *env;                 /* borrowed for the call; NULL: ours */
	const char        *directory;           /* borrowed for the call; NULL: ours */
	const void        *input;               /* copied */
	size_t             input_size;
	double             timeout;             /* seconds */
	size_t             output_max;          /* bytes of standard output, and of standard
	                                         * error; more end the child */
};

enum mm_child_end {
	MM_CHILD_EXITED,                        /* status */
	MM_CHILD_KILLED,                        /* by a signal: its number is status */
	MM_CHILD_TIMEOUT,
	MM_CHILD_LIMIT,                      /* output */
	MM_CHILD_LOST,                          /* other code of the process has waited for it */
};

struct mm_child_result {
	enum mm_child_end end;
	int               status;               /* exit status or signal number */
	struct mm_buffer  output, error;        /* owned by the child */
};

void mm_children_init(struct mm_children *, struct mm_clock *);
/* Kills all programs at once and waits for them. */
void mm_children_end(struct mm_children *);

/* Starts a program. done is called once, from the loop, with a result borrowed for the call. NULL: why says the reason;
 * errno is that of a failed system call, or EAGAIN when too many programs run. */
struct mm_child *mm_child_start(struct mm_children *, const struct mm_child_order *,
	void (*done)(void *self, struct mm_child_result *), void *self, struct mm_fault *why);
/* Ends it; done is not called. */
void mm_child_cancel(struct mm_child *);

#endif
