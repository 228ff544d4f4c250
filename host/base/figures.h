/* base/figures.h -- the host's own metrics: their names, and where they are counted. A new one needs a row here.
 * Each milter has its figures; those of the whole host are in one more set, of the milter "". What the census counts
 * anyway, such as sessions, is not here (embed/exposed.c). The numbers are in the shared table of base/meter.h. */
#ifndef MM_BASE_FIGURES_H
#define MM_BASE_FIGURES_H

#include "base/meter.h"

enum mm_figures_of { MM_FIGURES_OF_MILTER, MM_FIGURES_OF_HOST };

/* ORDER FIGURES: docs/metric.md has a row for each.
 * id, of, kind, name, series, labels, help */
#define MM_FIGURES(X) \
	X(messages, MILTER, COUNTER, "moonmilter_messages", 1000, "verdict script", \
		"Messages by their verdict and the script that decided; aborted: the MTA went away before one") \
	X(stages, MILTER, HISTOGRAM, "moonmilter_stage_seconds", 32, "stage", \
		"Time of an event from its packet to its verdict, with all waits, where scripts have handlers") \
	X(handlers, MILTER, HISTOGRAM, "moonmilter_handler_seconds", 1000, "script handler", \
		"Time in which a call of a handler ran and nothing else in its worker could") \
	X(waits, MILTER, HISTOGRAM, "moonmilter_wait_seconds", 64, "kind", \
		"Time that scripts waited: for DNS, HTTP, a socket, a program, a timer") \
	X(fallbacks, MILTER, COUNTER, "moonmilter_limit_fallbacks", 500, "limit state", \
		"Answers of limits that were given without the server or table that counts") \
	X(maps, MILTER, GAUGE, "moonmilter_map_loaded_timestamp_seconds", 500, "map", \
		"When the version of a map that serves was loaded, in seconds since 1970") \
	X(events, MILTER, COUNTER, "moonmilter_events", 400, "sink result", \
		"Events of sinks: put, sent, failed (the receiver does not take them), dropped (no room)") \
	X(shadows, MILTER, COUNTER, "moonmilter_shadow_messages", 16, "result", \
		"Messages of a milter with a shadow: agree, the gravest difference, unseen, or decided by the canary") \
	X(reloads, HOST, COUNTER, "moonmilter_reloads", 4, "result", "Reloads by their result, ok or failed") \
	X(deaths, HOST, COUNTER, "moonmilter_worker_deaths", 1, "", "Workers that ended and had not been told to")

enum mm_figure {
#define X(id, of, kind, name, series, labels, help) MM_FIGURE_##id,
	MM_FIGURES(X)
#undef X
	MM_FIGURE_COUNT
};

#define MM_FIGURES_STAGES  24u          /* as many as there may be stages, and more */
#define MM_FIGURES_BUCKETS 16u          /* of a histogram, +Inf included, and more */

/* Times of one series that come so often that they are gathered here, and go to the table with mm_figures_flush():
 * twice a second. What a killed worker has gathered since is lost. */
struct mm_figures_times {
	const uint64_t          *bounds;        /* borrowed: upper ones in ticks, UINT64_MAX last */
	uint64_t                 ticks;         /* their sum */
	uint32_t                 counts[MM_FIGURES_BUCKETS];
	mm_meter_number         *series;        /* borrowed from the table */
	struct mm_figures_times *next;
};

struct mm_figures {
	struct mm_meter         *at[MM_FIGURE_COUNT];           /* owned; NULL: of another set */
	struct mm_figures_times *stages[MM_FIGURES_STAGES];     /* borrowed; NULL: not used yet */
	struct mm_figures_times *times;         /* owned list */
	uint64_t                 bounds_of_handlers[MM_FIGURES_BUCKETS], bounds_of_waits[MM_FIGURES_BUCKETS];
	double                   tick;          /* seconds of one of mm_clock_ticks(); 0: not known yet */
	double                   clock;         /* mm_clock_real() and mm_clock_ticks() when this set was made */
	uint64_t                 ticks;
	/* the last message: the next one is often like it */
	char                     last_by[44];
	int                      last_verdict;
	mm_meter_number         *last_series;   /* borrowed; NULL: there was none */
};

/* GIVES the figures of a milter, or with "" those of the host. NULL: the fault says why. */
struct mm_figures *mm_figures_new(struct mm_meters *, const char *milter, struct mm_fault *why);
void mm_figures_free(struct mm_figures *);              /* NULL is fine */

/* Counts one more. The texts are the values of its labels, in order; NULL reads "". f NULL: nothing happens. */
void mm_figures_count(struct mm_figures *f, enum mm_figure, const char *first, const char *second);
/* Sets a gauge with one label. f NULL: nothing happens. */
void mm_figures_set(struct mm_figures *f, enum mm_figure, const char *label, double to);
/* The number of a counter, or what a gauge was set to; 0: nothing yet, or f is NULL. */
double mm_figures_read(const struct mm_figures *f, enum mm_figure, const char *first, const char *second);
/* The numbers of a series; BORROWED for the life of the table. */
mm_meter_number *mm_figures_series(struct mm_figures *, enum mm_figure, const char *first, const char *second);
/* A time, in ticks, into MM_FIGURE_waits. f NULL: nothing happens. */
void mm_figures_wait(struct mm_figures *f, const char *kind, uint64_t ticks);
/* Gathers times for one of MM_FIGURE_handlers or MM_FIGURE_stages; BORROWED from f. NULL: out of memory. */
struct mm_figures_times *mm_figures_gather(struct mm_figures *, enum mm_figure, const char *first, const char *second);

/* In the header because it runs at every event. */
static inline void mm_figures_note(struct mm_figures_times *t, uint64_t ticks)
{
	unsigned bucket = 0;
	while (ticks > t->bounds[bucket])
		bucket++;
	t->counts[bucket]++;
	t->ticks += ticks;
}

/* What was gathered goes to the table. */
void mm_figures_flush(struct mm_figures *);
/* Measures again how long a tick is. */
void mm_figures_tune(struct mm_figures *);

#endif
