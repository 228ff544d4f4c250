/* embed/pace.h -- how soon the next reload may begin.
 * A storm of reloads becomes two: the one under way and one more, which sees whatever changed meanwhile. A request that
 * has a client, or changed files, gets its reload at once, or right after the one under way. A signal has no client: it
 * waits until MM_RELOAD_EVERY seconds have passed since the last reload ended. The first load counts as a reload.
 *
 * Times in, decisions out: knows no clock, no loop and no Lua. Times are those of mm_clock_now(). All bytes 0 is a pace
 * at rest. */
#ifndef MM_EMBED_PACE_H
#define MM_EMBED_PACE_H

#include <stdbool.h>

struct mm_pace {
	bool   is_busy;                         /* a reload is under way */
	bool   is_owed;                         /* asked for since: one more follows */
	bool   is_put_off;                      /* a signal waits for its time */
	double ended_at;                        /* the last reload did; 0: none has */
};

/* A reload is wanted now. True: the caller begins it, and says mm_pace_end() when it is over. False: one is under way,
 * and another follows it. */
bool mm_pace_ask(struct mm_pace *);
/* A signal wants a reload. True: it may be asked for now. False: it is put off until mm_pace_is_due(). */
bool mm_pace_ask_soon(struct mm_pace *, double now);
/* Seconds until a reload that was put off is due; 0: it is. Negative: none waits for a time, so ask again when a reload
 * has ended. */
double mm_pace_wait(const struct mm_pace *, double now);
/* True, once: the reload that was put off may be asked for now. */
bool mm_pace_is_due(struct mm_pace *, double now);
/* The reload is over. True: one more was wanted meanwhile and may be asked for now. */
bool mm_pace_end(struct mm_pace *, double now);

#endif
