#include "task/told.h"

#include "task/blame.h"
#include "task/profile.h"
#include "task/whose.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>

#define QUESTION_SIZE 120
#define ANSWER_SIZE   52

static struct mm_story *story_of(const struct mm_task *t)
{
	return t->session != NULL ? t->session->facts->story : NULL;
}

/* ---- events ---- */

/* The words of an event that a time line shows. */
static struct mm_text words_of(const struct mm_event *event)
{
	const uint32_t shown = MM_STAGE_BIT(helo) | MM_STAGE_BIT(mail) | MM_STAGE_BIT(rcpt) | MM_STAGE_BIT(unknown);
	return event->command != NULL && shown & 1u << event->stage ? event->command->text : mm_text_of("");
}

/* A client that says nothing, and that no script looks at, takes no place. */
static bool begins_story(enum mm_stage stage, bool is_handled)
{
	return stage == MM_STAGE_mail || (MM_STAGES_OF_CLIENT & 1u << stage && is_handled);
}

void mm_told_new_event(struct mm_script_session *ss, bool is_handled)
{
	struct mm_session *facts = ss->facts;
	struct mm_desk *desk = ss->generation->settings.desk;
	if (facts->story == NULL && desk != NULL && begins_story(ss->stage, is_handled)) {
		facts->story = mm_desk_take(desk);
		if (facts->story != NULL)
			facts->story->generation = (uint32_t)ss->generation->settings.number;
	}
	if (facts->story != NULL && ss->stage != MM_STAGE_close)
		mm_story_enter(facts->story, facts, ss->stage, words_of(ss->event));
}

void mm_told_end(struct mm_script_session *ss)
{
	if (ss->facts->story != NULL)
		mm_desk_drop(ss->generation->settings.desk, ss->facts->story);
	ss->facts->story = NULL;
}

/* ---- handlers and tasks ---- */

static struct mm_story_place place_of(const struct mm_task *t)
{
	struct mm_whose whose = mm_whose_of(t);
	bool is_handler = whose.work == MM_WHOSE_HANDLER;
	return (struct mm_story_place){
		.file = mm_text_of(whose.script != NULL ? whose.script->name : NULL),
		.stage = is_handler ? (uint8_t)t->session->stage : MM_STORY_TASK,
		.line = is_handler ? t->session->called_line : 0,
	};
}

void mm_told_new_slice(const struct mm_task *t, uint64_t began, uint64_t ended)
{
	const struct mm_script_session *ss = t->session;
	struct mm_story *s = ss->facts->story;
	const struct mm_generation *g = t->generation;
	if (t == ss->task && ss->has_event && ss->script_at < g->script_count) {
		mm_story_handled(s, ss->script_at, g->scripts[ss->script_at].name, ss->stage,
			(unsigned)ss->called_line, began, ended);
		return;
	}
	struct mm_story_place place = place_of(t);
	mm_story_ran(s, &place, began, ended);
}

/* Whom the task's session is traced for; NULL: nobody. */
static struct mm_tracer *tracer_of(const struct mm_task *t)
{
	return t->session != NULL && t->session->facts->traced != 0 ? t->generation->settings.tracer : NULL;
}

void mm_told_traced_slice(const struct mm_task *t, uint64_t began, uint64_t ended, bool is_open)
{
	struct mm_tracer *tracer = tracer_of(t);
	struct mm_story_place place = place_of(t);
	double seconds = ended > began ? mm_profile_seconds(t->generation->settings.profile, ended - began) : 0;
	if (tracer != NULL)
		mm_tracer_handler(tracer, t->session->facts, &place, seconds, is_open);
}

/* The script's own line, outside of the runtime's modules. where keeps the file's name. */
static void find_line(lua_State *L, struct mm_story_place *place, lua_Debug *where)
{
	for (int level = 1; level < 12 && lua_getstack(L, level, where); level++) {
		if (!lua_getinfo(L, "Sl", where) || mm_blame_is_ours(where) || where->currentline < 0)
			continue;
		const char *slash = strrchr(where->short_src, '/');
		place->file = mm_text_of(slash != NULL ? slash + 1 : where->short_src);
		if (place->file.size > 4 && memcmp(place->file.bytes + place->file.size - 4, ".lua", 4) == 0)
			place->file.size -= 4;
		place->line = where->currentline;
		return;
	}
}

/* ---- waits ---- */

static const char *string_at(lua_State *L, int at)
{
	return lua_type(L, at) == LUA_TSTRING ? lua_tostring(L, at) : "?";
}

static void ask_dns(lua_State *L, char *to, size_t size)
{
	snprintf(to, size, "dns %s %s", string_at(L, 2), string_at(L, 1));
}

static void ask_sleep(lua_State *L, char *to, size_t size)
{
	if (lua_type(L, 1) == LUA_TNUMBER)
		snprintf(to, size, "sleep %.3f s", lua_tonumber(L, 1));
}

static void ask_connect(lua_State *L, char *to, size_t size)
{
	if (lua_type(L, 3) == LUA_TNUMBER)
		snprintf(to, size, "connect %s port %.0f", string_at(L, 2), lua_tonumber(L, 3));
	else
		snprintf(to, size, "connect %s", string_at(L, 2));
}

static void ask_process(lua_State *L, char *to, size_t size)
{
	if (!lua_istable(L, 1) || !lua_checkstack(L, 1))
		return;
	lua_rawgeti(L, 1, 1);
	snprintf(to, size, "process %s", string_at(L, -1));
	lua_pop(L, 1);
}

static const struct {
	const char *name;               /* as mm_task_wait() is told it */
	void      (*ask)(lua_State *, char *to, size_t size);
} askers[] = {
	{ "dns", ask_dns }, { "sleep", ask_sleep }, { "connect", ask_connect }, { "process", ask_process },
};

/* Texts without control bytes: names come from mail. */
static struct mm_text question(lua_State *L, const char *name, const char *asks, char *to, size_t size)
{
	snprintf(to, size, "%s%s%s", name, asks != NULL ? " " : "", asks != NULL ? asks : "");
	for (size_t i = 0; i < sizeof askers / sizeof *askers && asks == NULL; i++)
		if (strcmp(askers[i].name, name) == 0)
			askers[i].ask(L, to, size);
	return mm_text_of(to);
}

/* What is asked, and where. Its texts are borrowed from these fields. */
struct asked {
	char                  bytes[QUESTION_SIZE];
	lua_Debug             where;
	struct mm_story_place place;
	struct mm_text        text;
};

static void take_question(lua_State *L, const struct mm_task *t, const char *name, struct asked *out)
{
	out->place = place_of(t);
	out->text = question(L, name, t->said, out->bytes, sizeof out->bytes);
	find_line(L, &out->place, &out->where);
}

void mm_told_wait(lua_State *L, struct mm_task *t, const char *name)
{
	struct asked asked;
	struct mm_story *s = story_of(t);
	struct mm_tracer *tracer = tracer_of(t);
	t->told_at = 0;
	if (s != NULL || tracer != NULL)
		take_question(L, t, name, &asked);
	if (s != NULL) {
		t->told_at = mm_story_ask(s, t->session->facts, &asked.place, asked.text);
		t->told_serial = s->serial;
	}
	if (tracer != NULL)
		mm_tracer_ask(tracer, t->session->facts, &asked.place, t, asked.text);
	t->said = NULL;
}

/* "2 records: 127.0.0.2" of a list on top at an index. */
static void describe_list(lua_State *L, int at, char *to, size_t size)
{
	size_t count = lua_objlen(L, at);
	int used = snprintf(to, size, "%zu record%s", count, count == 1 ? "" : "s");
	if (count == 0 || !lua_checkstack(L, 1))
		return;
	lua_rawgeti(L, at, 1);
	if (lua_type(L, -1) == LUA_TSTRING)
		snprintf(to + used, size - (size_t)used, ": %s", lua_tostring(L, -1));
	lua_pop(L, 1);
}

/* What `count` results say, the first of which is at an index. */
static struct mm_text describe_answer(lua_State *L, int count, char *to, size_t size)
{
	int at = lua_gettop(L) - count + 1;
	to[0] = '\0';
	if (count >= 2 && lua_isnil(L, at) && lua_type(L, at + 1) == LUA_TSTRING)
		snprintf(to, size, "%s", lua_tostring(L, at + 1));
	else if (count >= 1 && lua_istable(L, at))
		describe_list(L, at, to, size);
	return mm_text_of(to);
}

/* The story in which the wait was told, if it is not over. */
static struct mm_story *told_story(const struct mm_task *t)
{
	struct mm_story *s = t->told_at != 0 ? story_of(t) : NULL;
	return s != NULL && s->serial == t->told_serial ? s : NULL;
}

void mm_told_answer(struct mm_task *t, int count)
{
	char text[ANSWER_SIZE];
	struct mm_story *s = told_story(t);
	struct mm_tracer *tracer = tracer_of(t);
	struct mm_text answer = mm_text_of(t->said);
	if (t->said == NULL && (s != NULL || tracer != NULL))
		answer = describe_answer(t->co, count, text, sizeof text);
	if (s != NULL)
		mm_story_answer(s, t->told_at, answer);
	if (tracer != NULL)
		mm_tracer_answer(tracer, t->session->facts, t, answer);
	t->told_at = 0;
	t->said = NULL;
}

void mm_told_cancel(struct mm_task *t, const char *why)
{
	struct mm_story *s = told_story(t);
	struct mm_tracer *tracer = tracer_of(t);
	if (s != NULL)
		mm_story_answer(s, t->told_at, mm_text_of(why));
	if (tracer != NULL)
		mm_tracer_answer(tracer, t->session->facts, t, mm_text_of(why));
	t->told_at = 0;
}

void mm_told_known(lua_State *L, struct mm_task *t, const char *name, int count)
{
	char bytes[ANSWER_SIZE];
	struct asked asked;
	struct mm_story *s = story_of(t);
	struct mm_tracer *tracer = tracer_of(t);
	if (s == NULL && tracer == NULL)
		return;
	take_question(L, t, name, &asked);
	struct mm_text answer = describe_answer(L, count, bytes, sizeof bytes);
	uint32_t at = s != NULL ? mm_story_ask(s, t->session->facts, &asked.place, asked.text) : 0;
	if (at != 0)
		mm_story_answer(s, at, answer);
	if (tracer != NULL)
		mm_tracer_known(tracer, t->session->facts, &asked.place, asked.text, answer);
}

/* ---- edits, notes, errors ---- */

struct words {
	char  *to;
	size_t used, size;
};

static void add(struct words *w, const char *bytes, size_t n)
{
	if (n > w->size - w->used)
		n = w->size - w->used;
	memcpy(w->to + w->used, bytes, n);
	w->used += n;
}

static void add_number(struct words *w, lua_Number number)
{
	char digits[24];
	int at = sizeof digits;
	long long n = number > -1e15 && number < 1e15 ? (long long)number : 0;
	unsigned long long rest = (unsigned long long)(n < 0 ? -n : n);
	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (n < 0)
		digits[--at] = '-';
	add(w, digits + at, sizeof digits - (size_t)at);
}

/* "add_header X-Spam yes"; of a field whose value is to be left out, only the name. */
static struct mm_text describe_edit(lua_State *L, unsigned redact, const char *method, struct words *w)
{
	bool hides = redact >= MM_STORY_REDACT_SUBJECT, masks = redact >= MM_STORY_REDACT_ADDRESSES;
	size_t size_of_method = strlen(method);
	bool is_field = size_of_method > 6 && memcmp(method + size_of_method - 6, "header", 6) == 0;
	int top = lua_gettop(L), last = strcmp(method, "replace_body") == 0 ? 1 : top < 4 ? top : 4;
	add(w, method, size_of_method);
	for (int i = 2; i <= last; i++) {
		int type = lua_type(L, i);
		size_t size = 0;
		const char *text = type == LUA_TSTRING ? lua_tolstring(L, i, &size) : NULL;
		if ((text == NULL && type != LUA_TNUMBER) || (masks && (!is_field || text == NULL)))
			continue;
		add(w, " ", 1);
		if (text == NULL) {
			add_number(w, lua_tonumber(L, i));
			continue;
		}
		add(w, text, size);
		bool is_subject = hides && mm_text_equal_blind((struct mm_text){ text, size }, mm_text_of("subject"));
		if (is_field && (is_subject || masks))
			break;
	}
	return (struct mm_text){ w->to, w->used };
}

void mm_told_edit(lua_State *L, const struct mm_script_session *ss, const char *method)
{
	char text[QUESTION_SIZE];
	lua_Debug where;
	struct mm_story *s = ss->facts->story;
	const struct mm_task *t = ss->generation->current;
	struct mm_tracer *tracer = t != NULL ? tracer_of(t) : NULL;
	if (t == NULL || (s == NULL && tracer == NULL))
		return;
	struct words words = { text, 0, sizeof text };
	struct mm_story_place place = { .stage = (uint8_t)ss->stage };
	find_line(L, &place, &where);
	struct mm_text edit = describe_edit(L, s != NULL ? s->redact : (unsigned)tracer->redact, method, &words);
	if (s != NULL)
		mm_story_say(s, MM_STORY_EDIT, &place, edit);
	if (tracer != NULL)
		mm_tracer_say(tracer, ss->facts, MM_STORY_EDIT, &place, edit);
}

void mm_told_note(lua_State *L, const struct mm_script_session *ss, struct mm_text text)
{
	lua_Debug where;
	struct mm_story *s = ss->facts->story;
	const struct mm_task *t = ss->generation->current;
	struct mm_tracer *tracer = t != NULL ? tracer_of(t) : NULL;
	if (t == NULL || (s == NULL && tracer == NULL))
		return;
	struct mm_story_place place = place_of(t);
	find_line(L, &place, &where);
	if (s != NULL)
		mm_story_say(s, MM_STORY_NOTE, &place, text);
	if (tracer != NULL)
		mm_tracer_say(tracer, ss->facts, MM_STORY_NOTE, &place, text);
}

void mm_told_error(const struct mm_script_session *ss, const char *text)
{
	struct mm_story *s = ss->facts->story;
	struct mm_story_place place = { .file = { "", 0 }, .stage = (uint8_t)ss->stage };
	struct mm_tracer *tracer = ss->facts->traced != 0 ? ss->generation->settings.tracer : NULL;
	struct mm_text error = { text, strcspn(text, "\n") };
	if (s != NULL)
		mm_story_say(s, MM_STORY_ERROR, &place, error);
	if (tracer != NULL)
		mm_tracer_say(tracer, ss->facts, MM_STORY_ERROR, &place, error);
}
