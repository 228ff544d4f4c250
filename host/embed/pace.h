/* embed/pace.h -- how soon the next reload may begin.
 * A burst of requests becomes two reloads: the one under way and one more, which sees whatever changed meanwhile. A
 * request from a client, or changed files, cause a reload at once, or right after the one under way. A signal has no
 * client: it waits until MM_RELOAD_EVERY seconds have passed since the last reload ended.
 * The first load counts as a reload.
 *
 * Times in, decisions out: knows no clock, no loop and no Lua. Times are those of mm_clock_now(). A zeroed
 * struct is a pace at rest. */
#ifndef MM_EMBED_PACE_H
#define MM_EMBED_PACE_H

#include <stdbool.h>

struct mm_pace {
	bool   is_busy;                         /* a reload is under way */
	bool   is_owed;                         /* asked for meanwhile: one more follows */
	bool   is_put_off;                      /* a signal waits for its time */
	double ended_at;                        /* when the last reload ended; 0: none yet */
};

/* A reload is wanted now. True: the caller begins it, and calls mm_pace_end() when it is over. False: one is under way,
 * and another follows it. */
bool mm_pace_ask(struct mm_pace *);
/* A signal wants a reload. True: ask for it now. False: it is put off until mm_pace_is_due(). */
bool mm_pace_ask_soon(struct mm_pace *, double now);
/* Seconds until a postponed reload is due; 0: it is due. Negative: none waits for a time, so ask again
 * when a reload has ended. */
double mm_pace_wait(const struct mm_pace *, double now);
/* True, once: ask for the postponed reload now. */
bool mm_pace_is_due(struct mm_pace *, double now);
/* The reload is over. True: another was requested meanwhile; ask for it now. */
bool mm_pace_end(struct mm_pace *, double now);

#endif
