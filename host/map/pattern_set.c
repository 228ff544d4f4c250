#include "map/pattern_set.h"

#include <stdlib.h>

struct mm_pattern_set {
	struct mm_pattern     **patterns;       /* owned, as the results */
	enum mm_pattern_result *results;
	unsigned                count;
};

struct mm_pattern_set *mm_pattern_set_new(const struct mm_text *expressions, unsigned count,
	const struct mm_pattern_options *o, unsigned *wrong, struct mm_fault *why)
{
	struct mm_pattern_set *s = calloc(1, sizeof *s);
	*wrong = count;
	if (s != NULL) {
		s->patterns = calloc(count + 1, sizeof *s->patterns);
		s->results = calloc(count + 1, sizeof *s->results);
	}
	if (s == NULL || s->patterns == NULL || s->results == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		mm_pattern_set_free(s);
		return NULL;
	}
	for (; s->count < count; s->count++) {
		const struct mm_text *e = &expressions[s->count];
		s->patterns[s->count] = mm_pattern_new(e->bytes, e->size, o, why);
		if (s->patterns[s->count] == NULL) {
			*wrong = s->count;
			mm_pattern_set_free(s);
			return NULL;
		}
	}
	return s;
}

void mm_pattern_set_free(struct mm_pattern_set *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < s->count; i++)
		mm_pattern_free(s->patterns[i]);
	free(s->patterns);
	free(s->results);
	free(s);
}

unsigned mm_pattern_set_count(const struct mm_pattern_set *s)
{
	return s->count;
}

const enum mm_pattern_result *mm_pattern_set_scan(struct mm_pattern_set *s, const char *text, size_t size,
	double seconds)
{
	for (unsigned i = 0; i < s->count; i++)
		s->results[i] = mm_pattern_search(s->patterns[i], text, size, 0, false, &seconds);
	return s->results;
}
