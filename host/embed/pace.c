#include "embed/pace.h"

#include "base/bounds.h"

bool mm_pace_ask(struct mm_pace *p)
{
	if (p->is_busy) {
		p->is_owed = true;
		return false;
	}
	*p = (struct mm_pace){ .is_busy = true, .ended_at = p->ended_at };      /* also serves a signal that waits */
	return true;
}

double mm_pace_wait(const struct mm_pace *p, double now)
{
	if (p->is_busy || !p->is_put_off)
		return -1;
	double due = p->ended_at + MM_RELOAD_EVERY;
	return p->ended_at == 0 || now >= due ? 0 : due - now;
}

bool mm_pace_is_due(struct mm_pace *p, double now)
{
	if (mm_pace_wait(p, now) != 0)
		return false;
	p->is_put_off = false;
	return true;
}

bool mm_pace_ask_soon(struct mm_pace *p, double now)
{
	p->is_put_off = true;
	return mm_pace_is_due(p, now);
}

bool mm_pace_end(struct mm_pace *p, double now)
{
	bool is_owed = p->is_owed;
	p->is_busy = p->is_owed = false;
	p->ended_at = now;
	return is_owed;
}
