/* task/told.h -- what the story of a message (story/story.h) is told of its tasks: handlers and tasks that have run,
 * waits with what they asked and what came back, edits, notes. Each call does nothing when the task's session has no
 * story, and nobody traces it (story/tracer.h), who is told the same. None raises; none allocates anything that stays.
 * Only questions of kinds that are known here are told in words: what is sent to a server may be secret. */
#ifndef MM_TASK_TOLD_H
#define MM_TASK_TOLD_H

#include "story/desk.h"
#include "story/tracer.h"
#include "task/generation.h"

/* An event begins: takes a story when there is none and the event may have something to tell. is_handled: some handler
 * of it runs. */
void mm_told_new_event(struct mm_script_session *, bool is_handled);
/* In the header, as mm_told_slice(), because most events and slices are a further one of the last kind. */
static inline void mm_told_event(struct mm_script_session *ss, bool is_handled)
{
	struct mm_story *s = ss->facts->story;
	if (s != NULL ? !mm_story_joins(s, ss->stage) : ss->generation->settings.desk != NULL)
		mm_told_new_event(ss, is_handled);
}
/* The client has gone: drops what was not told. */
void mm_told_end(struct mm_script_session *);
/* The task, of a session with a story, has run between two counts of ticks. */
void mm_told_new_slice(const struct mm_task *, uint64_t began, uint64_t ended);
static inline void mm_told_slice(const struct mm_task *t, uint64_t began, uint64_t ended)
{
	const struct mm_script_session *ss = t->session;
	if (t != ss->task || !ss->has_event || !mm_story_handled_again(ss->facts->story, ss->script_at,
	    (unsigned)ss->called_line, began, ended))
		mm_told_new_slice(t, began, ended);
}
/* The same, for those who trace the session. is_open: it waits now. */
void mm_told_traced_slice(const struct mm_task *, uint64_t began, uint64_t ended, bool is_open);
/* The task begins to wait; the arguments of the primitive are still on L. */
void mm_told_wait(struct lua_State *, struct mm_task *, const char *name);
/* The wait is over: its `count` results are on top of the task's coroutine. */
void mm_told_answer(struct mm_task *, int count);
/* The wait has ended without an answer. */
void mm_told_cancel(struct mm_task *, const char *why);
/* A question that needed no wait, because its answer was known: `count` results are on top of L. */
void mm_told_known(struct lua_State *, struct mm_task *, const char *name, int count);
/* A method of ctx has asked for an edit; its arguments are on L from index 2 on. */
void mm_told_edit(struct lua_State *, const struct mm_script_session *, const char *method);
void mm_told_note(struct lua_State *, const struct mm_script_session *, struct mm_text);
/* A script has raised: "10-auth.lua:12: what", a traceback may follow. */
void mm_told_error(const struct mm_script_session *, const char *text);

#endif
