/* task/whose.h -- on whose behalf a task runs: milter, script, handler, session, queue id. Log lines, the census,
 * samples and the profile all ask here, so they give the same names.
 * A handler is the session's own task while an event is being handled. A load is the task that runs files and on_load.
 * Everything else is a task: spawned, deferred, on_unload; a task of a session still names session and queue id, but no
 * handler, because that may be another script's.
 * Reads only facts that do not change while Lua runs, and allocates nothing, so a signal handler may
 * call it, too (budget.c). */
#ifndef MM_TASK_WHOSE_H
#define MM_TASK_WHOSE_H

#include "task/generation.h"

enum mm_whose_work { MM_WHOSE_HANDLER, MM_WHOSE_LOAD, MM_WHOSE_TASK };

/* All pointers are BORROWED until the task is resumed. */
struct mm_whose {
	const struct mm_generation     *generation;
	const struct mm_script_session *session;        /* NULL: none */
	const struct mm_script         *script;         /* NULL: not known, as while loading and
	                                                 * in tasks spawned then */
	const char                     *path;           /* of the file that is being loaded, or was when the task
	                                                 * was spawned; NULL: script says it */
	enum mm_whose_work              work;
};

/* The session's handlers, or, while it has no event, its tasks. In the header, as the next one. */
static inline struct mm_whose mm_whose_of_session(const struct mm_script_session *ss)
{
	const struct mm_generation *g = ss->generation;
	if (ss->has_event && ss->script_at < g->script_count)
		return (struct mm_whose){ g, ss, &g->scripts[ss->script_at], NULL, MM_WHOSE_HANDLER };
	return (struct mm_whose){ g, ss, NULL, NULL, MM_WHOSE_TASK };
}

/* In the header because the profile asks at every resume. */
static inline struct mm_whose mm_whose_of(const struct mm_task *t)
{
	const struct mm_generation *g = t->generation;
	const struct mm_script_session *ss = t->session;
	if (ss != NULL && t == ss->task)
		return mm_whose_of_session(ss);
	if (t == &g->load_task)
		return (struct mm_whose){ g, ss, t->script, g->loading, MM_WHOSE_LOAD };
	return (struct mm_whose){ g, ss, t->script, t->path, MM_WHOSE_TASK };
}

/* "on_eom", "load", "task". Static. */
const char *mm_whose_handler(const struct mm_whose *);
/* What a session is at, as lists of sessions say: the stage of its event; without one "negotiate", "message" or "idle".
 * Static. */
const char *mm_whose_stage(const struct mm_script_session *);
/* Path of the script, or of the file that is being loaded; NULL: not known. */
const char *mm_whose_path(const struct mm_whose *);
/* Its file name without ".lua", as log lines of scripts have it; size 0: not known. BORROWED as the path. */
struct mm_text mm_whose_name(const struct mm_whose *);
/* Size 0: not known yet. BORROWED from the session. */
struct mm_text mm_whose_queue_id(const struct mm_whose *);
/* Adds milter (when there are several), session and queue id, as far as they are known. */
void mm_whose_log(const struct mm_whose *, struct mm_log_line *);

#endif
