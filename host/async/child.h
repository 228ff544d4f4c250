/* async/child.h -- programs run beside the loop: their input, output and end.
 * posix_spawn with an argument list, never a shell. The child leads a process group of its own, has only descriptors 0,
 * 1 and 2, no blocked or ignored signal, and is noticed through a pidfd, so it neither needs nor disturbs SIGCHLD.
 * Until its output is read to the end it stays unreaped: its id cannot be given to another process that we might then
 * kill. Whatever ends it early (timeout, too much output, cancelled) does the same: its pipes close, the group gets
 * SIGTERM, and SIGKILL after a grace; no task waits for that.
 * A child started by the order is OWNED by mm_children from then on; the struct mm_child is borrowed until done. */
#ifndef MM_ASYNC_CHILD_H
#define MM_ASYNC_CHILD_H

#include "base/buffer.h"
#include "base/clock.h"
#include "base/fault.h"

struct mm_child;

/* Those of one worker. */
struct mm_children {
	struct mm_clock *clock;                 /* borrowed */
	struct mm_child *first;                 /* owned list */
	unsigned         count;
};

struct mm_child_order {
	const char *const *argv;                /* borrowed for the call; argv[0] is looked for in
	                                         * PATH when it has no slash */
	const char *const *env;                 /* borrowed for the call; NULL: ours */
	const char        *directory;           /* borrowed for the call; NULL: ours */
	const void        *input;               /* copied */
	size_t             input_size;
	double             timeout;             /* seconds */
	size_t             output_max;          /* bytes of standard output, and of standard
	                                         * error; more ends the child */
};

enum mm_child_end {
	MM_CHILD_EXITED,                        /* status */
	MM_CHILD_KILLED,                        /* by a signal: status */
	MM_CHILD_TIMEOUT,
	MM_CHILD_TOO_MUCH,                      /* output */
	MM_CHILD_LOST,                          /* other code of the process has waited for it */
};

struct mm_child_result {
	enum mm_child_end end;
	int               status;               /* exit status or signal number */
	struct mm_buffer  output, error;        /* owned by the child */
};

void mm_children_init(struct mm_children *, struct mm_clock *);
/* Kills all at once and waits for them. */
void mm_children_end(struct mm_children *);

/* Starts a program. done is called once, from the loop, with a result borrowed for the call. NULL: why says what is
 * wrong, and errno, when a system call said it; EAGAIN when too many run. */
struct mm_child *mm_child_start(struct mm_children *, const struct mm_child_order *,
	void (*done)(void *self, struct mm_child_result *), void *self, struct mm_fault *why);
/* Ends it; done is not called. */
void mm_child_cancel(struct mm_child *);

#endif
