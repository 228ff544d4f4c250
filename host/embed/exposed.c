#include "embed/exposed.h"

#include "embed/parts.h"
#include "moonmilter_testing.h"

struct count {
	const char             *name;
	enum mm_exposition_kind kind;
	size_t                  field;          /* offset in struct mm_census_totals, of a uint64_t */
	const char             *help;
};

#define TOTAL(field) offsetof(struct mm_census_totals, field)

/* ORDER CENSUS_METRICS: docs/metric.md has a row for each. */
static const struct count counts[] = {
	{ "moonmilter_sessions", MM_EXPOSE_COUNTER, TOTAL(sessions_begun), "SMTP sessions that have begun" },
	{ "moonmilter_sessions_open", MM_EXPOSE_GAUGE, TOTAL(sessions), "Milter connections that are open now" },
	{ "moonmilter_sessions_of_older_scripts", MM_EXPOSE_GAUGE, TOTAL(older_sessions),
	  "Open sessions that keep the scripts from before a reload" },
	{ "moonmilter_workers", MM_EXPOSE_GAUGE, TOTAL(workers), "Processes that serve" },
	{ "moonmilter_script_errors", MM_EXPOSE_COUNTER, TOTAL(script_errors), "Handlers and tasks that raised" },
	{ "moonmilter_poison_refusals", MM_EXPOSE_COUNTER, TOTAL(refused_unseen),
	  "Events answered with 451, because they have killed a worker" },
	{ "moonmilter_log_lines_dropped", MM_EXPOSE_COUNTER, TOTAL(log_lost), "Log lines dropped for lack of room" },
	{ "moonmilter_lua_memory_bytes", MM_EXPOSE_GAUGE, TOTAL(lua_bytes), "Memory of all Lua states" },
	{ "moonmilter_held_memory_bytes", MM_EXPOSE_GAUGE, TOTAL(held_bytes),
	  "Memory that sessions, messages and caches hold" },
};

static void write_counts(const struct mm_census *census, struct mm_exposition *x)
{
	struct mm_census_totals totals;
	mm_census_add_up(census, &totals);
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		const struct count *c = &counts[i];
		uint64_t n;
		memcpy(&n, (const char *)&totals + c->field, sizeof n);
		mm_exposition_family(x, c->name, c->kind, c->help);
		mm_exposition_sample(x, c->name, c->kind == MM_EXPOSE_COUNTER ? "_total" : "", (double)n);
	}
	mm_exposition_family(x, "moonmilter_generation", MM_EXPOSE_GAUGE,
		"Number of the scripts that new sessions get");
	mm_exposition_sample(x, "moonmilter_generation", "", totals.generation);
}

static void write_build(struct mm_exposition *x)
{
	mm_exposition_family(x, "moonmilter_build_info", MM_EXPOSE_GAUGE, "The version, as a label; always 1");
	mm_exposition_begin(x, "moonmilter_build_info", "");
	mm_exposition_label(x, "version", mm_text_of(MM_VERSION));
	mm_exposition_end(x, 1);
}

bool mm_host_expose(const struct mm_host *h, const struct mm_census *census, bool is_open_metrics,
	struct mm_buffer *out)
{
	struct mm_exposition x = { .out = out, .is_open_metrics = is_open_metrics };
	write_build(&x);
	mm_exposition_family(&x, "moonmilter_start_time_seconds", MM_EXPOSE_GAUGE,
		"When the host was started, in seconds since 1970");
	mm_exposition_sample(&x, "moonmilter_start_time_seconds", "", h->started_at);
	write_counts(census != NULL ? census : &h->own, &x);
	mm_meters_write(h->meters, &x);
	mm_exposition_finish(&x);
	return !out->failed;
}

void mm_host_add_up(const struct mm_host *h, const struct mm_census *census, struct mm_census_totals *out)
{
	mm_census_add_up(census != NULL ? census : &h->own, out);
}

void mm_host_show_figures(struct mm_host *h)
{
	if (h->worker != NULL)
		mm_worker_show_figures(h->worker);
}

void mm_host_protect_counts(const struct mm_host *h, const struct mm_census *census)
{
	mm_meters_protect(h->meters);
	mm_census_protect(&h->own);
	if (census != NULL)
		mm_census_protect(census);
}

const char *mm_testing_metrics(struct mm_host *h, size_t *size)
{
	mm_buffer_free(&h->page);
	mm_host_show_figures(h);
	bool good = mm_host_expose(h, NULL, false, &h->page);
	*size = h->page.size;
	return good ? (const char *)h->page.bytes : NULL;
}

double mm_host_count_of(const struct mm_host *h, const char *milter, enum mm_figure i, const char *first,
	const char *second)
{
	struct mm_fault why;
	struct mm_figures *f = mm_figures_new(h->meters, milter, &why);
	double count = f != NULL ? mm_figures_read(f, i, first, second) : 0;
	mm_figures_free(f);
	return count;
}

struct mm_figures *mm_host_figures(struct mm_host *h)
{
	return h->figures;
}

void mm_host_recover_meters(struct mm_host *h, unsigned index)
{
	struct mm_fault why;
	if (mm_meters_forget_worker(h->meters, index))
		return;
	mm_log_say(&h->log, MM_LEVEL_ERROR, "metrics", "a worker that died has damaged the memory of the metrics: "
		"those that make no sense begin at 0");
	struct mm_figures *fresh = mm_figures_new(h->meters, "", &why);
	if (fresh == NULL)
		return;
	mm_figures_free(h->figures);
	h->figures = fresh;
}
