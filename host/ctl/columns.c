#include "ctl/columns.h"

#include "base/array.h"
#include "base/terminal.h"
#include "ctl/figure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VALUE_MAX 256
#define FACTS_WIDTH 18          /* of the names in front of single facts */

enum unit { TEXT, COUNT, BYTES, SECONDS, MICROSECONDS };

/* What is known about a key. Others are texts whose head is their name. */
struct column {
	const char *key, *head;
	enum unit   unit;
	/* 0: always shown. Else columns that are 0 everywhere are left out, and where the table is too wide, those
	 * with the highest number go first. */
	unsigned    rank;
	bool        is_alarming;        /* above 0 it is yellow */
};

static const struct column known[] = {
	{ "pid", "PID", COUNT, 0, false },
	{ "state", "STATE", TEXT, 0, false },
	{ "generation", "GEN", COUNT, 3, false },
	{ "sessions", "SESSIONS", COUNT, 0, false },
	{ "older_sessions", "OLDER", COUNT, 4, false },
	{ "begun", "BEGUN", COUNT, 5, false },
	{ "messages", "MESSAGES", COUNT, 0, false },
	{ "script_errors", "ERRORS", COUNT, 1, true },
	{ "lua_bytes", "LUA", BYTES, 2, false },
	{ "held_bytes", "HELD", BYTES, 3, false },
	{ "held_peak", "PEAK", BYTES, 7, false },
	{ "held_largest", "LARGEST", BYTES, 8, false },
	{ "longest_collection_us", "GC", MICROSECONDS, 9, false },
	{ "log_lost", "LOG LOST", COUNT, 1, true },
	{ "session", "SESSION", TEXT, 0, false },
	{ "mta", "MTA", TEXT, 8, false },
	{ "client", "CLIENT", TEXT, 2, false },
	{ "address", "ADDRESS", TEXT, 0, false },
	{ "queue_id", "QUEUE ID", TEXT, 0, false },
	{ "stage", "STAGE", TEXT, 0, false },
	{ "age", "AGE", SECONDS, 0, false },
	{ "held", "HELD", BYTES, 7, false },
	{ "script", "SCRIPT", TEXT, 1, false },
	{ "waits_for", "WAITS FOR", TEXT, 0, false },
	{ "waiting", "WAITING", SECONDS, 0, false },
	{ "deadline_in", "DEADLINE", SECONDS, 3, false },
	{ "kind", "KIND", TEXT, 0, false },
	{ "path", "FILE", TEXT, 0, false },
	{ "entries", "ENTRIES", COUNT, 0, false },
	{ "versions", "VERSIONS", COUNT, 3, false },
	{ "taken", "TAKEN", SECONDS, 4, false },
	{ "service", "SERVICE", TEXT, 0, false },
	{ "answers", "ANSWERS", COUNT, 0, false },
	{ "found", "FOUND", COUNT, 5, false },
	{ "failures", "FAILURES", COUNT, 1, true },
	{ "latency_us", "LATENCY", MICROSECONDS, 2, false },
	{ "longest_us", "LONGEST", MICROSECONDS, 4, false },
	{ "asked", "ASKED", SECONDS, 4, false },
	{ "milter", "MILTER", TEXT, 0, false },
	{ "uptime", NULL, SECONDS, 0, false },
	{ "worker_deaths", NULL, COUNT, 0, true },
	{ "refused_unseen", NULL, COUNT, 0, true },
};

static const struct column *column_of(const char *key)
{
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(known[i].key, key) == 0)
			return &known[i];
	return NULL;
}

bool mm_columns_has(const struct mm_request_row *request)
{
	static const enum mm_request all[] = { MM_REQUEST_status, MM_REQUEST_sessions, MM_REQUEST_generations,
		MM_REQUEST_maps };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (request == &mm_request_rows[all[i]])
			return true;
	return false;
}

/* ---- fields of a line ---- */

/* The next "key=value " at *at. False: the line ends. */
static bool next_field(const char **at, char key[VALUE_MAX], char value[VALUE_MAX])
{
	*at += strspn(*at, " ");
	while (**at != '\0') {
		size_t word = strcspn(*at, " "), equals = strcspn(*at, "= ");
		const char *begin = *at;
		*at += word + strspn(*at + word, " ");
		if (begin[equals] != '=')
			continue;               /* "worker pid=12" */
		snprintf(key, VALUE_MAX, "%.*s", (int)equals, begin);
		snprintf(value, VALUE_MAX, "%.*s", (int)(word - equals - 1), begin + equals + 1);
		return true;
	}
	return false;
}

const char *mm_columns_value(const char *line, const char *key, char *to, size_t size)
{
	char name[VALUE_MAX], value[VALUE_MAX];
	while (next_field(&line, name, value)) {
		if (strcmp(name, key) != 0)
			continue;
		snprintf(to, size, "%s", value);
		return to;
	}
	return NULL;
}

static const char *shown(enum unit unit, const char *value, char to[MM_FIGURE_MAX])
{
	char *end;
	double number = strtod(value, &end);
	if (end == value || *end != '\0')
		return value;
	switch (unit) {
	case BYTES:        return mm_figure_bytes(number, to);
	case SECONDS:      return mm_figure_seconds(number, to);
	case MICROSECONDS: return mm_figure_seconds(number / 1e6, to);
	case TEXT:
	case COUNT:        break;
	}
	return value;
}

/* ---- the table ---- */

struct table {
	char         **keys;                    /* owned, each owned, in the order of the columns */
	unsigned      *widths;                  /* owned */
	bool          *is_left_out;             /* owned */
	uint32_t       count, keys_room, widths_room, out_room;
};

static void table_free(struct table *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		free(t->keys[i]);
	free(t->keys);
	free(t->widths);
	free(t->is_left_out);
}

/* The index of a key's column, which is made if there is none; -1: out of memory. */
static int find_column(struct table *t, const char *key)
{
	const struct column *c = column_of(key);
	for (uint32_t i = 0; i < t->count; i++)
		if (strcmp(t->keys[i], key) == 0)
			return (int)i;
	char *copy = strdup(key);
	if (copy == NULL || !mm_array_grow(&t->keys, t->count, &t->keys_room, sizeof *t->keys)
	    || !mm_array_grow(&t->widths, t->count, &t->widths_room, sizeof *t->widths)
	    || !mm_array_grow(&t->is_left_out, t->count, &t->out_room, sizeof *t->is_left_out)) {
		free(copy);
		return -1;
	}
	t->keys[t->count] = copy;
	t->widths[t->count] = (unsigned)strlen(c != NULL && c->head != NULL ? c->head : key);
	t->is_left_out[t->count] = c != NULL && c->rank > 0;    /* until a value is not 0 */
	return (int)t->count++;
}

static bool measure(struct table *t, const char *line)
{
	char key[VALUE_MAX], value[VALUE_MAX], figure[MM_FIGURE_MAX];
	while (next_field(&line, key, value)) {
		const struct column *c = column_of(key);
		int at = find_column(t, key);
		if (at < 0)
			return false;
		unsigned width = (unsigned)strlen(shown(c != NULL ? c->unit : TEXT, value, figure));
		t->widths[at] = width > t->widths[at] ? width : t->widths[at];
		t->is_left_out[at] &= strcmp(value, "0") == 0;
	}
	return true;
}

static unsigned width_of(const struct table *t)
{
	unsigned width = 0;
	for (uint32_t i = 0; i < t->count; i++)
		width += t->is_left_out[i] ? 0 : t->widths[i] + 2;
	return width > 0 ? width - 2 : 0;
}

static void make_fit(struct table *t, unsigned width)
{
	while (width_of(t) > width) {
		int worst = -1;
		unsigned rank = 0;
		for (uint32_t i = 0; i < t->count; i++) {
			const struct column *c = column_of(t->keys[i]);
			if (t->is_left_out[i] || c == NULL || c->rank <= rank)
				continue;
			rank = c->rank;
			worst = (int)i;
		}
		if (worst < 0)
			return;
		t->is_left_out[worst] = true;
	}
}

static bool is_last(const struct table *t, uint32_t i)
{
	while (++i < t->count)
		if (!t->is_left_out[i])
			return false;
	return true;
}

static void print_cell(const struct table *t, uint32_t i, const char *text, bool is_right)
{
	if (t->is_left_out[i])
		return;
	const char *after = is_last(t, i) ? "\n" : "  ";
	if (!is_right && after[0] == '\n')
		printf("%s\n", text);
	else
		printf("%*s%s", is_right ? (int)t->widths[i] : -(int)t->widths[i], text, after);
}

static void print_head(const struct table *t)
{
	mm_terminal_paint(STDOUT_FILENO, MM_PAINT_DIM);
	for (uint32_t i = 0; i < t->count; i++) {
		const struct column *c = column_of(t->keys[i]);
		print_cell(t, i, c != NULL && c->head != NULL ? c->head : t->keys[i], c != NULL && c->unit != TEXT);
	}
	mm_terminal_paint(STDOUT_FILENO, MM_PAINT_NONE);
}

static enum mm_paint paint_of(const char *key, const char *value)
{
	const struct column *c = column_of(key);
	if (c != NULL && c->is_alarming && strcmp(value, "0") != 0)
		return MM_PAINT_YELLOW;
	if (strcmp(key, "reload") == 0)
		return strcmp(value, "failed") == 0 ? MM_PAINT_RED : MM_PAINT_GREEN;
	if (strcmp(key, "state") == 0)
		return strcmp(value, "serving") == 0 ? MM_PAINT_GREEN : MM_PAINT_YELLOW;
	return strcmp(key, "waits_for") == 0 ? MM_PAINT_CYAN : MM_PAINT_NONE;
}

static void print_row(const struct table *t, const char *line)
{
	char value[VALUE_MAX], figure[MM_FIGURE_MAX];
	for (uint32_t i = 0; i < t->count; i++) {
		const struct column *c = column_of(t->keys[i]);
		const char *given = mm_columns_value(line, t->keys[i], value, sizeof value);
		enum mm_paint paint = given != NULL ? paint_of(t->keys[i], given) : MM_PAINT_NONE;
		if (paint != MM_PAINT_NONE && !t->is_left_out[i])
			mm_terminal_paint(STDOUT_FILENO, paint);
		print_cell(t, i, given == NULL ? "" : shown(c != NULL ? c->unit : TEXT, given, figure),
			c != NULL && c->unit != TEXT);
		if (paint != MM_PAINT_NONE && !t->is_left_out[i])
			mm_terminal_paint(STDOUT_FILENO, MM_PAINT_NONE);
	}
}

/* ---- lines ---- */

/* "version=0.1.0 pid=12" as lines of their own. */
static void print_facts(const char *line)
{
	char key[VALUE_MAX], value[VALUE_MAX], figure[MM_FIGURE_MAX];
	while (next_field(&line, key, value)) {
		const struct column *c = column_of(key);
		enum mm_paint paint = paint_of(key, value);
		for (char *p = key; *p != '\0'; p++)
			*p = *p == '_' ? ' ' : *p;
		mm_terminal_paint(STDOUT_FILENO, MM_PAINT_DIM);
		printf("%-*s", FACTS_WIDTH, key);
		mm_terminal_paint(STDOUT_FILENO, paint);
		printf("%s\n", shown(c != NULL ? c->unit : TEXT, value, figure));
		if (paint != MM_PAINT_NONE)
			mm_terminal_paint(STDOUT_FILENO, MM_PAINT_NONE);
	}
}

static bool is_worker(const char *line)
{
	return strncmp(line, "worker pid=", 11) == 0;
}

static bool is_fields(const char *line)
{
	return line[strcspn(line, "= ")] == '=';
}

/* A line of the table: of a worker in the status, of an item elsewhere. */
static bool is_item(const char *line, bool is_status)
{
	return is_status ? is_worker(line) : !is_worker(line) && is_fields(line);
}

static bool is_head(const char *line)
{
	return is_worker(line) && strchr(line + 11, ' ') == NULL;
}

/* Several workers have answered, each below a line "worker pid=12": their items begin with that. */
static bool name_workers(struct mm_answer_lines *a)
{
	unsigned heads = 0;
	const char *pid = NULL;
	for (size_t i = 0; i < a->count; i++)
		heads += is_head(a->lines[i]);
	for (size_t i = 0; i < a->count && heads > 1; i++) {
		char *named;
		if (is_head(a->lines[i]))
			pid = a->lines[i] + 11;
		if (pid == NULL || !is_item(a->lines[i], false))
			continue;
		if (asprintf(&named, "pid=%s %s", pid, a->lines[i]) < 0)
			return false;
		free(a->lines[i]);
		a->lines[i] = named;
	}
	return true;
}

bool mm_columns_print(struct mm_answer_lines *a, const struct mm_request_row *request, unsigned width)
{
	struct table table = { 0 };
	bool is_status = request->answer == MM_ANSWER_FIELDS, has_head = false;
	bool ok = !a->failed && (is_status || name_workers(a));
	for (size_t i = 0; i < a->count && ok; i++)
		ok = !is_item(a->lines[i], is_status) || measure(&table, a->lines[i]);
	make_fit(&table, width);
	for (size_t i = 0; i < a->count && ok; i++) {
		const char *line = a->lines[i];
		if (is_item(line, is_status)) {
			if (!has_head && is_status)
				putchar('\n');
			if (!has_head)
				print_head(&table);
			has_head = true;
			print_row(&table, line);
		} else if (is_status && is_fields(line)) {
			print_facts(line);
		} else if (!is_worker(line)) {
			puts(line);
		}
	}
	if (ok && !is_status && !has_head && a->error == NULL)
		printf("no %s\n", request->name);
	table_free(&table);
	mm_answer_free(a);
	return ok;
}
