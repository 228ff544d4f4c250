#include "base/figures.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

/* Upper bounds in seconds. A handler takes microseconds, a stage waits for others. */
static const double of_handlers[] = { 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1 };
static const double of_waits[] = { 1e-4, 5e-4, 1e-3, 5e-3, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300 };

_Static_assert(sizeof of_waits / sizeof *of_waits < MM_FIGURES_BUCKETS, "and the last");

#define COUNT_OF(array) (sizeof (array) / sizeof *(array))

/* The fields that the macros of the table need. */
#define SCOPE_COUNTER   MM_METER_OF_WORKER
#define SCOPE_HISTOGRAM MM_METER_OF_WORKER
#define SCOPE_GAUGE     MM_METER_OF_HOST

struct row {
	enum mm_figures_of      of;
	enum mm_exposition_kind kind;
	enum mm_meter_scope     scope;
	const char             *name;
	unsigned                series;
	const char             *labels;         /* with a space between two */
	const char             *help;
};

static const struct row rows[MM_FIGURE_COUNT] = {
#define X(id, of, kind, name, series, labels, help) \
	{ MM_FIGURES_OF_##of, MM_EXPOSE_##kind, SCOPE_##kind, name, series, labels, help },
	MM_FIGURES(X)
#undef X
};

static struct mm_meter *open_row(struct mm_meters *all, enum mm_figure i, const char *milter, struct mm_fault *why)
{
	const struct row *row = &rows[i];
	char words[64];
	const char *labels[MM_METER_LABELS];
	bool is_histogram = row->kind == MM_EXPOSE_HISTOGRAM, is_of_handlers = i == MM_FIGURE_handlers;
	struct mm_meter_spec spec = {
		.name = row->name, .help = row->help, .milter = milter, .kind = row->kind, .scope = row->scope,
		.labels = labels, .max_series = row->series, .bounds = is_of_handlers ? of_handlers : of_waits,
		.bound_count = !is_histogram ? 0 : is_of_handlers ? COUNT_OF(of_handlers) : COUNT_OF(of_waits),
	};
	snprintf(words, sizeof words, "%s", row->labels);
	for (char *save, *word = strtok_r(words, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
		labels[spec.label_count++] = word;
	return mm_meter_open(all, &spec, why);
}

struct mm_figures *mm_figures_new(struct mm_meters *all, const char *milter, struct mm_fault *why)
{
	enum mm_figures_of of = milter[0] != '\0' ? MM_FIGURES_OF_MILTER : MM_FIGURES_OF_HOST;
	struct mm_figures *f = calloc(1, sizeof *f);
	if (f == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for metrics");
		return NULL;
	}
	f->clock = mm_clock_real();
	f->ticks = mm_clock_ticks();
	for (int i = 0; i < MM_FIGURE_COUNT; i++) {
		if (rows[i].of != of)
			continue;
		f->at[i] = open_row(all, (enum mm_figure)i, milter, why);
		if (f->at[i] == NULL) {
			mm_figures_free(f);
			return NULL;
		}
	}
	return f;
}

void mm_figures_free(struct mm_figures *f)
{
	if (f == NULL)
		return;
	mm_figures_flush(f);
	for (struct mm_figures_times *t; (t = f->times) != NULL;) {
		f->times = t->next;
		free(t);
	}
	for (int i = 0; i < MM_FIGURE_COUNT; i++)
		mm_meter_close(f->at[i]);
	free(f);
}

/* ---- ticks ---- */

static void set_bounds(uint64_t *to, const double *seconds, unsigned count, double tick)
{
	for (unsigned i = 0; i < count; i++)
		to[i] = (uint64_t)(seconds[i] / tick);
	to[count] = UINT64_MAX;
}

void mm_figures_tune(struct mm_figures *f)
{
	double seconds = mm_clock_real() - f->clock;
	uint64_t ticks = mm_clock_ticks() - f->ticks;
	f->tick = seconds > 0 && ticks > 0 ? seconds / (double)ticks : 1e-9;
	set_bounds(f->bounds_of_handlers, of_handlers, COUNT_OF(of_handlers), f->tick);
	set_bounds(f->bounds_of_waits, of_waits, COUNT_OF(of_waits), f->tick);
}

/* ---- counting ---- */

mm_meter_number *mm_figures_series(struct mm_figures *f, enum mm_figure i, const char *first, const char *second)
{
	const struct mm_text values[MM_METER_LABELS] = { mm_text_of(first), mm_text_of(second) };
	return mm_meter_series(f->at[i], values);
}

void mm_figures_count(struct mm_figures *f, enum mm_figure i, const char *first, const char *second)
{
	if (f != NULL && f->at[i] != NULL)
		mm_meter_number_add(mm_figures_series(f, i, first, second), 1);
}

void mm_figures_set(struct mm_figures *f, enum mm_figure i, const char *label, double to)
{
	const struct mm_text value = mm_text_of(label);
	if (f != NULL && f->at[i] != NULL)
		mm_meter_set(f->at[i], &value, to);
}

double mm_figures_read(const struct mm_figures *f, enum mm_figure i, const char *first, const char *second)
{
	const struct mm_text values[MM_METER_LABELS] = { mm_text_of(first), mm_text_of(second) };
	double number, sum;
	return f != NULL && f->at[i] != NULL && mm_meter_read(f->at[i], values, &number, &sum) ? number : 0;
}

void mm_figures_wait(struct mm_figures *f, const char *kind, uint64_t ticks)
{
	const struct mm_text value = mm_text_of(kind);
	if (f == NULL)
		return;
	if (f->tick == 0)
		mm_figures_tune(f);
	mm_meter_observe(f->at[MM_FIGURE_waits], &value, (double)ticks * f->tick);
}

/* ---- gathering ---- */

struct mm_figures_times *mm_figures_gather(struct mm_figures *f, enum mm_figure i, const char *first,
	const char *second)
{
	struct mm_figures_times *t = calloc(1, sizeof *t);
	if (t == NULL)
		return NULL;
	if (f->tick == 0)
		mm_figures_tune(f);
	t->bounds = i == MM_FIGURE_handlers ? f->bounds_of_handlers : f->bounds_of_waits;
	t->series = mm_figures_series(f, i, first, second);
	t->next = f->times;
	f->times = t;
	return t;
}

static void flush(const struct mm_figures *f, struct mm_figures_times *t)
{
	unsigned bucket = 0;
	for (;; bucket++) {
		if (t->counts[bucket] > 0)
			__atomic_fetch_add(&t->series[bucket], t->counts[bucket], __ATOMIC_RELAXED);
		t->counts[bucket] = 0;
		if (t->bounds[bucket] == UINT64_MAX)
			break;
	}
	if (t->ticks > 0)
		mm_meter_number_add(&t->series[bucket + 1], (double)t->ticks * f->tick);
	t->ticks = 0;
}

void mm_figures_flush(struct mm_figures *f)
{
	for (struct mm_figures_times *t = f->times; t != NULL; t = t->next)
		flush(f, t);
}
