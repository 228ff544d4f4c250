/* task/group.h -- tasks that scripts spawn, and what ends them.
 * A group belongs to a message, a client or a generation of scripts; when its owner ends, every task of the group is
 * cancelled: first its wait is undone, then the error is raised inside. Deferred functions run after that, last one
 * first, and cannot wait.
 * A spawned task lives on two counted references: one while it runs, one held by its Lua object. Its results stay on
 * its coroutine until the object goes.
 * Does not know the Lua API for scripts: that is bind/task.c. */
#ifndef MM_TASK_GROUP_H
#define MM_TASK_GROUP_H

#include "task/task.h"

enum mm_spawned_state {
	MM_SPAWNED_QUEUED,              /* has not begun */
	MM_SPAWNED_RUNNING,
	MM_SPAWNED_ENDED,               /* results are on task.co */
	MM_SPAWNED_FAILED,              /* ended by the host: the fault says why. A script's own error is a result */
	MM_SPAWNED_CANCELLED,
};

struct mm_spawned {
	struct mm_task           task;
	struct mm_spawned       *next, *previous;       /* of the group */
	enum mm_spawned_state    state;
	unsigned                 references;
	struct mm_waiting_link  *waiters;               /* woken at the end */
	char                    *failure;               /* owned: text of FAILED */
};

/* One coroutine that waits for any of several tasks. */
struct mm_waiting {
	struct mm_task *waiter;                 /* borrowed */
	unsigned        count;
	struct mm_waiting_link {
		struct mm_waiting       *owner;
		struct mm_spawned       *on;            /* holds a reference */
		struct mm_waiting_link  *next, *previous;
	}               links[];
};

/* Makes a task of the group, with its coroutine, not started; the caller has one reference. May raise in L when there
 * is no memory for the coroutine: *box is set before that, so that an object can own it. NULL: out of memory. */
struct mm_spawned *mm_spawned_new(struct mm_generation *, struct mm_script_session *, struct mm_task_group *,
	struct mm_spawned **box);
/* A function and count arguments have been pushed on task.co: the task runs soon, from the loop. */
void mm_spawned_start(struct mm_spawned *, int count);
void mm_spawned_release(struct mm_spawned *);
bool mm_spawned_is_over(const struct mm_spawned *);
/* Called for a script; false: the task has already ended. */
bool mm_spawned_cancel(struct mm_spawned *);

/* Wakes the waiter when the first of count tasks ends; none has ended yet. NULL: out of memory. */
struct mm_waiting *mm_waiting_new(struct mm_task *waiter, struct mm_spawned *const *tasks, unsigned count);
void mm_waiting_free(struct mm_waiting *);

/* What a task starts lives as long as the task; what a handler starts as long as the message or, before MAIL, the
 * client; what a load starts as long as the generation. */
struct mm_task_group *mm_task_group_of(struct mm_task *);
/* Adds a function by its registry reference, which it TAKES; by: the task that defers it. False: out of memory. */
bool mm_task_group_defer(struct mm_task_group *, int ref, const struct mm_task *by);
/* Ends all tasks, then runs the deferred functions. session: its owner; NULL: the group is the generation's. */
void mm_task_group_end(struct mm_task_group *, struct mm_generation *, struct mm_script_session *session,
	enum mm_cancel why);
/* Closes the group to new tasks, and ends those that wait under this name; others may finish. */
void mm_task_group_close(struct mm_task_group *, const char *wait_name, enum mm_cancel why);

#endif
