/* bind/limit.h -- units that a message has taken from limits and that go back when it does not pass. */
#ifndef MM_BIND_LIMIT_H
#define MM_BIND_LIMIT_H

#include "task/generation.h"

/* The message ends: its units go back unless it has passed. Enters no Lua. */
void mm_limit_settle(struct mm_script_session *);

#endif
