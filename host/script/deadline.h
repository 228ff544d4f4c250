/* script/deadline.h -- the time by which a handler must end, so that the MTA does not give up first.
 * A time limit begins with the first handler of an event that waits or asks for it; the alarm of a session
 * rings at the limit, and earlier whenever progress is due. Knows no verdicts: session.c decides what follows
 * when the time is over. */
#ifndef MM_SCRIPT_DEADLINE_H
#define MM_SCRIPT_DEADLINE_H

#include "task/task.h"

/* How many seconds the handlers of the session's event may wait. */
double mm_deadline_seconds(const struct mm_script_session *);
/* A handler waits: the alarm rings at the deadline or when progress is due, whichever comes first. */
void mm_deadline_arm(struct mm_script_session *);

/* Adds ctx.deadline to the member table on top of the stack (bind/ctx.h). */
void mm_deadline_bind(struct lua_State *);

#endif
