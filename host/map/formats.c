#include "map/formats.h"

#include <string.h>

/* Each format is declared in the header of its own file, and has a row here. */
static const struct mm_table_format *const formats[] = {
	NULL,
};

const struct mm_table_format *mm_table_format_of(const char *name)
{
	for (size_t i = 0; formats[i] != NULL; i++)
		if (strcmp(formats[i]->name, name) == 0)
			return formats[i];
	return NULL;
}
