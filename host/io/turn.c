#include "io/turn.h"

#include "base/bounds.h"
#include "base/clock.h"

#define SAID_EVERY 1.0          /* seconds between two log lines */

void mm_turns_init(struct mm_turns *t, struct mm_log *log, struct mm_profile *profile,
	struct mm_engine_shared *engines)
{
	*t = (struct mm_turns){ .log = log, .profile = profile, .engines = engines };
	engines->busy = &profile->busy;
	mm_profile_look_anew(profile);
}

void mm_turns_measure(struct mm_turns *t)
{
	t->profile->turn_ticks = t->engines->turn_ticks = mm_profile_ticks(t->profile, MM_TURN);
}

static void say_slow(const struct mm_turns *t, double seconds, double computed)
{
	const struct mm_profile_look *look = &t->profile->look;
	struct mm_log_line line;
	mm_log_begin(&line, t->log, MM_LEVEL_WARN, "slow_turn");
	mm_log_seconds(&line, "seconds", seconds);
	mm_log_seconds(&line, "computed", computed);
	mm_log_number(&line, "slices", (long long)look->slices);
	if (look->script != NULL) {
		mm_log_string(&line, "session", look->session[0] != '\0' ? look->session : NULL);
		mm_log_string(&line, "script", look->script->path);
		mm_log_string(&line, "handler", mm_profile_row_name(look->row));
		mm_log_seconds(&line, "longest", mm_profile_seconds(t->profile, look->longest));
	}
	mm_log_string(&line, "text", "one turn of the loop took long, and every session waited for it");
	mm_log_end(&line);
}

/* One long slice of Lua has its own line (loop_blocked, task/budget.c). This one is about many short ones, and about
 * work that is not Lua's. */
void mm_turns_look(struct mm_turns *t, double every)
{
	const struct mm_profile *p = t->profile;
	double now = mm_clock_now(), late = t->looked_at != 0 ? now - t->looked_at - every : 0;
	if (late > MM_TURN_SLOW && (t->said_at == 0 || now - t->said_at >= SAID_EVERY)
	    && (p->look.script == NULL || mm_profile_seconds(p, p->look.longest) < late / 2)) {
		say_slow(t, late, mm_profile_seconds(p, p->busy - p->look.busy));
		t->said_at = now;
	}
	t->looked_at = now;
	mm_profile_look_anew(t->profile);
}
