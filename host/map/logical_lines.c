#include "map/logical_lines.h"

/* The next line of the file, without its end. */
static struct mm_text physical_line(struct mm_logical_lines *l)
{
	const char *end = memchr(l->rest.bytes, '\n', l->rest.size);
	l->physical++;
	if (end == NULL)
		return mm_text_take(&l->rest, l->rest.size);
	struct mm_text line = mm_text_take(&l->rest, (size_t)(end - l->rest.bytes));
	mm_text_take(&l->rest, 1);
	return line;
}

static bool is_left_out(struct mm_text line)
{
	size_t at = 0;
	while (at < line.size && mm_is_blank(line.bytes[at]))
		at++;
	return at == line.size || line.bytes[at] == '#';
}

static bool is_continued(const struct mm_logical_lines *l)
{
	return l->rest.size > 0 && (l->rest.bytes[0] == '#' || mm_is_blank(l->rest.bytes[0]));
}

/* A line of the file that goes on is copied; most do not. False: there is no more. */
static bool next_line(struct mm_logical_lines *l, struct mm_text *line)
{
	unsigned parts = 0;
	mm_buffer_clear(&l->joined);
	while (l->rest.size > 0) {
		struct mm_text part = physical_line(l);
		if (!is_left_out(part)) {
			if (parts == 1)
				mm_buffer_append(&l->joined, line->bytes, line->size);
			if (parts++ == 0) {
				*line = part;
				l->first = l->physical;
			} else {
				mm_buffer_append(&l->joined, part.bytes, part.size);
			}
		}
		if (parts > 0 && !is_continued(l))
			break;
	}
	if (parts > 1)
		*line = (struct mm_text){ (const char *)l->joined.bytes, l->joined.size };
	return parts > 0 && !l->joined.failed;
}

bool mm_logical_lines_next(struct mm_logical_lines *l, struct mm_text *line)
{
	while (next_line(l, line)) {
		if (mm_is_blank(line->bytes[0])) {
			l->orphans++;
			continue;
		}
		const char *nul = memchr(line->bytes, '\0', line->size);
		if (nul != NULL)
			line->size = (size_t)(nul - line->bytes);
		return true;
	}
	return false;
}

void mm_logical_lines_end(struct mm_logical_lines *l)
{
	mm_buffer_free(&l->joined);
}
