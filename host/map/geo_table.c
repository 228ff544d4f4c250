#include "map/geo_table.h"

#include "map/image.h"

static bool compile(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	struct mm_geo g;
	(void)o;
	return mm_geo_read(&g, source, why) && mm_image_add(w, mm_text_of(""), source, NULL, why);
}

bool mm_geo_of_table(struct mm_table *t, struct mm_geo *g, struct mm_fault *why)
{
	struct mm_text file;
	return mm_image_find(t, mm_text_of(""), &file) ? mm_geo_read(g, file, why)
		: mm_fault_set(why, MM_FAULT_CONFIG, "it is not a MaxMind DB");
}

const struct mm_table_format mm_geo_format = { .name = "mmdb", .compile = compile };
