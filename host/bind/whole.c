#include "bind/whole.h"

#include "task/whose.h"

#include <lauxlib.h>
#include <lua.h>

static const char *const part_names[] = { [MM_PART_HEADER] = "header", [MM_PART_RECIPIENTS] = "recipients" };

static bool is_afterwards(const struct mm_script_session *ss)
{
	return ss->has_event && (MM_STAGES_AFTERWARDS & 1u << ss->stage) != 0;
}

static void log_once(struct mm_script_session *ss, enum mm_part part, const char *name)
{
	const struct mm_message *m = ss->facts->message;
	const struct mm_generation *g = ss->generation;
	enum mm_verdict_kind over = g->settings.over;
	struct mm_log_line line;
	struct mm_whose whose = g->current != NULL ? mm_whose_of(g->current) : mm_whose_of_session(ss);
	if (ss->over_logged & 1u << part)
		return;
	ss->over_logged |= (uint8_t)(1u << part);
	mm_log_begin(&line, g->settings.log, MM_LEVEL_WARN, "over");
	mm_whose_log(&whose, &line);
	mm_log_string(&line, "part", part_names[part]);
	if (!is_afterwards(ss))
		mm_log_string(&line, "verdict", over == MM_VERDICT_continue ? "truncate" : mm_verdict_name(over));
	mm_log_string(&line, "script", mm_whose_path(&whose));
	mm_log_string(&line, "handler", mm_whose_handler(&whose));
	mm_log_string(&line, "reads", name);
	mm_log_number(&line, "kept", part == MM_PART_HEADER ? m->received_count : m->recipient_count);
	if (part == MM_PART_HEADER)
		mm_log_number(&line, "bytes", m->header_size);
	mm_log_alike(&line, part_names[part], strlen(part_names[part]));
	mm_log_end(&line);
}

void mm_read_cut(lua_State *L, struct mm_script_session *ss, enum mm_part part, const char *name)
{
	log_once(ss, part, name);
	if (ss->generation->settings.over == MM_VERDICT_continue)
		return;
	if (!is_afterwards(ss))
		ss->over_due |= (uint8_t)(1u << part);
	if (part == MM_PART_HEADER)
		luaL_error(L, "%s: the header has more than the %d bytes or %d fields that we keep; the message gets "
			"the verdict of over", name, (int)MM_HEADERS_KEPT_MAX, (int)MM_FIELDS_KEPT_MAX);
	luaL_error(L, "%s: there are more recipients than the %d that we keep; the message gets the verdict of over",
		name, (int)ss->facts->message->recipient_count);
}
