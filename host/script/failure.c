#include "script/failure.h"

#include "base/text.h"
#include "task/call.h"
#include "task/told.h"

#include <lua.h>

#include <stdio.h>

bool mm_failure_has_verdict(enum mm_stage stage)
{
	return !((MM_STAGES_AFTERWARDS | MM_STAGE_BIT(negotiate) | MM_STAGE_BIT(macros)) & 1u << stage);
}

static void log_script_error(struct mm_script_session *ss, const char *text, enum mm_verdict_kind verdict)
{
	struct mm_generation *g = ss->generation;
	struct mm_log_line line;
	struct mm_whose whose = mm_whose_of_session(ss);
	mm_census_add(g->settings.row->script_errors, 1);
	mm_call_count_error(&whose);
	mm_told_error(ss, text);
	mm_log_begin(&line, g->settings.log, MM_LEVEL_ERROR, "script_error");
	mm_whose_log(&whose, &line);
	mm_log_string(&line, "script", whose.script->path);
	mm_log_string(&line, "handler", mm_whose_handler(&whose));
	if (mm_failure_has_verdict(ss->stage))
		mm_log_string(&line, "verdict", mm_verdict_name(verdict));
	mm_log_string(&line, "error", text);
	mm_log_alike(&line, whose.script->path, strlen(whose.script->path));
	mm_log_alike(&line, text, strcspn(text, " "));          /* file:line: */
	mm_log_end(&line);
}

static void on_error_verdict(const struct mm_generation *g, struct mm_verdict *out)
{
	struct mm_fault why;
	struct mm_text text = mm_text_of("Mail filter failed, please try again later");
	if (g->settings.on_error != MM_VERDICT_tempfail
	    || !mm_verdict_worded(out, MM_VERDICT_tempfail, 451, mm_text_of("4.3.0"), &text, 1, &why))
		mm_verdict_plain(out, g->settings.on_error);
}

/* Refusing a recipient or an unknown command leaves the message open (protocol 3.3). */
static bool ends_message(enum mm_stage stage, enum mm_verdict_kind kind)
{
	return stage != MM_STAGE_unknown && (stage != MM_STAGE_rcpt || kind == MM_VERDICT_accept);
}

/* The verdict in out is not what a handler has asked for, so neither are its edits. by: the setting. */
static void take_over(struct mm_script_session *ss, const char *by, struct mm_verdict *out)
{
	const struct mm_generation *g = ss->generation;
	enum mm_stage stage = ss->stage;
	if (ss->facts->message != NULL) {
		if (ends_message(stage, out->kind))
			mm_edits_drop(ss->facts->message);
		else
			mm_edits_back_to(ss->facts->message, ss->mark);
		ss->body_replaced_by = ss->body_marked_by;
	}
	if (!(mm_verdict_stages(out->kind) & 1u << stage))
		mm_verdict_reset(out);
	if (ss->script_at < g->script_count)
		snprintf(out->decided_by, sizeof out->decided_by, "%s (%.30s)", by, g->scripts[ss->script_at].name);
	else
		snprintf(out->decided_by, sizeof out->decided_by, "%s", by);
}

/* The size is the sender's choice, so tempfail, which the sender would meet again with every try, is not the default. A
 * recipient too many is always refused for now: the client sends it again, without the others (RFC 5321 4.5.3.1.10). */
static void over_verdict(const struct mm_script_session *ss, enum mm_part part, struct mm_verdict *out)
{
	static const struct {
		unsigned code;
		const char *status, *text;
	} rows[][2] = {
		[MM_PART_HEADER] = {
			{ 552, "5.3.4", "Message header too big" },
			{ 452, "4.3.4", "Message header too big for its filter, please try again later" },
		},
		[MM_PART_RECIPIENTS] = {
			{ 554, "5.5.3", "Too many recipients" },
			{ 452, "4.5.3", "Too many recipients" },
		},
	};
	struct mm_fault why;
	bool is_temporary = ss->generation->settings.over == MM_VERDICT_tempfail
		|| (part == MM_PART_RECIPIENTS && ss->stage == MM_STAGE_rcpt);
	enum mm_verdict_kind kind = is_temporary ? MM_VERDICT_tempfail : MM_VERDICT_reject;
	struct mm_text text = mm_text_of(rows[part][is_temporary].text);
	if (!mm_verdict_worded(out, kind, rows[part][is_temporary].code, mm_text_of(rows[part][is_temporary].status),
	    &text, 1, &why))
		mm_verdict_plain(out, kind);
}

void mm_failure_over(struct mm_script_session *ss, struct mm_verdict *out)
{
	over_verdict(ss, ss->over_due & 1u << MM_PART_HEADER ? MM_PART_HEADER : MM_PART_RECIPIENTS, out);
	ss->over_due = 0;
	take_over(ss, "over", out);
}

/* Has a script seen a cut part of this message, as over = "truncate" allows? Then its sender has made it too big for
 * the scripts, and may do so with every try. */
static bool has_seen_cut(const struct mm_script_session *ss, enum mm_part part)
{
	const struct mm_message *m = ss->facts->message;
	return ss->over_logged & 1u << part && m != NULL && mm_message_is_cut(m, part);
}

void mm_failure_decide(struct mm_script_session *ss, const char *text, struct mm_verdict *out)
{
	mm_verdict_reset(out);
	if (has_seen_cut(ss, MM_PART_HEADER))
		over_verdict(ss, MM_PART_HEADER, out);
	else if (has_seen_cut(ss, MM_PART_RECIPIENTS))
		over_verdict(ss, MM_PART_RECIPIENTS, out);
	else
		on_error_verdict(ss->generation, out);
	log_script_error(ss, text, out->kind);
	if (mm_failure_has_verdict(ss->stage))
		take_over(ss, "on_error", out);
	else
		mm_verdict_reset(out);
}

bool mm_failure_names_script(const struct mm_script_session *ss, const char *text)
{
	const char *path = ss->generation->scripts[ss->script_at].path, *slash = strrchr(path, '/');
	return strstr(text, slash != NULL ? slash + 1 : path) != NULL;
}

/* The function that called back is known only while it runs, so report file and line of the handler. */
void mm_failure_name_handler(struct mm_script_session *ss, int handler, struct mm_fault *why)
{
	lua_State *L = ss->generation->L;
	lua_Debug where;
	char text[sizeof why->text];
	mm_vault_push(ss->generation, L, handler);
	if (!lua_isfunction(L, -1)) {
		lua_pop(L, 1);
		return;
	}
	lua_getinfo(L, ">S", &where);
	snprintf(text, sizeof text, "%s", why->text);
	mm_fault_set(why, MM_FAULT_SCRIPT, "%s:%d: %s: %s", where.short_src, where.linedefined,
		mm_stage_handler(ss->stage), text);
}
