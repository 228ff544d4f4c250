#include "ctl/lines.h"

#include "base/array.h"
#include "milter/message.h"

#include <stdlib.h>
#include <string.h>

/* Takes the line. */
static bool keep(struct mm_report_lines *l, char *line)
{
	if (!mm_array_grow(&l->items, l->count, &l->capacity, sizeof *l->items)) {
		free(line);
		return false;
	}
	l->items[l->count++] = line;
	return true;
}

bool mm_report_lines_read(struct mm_report_lines *l, FILE *from, bool (*take)(void *self, char *line, const char **why),
	void *self, const char **why)
{
	for (;;) {
		char *line = NULL;
		size_t room = 0;
		*why = "out of memory";
		if (getline(&line, &room, from) < 0) {
			free(line);
			return true;
		}
		line[strcspn(line, "\n")] = '\0';
		if (!keep(l, line) || !take(self, line, why))
			return false;
	}
}

void mm_report_lines_free(struct mm_report_lines *l)
{
	for (uint32_t i = 0; i < l->count; i++)
		free(l->items[i]);
	free(l->items);
	*l = (struct mm_report_lines){ 0 };
}
