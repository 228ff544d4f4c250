/* fuzz/cdb.c -- libFuzzer target for map/cdb_table: any bytes as a cdb file. The laws that must hold: a key answers the
 * same twice; what each visits is inside of the file; nothing takes for ever. */
#include "fuzz/watch.h"
#include "map/cdb_table.h"

#include <stdint.h>
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

struct walk {
	struct mm_table *table;
	size_t           size;          /* of the file */
	unsigned         seen;
};

static void ask(struct mm_table *t, struct mm_text key)
{
	struct mm_buffer first = { 0 }, second = { 0 };
	struct mm_fault why;
	enum mm_table_result result = t->format->get(t, key, &first, &why);
	LAW(result == t->format->get(t, key, &second, &why));
	LAW(first.size == second.size && (result == MM_TABLE_FOUND || first.size == 0));
	mm_buffer_free(&first);
	mm_buffer_free(&second);
}

static bool visit(void *self, struct mm_text key, struct mm_text value)
{
	struct walk *w = self;
	LAW(key.size + value.size <= w->size);
	ask(w->table, key);
	return ++w->seen < 100;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct mm_table_options o = { .keeps_case = size % 2 };
	struct mm_fault why;
	char path[32];
	/* The header of 2048 bytes is mostly zero: the input has what is at its beginning, then the rest. */
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	size_t head = size > 64 ? 64 : size;
	if (fd < 0 || pwrite(fd, data, head, 0) < 0 || pwrite(fd, data + head, size - head, 2048) < 0)
		abort();
	for (unsigned i = 8; i < 256; i++)
		if (pwrite(fd, "\0\10\0\0\0\0\0\0", 8, i * 8) < 0)
			abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	struct mm_table *t = mm_cdb_format.open(path, &o, &why);
	if (t != NULL) {
		struct walk w = { t, size + 2048, 0 };
		t->format->each(t, visit, &w, &why);
		ask(t, mm_text_of("a"));
		t->format->close(t);
	}
	close(fd);
	return 0;
}
