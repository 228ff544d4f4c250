/* fuzz/table.c -- libFuzzer target for the text formats of map/ and for images. Any text either is refused or becomes a
 * table in which each key that it shows is found with its value. Any image, whole or damaged, answers or is refused.
 * The first byte chooses format and options, the second how many changes of the image follow: 3 bytes each, a place and
 * what to write there. The rest is the text. */
#include "fuzz/watch.h"
#include "map/formats.h"
#include "map/image.h"

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

struct walk {
	struct mm_table *table;
	unsigned         seen;
	bool             is_whole, is_blocks;
};

static bool visit(void *self, struct mm_text key, struct mm_text value)
{
	struct walk *w = self;
	struct mm_buffer found = { 0 };
	struct mm_fault why;
	if (w->is_whole) {
		const char *slash = w->is_blocks ? memchr(key.bytes, '/', key.size) : NULL;
		key.size = slash != NULL ? (size_t)(slash - key.bytes) : key.size;
		enum mm_table_result r = w->table->format->get(w->table, key, &found, &why);
		LAW(r == MM_TABLE_FOUND);
		LAW(found.size == value.size);
		LAW(value.size == 0 || memcmp(found.bytes, value.bytes, value.size) == 0);
	}
	mm_buffer_free(&found);
	return ++w->seen < 1000;
}

static void use(struct mm_table *t, bool is_whole, bool is_blocks)
{
	static const char *const keys[] = { "", "a", "1.2.3.4", "::1", "255.255.255.255", "key" };
	struct walk w = { .table = t, .is_whole = is_whole, .is_blocks = is_blocks };
	struct mm_buffer value = { 0 };
	struct mm_fault why;
	LAW(t->format->each(t, visit, &w, &why) || !is_whole);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		LAW(t->format->get(t, mm_text_of(keys[i]), &value, &why) != MM_TABLE_ERROR || !is_whole);
	LAW(!is_whole || t->format->count(t) > 0 || w.seen == 0);
	mm_buffer_free(&value);
	t->format->close(t);
}

static struct mm_block changed_copy(const struct mm_block *image, const uint8_t *changes, unsigned count)
{
	struct mm_block copy = { 0 };
	mm_block_append(&copy, image->bytes, image->size);
	for (unsigned i = 0; i < count && !copy.failed; i++) {
		size_t at = (size_t)(changes[3 * i] | changes[3 * i + 1] << 8) % copy.size;
		copy.bytes[at] = changes[3 * i + 2];
	}
	if (!copy.failed)
		mm_image_sum(copy.bytes, copy.size);
	return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "texthash", "inline", "list", "csv", "json", "cidr" };
	static const struct mm_image_source source = { .size = 1 };
	if (size < 2 || size < 2 + 3 * (size_t)(data[1] % 8))
		return 0;
	const struct mm_table_format *format = mm_table_format_of(names[data[0] % 6]);
	unsigned count = data[1] % 8;
	const struct mm_table_options o = { .keeps_case = data[0] & 64, .has_header = data[0] & 128 };
	struct mm_text text = { (const char *)data + 2 + 3 * count, size - 2 - 3 * count };
	struct mm_image_writer *w = mm_image_writer_new();
	struct mm_fault why;
	if (w == NULL)
		return 0;
	if (format->compile(text, &o, w, &why)) {
		const struct mm_block *image = mm_image_finish(w, &source, &why);
		LAW(image != NULL);
		struct mm_block whole = changed_copy(image, data, 0), damaged = changed_copy(image, data + 2, count);
		use(mm_image_of_block(&whole, &why), true, data[0] % 6 == 5);
		struct mm_table *t = mm_image_of_block(&damaged, &why);
		if (t != NULL)
			use(t, false, false);
	}
	mm_image_writer_free(w);
	return 0;
}
