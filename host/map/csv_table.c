#include "map/csv_table.h"

#include "base/array.h"
#include "base/quote.h"
#include "map/image.h"
#include "map/logical_lines.h"

#include <stdlib.h>

#define COLUMNS_MAX 10000u

/* A row that was read: its columns after each other. */
struct row {
	struct mm_buffer bytes;         /* owned */
	size_t          *ends;          /* owned array: where each column ends in bytes */
	uint32_t         count, capacity;
};

struct reader {
	struct mm_text   rest;
	unsigned         line;          /* of the row's begin, from 1 */
	unsigned         lines;         /* read so far */
	char             separator;
	struct row       row;
	struct mm_fault *why;           /* borrowed */
};

static struct mm_text column(const struct row *row, uint32_t n)
{
	if (n >= row->count || row->bytes.size == 0)
		return mm_text_of("");
	size_t begin = n > 0 ? row->ends[n - 1] : 0;
	return (struct mm_text){ (const char *)row->bytes.bytes + begin, row->ends[n] - begin };
}

static bool ends_column(const struct reader *r)
{
	return r->rest.size == 0 || r->rest.bytes[0] == r->separator || r->rest.bytes[0] == '\n'
		|| (r->rest.bytes[0] == '\r' && (r->rest.size == 1 || r->rest.bytes[1] == '\n'));
}

/* After the opening quote: up to the closing one; two stand for one. */
static bool read_quoted(struct reader *r)
{
	for (;;) {
		const char *quote = memchr(r->rest.bytes, '"', r->rest.size);
		if (quote == NULL)
			return mm_fault_set(r->why, MM_FAULT_CONFIG, "line %u: a quote is not closed", r->line);
		struct mm_text part = mm_text_take(&r->rest, (size_t)(quote - r->rest.bytes));
		mm_text_take(&r->rest, 1);
		mm_buffer_append(&r->row.bytes, part.bytes, part.size);
		for (size_t i = 0; i < part.size; i++)
			r->lines += part.bytes[i] == '\n';
		if (r->rest.size == 0 || r->rest.bytes[0] != '"')
			break;
		mm_buffer_append_u8(&r->row.bytes, '"');
		mm_text_take(&r->rest, 1);
	}
	return ends_column(r) || mm_fault_set(r->why, MM_FAULT_CONFIG,
		"line %u: there is text after a closing quote; write two quotes for one", r->lines + 1);
}

static bool read_column(struct reader *r)
{
	struct row *row = &r->row;
	if (row->count == COLUMNS_MAX)
		return mm_fault_set(r->why, MM_FAULT_CONFIG, "line %u: more than %u columns", r->line, COLUMNS_MAX);
	if (r->rest.size > 0 && r->rest.bytes[0] == '"') {
		mm_text_take(&r->rest, 1);
		if (!read_quoted(r))
			return false;
	} else {
		struct mm_text begin = r->rest;
		while (!ends_column(r))
			mm_text_take(&r->rest, 1);
		mm_buffer_append(&row->bytes, begin.bytes, begin.size - r->rest.size);
	}
	if (row->bytes.failed || !mm_array_grow(&row->ends, row->count, &row->capacity, sizeof *row->ends))
		return mm_fault_set(r->why, MM_FAULT_RESOURCE, "out of memory for the table");
	row->ends[row->count++] = row->bytes.size;
	return true;
}

static bool read_row(struct reader *r)
{
	r->row.count = 0;
	mm_buffer_clear(&r->row.bytes);
	r->line = r->lines + 1;
	if (!read_column(r))
		return false;
	while (r->rest.size > 0 && r->rest.bytes[0] == r->separator) {
		mm_text_take(&r->rest, 1);
		if (!read_column(r))
			return false;
	}
	if (r->rest.size > 0 && r->rest.bytes[0] == '\r')
		mm_text_take(&r->rest, 1);
	if (r->rest.size > 0)
		mm_text_take(&r->rest, 1);
	r->lines++;
	return true;
}

/* Is it the number of a column, from 1? */
static bool is_number(const char *name)
{
	return name != NULL && name[0] != '\0' && strspn(name, "0123456789") == strlen(name);
}

/* The column of a name or number, from 0; without one the default. */
static bool find_column(const struct reader *r, bool has_header, const char *name, uint32_t otherwise, uint32_t *at)
{
	*at = otherwise;
	if (name == NULL)
		return true;
	if (is_number(name)) {
		unsigned long n = strtoul(name, NULL, 10);
		*at = (uint32_t)n - 1;
		return (n >= 1 && n <= COLUMNS_MAX)
			|| mm_fault_set(r->why, MM_FAULT_CONFIG, "columns have numbers from 1 to %u", COLUMNS_MAX);
	}
	for (*at = 0; has_header && *at < r->row.count; ++*at) {
		struct mm_text c = mm_trimmed(column(&r->row, *at));
		if (c.size == strlen(name) && memcmp(c.bytes, name, c.size) == 0)
			return true;
	}
	return mm_fault_set(r->why, MM_FAULT_CONFIG, "the first line has no column named %s",
		mm_quote(name, strlen(name)).text);
}

static bool add_rows(struct reader *r, uint32_t key_at, uint32_t value_at, struct mm_image_writer *w)
{
	bool is_new;
	while (r->rest.size > 0) {
		if (!read_row(r))
			return false;
		struct mm_text key = mm_trimmed(column(&r->row, key_at)), value = column(&r->row, value_at);
		if (r->row.count == 1 && r->row.bytes.size == 0)
			continue;
		if (key.size == 0)
			mm_image_ignore(w, "line %u: the row has no key", r->line);
		else if (!mm_image_add(w, key, value, &is_new, r->why))
			return false;
		else if (!is_new)
			mm_image_ignore(w, "line %u: the key is there already: %s", r->line,
				mm_quote(key.bytes, key.size).text);
	}
	return true;
}

static bool read_table(struct reader *r, const struct mm_table_options *o, struct mm_image_writer *w)
{
	uint32_t key_at, value_at;
	bool has_header = o->has_header || (o->key != NULL && !is_number(o->key))
		|| (o->value != NULL && !is_number(o->value));
	if (has_header && r->rest.size > 0 && !read_row(r))
		return false;
	return find_column(r, has_header, o->key, 0, &key_at)
		&& find_column(r, has_header, o->value, key_at + 1, &value_at) && add_rows(r, key_at, value_at, w);
}

static bool compile(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	struct reader r = { .rest = source, .separator = ',', .why = why };
	if (o->separator != NULL && (strlen(o->separator) != 1 || strchr("\"\r\n", o->separator[0]) != NULL))
		return mm_fault_set(why, MM_FAULT_CONFIG, "separator is one byte, and no quote");
	if (o->separator != NULL)
		r.separator = o->separator[0];
	if (source.size >= 3 && memcmp(source.bytes, "\xef\xbb\xbf", 3) == 0)
		mm_text_take(&r.rest, 3);       /* spreadsheets write a byte order mark */
	if (!o->keeps_case)
		mm_image_fold(w);
	bool good = read_table(&r, o, w);
	mm_buffer_free(&r.row.bytes);
	free(r.row.ends);
	return good;
}

const struct mm_table_format mm_csv_format = { .name = "csv", .compile = compile };
