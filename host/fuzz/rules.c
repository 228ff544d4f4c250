/* fuzz/rules.c -- libFuzzer target for map/rules and map/posix_regex: any table of regular expressions, asked for any
 * key. The laws that must hold: what opens answers; a value is appended only where a rule was found; the same key gets
 * the same answer again, unless a limit ends the search; CPU time ends every search.
 * The first byte says which kind, then a table up to a NUL, then the key. */
#include "fuzz/watch.h"
#include "map/pattern.h"
#include "map/rules.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes for which the watch lets a table take longer: the C library needs some 10 ms to compile the costliest
 * expression that map/posix_regex lets through, and ten times that with AddressSanitizer's malloc. */
#define COMPILING   25000
#define SECONDS_MAX 1.0 /* of CPU, of a search: far more than its limit, because this build is slow */
#define LAW(holds) ((holds) ? (void)0 : law_broken(#holds, __LINE__))

static void law_broken(const char *law, int line)
{
	fprintf(stderr, "law broken, line %d: %s\n", line, law);
	abort();
}

static void ask(struct mm_rules *r, struct mm_text key)
{
	struct mm_buffer first = { 0 }, second = { 0 };
	struct mm_fault why;
	double began = mm_pattern_clock();
	enum mm_table_result a = mm_rules_get(r, key, &first, &why);
	LAW(mm_pattern_clock() - began < SECONDS_MAX);
	enum mm_table_result b = mm_rules_get(r, key, &second, &why);
	LAW(a == MM_TABLE_FOUND || first.size == 0);
	LAW(a == b || a == MM_TABLE_ERROR || b == MM_TABLE_ERROR);
	LAW(a != b || (first.size == second.size
		&& (first.size == 0 || memcmp(first.bytes, second.bytes, first.size) == 0)));
	mm_buffer_free(&first);
	mm_buffer_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	mm_fuzz_made(size + COMPILING);
	const uint8_t *text = data + 1, *end = data + size, *nul = memchr(text, '\0', size - 1);
	if (nul == NULL)
		return 0;
	/* as the reader of files gives them: of exactly this size, so that the sanitizer sees a byte too many */
	size_t text_size = (size_t)(nul - text), key_size = (size_t)(end - nul) - 1;
	char *copy = malloc(text_size + 1), *key = malloc(key_size + 1);
	struct mm_fault why;
	memcpy(copy, text, text_size);
	memcpy(key, nul + 1, key_size);
	key[key_size] = '\0';           /* AddressSanitizer's regexec looks for it, in spite of REG_STARTEND */
	struct mm_rules *r = mm_rules_new((struct mm_text){ copy, text_size }, data[0] & 1, 10000, &why);
	if (r != NULL)
		ask(r, (struct mm_text){ key, key_size });
	mm_rules_free(r);
	free(copy);
	free(key);
	return 0;
}
