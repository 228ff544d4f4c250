#include "task/profile.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define HEAVY_CPU 20e-6         /* seconds; a slice that takes less is not heavy, whatever delayed it */

/* ---- life ---- */

static struct mm_profile_span now(void)
{
	return (struct mm_profile_span){ mm_clock_wall(), mm_clock_cpu(), mm_clock_now(), mm_clock_ticks() };
}

void mm_profile_init(struct mm_profile *p)
{
	*p = (struct mm_profile){ .all = now() };
}

static void script_free(struct mm_profile_script *s)
{
	if (s == NULL)
		return;
	free(s->milter);
	free(s->path);
	free(s);
}

void mm_profile_free(struct mm_profile *p)
{
	for (struct mm_profile_script *s; (s = p->scripts) != NULL;) {
		p->scripts = s->next;
		script_free(s);
	}
}

static struct mm_profile_script *script_new(const char *milter, const char *path)
{
	struct mm_profile_script *s = calloc(1, sizeof *s);
	for (int i = 0; s != NULL && i < MM_PROFILE_ROW_COUNT; i++)
		s->rows[i].measures = MM_PROFILE_MEASURES;
	if (s != NULL && (s->milter = strdup(milter)) != NULL && (s->path = strdup(path)) != NULL)
		return s;
	script_free(s);
	return NULL;
}

struct mm_profile_script *mm_profile_join(struct mm_profile *p, const char *milter, const char *path)
{
	struct mm_profile_script *s = p->scripts;
	while (s != NULL && (strcmp(s->path, path) != 0 || strcmp(s->milter, milter) != 0))
		s = s->next;
	if (s == NULL) {
		s = script_new(milter, path);
		if (s == NULL)
			return NULL;
		s->next = p->scripts;
		p->scripts = s;
	}
	s->users++;
	return s;
}

void mm_profile_leave(struct mm_profile *p, struct mm_profile_script *s)
{
	(void)p;
	if (s != NULL)
		s->users--;             /* its counts are still needed for reading */
}

void mm_profile_show(struct mm_profile_script *s, int row, struct mm_figures *figures, const char *name)
{
	if (s != NULL && figures != NULL && s->rows[row].shown == NULL)
		s->rows[row].shown = mm_figures_gather(figures, MM_FIGURE_handlers, name, mm_profile_row_name(row));
}

/* ---- counting ---- */

void mm_profile_measured(const struct mm_profile *p, struct mm_profile_row *row, uint64_t busy, double cpu)
{
	row->all.measured_busy += busy;
	row->all.measured_cpu += cpu;
	if (p->has_window) {
		row->window.measured_busy += busy;
		row->window.measured_cpu += cpu;
	}
	if (cpu < HEAVY_CPU && row->measures > 0)
		row->measures--;
}

static bool add_wait(struct mm_profile_figures *f, uint64_t ticks, uint64_t busy)
{
	uint64_t waited = ticks - busy;
	f->waited += waited;
	if (waited > f->waited_max)
		f->waited_max = waited;
	if (ticks <= f->slowest_ticks)
		return false;
	f->slowest_ticks = ticks;
	return true;
}

bool mm_profile_ended_slowly(const struct mm_profile *p, struct mm_profile_row *row, uint64_t ticks, uint64_t busy)
{
	bool is_slowest = add_wait(&row->all, ticks, busy);
	if (!p->has_window)
		return is_slowest;
	row->window.calls++;
	if (busy > row->window.busy_max)
		row->window.busy_max = busy;
	return add_wait(&row->window, ticks, busy) || is_slowest;
}

void mm_profile_name(const struct mm_profile *p, struct mm_profile_row *row, const struct mm_profile_call *call)
{
	if (call->ticks == row->all.slowest_ticks)
		row->all.slowest = *call;
	if (p->has_window && call->ticks == row->window.slowest_ticks)
		row->window.slowest = *call;
}

void mm_profile_failed(const struct mm_profile *p, struct mm_profile_row *row)
{
	row->all.errors++;
	row->window.errors += p->has_window;
}

/* ---- resets ---- */

void mm_profile_begin_anew(struct mm_profile *p)
{
	p->all = now();
	p->look.script = NULL;
	for (struct mm_profile_script **at = &p->scripts, *s; (s = *at) != NULL;) {
		if (s->users == 0) {            /* a row of scripts that are gone */
			*at = s->next;
			script_free(s);
			continue;
		}
		for (int i = 0; i < MM_PROFILE_ROW_COUNT; i++)
			s->rows[i].all = (struct mm_profile_figures){ 0 };
		at = &s->next;
	}
}

void mm_profile_open_window(struct mm_profile *p)
{
	p->has_window = true;
	p->window = now();
	for (struct mm_profile_script *s = p->scripts; s != NULL; s = s->next)
		for (int i = 0; i < MM_PROFILE_ROW_COUNT; i++)
			s->rows[i].window = (struct mm_profile_figures){ 0 };
}

void mm_profile_close_window(struct mm_profile *p)
{
	p->has_window = false;
}

/* ---- for reading ---- */

const char *mm_profile_row_name(int i)
{
	return i == MM_PROFILE_TASK ? "task" : i == MM_PROFILE_KEPT_BODY ? "ctx:body"
		: mm_stage_handler((enum mm_stage)i);
}

/* Paths and queue ids are foreign text: a byte that could pose as a separator becomes a question mark. */
static void write_text(FILE *to, const char *text)
{
	putc('\t', to);
	for (; *text != '\0'; text++)
		putc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, to);
}

static void write_row(FILE *to, const struct mm_profile_script *s, int i, const struct mm_profile_figures *f,
	double second)
{
	fputs("row", to);
	write_text(to, s->milter);
	write_text(to, s->path);
	write_text(to, mm_profile_row_name(i));
	double cpu = f->measured_cpu + (double)(f->busy - f->measured_busy) / second;
	fprintf(to, "\t%llu\t%llu\t%u\t%.9f\t%.9f\t%.9f\t%.9f\t%.9f\t%.9f\t%.9f\t%.3f", (unsigned long long)f->calls,
		(unsigned long long)f->errors, s->rows[i].waiting, cpu, (double)f->busy / second,
		(double)f->busy_max / second,
		(double)f->waited / second, (double)f->waited_max / second, (double)f->slowest.ticks / second,
		(double)f->slowest.busy / second, f->slowest.at);
	write_text(to, f->slowest.session);
	write_text(to, f->slowest.queue_id);
	putc('\n', to);
}

/* Ticks per second. */
static double rate(const struct mm_profile_span *since, const struct mm_profile_span *until)
{
	double seconds = until->clock - since->clock;
	return seconds > 0 && until->ticks > since->ticks ? (double)(until->ticks - since->ticks) / seconds : 1e9;
}

double mm_profile_seconds(const struct mm_profile *p, uint64_t ticks)
{
	struct mm_profile_span until = { .clock = mm_clock_now(), .ticks = mm_clock_ticks() };
	return (double)ticks / rate(&p->all, &until);
}

uint64_t mm_profile_ticks(const struct mm_profile *p, double seconds)
{
	struct mm_profile_span until = { .clock = mm_clock_now(), .ticks = mm_clock_ticks() };
	return (uint64_t)(seconds * rate(&p->all, &until));
}

double mm_profile_seconds_since(const struct mm_profile *p, uint64_t ticks)
{
	struct mm_profile_span until = now();
	return until.ticks > ticks ? (double)(until.ticks - ticks) / rate(&p->all, &until) : 0;
}

void mm_profile_write(const struct mm_profile *p, bool window, FILE *to)
{
	const struct mm_profile_span *since = window ? &p->window : &p->all;
	struct mm_profile_span end = now();
	double second = rate(since, &end);
	fprintf(to, "since\t%.3f\t%.6f\t%.6f\n", since->at, end.clock - since->clock, end.cpu - since->cpu);
	for (const struct mm_profile_script *s = p->scripts; s != NULL; s = s->next)
		for (int i = 0; i < MM_PROFILE_ROW_COUNT; i++) {
			const struct mm_profile_figures *f = window ? &s->rows[i].window : &s->rows[i].all;
			if (f->calls > 0 || f->busy > 0 || f->errors > 0 || s->rows[i].waiting > 0)
				write_row(to, s, i, f, second);
		}
}
