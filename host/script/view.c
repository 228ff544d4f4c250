/* script/view.c -- shows people what a generation of scripts is and does: the last part of script/generation.h. */
#include "base/say.h"
#include "script/generation.h"
#include "script/load.h"

#include "task/group.h"
#include "task/profile.h"
#include "task/task.h"
#include "task/whose.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>

/* This line reveals a misspelt On_eom or a script that was saved empty. */
static void describe_script(const struct mm_script *script, const struct mm_handlers *h, struct mm_say say)
{
	char line[1024];
	int head = snprintf(line, sizeof line, "script %s:", script->path), at = head;
	for (int stage = 0; stage < MM_STAGE_COUNT && at < (int)sizeof line; stage++)
		if (h->by_stage[stage] != MM_NO_REF)
			at += snprintf(line + at, sizeof line - (size_t)at, " %s",
				mm_stage_handler((enum mm_stage)stage));
	for (unsigned j = 0; j < h->field_count && at < (int)sizeof line; j++)
		at += snprintf(line + at, sizeof line - (size_t)at, " on_header.%s", h->fields[j].name);
	if (at == head && at < (int)sizeof line)
		snprintf(line + at, sizeof line - (size_t)at, " no handlers; these are global functions named on_eom, "
			"on_rcpt and so on");
	say.line(say.self, line);
}

static void describe_steps(const struct mm_generation *g, struct mm_say say)
{
	char line[1024];
	int head = snprintf(line, sizeof line, "asks the MTA for:"), at = head;
	for (int stage = MM_STAGE_connect; stage < MM_STAGE_abort && at < (int)sizeof line; stage++) {
		/* an end of message always has its reply */
		bool is_quiet = g->wanted.quiet & 1u << stage && stage != MM_STAGE_eom;
		if (g->wanted.stages & 1u << stage)
			at += snprintf(line + at, sizeof line - (size_t)at, " %s%s",
				mm_stage_name((enum mm_stage)stage), is_quiet ? "(no reply)" : "");
	}
	say.line(say.self, at == head ? "asks the MTA for nothing" : line);
}

/* text: lines; NULL: none. Returns how many. */
static unsigned say_lines(const char *text, struct mm_say say)
{
	char line[1024];
	unsigned count = 0;
	const char *at = text != NULL ? text : "";
	for (size_t size; *at != '\0'; at += size + (at[size] == '\n'), count++) {
		size = strcspn(at, "\n");
		snprintf(line, sizeof line, "%.*s", (int)size, at);
		say.line(say.self, line);
	}
	return count;
}

void mm_generation_describe(const struct mm_generation *g, struct mm_say say)
{
	char line[1024];
	if (g->script_count == 0)
		say.line(say.self, "no scripts: no directory of `scripts` holds a file named *.lua");
	for (unsigned i = 0; i < g->script_count; i++)
		describe_script(&g->scripts[i], &g->plan->handlers[i], say);
	describe_steps(g, say);
	say_lines(g->plan->maps, say);
	if (g->plan->signs != NULL) {
		snprintf(line, sizeof line, "signs mail: %s", g->plan->signs);
		say.line(say.self, line);
	}
	if (g->plan->macros_named != NULL) {
		snprintf(line, sizeof line, "macros that scripts name: %s", g->plan->macros_named);
		say.line(say.self, line);
	}
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++) {
		if (g->wanted.macro_lists[set] == NULL)
			continue;
		snprintf(line, sizeof line, "macros at %s: %s", mm_macro_set_name((enum mm_macro_set)set),
			g->wanted.macro_lists[set]);
		say.line(say.self, line);
	}
}

unsigned mm_generation_describe_findings(const struct mm_generation *g, struct mm_say say)
{
	return g->plan->warned + say_lines(g->plan->findings, say);
}

void mm_generation_list(const struct mm_generation *g, struct mm_say say)
{
	char line[256];
	unsigned long serving = mm_census_get(g->settings.row->generation);
	snprintf(line, sizeof line, "generation=%lu milter=%s scripts=%u sessions=%u lua_bytes=%llu state=%s",
		g->settings.number, g->settings.milter_name, g->script_count, mm_generation_session_count(g),
		(unsigned long long)mm_generation_bytes(g),
		g->settings.number == serving ? "serving" : g->settings.number > serving
		? "loading" : "leaving");
	say.line(say.self, line);
}

/* ---- sessions ---- */

/* Where a coroutine waits: a traceback of the script's own lines. Only reads: nothing here raises. */
static void say_place(lua_State *co, const char *margin, const char *outermost,
	struct mm_say say)
{
	char line[512];
	lua_Debug frame, above;
	for (int level = 0; lua_getstack(co, level, &frame); level++) {
		if (!lua_getinfo(co, "Sln", &frame) || mm_blame_is_ours(&frame))
			continue;
		const char *source = frame.source + (frame.source[0] == '@');
		const char *name = frame.name != NULL ? frame.name : lua_getstack(co, level + 1, &above)
			? NULL : outermost;
		int size = snprintf(line, sizeof line, "%s%s:%d: in function ", margin, source, frame.currentline);
		if (size > 0 && (size_t)size < sizeof line && name != NULL)
			snprintf(line + size, sizeof line - (size_t)size, "'%s'", name);
		else if (size > 0 && (size_t)size < sizeof line)
			snprintf(line + size, sizeof line - (size_t)size, "<%s:%d>", source, frame.linedefined);
		for (char *c = line; *c != '\0'; c++)
			*c = (unsigned char)*c < ' ' ? '?' : *c;
		say.line(say.self, line);
	}
}

/* Values come from mail: characters that could fake another key or another line become question marks. */
static void add_fact(char *line, size_t size, const char *key, const char *value)
{
	size_t at = strlen(line);
	if (value == NULL || value[0] == '\0' || at >= size)
		return;
	snprintf(line + at, size - at, " %s=%s", key, value);
	if (at + strlen(key) + 2 < size)
		mm_text_make_plain(line + at + strlen(key) + 2, '!');
}

static void add_wait(char *line, size_t size, const struct mm_task *t)
{
	char number[32];
	if (t->began_at == 0)           /* not counted */
		return;
	snprintf(number, sizeof number, "%.1f", mm_profile_seconds_since(t->generation->settings.profile, t->began_at));
	add_fact(line, size, "waiting", number);
}

static void list_session(const struct mm_script_session *ss, struct mm_say say)
{
	char line[1024], number[32];
	const struct mm_session *facts = ss->facts;
	struct mm_whose whose = mm_whose_of_session(ss);
	struct mm_text queue_id = mm_whose_queue_id(&whose);
	double now = mm_clock_now();
	line[0] = '\0';
	snprintf(line, sizeof line, "session=%s generation=%lu", facts->id, ss->generation->settings.number);
	add_fact(line, sizeof line, "mta", facts->peer);
	add_fact(line, sizeof line, "client", facts->client_host);
	add_fact(line, sizeof line, "address", facts->client_address);
	snprintf(number, sizeof number, "%.*s", (int)(queue_id.size < 24 ? queue_id.size : 24), queue_id.bytes);
	add_fact(line, sizeof line, "queue_id", number);
	add_fact(line, sizeof line, "stage", mm_whose_stage(ss));
	snprintf(number, sizeof number, "%.1f", now - ss->began_at);
	add_fact(line, sizeof line, "age", number);
	snprintf(number, sizeof number, "%zu", facts->account.held);
	add_fact(line, sizeof line, "held", number);
	if (mm_work_waits(ss)) {
		add_fact(line, sizeof line, "script", whose.script->name);
		add_fact(line, sizeof line, "waits_for", ss->task->wait_name);
		add_wait(line, sizeof line, ss->task);
		snprintf(number, sizeof number, "%.1f", mm_work_of(ss)->deadline_at - now);
		add_fact(line, sizeof line, "deadline_in", number);
	}
	say.line(say.self, line);
}

static void list_tasks(const struct mm_task_group *group, struct mm_say say)
{
	char line[256];
	for (const struct mm_spawned *sp = group->first; sp != NULL; sp = sp->next) {
		const struct mm_task *t = &sp->task;
		if (!t->is_waiting || t->is_ready || t->co == NULL)
			continue;
		snprintf(line, sizeof line, "    task");
		struct mm_whose whose = mm_whose_of(t);
		add_fact(line, sizeof line, "script", whose.script != NULL ? whose.script->name : NULL);
		add_fact(line, sizeof line, "waits_for", t->wait_name);
		add_wait(line, sizeof line, t);
		say.line(say.self, line);
		say_place(t->co, "        ", NULL, say);
	}
}

void mm_generation_list_sessions(const struct mm_generation *g, struct mm_say say)
{
	for (const struct mm_script_session *ss = g->sessions; ss != NULL; ss = ss->next) {
		list_session(ss, say);
		if (mm_work_waits(ss) && ss->task->co != NULL)
			say_place(ss->task->co, "    ", mm_stage_handler(ss->stage), say);
		list_tasks(&ss->message_tasks, say);
		list_tasks(&ss->client_tasks, say);
	}
}

bool mm_generation_is_empty(const struct mm_generation *g)
{
	return g->script_count == 0;
}
