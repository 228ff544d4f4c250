#include "map/formats.h"

#include "map/cdb_table.h"
#include "map/cidr_table.h"
#include "map/csv_table.h"
#include "map/database_copy.h"
#include "map/geo_table.h"
#include "map/inline_table.h"
#include "map/json_table.h"
#include "map/list_table.h"
#include "map/rules.h"
#include "map/texthash.h"

#include <string.h>

/* Each format is declared in the header of its own file, and has a row here. */
static const struct mm_table_format *const formats[] = {
	&mm_texthash_format, &mm_inline_format, &mm_list_format, &mm_csv_format, &mm_json_format, &mm_cidr_format,
	&mm_regexp_format, &mm_pcre_format, &mm_hash_format, &mm_btree_format, &mm_lmdb_format, &mm_cdb_format,
	&mm_geo_format, NULL,
};

const struct mm_table_format *mm_table_format_of(const char *name)
{
	for (size_t i = 0; formats[i] != NULL; i++)
		if (strcmp(formats[i]->name, name) == 0)
			return formats[i];
	return NULL;
}

static bool list_entry(void *self, struct mm_text key, struct mm_text value)
{
	struct mm_buffer *to = self;
	mm_buffer_append(to, key.bytes, key.size);
	mm_buffer_append(to, "=", 1);
	mm_buffer_append_text(to, value.bytes, value.size);
	return true;
}

bool mm_table_list(struct mm_table *t, struct mm_buffer *to, struct mm_fault *why)
{
	return t->format->each(t, list_entry, to, why);
}
