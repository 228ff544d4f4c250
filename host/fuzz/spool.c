/* fuzz/spool.c -- spools of events: a store with any keys and values, as another program or an older version may have
 * left it, is counted and read within its bounds; and so is its file after a crash that has cut it off or changed
 * bytes: it is whole, or begins anew. The input is a byte for the damage, then records: size of the key, size of the
 * value, key, value. */
#include "state/describe.h"
#include "state/event_queue.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE_MAX_OF_STORE (1u << 20)
#define RECORDS_MAX       200u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char directory[] = "/dev/shm/moonmilter-fuzz-XXXXXX";

static void clean_up(void)
{
	static const char *const names[] = { "s.mdb", "s.lock", "s.users" };
	char path[96];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", directory, names[i]);
		unlink(path);
	}
}

static void end(void)
{
	clean_up();
	rmdir(directory);
}

static struct mm_store *open_store(void)
{
	static const struct mm_store_options o = { .size_max = SIZE_MAX_OF_STORE };
	struct mm_fault why;
	struct mm_store *s = mm_store_open(directory, "s", &o, &why);
	if (s == NULL)
		abort();
	return s;
}

static void fill(struct mm_store *s, const uint8_t *data, size_t size)
{
	struct mm_text keys[RECORDS_MAX];
	struct mm_record records[RECORDS_MAX];
	unsigned count = 0;
	while (size > 2 && count < RECORDS_MAX) {
		size_t key = data[0] % 48u, value = data[1], left = size - 2;
		key = key < left ? key : left;
		value = value < left - key ? value : left - key;
		keys[count] = (struct mm_text){ (const char *)data + 2, key };
		records[count] = (struct mm_record){ { (const char *)data + 2 + key, value }, 0 };
		data += 2 + key + value;
		size -= 2 + key + value;
		count += key > 0;
	}
	mm_store_put_each(s, keys, records, count, 1);
	if (count > 3)
		mm_store_delete_each(s, keys + 1, count / 2);
}

static void look(struct mm_store *s)
{
	char at[MM_STORE_KEY_MAX], text[64];
	struct mm_text key = { at, 0 };
	struct mm_event_queue q;
	struct mm_record record;
	struct mm_store_figures f;
	uint64_t count = 0;
	if (mm_event_queue_read(s, 1, &q) != MM_STORE_DONE)
		return;
	if (strlen(mm_describe_value(q.error, text, sizeof text)) >= sizeof text)
		abort();
	for (; mm_store_next(s, key, mm_text_of("q:"), 1, &key, &record) == MM_STORE_DONE; count++) {
		if (key.size < 2 || key.size > sizeof at || memcmp(key.bytes, "q:", 2) != 0)
			abort();
		memcpy(at, key.bytes, key.size);
		key.bytes = at;
	}
	if (mm_store_measure(s, &f) != MM_STORE_DONE || q.waiting > f.count || q.aside > f.count
	    || (q.oldest > 0 && count == 0))
		abort();
}

/* A file that a crash has left. */
static void damage(uint8_t how, const uint8_t *data, size_t size)
{
	char path[96];
	snprintf(path, sizeof path, "%s/s.mdb", directory);
	int fd = open(path, O_RDWR);
	off_t whole = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	for (size_t i = 0; how & 1 && i + 5 <= size && i < 50 && whole > 0; i += 5) {
		uint32_t to;
		memcpy(&to, data + i, sizeof to);
		if (pwrite(fd, data + i + 4, 1, (off_t)(to % (uint64_t)whole)) != 1)
			abort();
	}
	if (how & 2 && ftruncate(fd, whole * (how >> 2) / 64) != 0)
		abort();
	if (fd >= 0)
		close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_begun;
	if (size < 1)
		return 0;
	if (!is_begun) {
		if (mkdtemp(directory) == NULL)
			abort();
		atexit(end);
	}
	is_begun = true;
	struct mm_store *s = open_store();
	fill(s, data + 1, size - 1);
	look(s);
	mm_store_close(s);
	if (data[0] & 3) {
		damage(data[0], data + 1, size - 1);
		s = open_store();
		look(s);
		fill(s, data + 1, size - 1);
		look(s);
		mm_store_close(s);
	}
	clean_up();
	return 0;
}
