#include "ctl/profile_report.h"

#include "base/array.h"
#include "base/json.h"
#include "milter/message.h"
#include "ctl/lines.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIELDS_MAX   17
#define SLOWEST_SHOWN 5

/* A script's handler, over all workers. Times are seconds. */
struct row {
	char              *milter, *script, *handler;  /* points into a line that the report owns */
	char              *session, *queue_id;         /* of the slowest call, likewise */
	unsigned long long calls, errors, waiting_now;
	double             cpu, busy, busy_max, waited, waited_max, slowest, slowest_busy, slowest_at;
};

struct worker {
	int    pid;
	double since, seconds, cpu;
};

struct mm_profile_report {
	struct row            *rows;            /* owned */
	struct worker         *workers;         /* owned */
	uint32_t               row_count, row_capacity, worker_count, worker_capacity;
	struct mm_report_lines lines;
};

/* ---- reading ---- */

struct mm_profile_report *mm_profile_report_new(void)
{
	return calloc(1, sizeof(struct mm_profile_report));
}

void mm_profile_report_free(struct mm_profile_report *r)
{
	if (r == NULL)
		return;
	mm_report_lines_free(&r->lines);
	free(r->rows);
	free(r->workers);
	free(r);
}

static unsigned split(char *line, char *fields[FIELDS_MAX])
{
	unsigned count = 0;
	while (line != NULL && count < FIELDS_MAX)
		fields[count++] = strsep(&line, "\t");
	return count;
}

static struct row *row_of(struct mm_profile_report *r, char *milter, char *script, char *handler)
{
	for (size_t i = 0; i < r->row_count; i++)
		if (strcmp(r->rows[i].handler, handler) == 0 && strcmp(r->rows[i].script, script) == 0
		    && strcmp(r->rows[i].milter, milter) == 0)
			return &r->rows[i];
	if (!mm_array_grow(&r->rows, r->row_count, &r->row_capacity, sizeof *r->rows))
		return NULL;
	char *none = milter + strlen(milter);
	r->rows[r->row_count] = (struct row){ .milter = milter, .script = script, .handler = handler, .session = none,
		.queue_id = none };
	return &r->rows[r->row_count++];
}

static void raise_to(double *most, double value)
{
	if (value > *most)
		*most = value;
}

static bool add_row(struct mm_profile_report *r, char *f[FIELDS_MAX])
{
	struct row *row = row_of(r, f[1], f[2], f[3]);
	if (row == NULL)
		return false;
	row->calls += strtoull(f[4], NULL, 10);
	row->errors += strtoull(f[5], NULL, 10);
	row->waiting_now += strtoull(f[6], NULL, 10);
	row->cpu += strtod(f[7], NULL);
	row->busy += strtod(f[8], NULL);
	raise_to(&row->busy_max, strtod(f[9], NULL));
	row->waited += strtod(f[10], NULL);
	raise_to(&row->waited_max, strtod(f[11], NULL));
	double slowest = strtod(f[12], NULL);
	if (slowest <= row->slowest)
		return true;
	row->slowest = slowest;
	row->slowest_busy = strtod(f[13], NULL);
	row->slowest_at = strtod(f[14], NULL);
	row->session = f[15];
	row->queue_id = f[16];
	return true;
}

static bool add_worker(struct mm_profile_report *r, int pid, char *f[FIELDS_MAX])
{
	if (!mm_array_grow(&r->workers, r->worker_count, &r->worker_capacity, sizeof *r->workers))
		return false;
	r->workers[r->worker_count++] = (struct worker){ pid, strtod(f[1], NULL), strtod(f[2], NULL),
		strtod(f[3], NULL) };
	return true;
}

/* One worker's. */
struct reading {
	struct mm_profile_report *report;
	int                       pid;
};

static bool take_line(void *self, char *line, const char **why)
{
	const struct reading *r = self;
	char *fields[FIELDS_MAX] = { NULL };
	unsigned count = split(line, fields);
	if (count == 17 && strcmp(fields[0], "row") == 0)
		return add_row(r->report, fields);
	if (count == 4 && strcmp(fields[0], "since") == 0)
		return add_worker(r->report, r->pid, fields);
	*why = count == 2 && strcmp(fields[0], "failed") == 0 ? fields[1] : MM_REPORT_OTHER_VERSION;
	return false;
}

bool mm_profile_report_take(struct mm_profile_report *r, int worker, FILE *from, const char **why)
{
	struct reading reading = { r, worker };
	return mm_report_lines_read(&r->lines, from, take_line, &reading, why);
}

/* ---- order ---- */

static int by_time(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	double difference = (y->busy + y->waited) - (x->busy + x->waited);
	return difference > 0 ? 1 : difference < 0 ? -1 : strcmp(x->script, y->script);
}

static int by_slowest(const void *a, const void *b)
{
	const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;
	return y->slowest > x->slowest ? 1 : y->slowest < x->slowest ? -1 : 0;
}

static void sort(struct mm_profile_report *r)
{
	if (r->row_count > 0)
		qsort(r->rows, r->row_count, sizeof *r->rows, by_time);
}

static struct worker sum_of_workers(const struct mm_profile_report *r)
{
	struct worker sum = { 0 };
	for (size_t i = 0; i < r->worker_count; i++) {
		const struct worker *w = &r->workers[i];
		if (i == 0 || w->since < sum.since)
			sum.since = w->since;
		raise_to(&sum.seconds, w->seconds);
		sum.cpu += w->cpu;
	}
	return sum;
}

/* ---- for people ---- */

static const char *time_text(double seconds, char to[16])
{
	if (seconds <= 0)
		snprintf(to, 16, "-");
	else if (seconds < 0.000995)
		snprintf(to, 16, "%.1f us", seconds * 1e6);
	else if (seconds < 0.995)
		snprintf(to, 16, "%.1f ms", seconds * 1e3);
	else if (seconds < 9999.5)
		snprintf(to, 16, "%.2f s", seconds);
	else
		snprintf(to, 16, "%.0f s", seconds);
	return to;
}

static const char *moment_text(double at, char to[32])
{
	time_t whole = (time_t)at;
	struct tm utc;
	strftime(to, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&whole, &utc));
	return to;
}

static bool has_several_milters(const struct mm_profile_report *r)
{
	for (size_t i = 1; i < r->row_count; i++)
		if (strcmp(r->rows[i].milter, r->rows[0].milter) != 0)
			return true;
	return false;
}

/* "outbound/20-tag.lua", or without the milter when there is only one. Never cut: a cut name does
 * not identify a script. */
static void script_text(const struct row *row, bool with_milter, char *to, size_t size)
{
	const char *slash = strrchr(row->script, '/');
	snprintf(to, size, "%s%s%s", with_milter ? row->milter : "", with_milter ? "/" : "", slash != NULL ? slash + 1
		: row->script);
}

static void print_head(const struct mm_profile_report *r, FILE *to)
{
	char moment[32], cpu[16], of_handlers[16];
	struct worker sum = sum_of_workers(r);
	double handlers = 0;
	for (size_t i = 0; i < r->row_count; i++)
		handlers += r->rows[i].cpu;
	fprintf(to, "%u worker%s, counted for %.1f s, since %s\n", r->worker_count, r->worker_count == 1
		? "" : "s", sum.seconds, moment_text(sum.since, moment));
	for (size_t i = 0; i < r->worker_count; i++)
		if (r->workers[i].seconds < sum.seconds - 2)
			fprintf(to, "  pid %d only since %s\n", r->workers[i].pid,
				moment_text(r->workers[i].since, moment));
	fprintf(to, "CPU time of the workers %s, of which handlers took %s\n", time_text(sum.cpu, cpu),
		time_text(handlers, of_handlers));
}

static void print_row(const struct row *row, const char *script, int width, FILE *to)
{
	char cpu[16], busy[16], mean[16], most[16], waited[16], waited_mean[16], waited_most[16];
	double calls = row->calls > 0 ? (double)row->calls : 1;
	fprintf(to, "%-*s %-12s %9llu %6llu  %9s  %9s %9s %9s  %9s %9s %9s", width, script, row->handler,
		row->calls, row->errors, time_text(row->cpu, cpu), time_text(row->busy, busy),
		time_text(row->busy / calls, mean), time_text(row->busy_max, most),
		time_text(row->waited, waited), time_text(row->waited / calls, waited_mean),
		time_text(row->waited_max, waited_most));
	if (row->waiting_now > 0)
		fprintf(to, " %5llu\n", row->waiting_now);
	else
		fprintf(to, "     -\n");
}

static void print_slowest(struct mm_profile_report *r, bool with_milter, int width, FILE *to)
{
	char script[512], all[16], busy[16], moment[32];
	struct row **order = calloc(r->row_count, sizeof *order);
	if (order == NULL)
		return;
	for (size_t i = 0; i < r->row_count; i++)
		order[i] = &r->rows[i];
	qsort(order, r->row_count, sizeof *order, by_slowest);
	fprintf(to, "\nslowest call of a handler\n");
	for (size_t i = 0; i < r->row_count && i < SLOWEST_SHOWN && order[i]->slowest > 0; i++) {
		const struct row *row = order[i];
		script_text(row, with_milter, script, sizeof script);
		fprintf(to, "%-*s %-12s %9s, busy %9s  ended %s%s%s%s%s\n", width, script, row->handler,
			time_text(row->slowest, all), time_text(row->slowest_busy, busy),
			moment_text(row->slowest_at, moment), row->session[0] ? "  session=" : "",
			row->session, row->queue_id[0] ? "  queue_id=" : "", row->queue_id);
	}
	free(order);
}

void mm_profile_report_print(struct mm_profile_report *r, FILE *to)
{
	char script[512];
	bool with_milter = has_several_milters(r);
	int width = 6;
	sort(r);
	print_head(r, to);
	if (r->row_count == 0) {
		fprintf(to, "\nno handler was called\n");
		return;
	}
	for (size_t i = 0; i < r->row_count; i++) {
		script_text(&r->rows[i], with_milter, script, sizeof script);
		width = (int)strlen(script) > width ? (int)strlen(script) : width;
	}
	fprintf(to, "\n%-*s %-12s %9s %6s  %9s  %9s %9s %9s  %9s %9s %9s %5s\n", width, "script", "handler", "calls",
		"errors", "cpu", "busy", "mean", "max", "waiting", "mean", "max", "now");
	for (size_t i = 0; i < r->row_count; i++) {
		script_text(&r->rows[i], with_milter, script, sizeof script);
		print_row(&r->rows[i], script, width, to);
	}
	print_slowest(r, with_milter, width, to);
}

/* ---- for programs ---- */

bool mm_profile_report_row(const struct mm_profile_report *r, unsigned i, struct mm_profile_report_row *to)
{
	if (i >= r->row_count)
		return false;
	const struct row *row = &r->rows[i];
	*to = (struct mm_profile_report_row){ row->milter, row->script, row->handler, row->calls, row->errors,
		row->waiting_now, row->busy, row->waited, row->slowest, row->session, row->queue_id };
	return true;
}

static void row_json(struct mm_json *j, const struct row *row)
{
	mm_json_open(j, '{');
	mm_json_key_string(j, "milter", row->milter);
	mm_json_key_string(j, "script", row->script);
	mm_json_key_string(j, "handler", row->handler);
	mm_json_key_integer(j, "calls", row->calls);
	mm_json_key_integer(j, "errors", row->errors);
	mm_json_key_number(j, "cpu_seconds", row->cpu);
	mm_json_key_number(j, "busy_seconds", row->busy);
	mm_json_key_number(j, "busy_seconds_max", row->busy_max);
	mm_json_key_number(j, "waiting_seconds", row->waited);
	mm_json_key_number(j, "waiting_seconds_max", row->waited_max);
	mm_json_key_integer(j, "waiting_now", row->waiting_now);
	mm_json_key(j, "slowest");
	mm_json_open(j, '{');
	mm_json_key_number(j, "seconds", row->slowest);
	mm_json_key_number(j, "busy_seconds", row->slowest_busy);
	mm_json_key_number(j, "ended_at", row->slowest_at);
	mm_json_key_string(j, "session", row->session[0] != '\0' ? row->session : NULL);
	mm_json_key_string(j, "queue_id", row->queue_id[0] != '\0' ? row->queue_id : NULL);
	mm_json_close(j, '}');
	mm_json_close(j, '}');
}

void mm_profile_report_json(struct mm_profile_report *r, FILE *to)
{
	struct mm_buffer text = { 0 };
	struct mm_json j = { .out = &text };
	sort(r);
	mm_json_open(&j, '{');
	mm_json_key(&j, "workers");
	mm_json_open(&j, '[');
	for (size_t i = 0; i < r->worker_count; i++) {
		mm_json_open(&j, '{');
		mm_json_key_integer(&j, "pid", (unsigned long long)r->workers[i].pid);
		mm_json_key_number(&j, "since", r->workers[i].since);
		mm_json_key_number(&j, "seconds", r->workers[i].seconds);
		mm_json_key_number(&j, "cpu_seconds", r->workers[i].cpu);
		mm_json_close(&j, '}');
	}
	mm_json_close(&j, ']');
	mm_json_key(&j, "handlers");
	mm_json_open(&j, '[');
	for (size_t i = 0; i < r->row_count; i++)
		row_json(&j, &r->rows[i]);
	mm_json_close(&j, ']');
	mm_json_close(&j, '}');
	fwrite(text.bytes, 1, text.size, to);
	putc('\n', to);
	mm_buffer_free(&text);
}
