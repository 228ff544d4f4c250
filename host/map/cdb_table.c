#include "map/cdb_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file: 256 pairs of offset and count of slots; records, each with two sizes before key and value; the tables of
 * slots, pairs of hash and offset of a record. All numbers are of 32 bits, little-endian. */
enum { HEADER = 2048, PAIR = 8, CHUNK = 1 << 20, COMPARED = 256, PROBES_MAX = 65536 };

#define KEY_MAX 65536u          /* bytes of a key that is looked up */

struct cdb {
	struct mm_table table;
	int             fd;             /* owned */
	uint32_t        size;
	bool            keeps_case;
	struct mm_buffer key;           /* folded, with a NUL */
};

struct pair {
	uint32_t first, second;
};

static uint32_t number_at(const uint8_t *b)
{
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static bool broken(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_CONFIG, "the cdb file is broken, or was changed in its place");
}

static bool read_at(const struct cdb *c, uint64_t at, void *to, size_t size, struct mm_fault *why)
{
	if (at + size > c->size)
		return broken(why);
	for (size_t got = 0; got < size;) {
		ssize_t n = pread(c->fd, (char *)to + got, size - got, (off_t)(at + got));
		if (n <= 0 && !(n < 0 && errno == EINTR))
			return broken(why);
		got += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool pair_at(const struct cdb *c, uint64_t at, struct pair *p, struct mm_fault *why)
{
	uint8_t bytes[PAIR];
	if (!read_at(c, at, bytes, sizeof bytes, why))
		return false;
	*p = (struct pair){ number_at(bytes), number_at(bytes + 4) };
	return true;
}

/* ---- look up ---- */

static uint32_t hash_of(struct mm_text key)
{
	uint32_t h = 5381;
	for (size_t i = 0; i < key.size; i++)
		h = ((h << 5) + h) ^ (uint8_t)key.bytes[i];
	return h;
}

static bool is_key(const struct cdb *c, uint64_t at, struct mm_text key, bool *is, struct mm_fault *why)
{
	char bytes[COMPARED];
	*is = true;
	for (size_t done = 0; done < key.size && *is;) {
		size_t n = key.size - done < sizeof bytes ? key.size - done : sizeof bytes;
		if (!read_at(c, at + done, bytes, n, why))
			return false;
		*is = memcmp(bytes, key.bytes + done, n) == 0;
		done += n;
	}
	return true;
}

static bool append(const struct cdb *c, uint64_t at, uint32_t size, struct mm_buffer *value, struct mm_fault *why)
{
	if (at + size > c->size)
		return broken(why);
	uint8_t *to = mm_buffer_reserve(value, size + 1);
	if (to == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	if (!read_at(c, at, to, size, why))
		return false;
	value->size += size > 0 && to[size - 1] == '\0' ? size - 1 : size;
	return true;
}

static enum mm_table_result find(const struct cdb *c, struct mm_text key, struct mm_buffer *value,
	struct mm_fault *why)
{
	uint32_t hash = hash_of(key);
	struct pair slots, slot, sizes;
	bool is = false;
	if (!pair_at(c, (hash & 255) * PAIR, &slots, why))
		return MM_TABLE_ERROR;
	for (uint32_t i = 0; i < slots.second && i < PROBES_MAX; i++) {
		uint64_t at = slots.first + (uint64_t)PAIR * (((uint64_t)(hash >> 8) + i) % slots.second);
		if (!pair_at(c, at, &slot, why))
			return MM_TABLE_ERROR;
		if (slot.second == 0)
			return MM_TABLE_NONE;
		if (slot.first != hash)
			continue;
		if (!pair_at(c, slot.second, &sizes, why))
			return MM_TABLE_ERROR;
		uint64_t begin = (uint64_t)slot.second + PAIR;
		if (sizes.first == key.size && !is_key(c, begin, key, &is, why))
			return MM_TABLE_ERROR;
		if (sizes.first == key.size && is)
			return append(c, begin + sizes.first, sizes.second, value, why) ? MM_TABLE_FOUND
				: MM_TABLE_ERROR;
	}
	if (slots.second < PROBES_MAX)
		return MM_TABLE_NONE;
	broken(why);            /* half of the slots should be free */
	return MM_TABLE_ERROR;
}

static bool fold(struct cdb *c, struct mm_text key)
{
	mm_buffer_clear(&c->key);
	char *to = (char *)mm_buffer_reserve(&c->key, key.size + 1);
	if (to == NULL)
		return false;
	for (size_t i = 0; i < key.size; i++) {
		char b = key.bytes[i];
		to[i] = !c->keeps_case && b >= 'A' && b <= 'Z' ? (char)(b + ('a' - 'A')) : b;
	}
	to[key.size] = '\0';
	return true;
}

static enum mm_table_result get(struct mm_table *t, struct mm_text key, struct mm_buffer *value, struct mm_fault *why)
{
	struct cdb *c = (struct cdb *)t;
	if (key.size > KEY_MAX)
		return MM_TABLE_NONE;
	if (!fold(c, key)) {
		mm_buffer_free(&c->key);
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		return MM_TABLE_ERROR;
	}
	struct mm_text folded = { (const char *)c->key.bytes, key.size + 1 };
	enum mm_table_result result = find(c, folded, value, why);
	folded.size--;
	return result == MM_TABLE_NONE ? find(c, folded, value, why) : result;
}

/* ---- open ---- */

/* Where the records end: at the first table of slots. Each table is inside of the file, and after the header. */
static bool check(const struct cdb *c, uint32_t *end, uint64_t *slots, struct mm_fault *why)
{
	struct pair p;
	*end = c->size;
	*slots = 0;
	for (unsigned i = 0; i < 256; i++) {
		if (!pair_at(c, i * PAIR, &p, why))
			return false;
		if (p.first < HEADER || p.first + (uint64_t)p.second * PAIR > c->size)
			return broken(why);
		*end = p.first < *end ? p.first : *end;
		*slots += p.second;
	}
	return true;
}

/* Reads all of it once, so that it is in memory. */
static void warm(const struct cdb *c)
{
	char *bytes = malloc(CHUNK);
	for (off_t at = 0; bytes != NULL && at < (off_t)c->size; at += CHUNK)
		if (pread(c->fd, bytes, CHUNK, at) <= 0)
			break;
	free(bytes);
}

static void close_cdb(struct mm_table *t)
{
	struct cdb *c = (struct cdb *)t;
	if (c->fd >= 0)
		close(c->fd);
	mm_buffer_free(&c->key);
	free(c);
}

static bool open_file(struct cdb *c, const char *path, struct mm_fault *why)
{
	struct stat st;
	uint32_t end;
	uint64_t slots;
	c->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (c->fd < 0 || fstat(c->fd, &st) != 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size < HEADER || st.st_size > UINT32_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "it is not a cdb file");
	c->size = (uint32_t)st.st_size;
	if (!check(c, &end, &slots, why))
		return false;
	warm(c);
	return true;
}

static struct mm_table *open_cdb(const char *path, const struct mm_table_options *o, struct mm_fault *why)
{
	struct cdb *c = calloc(1, sizeof *c);
	if (c == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		return NULL;
	}
	*c = (struct cdb){ .table.format = &mm_cdb_format, .fd = -1, .keeps_case = o->keeps_case };
	if (open_file(c, path, why))
		return &c->table;
	close_cdb(&c->table);
	return NULL;
}

/* ---- all ---- */

static struct mm_text without_nul(const uint8_t *bytes, uint32_t size)
{
	return (struct mm_text){ (const char *)bytes, size > 0 && bytes[size - 1] == '\0' ? size - 1 : size };
}

static bool each(struct mm_table *t, mm_table_visit *visit, void *self, struct mm_fault *why)
{
	struct cdb *c = (struct cdb *)t;
	struct mm_buffer record = { 0 };
	struct pair sizes;
	uint32_t end;
	uint64_t slots, at = HEADER;
	bool is_good = check(c, &end, &slots, why);
	while (is_good && at < end) {
		is_good = pair_at(c, at, &sizes, why);
		uint64_t size = (uint64_t)sizes.first + sizes.second;
		if (is_good && at + PAIR + size > end)
			is_good = broken(why);
		mm_buffer_clear(&record);
		uint8_t *to = is_good ? mm_buffer_reserve(&record, size + 1) : NULL;
		if (is_good && to == NULL)
			is_good = mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
		if (!is_good || !read_at(c, at + PAIR, to, size, why)) {
			is_good = false;
			break;
		}
		if (!visit(self, without_nul(to, sizes.first), without_nul(to + sizes.first, sizes.second)))
			break;
		at += PAIR + size;
	}
	mm_buffer_free(&record);
	return is_good;
}

/* Each record has a slot, and programs make twice as many. */
static uint64_t count(const struct mm_table *t)
{
	struct mm_fault why;
	uint32_t end;
	uint64_t slots;
	return check((const struct cdb *)t, &end, &slots, &why) ? slots / 2 : 0;
}

const struct mm_table_format mm_cdb_format = { .name = "cdb", .suffix = ".cdb", .open = open_cdb, .close = close_cdb,
	.get = get, .each = each, .count = count };
