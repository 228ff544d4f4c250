/* fuzz/story.c -- libFuzzer target for what reads the history of a host: the first bytes are the head and one slot of
 * the memory, the rest is a story. Laws: a reader that opens finds sizes that fit the file; a mended story has texts
 * that end and items that end inside it; text has no control byte but newlines, and JSON none at all. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "story/filter.h"
#include "story/reader.h"
#include "story/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LAW(holds) ((holds) ? (void)0 : law_broken(#holds, __LINE__))

static void law_broken(const char *law, int line)
{
	fprintf(stderr, "law broken, line %d: %s\n", line, law);
	abort();
}

static void check_shown(const struct mm_story *s)
{
	struct mm_buffer text = { 0 }, json = { 0 };
	mm_story_row(s, &text);
	mm_story_show(s, &text);
	mm_story_json(s, true, &json);
	for (size_t i = 0; i < text.size; i++)
		LAW(text.bytes[i] == '\n' || (text.bytes[i] >= ' ' && text.bytes[i] != 0x7f));
	for (size_t i = 0; i < json.size; i++)
		LAW(json.bytes[i] >= ' ');
	LAW(json.failed || (json.bytes[0] == '{' && json.bytes[json.size - 1] == '}'));
	mm_buffer_free(&text);
	mm_buffer_free(&json);
}

static void check_story(struct mm_story *s)
{
	struct mm_story_item item;
	struct mm_text text;
	struct mm_story_filter f = { .from = "a", .to = "b", .script = "10-x.lua", .verdict = "reject" };
	uint32_t at = 0;
	mm_story_mend(s);
	LAW(memchr(s->reply, '\0', sizeof s->reply) != NULL && memchr(s->from, '\0', sizeof s->from) != NULL);
	for (; mm_story_item(s, at, &item, &text); at = mm_story_after(at, &item))
		LAW(text.bytes + text.size <= (const char *)s->items + s->used);
	LAW(at == s->used);
	mm_story_filter_wants(&f, s);
	check_shown(s);
}

static void check_file(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct mm_story_reader r;
	struct mm_story s;
	struct mm_fault why;
	if (fd < 0)
		fd = memfd_create("history", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 0) != 0 || ftruncate(fd, 128 * 1024) != 0 || pwrite(fd, data, size, 0) < 0)
		return;
	if (!mm_story_reader_open(&r, fd, &why))
		return;
	LAW(mm_history_ring_at(&r.head) + r.head.capacity * sizeof(struct mm_history_slot) <= 128 * 1024);
	uint64_t last = mm_story_reader_last(&r), n = mm_story_reader_first(&r, last);
	for (int i = 0; i < 3 && n <= last; i++, n++)
		if (mm_story_reader_get(&r, n, 0, &s))
			check_shown(&s);
	for (uint32_t i = 0; i < mm_story_reader_places(&r) && i < 3; i++)
		if (mm_story_reader_open_one(&r, i, &s))
			check_shown(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mm_story *s = calloc(1, sizeof *s);
	if (s == NULL)
		return 0;
	/* twice: as a whole story, and as the items of an otherwise good one */
	memcpy(s, data, size < sizeof *s ? size : sizeof *s);
	check_story(s);
	memset(s, 0, sizeof *s);
	s->used = (uint32_t)(size < MM_STORY_ITEMS_MAX ? size : MM_STORY_ITEMS_MAX);
	memcpy(s->items, data, s->used);
	check_story(s);
	free(s);
	struct mm_history_head head = { .magic = MM_HISTORY_MAGIC, .story_size = sizeof(struct mm_story) };
	uint8_t *file = calloc(1, MM_HISTORY_HEAD + size + 1);
	if (file == NULL)
		return 0;
	memcpy(file, &head, sizeof head);
	size_t begin = offsetof(struct mm_history_head, capacity);
	if (size > 0)
		memcpy(file + begin, data, size);
	check_file(file, begin + size);
	free(file);
	return 0;
}
