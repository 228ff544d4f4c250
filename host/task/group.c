#include "task/group.h"

#include "base/list.h"
#include "task/call.h"
#include "task/whose.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdlib.h>

struct mm_deferred {
	int                 ref;        /* reference, owned */
	const struct mm_script *script; /* borrowed: the script that deferred it; may be NULL */
	const char         *path;       /* borrowed: as mm_task's */
	struct mm_deferred *next;
};

/* ---- waiters ---- */

static void unlink_waiter(struct mm_waiting_link *link)
{
	MM_LIST_REMOVE(link->on->waiters, link);
}

struct mm_waiting *mm_waiting_new(struct mm_task *waiter, struct mm_spawned *const *tasks, unsigned count)
{
	struct mm_waiting *w = calloc(1, sizeof *w + count * sizeof w->links[0]);
	if (w == NULL)
		return NULL;
	w->waiter = waiter;
	w->count = count;
	for (unsigned i = 0; i < count; i++) {
		struct mm_waiting_link *link = &w->links[i];
		link->owner = w;
		link->on = tasks[i];
		link->on->references++;
		MM_LIST_PUSH(link->on->waiters, link);
	}
	return w;
}

void mm_waiting_free(struct mm_waiting *w)
{
	for (unsigned i = 0; i < w->count; i++) {
		unlink_waiter(&w->links[i]);
		mm_spawned_release(w->links[i].on);
	}
	free(w);
}

static void wake_waiters(struct mm_spawned *sp)
{
	while (sp->waiters != NULL) {
		struct mm_waiting *w = sp->waiters->owner;
		struct mm_task *t = w->waiter;
		t->undo(t);                     /* of the wait in bind/task.c: frees w */
		mm_task_ready(t, 0);
	}
}

/* ---- one task ---- */

static void join(struct mm_spawned *sp, struct mm_task_group *group)
{
	sp->task.group = group;
	MM_LIST_PUSH(group->first, sp);
	group->count++;
}

static void leave(struct mm_spawned *sp)
{
	struct mm_task_group *group = sp->task.group;
	MM_LIST_REMOVE(group->first, sp);
	sp->next = sp->previous = NULL;
	sp->task.group = NULL;
	group->count--;
}

bool mm_spawned_is_over(const struct mm_spawned *sp)
{
	return sp->state >= MM_SPAWNED_ENDED;
}

void mm_spawned_release(struct mm_spawned *sp)
{
	if (--sp->references > 0)
		return;
	mm_task_release(&sp->task);
	free(sp->failure);
	free(sp);
}

/* The task may be freed afterwards. */
static void end(struct mm_spawned *sp, enum mm_spawned_state state)
{
	bool has_begun = sp->task.group != NULL;
	sp->state = state;
	if (has_begun)
		leave(sp);
	wake_waiters(sp);
	if (has_begun)
		mm_spawned_release(sp);
}

/* what: "task", "at_end". */
static void log_failure(struct mm_task *t, const char *what, const char *text)
{
	struct mm_log_line line;
	struct mm_fault shown;
	struct mm_whose whose = mm_whose_of(t);
	mm_fault_set(&shown, MM_FAULT_SCRIPT, "%s", text);
	mm_blame_hide_runtime(shown.text);
	mm_call_count_error(&whose);
	mm_census_add(t->generation->settings.row->script_errors, 1);
	mm_log_begin(&line, t->generation->settings.log, MM_LEVEL_ERROR, "script_error");
	mm_log_string(&line, "milter", t->generation->settings.milter_in_log);
	if (whose.session != NULL)
		mm_log_string(&line, "session", whose.session->facts->id);
	mm_log_string(&line, "script", mm_whose_path(&whose));
	mm_log_string(&line, "handler", what);
	mm_log_string(&line, "error", shown.text);
	mm_log_alike(&line, what, strlen(what));
	mm_log_alike(&line, text, strcspn(text, " "));          /* file:line: */
	mm_log_end(&line);
}

/* co: [true result...] or [false error text-with-traceback]; the text is missing after a cancellation */
static void log_raised(struct mm_spawned *sp)
{
	lua_State *co = sp->task.co;
	if (sp->waiters == NULL && !lua_toboolean(co, 1) && lua_type(co, 3) == LUA_TSTRING)
		log_failure(&sp->task, "task", lua_tostring(co, 3));
}

static void spawned_resumed(struct mm_task *t, enum mm_run run, struct mm_fault *why)
{
	struct mm_spawned *sp = MM_OWNER_OF(t, struct mm_spawned, task);
	if (run == MM_RUN_WAITING) {
		sp->state = MM_SPAWNED_RUNNING;
	} else if (t->is_cancelled) {
		mm_task_release(t);
		end(sp, MM_SPAWNED_CANCELLED);
	} else if (run == MM_RUN_DONE) {
		log_raised(sp);
		end(sp, MM_SPAWNED_ENDED);
	} else {
		sp->failure = strdup(why->text);
		if (sp->waiters == NULL)
			log_failure(&sp->task, "task", why->text);
		end(sp, MM_SPAWNED_FAILED);
	}
}

struct mm_spawned *mm_spawned_new(struct mm_generation *g, struct mm_script_session *ss, struct mm_task_group *group,
	struct mm_spawned **box)
{
	struct mm_spawned *sp = calloc(1, sizeof *sp);
	if (sp == NULL)
		return NULL;
	mm_task_init(&sp->task, g, ss, spawned_resumed);
	sp->references = 1;
	sp->state = MM_SPAWNED_CANCELLED;       /* until it is in its group */
	*box = sp;
	if (mm_task_coroutine(&sp->task) == NULL)
		return NULL;                    /* the box frees it */
	sp->state = MM_SPAWNED_QUEUED;
	sp->references++;
	join(sp, group);
	return sp;
}

void mm_spawned_start(struct mm_spawned *sp, int count)
{
	mm_task_ready(&sp->task, count);
	sp->task.wait_name = "spawn";
}

/* Has the task not begun? Then a cancel must not run it at all. */
static bool is_queued(const struct mm_spawned *sp)
{
	return sp->state == MM_SPAWNED_QUEUED && sp->task.is_ready;
}

static void drop_queued(struct mm_spawned *sp)
{
	sp->task.undo(&sp->task);
	sp->task.is_waiting = false;
	mm_task_release(&sp->task);
	end(sp, MM_SPAWNED_CANCELLED);
}

bool mm_spawned_cancel(struct mm_spawned *sp)
{
	if (mm_spawned_is_over(sp))
		return false;
	if (is_queued(sp))
		drop_queued(sp);
	else
		mm_task_cancel_soon(&sp->task, MM_CANCEL_ASKED);
	return true;
}

/* Called from the loop, where nothing runs in this Lua state. */
static void cancel_now(struct mm_spawned *sp, enum mm_cancel why)
{
	if (is_queued(sp)) {
		drop_queued(sp);
		return;
	}
	mm_task_cancel(&sp->task, why);
	end(sp, MM_SPAWNED_CANCELLED);
}

/* ---- groups ---- */

struct mm_task_group *mm_task_group_of(struct mm_task *t)
{
	if (t->group != NULL)
		return t->group;
	if (t->session == NULL)
		return &t->generation->tasks;
	const uint32_t of_message = MM_STAGES_OF_MESSAGE | MM_STAGE_BIT(abort) | MM_STAGE_BIT(done);
	return t->session->has_event && of_message & 1u << t->session->stage
		? &t->session->message_tasks : &t->session->client_tasks;
}

bool mm_task_group_defer(struct mm_task_group *group, int ref, const struct mm_task *by)
{
	struct mm_whose whose = mm_whose_of(by);
	struct mm_deferred *d = malloc(sizeof *d);
	if (d == NULL)
		return false;
	d->ref = ref;
	d->script = whose.script;
	d->path = whose.path;
	d->next = group->deferred;
	group->deferred = d;
	group->count++;
	return true;
}

static void deferred_resumed(struct mm_task *t, enum mm_run run, struct mm_fault *why)
{
	if (run == MM_RUN_FAILED)
		log_failure(t, "at_end", why->text);
}

static void run_deferred(struct mm_generation *g, struct mm_script_session *ss, struct mm_deferred *d,
	enum mm_cancel why)
{
	struct mm_task task;
	struct mm_fault fault;
	mm_task_init(&task, g, ss, deferred_resumed);
	task.script = d->script;
	task.path = d->path;
	task.is_cancelled = true;               /* its owner has ended: waits raise */
	task.why = why;
	deferred_resumed(&task, mm_call_function(&task, d->ref, NULL, NULL, &fault), &fault);
	mm_vault_drop(g->L, &d->ref);
	mm_task_release(&task);
}

void mm_task_group_end(struct mm_task_group *group, struct mm_generation *g, struct mm_script_session *ss,
	enum mm_cancel why)
{
	bool was_closed = group->is_closed;
	if (group->count == 0)
		return;
	group->is_closed = true;
	while (group->first != NULL)
		cancel_now(group->first, why);
	while (group->deferred != NULL) {
		struct mm_deferred *d = group->deferred;
		group->deferred = d->next;
		group->count--;
		run_deferred(g, ss, d, why);
		free(d);
	}
	group->is_closed = was_closed;
}

static struct mm_spawned *find_asleep(const struct mm_task_group *group, const char *wait_name)
{
	struct mm_spawned *sp = group->first;
	while (sp != NULL && !is_queued(sp)
	       && !(sp->task.is_waiting && sp->task.wait_name != NULL && strcmp(sp->task.wait_name, wait_name) == 0))
		sp = sp->next;
	return sp;
}

void mm_task_group_close(struct mm_task_group *group, const char *wait_name, enum mm_cancel why)
{
	struct mm_spawned *sp;
	group->is_closed = true;
	while ((sp = find_asleep(group, wait_name)) != NULL)    /* again from the start: cleanup may cancel others */
		cancel_now(sp, why);
}
