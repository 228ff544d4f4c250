/* bind/kept_body.h -- the host's part of ctx:body{...}: bodies of a message that scripts keep.
 * A kept body belongs to the script that asked for it, and the session has a table of them by script.
 * A body is a table of lua/moonmilter/body.lua, its bytes in memory or in a temporary file; runtime/edits.lua has the
 * method, runtime/kept_body.lua keeps the bytes. */
#ifndef MM_BIND_KEPT_BODY_H
#define MM_BIND_KEPT_BODY_H

#include "task/task.h"

/* The message has ended: memory and temporary files of kept bodies are freed now, not when the collector runs. */
void mm_kept_bodies_close(struct mm_script_session *);

#endif
