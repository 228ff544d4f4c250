/* task/profile.h -- the cost of handlers: one row per script and handler, counted at every call, kept across reloads.
 * busy is the time in which a call ran and nothing else in the worker could: its CPU time, blocking system calls, and
 * time that the machine gave to other processes. waited is the rest. Both are counted in ticks (clock.h), because
 * reading a real clock twice would be a good part of a short handler. CPU time, which costs a system call, is measured
 * only while a handler has been heavy lately; otherwise busy is used for it.
 *
 * A row counts from the start of the worker or the last reset, and separately from the opening of a window.
 * Rows belong to the worker; generations share them by milter and path. Written as lines of tab-separated fields, which
 * profile_report.c reads. Knows no Lua and no sessions. */
#ifndef MM_TASK_PROFILE_H
#define MM_TASK_PROFILE_H

#include "base/bounds.h"
#include "base/figures.h"
#include "milter/stage.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Handlers by their stage, then the other work that runs for a script. */
enum { MM_PROFILE_TASK = MM_STAGE_COUNT, MM_PROFILE_KEPT_BODY, MM_PROFILE_ROW_COUNT };

/* A call, described so that it can be found in a log. */
struct mm_profile_call {
	uint64_t ticks, busy;           /* in all; of these busy */
	double   at;                    /* its end; seconds since 1970 */
	char     session[32];           /* "": none */
	char     queue_id[32];          /* "": none */
};

struct mm_profile_figures {
	uint64_t calls;                 /* those that have ended */
	uint64_t busy, busy_max;        /* ticks; max: of one call */
	uint64_t slowest_ticks;         /* of slowest; here for the processor's cache */
	uint64_t waited, waited_max;
	uint64_t errors;
	uint64_t measured_busy;         /* ticks of the slices whose CPU time was measured */
	double   measured_cpu;          /* that CPU time, seconds */
	struct mm_profile_call slowest;
};

struct mm_profile_row {
	struct mm_profile_figures all, window;
	uint32_t                  waiting;      /* calls that wait now */
	uint8_t                   measures;     /* this many more calls get a system call for their CPU time */
	struct mm_figures_times  *shown;        /* borrowed: its calls as a metric; NULL: it has none */
};

struct mm_profile_script {
	char                     *milter, *path;        /* owned */
	unsigned                  users;                /* generations that use it */
	struct mm_profile_script *next;
	struct mm_profile_row     rows[MM_PROFILE_ROW_COUNT];
};

/* What Lua did since the loop was last looked at, in case one turn of it took long. */
struct mm_profile_look {
	uint64_t                        slices;
	uint64_t                        busy;           /* `busy` of the profile at the last look */
	uint64_t                        longest;        /* ticks; a slice below MM_PROFILE_HEAVY_TICKS is not noted */
	const struct mm_profile_script *script;         /* of the longest; NULL: none was noted */
	int                             row;
	char                            session[32];    /* "": none */
};

struct mm_profile {
	struct mm_profile_script *scripts;      /* owned list */
	struct mm_profile_look    look;
	uint64_t                  busy;         /* ticks of all slices so far */
	uint64_t                  busy_at_turn; /* when this turn of the loop began */
	uint64_t                  busy_before;  /* ticks of the slices in the turn before */
	uint64_t                  turn_ticks;   /* how long one session runs before the others; 0: no limit */
	bool                      has_window;
	struct mm_profile_span {
		double   at;                    /* seconds since 1970 */
		double   cpu;                   /* of the thread */
		double   clock;                 /* mm_clock_now() */
		uint64_t ticks;
	}                         all, window;  /* since when */
};

void mm_profile_init(struct mm_profile *);
void mm_profile_free(struct mm_profile *);

/* The rows of a script. BORROWED until left. NULL: out of memory; then it is not counted. */
struct mm_profile_script *mm_profile_join(struct mm_profile *, const char *milter, const char *path);
void mm_profile_leave(struct mm_profile *, struct mm_profile_script *);         /* NULL is fine */

/* The calls of a handler are also shown as a metric. name: of the script; figures: BORROWED; NULL is fine. */
void mm_profile_show(struct mm_profile_script *, int row, struct mm_figures *, const char *name);

#define MM_PROFILE_HEAVY_TICKS (UINT64_C(1) << 18)      /* about 0.1 ms where a tick is a cycle of the processor */
#define MM_PROFILE_MEASURES    16                       /* after a heavy slice, and at the start */

/* A turn of the loop begins. */
static inline void mm_profile_begin_turn(struct mm_profile *p)
{
	p->busy_before = p->busy - p->busy_at_turn;
	p->busy_at_turn = p->busy;
}

static inline void mm_profile_look_anew(struct mm_profile *p)
{
	p->look.slices = 0;
	p->look.busy = p->busy;
	p->look.longest = MM_PROFILE_HEAVY_TICKS;
	p->look.script = NULL;
}

/* Has this turn of the loop been as long as one session's turn? */
static inline bool mm_profile_is_late(const struct mm_profile *p)
{
	return p->turn_ticks > 0 && p->busy - p->busy_at_turn > p->turn_ticks;
}

/* How long work that can wait may run in one turn of the loop: as long as all the work of the turn before, so that it
 * gets its half of a busy worker, but at least MM_TURN_TOGETHER. */
static inline uint64_t mm_profile_share(const struct mm_profile *p)
{
	uint64_t least = p->turn_ticks * (uint64_t)(MM_TURN_TOGETHER / MM_TURN);
	return p->turn_ticks == 0 ? UINT64_MAX : p->busy_before > least ? p->busy_before : least;
}

/* The longest slice since the last look: note whose it was. */
static inline bool mm_profile_is_longest(const struct mm_profile *p, uint64_t busy)
{
	return busy > p->look.longest;
}

/* A slice whose CPU time was measured, because measures are left. */
void mm_profile_measured(const struct mm_profile *, struct mm_profile_row *, uint64_t busy, double cpu);
/* The rare part of mm_profile_ended(). */
bool mm_profile_ended_slowly(const struct mm_profile *, struct mm_profile_row *, uint64_t ticks, uint64_t busy);

/* A call has run for this many busy ticks, and ends or waits. */
static inline void mm_profile_ran(struct mm_profile *p, struct mm_profile_row *row, uint64_t busy)
{
	row->all.busy += busy;
	p->look.slices++;
	p->busy += busy;
	if (p->has_window)
		row->window.busy += busy;
	if (busy > MM_PROFILE_HEAVY_TICKS)
		row->measures = MM_PROFILE_MEASURES;
}

/* A call has ended. True: it is the longest so far; name it with mm_profile_name(). */
static inline bool mm_profile_ended(const struct mm_profile *p, struct mm_profile_row *row, uint64_t ticks,
	uint64_t busy)
{
	struct mm_profile_figures *f = &row->all;
	f->calls++;
	if (row->shown != NULL)
		mm_figures_note(row->shown, busy);
	if (busy > f->busy_max)
		f->busy_max = busy;
	if (ticks == busy && !p->has_window && ticks <= f->slowest_ticks)
		return false;           /* nearly always */
	return mm_profile_ended_slowly(p, row, ticks, busy);
}

/* Counts a call that has run without a wait, as mm_profile_ran() and mm_profile_ended() do, unless something about it
 * is rare: false, and nothing is counted. Nearly all calls are short ones. */
static inline bool mm_profile_ran_shortly(struct mm_profile *p, struct mm_profile_row *row, uint64_t busy)
{
	struct mm_profile_figures *f = &row->all;
	if (busy > MM_PROFILE_HEAVY_TICKS || busy > f->busy_max || busy > f->slowest_ticks || p->has_window)
		return false;
	f->busy += busy;
	f->calls++;
	p->look.slices++;
	p->busy += busy;
	if (row->shown != NULL)
		mm_figures_note(row->shown, busy);
	return true;
}

void mm_profile_name(const struct mm_profile *, struct mm_profile_row *, const struct mm_profile_call *);
void mm_profile_failed(const struct mm_profile *, struct mm_profile_row *);

/* Sets all counts to zero, except those of waiting calls. */
void mm_profile_begin_anew(struct mm_profile *);
const char *mm_profile_row_name(int row);               /* "on_eom", "task". Static. */
/* Opens the window: it counts, too, from zero. */
void mm_profile_open_window(struct mm_profile *);
void mm_profile_close_window(struct mm_profile *);
/* Ticks as seconds. */
double mm_profile_seconds(const struct mm_profile *, uint64_t ticks);
uint64_t mm_profile_ticks(const struct mm_profile *, double seconds);
/* Seconds since the counter had this value. */
double mm_profile_seconds_since(const struct mm_profile *, uint64_t ticks);
/* Writes a "since" line, then "row" lines. */
void mm_profile_write(const struct mm_profile *, bool window, FILE *to);

#endif
