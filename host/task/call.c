#include "task/call.h"

#include "task/budget.h"
#include "task/profile.h"
#include "task/memory.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>
#include <stdlib.h>

/* ---- what is said of an error ---- */

static bool is_frame_of_runtime(const char *line)
{
	size_t name = strcspn(line, ":\n");
	return strncmp(line, "\tmoonmilter.", 12) == 0 && name > 4 && strncmp(line + name - 4, ".lua", 4) == 0;
}

static bool starts(const char *line, const char *with)
{
	return strncmp(line, with, strlen(with)) == 0;
}

/* In place, line by line: the runtime's own frames go, with those of the C functions that it has called, and a title
 * behind which no frame of a script is left. */
void mm_hide_runtime(char *text)
{
	char *to = text, *calls = NULL, *title = NULL;  /* where in the output C frames, and a title
	                                                 * without frames, begin */
	for (char *line = text, *next; *line != '\0'; line = next) {
		next = line + strcspn(line, "\n");
		next += *next == '\n';
		bool is_title = starts(line, "stack traceback:\n"), is_c = starts(line, "\t[C]: ");
		if (is_frame_of_runtime(line)) {
			to = calls != NULL ? calls : to;
			calls = NULL;
			continue;
		}
		if (title != NULL && line[0] != '\t')
			to = title;
		calls = !is_c ? NULL : calls != NULL ? calls : to;
		title = is_title ? to : is_c ? title : NULL;
		memmove(to, line, (size_t)(next - line));
		to += next - line;
	}
	to = title != NULL ? title : to;
	if (to > text && to[-1] == '\n')
		to--;
	*to = '\0';
}

struct describing {
	lua_State       *co;
	struct mm_fault *why;
	bool             is_load;
};

/* What does not compile has none: the runtime's own loader is of no interest to whoever reads the error. */
static bool has_script_frame(lua_State *co)
{
	lua_Debug frame;
	for (int level = 0; lua_getstack(co, level, &frame); level++)
		if (lua_getinfo(co, "S", &frame) && !mm_frame_is_ours(&frame))
			return true;
	return false;
}

/* "…: 12: …", in the first line. */
static bool has_place(const char *message)
{
	for (const char *at = message; *at != '\0' && *at != '\n'; at++) {
		size_t digits = *at == ':' ? strspn(at + 1, "0123456789") : 0;
		if (digits > 0 && strncmp(at + 1 + digits, ": ", 2) == 0)
			return true;
	}
	return false;
}

/* A handler's error stands beside script and handler. Of a load there is nothing but the text, whatever the script has
 * raised: a table, nil, error(text, 0). */
static const char *push_located(lua_State *L, const struct describing *d, const char *message)
{
	if (!d->is_load || has_place(message))
		return message;
	mm_push_location_of(L, d->co);
	lua_pushstring(L, message);
	lua_concat(L, 2);
	return lua_tostring(L, -1);
}

/* Traceback of a dead coroutine: its stack is still there. Runs protected: making strings may raise. */
static int describe_error(lua_State *L)
{
	struct describing *d = lua_touserdata(L, 1);
	lua_State *co = d->co;
	const char *message = lua_tostring(co, -1);
	if (message == NULL && luaL_callmeta(co, -1, "__tostring"))
		message = lua_tostring(co, -1);
	char shape[64];
	if (message == NULL) {
		snprintf(shape, sizeof shape, "(error object is a %s value)", luaL_typename(co, -1));
		message = shape;
	}
	message = push_located(L, d, mm_push_blame(L, co, message));
	lua_pushliteral(L, "");
	if (has_script_frame(co))
		luaL_traceback(L, co, "", 0);
	bool no_memory = strcmp(message, "not enough memory") == 0;
	mm_fault_set(d->why, MM_FAULT_SCRIPT, "%s%s%s", message, no_memory ? ": Lua has all that memory_hard gives "
		"this worker" : "", lua_tostring(L, -1));
	return 0;
}

static void explain(struct mm_task *t, int status, struct mm_fault *why)
{
	lua_State *L = t->generation->L;
	int top = lua_gettop(L);
	struct describing d = { t->co, why, t == &t->generation->load_task };
	mm_fault_set(why, MM_FAULT_SCRIPT, "%s", status == LUA_ERRMEM ? "out of memory" : "the handler failed");
	struct mm_task *ran = mm_budget_begin(t);       /* __tostring is the script's, too */
	lua_cpcall(L, describe_error, &d);              /* when even this fails, the sentence above has to do */
	mm_budget_end(ran);
	lua_settop(L, top);
	mm_hide_runtime(why->text);
}

/* ---- what it costs ---- */

/* Whose figures are the task's? NULL: nobody's. */
static struct mm_profile_row *row_of(const struct mm_task *t)
{
	const struct mm_script_session *ss = t->session;
	bool is_handler = ss != NULL && t == &ss->task;
	const struct mm_script *f = is_handler ? &t->generation->scripts[ss->script_at] : t->script;
	if (f == NULL || f->profile == NULL)
		return NULL;
	return &f->profile->rows[!is_handler ? MM_PROFILE_TASK : ss->feeds_body ? MM_PROFILE_KEPT_BODY
		: (int)ss->event.stage];
}

static void name_call(const struct mm_task *t, struct mm_profile_row *row, uint64_t ticks, uint64_t busy)
{
	struct mm_profile_call call = { .ticks = ticks, .busy = busy, .at = mm_clock_wall() };
	if (t->session != NULL) {
		struct mm_text queue_id = mm_session_macro(t->session->facts, "i");
		snprintf(call.session, sizeof call.session, "%s", t->session->facts->id);
		snprintf(call.queue_id, sizeof call.queue_id, "%.*s", (int)queue_id.size, queue_id.bytes);
	}
	mm_profile_name(t->generation->settings.profile, row, &call);
}

/* Most calls are one slice; only those that wait leave a trace in the task. */
static void count_wait(struct mm_task *t, struct mm_profile_row *row, bool waits, uint64_t began, uint64_t ended)
{
	bool had_waited = t->began_at != 0;
	uint64_t busy = ended - began + (uint64_t)(had_waited ? t->busy : 0);
	if (had_waited)
		began = t->began_at;
	row->waiting += waits - had_waited;
	t->began_at = waits ? began : 0;
	t->busy = (float)busy;
	uint64_t ticks = ended > began + busy ? ended - began : busy;
	if (!waits && mm_profile_ended(t->generation->settings.profile, row, ticks, busy))
		name_call(t, row, ticks, busy);
}

/* cpu: the thread's CPU time when it began; 0: nobody has asked. */
static void count_slice(struct mm_task *t, struct mm_profile_row *row, bool waits, double cpu, uint64_t began,
	uint64_t ended)
{
	const struct mm_profile *p = t->generation->settings.profile;
	if (ended < began)              /* another processor's counter */
		ended = began;
	mm_profile_ran(p, row, ended - began);
	if (t->session != NULL && t->session->facts->message != NULL)
		t->session->facts->message->busy += ended - began;
	if (cpu != 0)
		mm_profile_measured(p, row, ended - began, mm_clock_cpu() - cpu);
	if (waits || t->began_at != 0)
		count_wait(t, row, waits, began, ended);
	else if (mm_profile_ended(p, row, ended - began, ended - began))
		name_call(t, row, ended - began, ended - began);
}

void mm_task_count_error(const struct mm_task *t)
{
	struct mm_profile_row *row = row_of(t);
	if (row != NULL)
		mm_profile_failed(t->generation->settings.profile, row);
}

/* ---- the doorway ---- */

static enum mm_run outcome(struct mm_task *t, int status, struct mm_fault *why)
{
	if (status != LUA_YIELD)
		mm_task_forget_wait(t);
	if (status == 0)
		return MM_RUN_DONE;
	if (status == LUA_YIELD) {
		lua_settop(t->co, 0);           /* the token */
		if (t->is_waiting)
			return MM_RUN_WAITING;
		if (t->session != NULL && t == &t->session->task && t->session->has_verdict) {
			mm_task_release(t);
			return MM_RUN_EXITED;
		}
		mm_fault_set(why, MM_FAULT_SCRIPT, "coroutine.yield outside of a coroutine of the script's own; "
			"to wait, use milter.sleep and its kin");
		mm_task_release(t);
		return MM_RUN_FAILED;
	}
	explain(t, status, why);
	mm_task_release(t);
	return MM_RUN_FAILED;
}

enum mm_run mm_call_resume(struct mm_task *t, int argument_count, struct mm_fault *why)
{
	struct mm_generation *g = t->generation;
	struct mm_task *before = g->current;
	g->current = t;
	struct mm_task *ran = mm_budget_begin(t);
	struct mm_profile_row *row = row_of(t);
	bool enforced = mm_memory_begin(g);
	double cpu = row != NULL && row->measures > 0 ? mm_clock_cpu() : 0;
	uint64_t began = mm_clock_ticks();
	int status = lua_resume(t->co, argument_count);
	uint64_t ended = mm_clock_ticks();
	mm_memory_end(g, enforced);
	mm_budget_end(ran);
	g->current = before;
	enum mm_run run = outcome(t, status, why);
	if (row != NULL)
		count_slice(t, row, run == MM_RUN_WAITING, cpu, began, ended);
	mm_memory_settle(t);
	return run;
}

struct mm_pushing {
	void (*push)(lua_State *, void *);
	void  *self;
};

int mm_call_push(lua_State *co)
{
	const struct mm_pushing *p = lua_touserdata(co, 1);
	lua_settop(co, 0);
	if (p->push != NULL)
		p->push(co, p->self);
	return lua_gettop(co);
}

enum mm_run mm_call_function(struct mm_task *t, int called, void (*push)(lua_State *, void *), void *self,
	struct mm_fault *why)
{
	struct mm_pushing p = { push, self };
	lua_State *co = mm_task_coroutine(t);
	if (co == NULL) {
		mm_fault_set(why, MM_FAULT_SCRIPT, "out of memory for a coroutine");
		return MM_RUN_FAILED;
	}
	/* At rest a coroutine's stack has room for these three; a closure of its own would cost an
	 * allocation each time. */
	lua_rawgeti(co, LUA_REGISTRYINDEX, t->generation->entry);
	lua_rawgeti(co, LUA_REGISTRYINDEX, called);
	lua_pushlightuserdata(co, &p);
	return mm_call_resume(t, 2, why);
}

/* ---- the end of a wait ---- */

void mm_task_go_on(struct mm_task *t, int count)
{
	struct mm_fault why;
	mm_task_wait_is_over(t);
	t->resumed(t, mm_call_resume(t, count, &why), &why);
}

void mm_task_run_ready(struct mm_generation *g)
{
	struct mm_task *t = g->ready_first;
	mm_task_unready(t);
	mm_task_go_on(t, t->ready_count);
}

void mm_task_cancel(struct mm_task *t, enum mm_cancel why)
{
	if (!t->is_waiting)
		return;
	t->undo(t);
	mm_task_wait_is_over(t);
	t->is_cancelled = true;
	t->why = why;
	mm_task_push_cancel(t, t->co);
	struct mm_fault ignored;        /* the cancellation itself coming back out */
	mm_call_resume(t, 2, &ignored);
	mm_task_release(t);
	t->is_cancelled = false;
}

/* ---- time limits ---- */

static void limit_passed(struct mm_timer *timer)
{
	struct mm_limit *limit = MM_OWNER_OF(timer, struct mm_limit, timer);
	struct mm_task *t = limit->task;
	limit->is_over = true;
	if (!t->is_waiting || t->is_ready)
		return;                 /* has its answer: the next wait raises */
	t->undo(t);
	mm_limit_push(t, t->co);
	mm_task_go_on(t, 2);
}

unsigned mm_limit_open(struct mm_task *t, double seconds)
{
	struct mm_limit *limit = calloc(1, sizeof *limit);
	if (limit == NULL)
		return 0;
	limit->task = t;
	limit->outer = t->limits;
	limit->depth = t->limits != NULL ? t->limits->depth + 1 : 1;
	t->limits = limit;
	mm_timer_init(&limit->timer, t->generation->settings.clock, limit_passed);
	mm_timer_start(&limit->timer, seconds);
	return limit->depth;
}
