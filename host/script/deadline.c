#include "script/deadline.h"

#include "bind/ctx.h"

#include <lua.h>

double mm_deadline_seconds(const struct mm_script_session *ss)
{
	const struct mm_generation_settings *settings = &ss->generation->settings;
	bool is_eom = ss->stage == MM_STAGE_eom
		|| (ss->event->command != NULL && ss->event->command->row->letter == SMFIC_BODYEOB);
	return is_eom ? settings->eom_deadline : settings->stage_deadline;
}

static struct mm_at_work *ensure_deadline(const struct mm_script_session *ss)
{
	struct mm_at_work *w = mm_work_of(ss);
	if (w->deadline_at == 0)
		w->deadline_at = mm_clock_now() + mm_deadline_seconds(ss);
	return w;
}

void mm_deadline_arm(struct mm_script_session *ss)
{
	double now = mm_clock_now();
	struct mm_timer *alarm = &ss->task->timers->alarm;      /* whoever waits has timers (mm_task_may_wait()) */
	struct mm_at_work *w = ensure_deadline(ss);
	if (alarm->fire == NULL)
		mm_timer_init(alarm, ss->generation->settings.clock, ss->generation->alarm);
	if (!mm_timer_is_running(alarm) || w->progress_at <= now)
		w->progress_at = now + ss->generation->settings.progress_every;
	double next = w->progress_at < w->deadline_at ? w->progress_at : w->deadline_at;
	mm_timer_start(alarm, next - now);
}

/* ctx.deadline, in milter.now() time */
static int get_deadline(lua_State *L, struct mm_script_session *ss)
{
	if (!ss->has_event)
		return 0;
	lua_pushnumber(L, ensure_deadline(ss)->deadline_at - mm_clock_now() + mm_clock_wall());
	return 1;
}

void mm_deadline_bind(lua_State *L)
{
	static const struct mm_ctx_fact own_facts[] = { { "deadline", get_deadline }, { NULL, NULL } };
	mm_ctx_add_facts(L, own_facts);
}
