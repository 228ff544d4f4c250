/* bind/whole.h -- header and recipients beyond what a message keeps (enum mm_part): a list that is cut must not pass
 * for whole. Code that reads one, or edits by numbers in it, asks here first. With over = "truncate" the list says that
 * it is cut; else reading raises, and the message gets the verdict of `over` wherever the script goes on
 * (script/failure.h). */
#ifndef MM_BIND_WHOLE_H
#define MM_BIND_WHOLE_H

#include "task/task.h"

/* The rare half of mm_check_whole(): logs, once for each message and part, and raises unless over is "truncate". */
void mm_read_cut(struct lua_State *, struct mm_script_session *, enum mm_part, const char *name);

/* name: the fact or method that needs the part, for the error. */
static inline void mm_check_whole(struct lua_State *L, struct mm_script_session *ss, enum mm_part part,
	const char *name)
{
	const struct mm_message *m = ss->facts->message;
	if (m != NULL && mm_message_is_cut(m, part))
		mm_read_cut(L, ss, part, name);
}

#endif
