/* fuzz/pattern.c -- libFuzzer target for map/: any expression over any text. The laws that must hold: a match lies
 * inside the text and its groups do, too; a set says of an expression what the expression alone says; CPU time ends
 * every search.
 * The first byte has the options, then an expression up to a NUL, then the text. */
#include "fuzz/watch.h"
#include "map/pattern_set.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECONDS 0.01    /* of CPU, of a search */
#define LAW(holds) ((holds) ? (void)0 : law_broken(#holds, __LINE__))

static void law_broken(const char *law, int line)
{
	fprintf(stderr, "law broken, line %d: %s\n", line, law);
	abort();
}

static void check_spans(const struct mm_pattern *p, size_t size, size_t from)
{
	const size_t *spans = mm_pattern_spans(p);
	LAW(spans[0] >= from && spans[0] <= spans[1] && spans[1] <= size);
	for (unsigned i = 1; i <= mm_pattern_groups(p); i++)
		LAW(spans[2 * i] == SIZE_MAX || (spans[2 * i] <= spans[2 * i + 1] && spans[2 * i + 1] <= size));
}

/* All matches, as gmatch finds them. */
static enum mm_pattern_result search_all(struct mm_pattern *p, const char *text, size_t size)
{
	enum mm_pattern_result first = MM_PATTERN_NONE;
	bool is_after_empty = false;
	size_t from = 0;
	double seconds = SECONDS;
	for (unsigned n = 0; n < 1000; n++) {
		enum mm_pattern_result r = mm_pattern_search(p, text, size, from, is_after_empty, &seconds);
		LAW(r != MM_PATTERN_BROKEN);
		first = n == 0 ? r : first;
		if (r != MM_PATTERN_FOUND)
			break;
		check_spans(p, size, from);
		const size_t *spans = mm_pattern_spans(p);
		is_after_empty = spans[0] == spans[1];
		from = spans[1];
	}
	return first;
}

static void check_set(struct mm_text expression, const struct mm_pattern_options *o, const char *text, size_t size,
	enum mm_pattern_result alone)
{
	const struct mm_text expressions[] = { expression, mm_text_of("b+c"), mm_text_of("^$") };
	struct mm_fault why;
	unsigned wrong;
	struct mm_pattern_set *s = mm_pattern_set_new(expressions, 3, o, &wrong, &why);
	if (s == NULL)
		return;
	enum mm_pattern_result r = mm_pattern_set_scan(s, text, size, SECONDS)[0];
	LAW(r == alone || r == MM_PATTERN_LIMIT || alone == MM_PATTERN_LIMIT);
	mm_pattern_set_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 1 ? memchr(data + 1, '\0', size - 1) : NULL;
	if (end == NULL)
		return 0;
	struct mm_pattern_options o = { .ignore_case = data[0] & 1, .multiline = data[0] & 2, .dotall = data[0] & 4,
		.extended = data[0] & 8, .utf = data[0] & 16, .steps = 10000 };
	struct mm_text expression = { (const char *)data + 1, (size_t)(end - data) - 1 };
	size_t rest = size - (size_t)(end - data) - 1;
	char *text = malloc(rest + 1);          /* exactly its size, so that the sanitizer sees a byte too far */
	struct mm_fault why;
	struct mm_pattern *p = text != NULL ? mm_pattern_new(expression.bytes, expression.size, &o, &why) : NULL;
	if (p != NULL) {
		memcpy(text, end + 1, rest);
		text = realloc(text, rest > 0 ? rest : 1);
		enum mm_pattern_result r = search_all(p, text, rest);
		if (!mm_fuzz_is_timed())        /* a set is compiled while a script loads */
			check_set(expression, &o, text, rest, r);
	}
	mm_pattern_free(p);
	free(text);
	return 0;
}
