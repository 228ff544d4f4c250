#include "ctl/answer_json.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- lines ---- */

void mm_answer_line(struct mm_answer_lines *a, const char *text)
{
	char **grown = reallocarray(a->lines, a->count + 1, sizeof *grown);
	a->failed |= grown == NULL;
	if (grown == NULL)
		return;
	a->lines = grown;
	grown[a->count] = strdup(text);
	a->failed |= grown[a->count] == NULL;
	a->count += grown[a->count] != NULL;
}

void mm_answer_error(struct mm_answer_lines *a, const char *text)
{
	free(a->error);
	a->error = strdup(text);
	a->failed |= a->error == NULL;
}

void mm_answer_listing(struct mm_answer_lines *a, int descriptor)
{
	char *line = NULL;
	size_t room = 0;
	int copy = dup(descriptor);
	FILE *from = copy >= 0 ? fdopen(copy, "r") : NULL;
	a->failed |= from == NULL;
	if (from == NULL) {
		if (copy >= 0)
			close(copy);
		return;
	}
	rewind(from);
	while (getline(&line, &room, from) > 0) {
		line[strcspn(line, "\n")] = '\0';
		mm_answer_line(a, line);
	}
	free(line);
	fclose(from);
}

void mm_answer_free(struct mm_answer_lines *a)
{
	for (size_t i = 0; i < a->count; i++)
		free(a->lines[i]);
	free(a->lines);
	free(a->error);
	*a = (struct mm_answer_lines){ 0 };
}

/* ---- JSON ---- */

static bool is_number(const char *key)
{
	static const char *const keys[] = {
		"aborted", "accept", "age", "answers", "asked", "begun", "bytes", "changes", "continue", "crossed",
		"deadline_in", "deaths", "discard", "dropped", "ended", "entries", "evicted", "failed", "failures",
		"found", "full_in", "generation", "held", "held_bytes", "held_largest", "held_peak", "keys",
		"latency_us", "log_lost", "longest_collection_us", "longest_us", "lua_bytes", "messages",
		"older_sessions", "oldest", "pid", "put", "refused", "refused_for", "refused_unseen", "reject",
		"script_errors", "scripts", "sent", "sessions", "set_aside", "size", "taken", "tempfail", "ttl",
		"uptime", "versions", "waiting", "worker_deaths", "workers",
	};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (strcmp(keys[i], key) == 0)
			return true;
	return false;
}

static void add_value(struct mm_json *j, const char *key, const char *value)
{
	char *end;
	double number = strtod(value, &end);
	mm_json_key(j, key);
	if (!is_number(key) || end == value || *end != '\0')
		mm_json_string(j, value);
	else if (strchr(value, '.') != NULL)
		mm_json_number(j, number);
	else
		mm_json_integer(j, (int64_t)number);
}

/* "key=value key=value"; modifies the line. */
static void add_fields(struct mm_json *j, char *line)
{
	for (char *save, *word = strtok_r(line, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');
		if (value == NULL)
			continue;
		*value++ = '\0';
		add_value(j, word, value);
	}
}

static bool is_indented(const char *line)
{
	return line[0] == ' ';
}

static bool is_worker(const char *line)
{
	return strncmp(line, "worker pid=", 11) == 0;
}

/* "worker pid=12" heads the lines of this worker; with more fields after it the line is about the worker itself. */
static bool is_head(const char *line)
{
	return is_worker(line) && strchr(line + 11, ' ') == NULL;
}

static bool has_fields(const char *line)
{
	size_t key = strcspn(line, "= ");
	return line[key] == '=';
}

enum what { FIELDS, WORKERS, ITEMS, NOTES };

static bool is_of(const char *line, enum what what, bool is_status)
{
	if (is_indented(line) || is_head(line))
		return false;
	if (is_worker(line))
		return what == WORKERS;
	return what == (!has_fields(line) ? NOTES : is_status ? FIELDS : ITEMS);
}

/* Lines below an item: what is wrong with it, or where it waits. */
static void add_below(struct mm_json *j, struct mm_answer_lines *a, size_t i)
{
	static const char *const errors[] = { "error", "last_error" };
	const char *first = a->lines[i] + strspn(a->lines[i], " ");
	for (size_t k = 0; k < sizeof errors / sizeof *errors; k++) {
		size_t size = strlen(errors[k]);
		if (strncmp(first, errors[k], size) != 0 || strncmp(first + size, ": ", 2) != 0)
			continue;
		mm_json_key(j, errors[k]);
		mm_json_string(j, first + size + 2);
		return;
	}
	mm_json_key(j, "where");
	mm_json_open(j, '[');
	for (; i < a->count && is_indented(a->lines[i]); i++)
		mm_json_string(j, a->lines[i] + strspn(a->lines[i], " "));
	mm_json_close(j, ']');
}

static void add_item(struct mm_json *j, struct mm_answer_lines *a, size_t i, const char *worker)
{
	mm_json_open(j, '{');
	if (worker[0] != '\0')
		add_value(j, "pid", worker);
	add_fields(j, a->lines[i]);
	if (i + 1 < a->count && is_indented(a->lines[i + 1]))
		add_below(j, a, i + 1);
	mm_json_close(j, '}');
}

static void add_list(struct mm_json *j, struct mm_answer_lines *a, const char *name, enum what what, bool is_status)
{
	const char *worker = "";
	mm_json_key(j, name);
	mm_json_open(j, '[');
	for (size_t i = 0; i < a->count; i++) {
		if (is_head(a->lines[i]))
			worker = a->lines[i] + 11;
		if (!is_of(a->lines[i], what, is_status))
			continue;
		if (what == NOTES)
			mm_json_string(j, a->lines[i]);
		else
			add_item(j, a, i, worker);
	}
	mm_json_close(j, ']');
}

bool mm_answer_print(struct mm_answer_lines *a, const struct mm_request_row *request, FILE *to)
{
	struct mm_buffer text = { 0 };
	struct mm_json j = { .out = &text };
	bool is_status = request->answer == MM_ANSWER_FIELDS;
	mm_json_open(&j, '{');
	if (a->error != NULL) {
		mm_json_key(&j, "error");
		mm_json_string(&j, a->error);
	}
	add_list(&j, a, "notes", NOTES, is_status);     /* first, because the others modify their lines */
	for (size_t i = 0; is_status && i < a->count; i++)
		if (is_of(a->lines[i], FIELDS, true))
			add_fields(&j, a->lines[i]);
	if (is_status)
		add_list(&j, a, "processes", WORKERS, true);
	if (request->answer == MM_ANSWER_ITEMS)
		add_list(&j, a, request->name, ITEMS, false);
	mm_json_close(&j, '}');
	bool ok = !text.failed && !a->failed;
	if (ok)
		fprintf(to, "%.*s\n", (int)text.size, (const char *)text.bytes);
	mm_buffer_free(&text);
	mm_answer_free(a);
	return ok;
}
