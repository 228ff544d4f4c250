#include "map/texthash.h"

#include "base/quote.h"
#include "map/image.h"
#include "map/logical_lines.h"

/* The size of a key: up to a blank outside of double quotes; a backslash takes the next byte with it.
 * False: a quote is not closed. */
static bool key_size_of(struct mm_text line, size_t *size)
{
	bool is_quoted = false;
	size_t at = 0;
	for (; at < line.size; at++) {
		char c = line.bytes[at];
		if (c == '\\' && at + 1 < line.size)
			at++;
		else if (c == '"')
			is_quoted = !is_quoted;
		else if (mm_is_blank(c) && !is_quoted)
			break;
	}
	*size = at;
	return !is_quoted;
}

static bool add_line(struct mm_image_writer *w, struct mm_text line, unsigned number, struct mm_fault *why)
{
	size_t size;
	bool is_new = true;
	struct mm_text whole = line;
	if (!key_size_of(line, &size)) {
		mm_image_ignore(w, "line %u: a double quote is not closed: %s", number,
			mm_quote(whole.bytes, whole.size).text);
		return true;
	}
	struct mm_text key = mm_text_take(&line, size), value = mm_trimmed(line);
	if (key.size == 0 || value.size == 0) {
		mm_image_ignore(w, "line %u: a key without a value: %s", number, mm_quote(whole.bytes,
			whole.size).text);
		return true;
	}
	if (!mm_image_add(w, key, value, &is_new, why))
		return false;
	if (!is_new)
		mm_image_ignore(w, "line %u: the key is there already: %s", number, mm_quote(key.bytes, key.size).text);
	return true;
}

static bool compile(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	struct mm_logical_lines lines = { .rest = source };
	struct mm_text line;
	bool good = true;
	if (!o->keeps_case)
		mm_image_fold(w);
	while (good && mm_logical_lines_next(&lines, &line))
		good = add_line(w, line, lines.first, why);
	if (lines.orphans > 0)
		mm_image_ignore(w, "a line that begins with a blank continues nothing");
	if (good && lines.joined.failed)
		good = mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the table");
	mm_logical_lines_end(&lines);
	return good;
}

const struct mm_table_format mm_texthash_format = { .name = "texthash", .compile = compile };
