/* bind/kept_body.h -- what the host does for ctx:body{...}: bodies that scripts keep of a message.
 * A body that is kept belongs to the script that asked for it, and the session has a table of them by script.
 * A body is a table of lua/moonmilter/body.lua, its bytes in memory or in a temporary file; runtime/edits.lua has the
 * method, runtime/kept_body.lua the keeping. */
#ifndef MM_BIND_KEPT_BODY_H
#define MM_BIND_KEPT_BODY_H

#include "task/task.h"

/* The message has ended: memory and temporary files of kept bodies go now, not when the collector comes by. */
void mm_kept_bodies_close(struct mm_script_session *);

#endif
