#include "map/list_table.h"

#include "base/quote.h"
#include "map/image.h"
#include "map/logical_lines.h"

static struct mm_text without_comment(struct mm_text line)
{
	for (size_t at = 0; at < line.size; at++)
		if (line.bytes[at] == '#' && (at == 0 || mm_is_blank(line.bytes[at - 1])))
			line.size = at;
	return mm_trimmed(line);
}

static bool compile(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	bool is_new;
	if (!o->keeps_case)
		mm_image_fold(w);
	for (unsigned number = 1; source.size > 0; number++) {
		const char *end = memchr(source.bytes, '\n', source.size);
		struct mm_text line = mm_text_take(&source, end != NULL ? (size_t)(end - source.bytes) : source.size);
		mm_text_take(&source, end != NULL);
		struct mm_text key = without_comment(line);
		if (key.size > 0 && memchr(key.bytes, '\0', key.size) != NULL)
			return mm_fault_set(why, MM_FAULT_CONFIG, "line %u: has a NUL byte: not a list", number);
		if (key.size > 0 && !mm_image_add(w, key, key, &is_new, why))
			return false;
	}
	return true;
}

const struct mm_table_format mm_list_format = { .name = "list", .compile = compile };
