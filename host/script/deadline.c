#include "script/deadline.h"

#include "bind/ctx.h"

#include <lua.h>

double mm_deadline_seconds(const struct mm_script_session *ss)
{
	const struct mm_generation_settings *settings = &ss->generation->settings;
	bool is_eom = ss->event.stage == MM_STAGE_eom
		|| (ss->event.command != NULL && ss->event.command->row->letter == SMFIC_BODYEOB);
	return is_eom ? settings->eom_deadline : settings->stage_deadline;
}

static void ensure_deadline(struct mm_script_session *ss)
{
	if (ss->deadline_at == 0)
		ss->deadline_at = mm_clock_now() + mm_deadline_seconds(ss);
}

void mm_deadline_arm(struct mm_script_session *ss)
{
	double now = mm_clock_now();
	struct mm_timer *alarm = &ss->task.timers->alarm;       /* whoever waits has timers (mm_task_may_wait()) */
	ensure_deadline(ss);
	if (alarm->fire == NULL)
		mm_timer_init(alarm, ss->generation->settings.clock, ss->generation->alarm);
	if (!mm_timer_is_running(alarm) || ss->progress_at <= now)
		ss->progress_at = now + ss->generation->settings.progress_every;
	double next = ss->progress_at < ss->deadline_at ? ss->progress_at : ss->deadline_at;
	mm_timer_start(alarm, next - now);
}

void mm_deadline_disarm(struct mm_script_session *ss)
{
	ss->deadline_at = 0;
	if (ss->task.timers != NULL)
		mm_timer_stop(&ss->task.timers->alarm);
}

/* ctx.deadline, in milter.now() time */
static int get_deadline(lua_State *L, struct mm_script_session *ss)
{
	if (!ss->has_event)
		return 0;
	ensure_deadline(ss);
	lua_pushnumber(L, ss->deadline_at - mm_clock_now() + mm_clock_wall());
	return 1;
}

void mm_deadline_bind(lua_State *L)
{
	static const struct mm_ctx_fact own_facts[] = { { "deadline", get_deadline }, { NULL, NULL } };
	mm_ctx_add_facts(L, own_facts);
}
