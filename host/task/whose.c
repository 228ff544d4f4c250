#include "task/whose.h"

const char *mm_whose_handler(const struct mm_whose *w)
{
	if (w->work == MM_WHOSE_HANDLER)
		return mm_stage_handler(w->session->stage);
	return w->work == MM_WHOSE_LOAD ? "load" : "task";
}

const char *mm_whose_stage(const struct mm_script_session *ss)
{
	if (ss->has_event)
		return mm_stage_name(ss->stage);
	return !ss->facts->is_negotiated ? "negotiate" : ss->facts->message != NULL ? "message" : "idle";
}

const char *mm_whose_path(const struct mm_whose *w)
{
	return w->script != NULL ? w->script->path : w->path;
}

struct mm_text mm_whose_name(const struct mm_whose *w)
{
	const char *path = mm_whose_path(w), *slash = path != NULL ? strrchr(path, '/') : NULL;
	struct mm_text name = { slash != NULL ? slash + 1 : path, 0 };
	if (path == NULL)
		return name;
	name.size = strlen(name.bytes);
	if (name.size > 4 && strcmp(name.bytes + name.size - 4, ".lua") == 0)
		name.size -= 4;
	return name;
}

struct mm_text mm_whose_queue_id(const struct mm_whose *w)
{
	return w->session != NULL ? mm_session_macro(w->session->facts, "i") : (struct mm_text){ "", 0 };
}

void mm_whose_log(const struct mm_whose *w, struct mm_log_line *line)
{
	mm_log_string(line, "milter", w->generation->settings.milter_in_log);
	if (w->session == NULL)
		return;
	struct mm_text queue_id = mm_whose_queue_id(w);
	mm_log_caused_by(line, w->session->facts->peer, false);
	mm_log_string(line, "session", w->session->facts->id);
	if (queue_id.size > 0)
		mm_log_text(line, "queue_id", queue_id);
}
