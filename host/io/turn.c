#include "io/turn.h"

#include "base/bounds.h"
#include "base/clock.h"
#include "task/budget.h"

#include <ev.h>
#include <stdlib.h>

#define SAID_EVERY 1.0          /* seconds between two log lines */

struct mm_turns {
	struct ev_loop          *loop;          /* borrowed, as all pointers */
	struct mm_log           *log;
	struct mm_profile       *profile;
	struct mm_engine_shared *engines;
	ev_check                 begin;         /* the loop has waited */
	ev_prepare               end;           /* it is going to wait */
	uint64_t                 began;         /* ticks; 0: no turn has begun */
	uint64_t                 slow;          /* ticks: a turn that takes longer is logged; 0: none is */
	double                   said_at;       /* mm_clock_now(); 0: never */
};

/* One long slice of Lua has its own line (loop_blocked, task/budget.c). This one is about many short ones, and about
 * work that is not Lua's. */
static void say_slow(struct mm_turns *t, uint64_t ticks)
{
	const struct mm_profile_turn *turn = &t->profile->turn;
	struct mm_log_line line;
	double now = mm_clock_now();
	bool is_one_slice = turn->script != NULL && turn->longest > ticks / 2;
	if (is_one_slice || !mm_budget_is_open() || (t->said_at != 0 && now - t->said_at < SAID_EVERY))
		return;
	t->said_at = now;
	mm_log_begin(&line, t->log, MM_LEVEL_WARN, "slow_turn");
	mm_log_seconds(&line, "seconds", mm_profile_seconds(t->profile, ticks));
	mm_log_seconds(&line, "computed", mm_profile_seconds(t->profile, turn->busy));
	mm_log_number(&line, "slices", (long long)turn->slices);
	if (turn->script != NULL) {
		mm_log_string(&line, "session", turn->session[0] != '\0' ? turn->session : NULL);
		mm_log_string(&line, "script", turn->script->path);
		mm_log_string(&line, "handler", mm_profile_row_name(turn->row));
		mm_log_seconds(&line, "longest", mm_profile_seconds(t->profile, turn->longest));
	}
	mm_log_string(&line, "text", "one turn of the loop took long, and every session waited for it");
	mm_log_end(&line);
}

static void on_begin(struct ev_loop *loop, ev_check *w, int events)
{
	struct mm_turns *t = w->data;
	(void)loop;
	(void)events;
	t->began = mm_clock_ticks();
	mm_profile_begin_turn(t->profile);
}

static void on_end(struct ev_loop *loop, ev_prepare *w, int events)
{
	struct mm_turns *t = w->data;
	(void)loop;
	(void)events;
	uint64_t began = t->began;
	t->began = 0;
	if (began == 0 || t->slow == 0)
		return;
	uint64_t ticks = mm_clock_ticks() - began;
	if (ticks > t->slow && ticks < UINT64_MAX / 2)          /* another processor's count may lag */
		say_slow(t, ticks);
}

struct mm_turns *mm_turns_new(void *loop, struct mm_log *log, struct mm_profile *profile,
	struct mm_engine_shared *engines)
{
	struct mm_turns *t = calloc(1, sizeof *t);
	if (t == NULL)
		return NULL;
	t->loop = loop;
	t->log = log;
	t->profile = profile;
	t->engines = engines;
	ev_check_init(&t->begin, on_begin);
	ev_prepare_init(&t->end, on_end);
	t->begin.data = t->end.data = t;
	ev_check_start(t->loop, &t->begin);
	ev_prepare_start(t->loop, &t->end);
	ev_unref(t->loop);
	ev_unref(t->loop);
	mm_profile_begin_turn(profile);
	return t;
}

void mm_turns_free(struct mm_turns *t)
{
	if (t == NULL)
		return;
	ev_ref(t->loop);
	ev_ref(t->loop);
	ev_check_stop(t->loop, &t->begin);
	ev_prepare_stop(t->loop, &t->end);
	free(t);
}

void mm_turns_measure(struct mm_turns *t)
{
	t->profile->turn_ticks = t->engines->turn_ticks = mm_profile_ticks(t->profile, MM_TURN);
	t->slow = mm_profile_ticks(t->profile, MM_TURN_SLOW);
}
