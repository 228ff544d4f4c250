/* fuzz/tags.c -- libFuzzer target for seal/tags.c. Laws: every tag is inside the text, after the one before; a value
 * has no blanks at its ends and no control characters; a list without its last tag reads the same up to there. The text
 * is a malloc of exactly its size, so that the sanitizer sees an access one byte too far. */
#include "seal/tags.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LAW(holds) ((holds) ? (void)0 : law_broken(#holds, __LINE__))

static void law_broken(const char *law, int line)
{
	fprintf(stderr, "law broken, line %d: %s\n", line, law);
	abort();
}

static void check_tag(const struct mm_tag *tag, const char *text, size_t n, size_t after)
{
	LAW(tag->start >= after && tag->start <= n && tag->first <= tag->end && tag->end <= n);
	LAW(tag->name_size > 0 && tag->name >= text + tag->start && tag->name + tag->name_size < text + tag->first);
	LAW(tag->value >= text + tag->first && tag->value + tag->value_size <= text + tag->end);
	for (size_t i = 0; i < tag->value_size; i++) {
		unsigned char c = (unsigned char)tag->value[i];
		LAW(c >= ' ' ? c != 127 && c != ';' : mm_tags_is_blank((char)c));
	}
	LAW(tag->value_size == 0 || !mm_tags_is_blank(tag->value[0]));
	LAW(tag->value_size == 0 || !mm_tags_is_blank(tag->value[tag->value_size - 1]));
}

/* -> tags before the end or the first fault; last: where the last of them begins */
static unsigned read_all(const char *text, size_t n, size_t *last)
{
	struct mm_tags list;
	struct mm_tag tag;
	unsigned count = 0;
	size_t after = 0;
	mm_tags_begin(&list, text, n);
	for (enum mm_tags_step step; (step = mm_tags_next(&list, &tag)) != MM_TAGS_END; count++) {
		LAW(step == MM_TAGS_TAG || tag.start <= n);
		if (step != MM_TAGS_TAG)
			return count;
		check_tag(&tag, text, n, after);
		after = tag.end;
		*last = tag.start;
	}
	LAW(count > 0);                 /* an empty list is a fault */
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size > 0 ? size : 1);
	size_t last = 0, ignored;
	if (text == NULL)
		exit(2);
	if (size > 0)
		memcpy(text, data, size);
	unsigned count = read_all(text, size, &last);
	if (count > 1)
		LAW(read_all(text, last, &ignored) == count - 1);
	free(text);
	return 0;
}
