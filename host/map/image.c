#include "map/image.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#define MAGIC      "mm table"
#define VERSION    2u
#define SLOTS_MIN  16u                  /* a power of 2 */
#define GONE       0x80000000u          /* of key_size: the record was replaced */
#define ADDRESS_SIZE 64                 /* bytes of an address as text */

/* The image: header, records, then slots or the starts of ranges. Offsets count from the first byte of the header. */
struct header {
	char                   magic[8];
	uint32_t               version, header_size;
	uint64_t               checksum;        /* of all bytes after this field */
	uint64_t               size;
	struct mm_image_source source;
	uint64_t               seed;            /* of the hash: who writes a list cannot choose keys that collide */
	uint64_t               count;
	uint32_t               has_ranges, folds;
	uint64_t               is_ended;        /* the text ended with a newline */
	uint64_t               records_end;
	uint64_t               slots_at, slot_count;    /* slot_count is a power of 2 */
	uint64_t               starts_at[2], start_count[2];    /* of IPv4 and IPv6: starts, then values */
};

/* A record is followed by its key, its value, and up to 3 bytes that are 0. */
struct record {
	uint32_t key_size, value_size;
};

/* of an open table; offset 0: free */
struct slot {
	uint32_t tag, offset;
};

/* A start of IPv6, so that numbers compare. One of IPv4 is a uint32_t. */
struct wide {
	uint64_t high, low;
};

static uint8_t folded(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static uint64_t hash_of(uint64_t seed, bool folds, struct mm_text key)
{
	uint64_t h = 14695981039346656037u ^ seed;
	for (size_t i = 0; i < key.size; i++) {
		uint8_t c = (uint8_t)key.bytes[i];
		h = (h ^ (folds ? folded(c) : c)) * 1099511628211u;
	}
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	return h ^ h >> 33;
}

static bool is_equal(bool folds, const uint8_t *stored, struct mm_text key)
{
	if (!folds)
		return memcmp(stored, key.bytes, key.size) == 0;
	for (size_t i = 0; i < key.size; i++)
		if (folded(stored[i]) != folded((uint8_t)key.bytes[i]))
			return false;
	return true;
}

static uint64_t checksum_of(const uint8_t *bytes, size_t size)
{
	uint64_t h = 0x9e3779b97f4a7c15u ^ size, word;
	size_t at = 0;
	for (; at + sizeof word <= size; at += sizeof word) {
		memcpy(&word, bytes + at, sizeof word);
		h = (h ^ word) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	for (; at < size; at++)
		h = (h ^ bytes[at]) * 1099511628211u;
	return h ^ h >> 29;
}

#define SUMMED_FROM (offsetof(struct header, checksum) + sizeof(uint64_t))

void mm_image_sum(uint8_t *bytes, size_t size)
{
	if (size < sizeof(struct header))
		return;
	uint64_t sum = checksum_of(bytes + SUMMED_FROM, size - SUMMED_FROM);
	memcpy(bytes + offsetof(struct header, checksum), &sum, sizeof sum);
}

/* ---- writing ---- */

struct mm_image_writer {
	struct header    header;
	struct mm_block  bytes;         /* owned: room for the header, and the records so far */
	struct mm_block  slots;         /* owned: header.slot_count of them */
	uint64_t         used;          /* of them */
	struct mm_block  starts[2], values[2];  /* owned: of IPv4 and IPv6 */
	unsigned         ignored;
	char             first_ignored[160];
};

struct mm_image_writer *mm_image_writer_new(void)
{
	struct mm_image_writer *w = calloc(1, sizeof *w);
	if (w == NULL)
		return NULL;
	w->header = (struct header){ .magic = MAGIC, .version = VERSION, .header_size = sizeof w->header,
		.slot_count = SLOTS_MIN };
	mm_block_reserve(&w->slots, SLOTS_MIN * sizeof(struct slot));
	mm_block_append(&w->bytes, &w->header, sizeof w->header);
	if (getrandom(&w->header.seed, sizeof w->header.seed, GRND_NONBLOCK) != sizeof w->header.seed)
		w->header.seed = (uint64_t)(uintptr_t)w;
	if (!w->slots.failed && !w->bytes.failed)
		return w;
	mm_image_writer_free(w);
	return NULL;
}

void mm_image_writer_free(struct mm_image_writer *w)
{
	if (w == NULL)
		return;
	mm_block_free(&w->bytes);
	mm_block_free(&w->slots);
	for (int family = 0; family < 2; family++) {
		mm_block_free(&w->starts[family]);
		mm_block_free(&w->values[family]);
	}
	free(w);
}

void mm_image_fold(struct mm_image_writer *w)
{
	w->header.folds = 1;
}

void mm_image_be_ranges(struct mm_image_writer *w)
{
	w->header.has_ranges = 1;
}

void mm_image_set_count(struct mm_image_writer *w, uint64_t count)
{
	w->header.count = count;
}

void mm_image_set_ended(struct mm_image_writer *w)
{
	w->header.is_ended = 1;
}

uint64_t mm_image_writer_count(const struct mm_image_writer *w)
{
	return w->header.count;
}

void mm_image_ignore(struct mm_image_writer *w, const char *format, ...)
{
	va_list arguments;
	if (w->ignored++ > 0)
		return;
	va_start(arguments, format);
	vsnprintf(w->first_ignored, sizeof w->first_ignored, format, arguments);
	va_end(arguments);
}

unsigned mm_image_ignored(const struct mm_image_writer *w, const char **first)
{
	*first = w->first_ignored;
	return w->ignored;
}

static bool out_of_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the table");
}

static struct record *record_of(struct mm_image_writer *w, const struct slot *s)
{
	return (void *)(w->bytes.bytes + s->offset);
}

static struct slot *slots_of(const struct mm_block *slots)
{
	return (void *)slots->bytes;
}

/* The slot of a key, or the free one where it belongs. */
static struct slot *slot_of(struct mm_image_writer *w, struct mm_text key, uint64_t hash)
{
	uint64_t mask = w->header.slot_count - 1;
	for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
		struct slot *s = &slots_of(&w->slots)[at];
		if (s->offset == 0)
			return s;
		const struct record *r = record_of(w, s);
		if (s->tag == (uint32_t)(hash >> 32) && (r->key_size & ~GONE) == key.size
		    && is_equal(w->header.folds != 0, (const uint8_t *)(r + 1), key))
			return s;
	}
}

/* At most two thirds are used, so that a search is short. */
static bool make_room(struct mm_image_writer *w)
{
	if (3 * (w->used + 1) <= 2 * w->header.slot_count)
		return true;
	uint64_t count = 2 * w->header.slot_count;
	struct mm_block larger = { 0 };
	if (!mm_block_reserve(&larger, count * sizeof(struct slot)))
		return false;
	struct slot *slots = slots_of(&larger), *had = slots_of(&w->slots);
	for (uint64_t i = 0; i < w->header.slot_count; i++) {
		if (had[i].offset == 0)
			continue;
		const struct record *r = record_of(w, &had[i]);
		struct mm_text key = { (const char *)(r + 1), r->key_size & ~GONE };
		uint64_t at = hash_of(w->header.seed, w->header.folds != 0, key) & (count - 1);
		while (slots[at].offset != 0)
			at = (at + 1) & (count - 1);
		slots[at] = had[i];
	}
	mm_block_free(&w->slots);
	w->slots = larger;
	w->header.slot_count = count;
	return true;
}

/* Returns its offset; 0: the fault says why. */
static uint32_t add_record(struct mm_image_writer *w, struct mm_text key, struct mm_text value, struct mm_fault *why)
{
	static const char padding[4];
	size_t offset = w->bytes.size, size = sizeof(struct record) + key.size + value.size;
	if (key.size >= GONE || value.size >= GONE || offset + size + sizeof padding >= MM_IMAGE_MAX) {
		mm_fault_set(why, MM_FAULT_CONFIG, "the table is too large: %llu MiB are the most",
			(unsigned long long)(MM_IMAGE_MAX >> 20));
		return 0;
	}
	const struct record r = { (uint32_t)key.size, (uint32_t)value.size };
	mm_block_append(&w->bytes, &r, sizeof r);
	mm_block_append(&w->bytes, key.bytes, key.size);
	mm_block_append(&w->bytes, value.bytes, value.size);
	mm_block_append(&w->bytes, padding, -size % sizeof padding);
	if (!w->bytes.failed)
		return (uint32_t)offset;
	out_of_memory(why);
	return 0;
}

enum on_equal { KEEP, REPLACE };

/* Returns the offset of the record that the key has now; 0: the fault says why. */
static uint32_t put(struct mm_image_writer *w, struct mm_text key, struct mm_text value, enum on_equal on_equal,
	bool *is_new, struct mm_fault *why)
{
	if (!make_room(w)) {
		out_of_memory(why);
		return 0;
	}
	uint64_t hash = hash_of(w->header.seed, w->header.folds != 0, key);
	struct slot *s = slot_of(w, key, hash);
	*is_new = s->offset == 0 || (record_of(w, s)->key_size & GONE) != 0;
	if (!*is_new && on_equal == KEEP)
		return s->offset;
	uint32_t offset = add_record(w, key, value, why);
	if (offset == 0)
		return 0;
	if (s->offset != 0)
		record_of(w, s)->key_size |= GONE;
	else
		w->used++;
	*s = (struct slot){ (uint32_t)(hash >> 32), offset };
	return offset;
}

void mm_image_remove(struct mm_image_writer *w, struct mm_text key)
{
	struct slot *s = slot_of(w, key, hash_of(w->header.seed, w->header.folds != 0, key));
	if (s->offset == 0 || (record_of(w, s)->key_size & GONE) != 0)
		return;
	record_of(w, s)->key_size |= GONE;
	w->header.count--;
}

bool mm_image_add(struct mm_image_writer *w, struct mm_text key, struct mm_text value, bool *is_new,
	struct mm_fault *why)
{
	bool new;
	if (put(w, key, value, KEEP, &new, why) == 0)
		return false;
	w->header.count += new;
	if (is_new != NULL)
		*is_new = new;
	return true;
}

bool mm_image_replace(struct mm_image_writer *w, struct mm_text key, struct mm_text value, struct mm_fault *why)
{
	bool new;
	if (put(w, key, value, REPLACE, &new, why) == 0)
		return false;
	w->header.count += new;
	return true;
}

uint32_t mm_image_value(struct mm_image_writer *w, struct mm_text value, struct mm_fault *why)
{
	bool new;
	return put(w, value, mm_text_of(""), KEEP, &new, why);
}

bool mm_image_add_start(struct mm_image_writer *w, bool is_ipv6, const uint8_t *address, uint32_t value,
	struct mm_fault *why)
{
	struct mm_block *starts = &w->starts[is_ipv6], *values = &w->values[is_ipv6];
	uint32_t half[4];
	memcpy(half, address, is_ipv6 ? 16 : 4);
	if (is_ipv6) {
		struct wide start = { (uint64_t)ntohl(half[0]) << 32 | ntohl(half[1]),
			(uint64_t)ntohl(half[2]) << 32 | ntohl(half[3]) };
		mm_block_append(starts, &start, sizeof start);
	} else {
		uint32_t start = ntohl(half[0]);
		mm_block_append(starts, &start, sizeof start);
	}
	mm_block_append(values, &value, sizeof value);
	return (!starts->failed && !values->failed) || out_of_memory(why);
}

static void align(struct mm_image_writer *w)
{
	static const char padding[8];
	mm_block_append(&w->bytes, padding, -w->bytes.size % sizeof padding);
}

const struct mm_block *mm_image_finish(struct mm_image_writer *w, const struct mm_image_source *source,
	struct mm_fault *why)
{
	struct header *h = &w->header;
	h->source = *source;
	h->records_end = w->bytes.size;
	align(w);
	h->slots_at = w->bytes.size;
	if (h->has_ranges)
		h->slot_count = 0;
	mm_block_append(&w->bytes, w->slots.bytes, h->slot_count * sizeof(struct slot));
	for (int family = 0; family < 2; family++) {
		align(w);
		h->starts_at[family] = w->bytes.size;
		h->start_count[family] = w->values[family].size / sizeof(uint32_t);
		mm_block_append(&w->bytes, w->starts[family].bytes, w->starts[family].size);
		mm_block_append(&w->bytes, w->values[family].bytes, w->values[family].size);
	}
	if (w->bytes.failed) {
		out_of_memory(why);
		return NULL;
	}
	h->size = w->bytes.size;
	memcpy(w->bytes.bytes, h, sizeof *h);
	mm_image_sum(w->bytes.bytes, w->bytes.size);
	return &w->bytes;
}

/* ---- reading ---- */

struct image {
	struct mm_table      table;
	const struct header *header;    /* borrowed from bytes */
	const uint8_t       *bytes;     /* owned: mapped */
	size_t               mapped;
};

static const struct image *image_of(const struct mm_table *t)
{
	return (const struct image *)(const void *)t;
}

const struct mm_image_source *mm_image_source(const struct mm_table *t)
{
	return &image_of(t)->header->source;
}

bool mm_image_is_ended(const struct mm_table *t)
{
	return image_of(t)->header->is_ended != 0;
}

/* Are `count` things of a size at an offset, aligned, and inside? */
static bool fits(const struct header *h, uint64_t at, uint64_t count, uint64_t size)
{
	return at % 8 == 0 && at >= sizeof *h && at <= h->size && count <= (h->size - at) / size;
}

static bool is_damaged(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_CONFIG, "the image of the table is damaged");
}

static bool check_header(const struct header *h, size_t size, struct mm_fault *why)
{
	if (size < sizeof *h || memcmp(h->magic, MAGIC, sizeof h->magic) != 0 || h->version != VERSION
	    || h->header_size != sizeof *h)
		return mm_fault_set(why, MM_FAULT_CONFIG, "not an image of a table, or of another version");
	bool good = h->size == size && size <= MM_IMAGE_MAX && h->records_end >= sizeof *h
		&& h->records_end <= size && fits(h, h->slots_at, h->slot_count, sizeof(struct slot))
		&& (h->slot_count & (h->slot_count - 1)) == 0 && (h->has_ranges != 0) == (h->slot_count == 0)
		&& fits(h, h->starts_at[0], h->start_count[0], sizeof(uint32_t) + sizeof(uint32_t))
		&& fits(h, h->starts_at[1], h->start_count[1], sizeof(struct wide) + sizeof(uint32_t))
		&& h->checksum == checksum_of((const uint8_t *)h + SUMMED_FROM, size - SUMMED_FROM);
	return good || is_damaged(why);
}

/* The record at an offset. False: there is none. */
static bool record_at(const struct image *i, uint64_t offset, struct record *r)
{
	uint64_t end = i->header->records_end;
	if (offset < sizeof *i->header || offset > end || end - offset < sizeof *r)
		return false;
	memcpy(r, i->bytes + offset, sizeof *r);
	return (uint64_t)(r->key_size & ~GONE) + r->value_size <= end - offset - sizeof *r;
}

static enum mm_table_result damaged(struct mm_fault *why)
{
	is_damaged(why);
	return MM_TABLE_ERROR;
}

static enum mm_table_result append(struct mm_buffer *value, const uint8_t *bytes, size_t size, struct mm_fault *why)
{
	mm_buffer_append(value, bytes, size);
	if (!value->failed)
		return MM_TABLE_FOUND;
	out_of_memory(why);
	return MM_TABLE_ERROR;
}

/* Where the record of a key is. */
static enum mm_table_result find_key(const struct image *i, struct mm_text key, struct mm_text *value,
	struct mm_fault *why)
{
	const struct header *h = i->header;
	const struct slot *slots = (const void *)(i->bytes + h->slots_at);
	uint64_t hash = hash_of(h->seed, h->folds != 0, key), mask = h->slot_count - 1, at = hash & mask;
	for (uint64_t n = 0; n < h->slot_count; n++, at = (at + 1) & mask) {
		struct record r;
		if (slots[at].offset == 0)
			return MM_TABLE_NONE;
		if (slots[at].tag != (uint32_t)(hash >> 32))
			continue;
		if (!record_at(i, slots[at].offset, &r))
			return damaged(why);
		const uint8_t *bytes = i->bytes + slots[at].offset + sizeof r;
		if (r.key_size != key.size || !is_equal(h->folds != 0, bytes, key))
			continue;
		*value = (struct mm_text){ (const char *)bytes + key.size, r.value_size };
		return MM_TABLE_FOUND;
	}
	return damaged(why);            /* a free slot ends each search */
}

static enum mm_table_result get_key(const struct image *i, struct mm_text key, struct mm_buffer *value,
	struct mm_fault *why)
{
	struct mm_text found;
	enum mm_table_result result = find_key(i, key, &found, why);
	return result == MM_TABLE_FOUND ? append(value, (const uint8_t *)found.bytes, found.size, why) : result;
}

/* How many starts are not above the address. */
static uint64_t count_up_to(const uint32_t *starts, uint64_t count, uint32_t address)
{
	uint64_t low = 0;
	while (count > 0) {
		uint64_t half = count / 2;
		bool is_above = starts[low + half] > address;
		low += is_above ? 0 : half + 1;
		count = is_above ? half : count - half - 1;
	}
	return low;
}

static uint64_t count_wide_up_to(const struct wide *starts, uint64_t count, struct wide address)
{
	uint64_t low = 0;
	while (count > 0) {
		const struct wide *s = &starts[low + count / 2];
		bool is_above = s->high > address.high || (s->high == address.high && s->low > address.low);
		low += is_above ? 0 : count / 2 + 1;
		count = is_above ? count / 2 : count - count / 2 - 1;
	}
	return low;
}

/* The value of the range that the address is in; 0: none. */
static uint32_t value_of_address(const struct image *i, bool is_ipv6, const uint8_t *address)
{
	const struct header *h = i->header;
	const uint8_t *starts = i->bytes + h->starts_at[is_ipv6];
	uint64_t count = h->start_count[is_ipv6], n;
	uint32_t half[4], value;
	memcpy(half, address, is_ipv6 ? 16 : 4);
	if (is_ipv6)
		n = count_wide_up_to((const void *)starts, count,
			(struct wide){ (uint64_t)ntohl(half[0]) << 32 | ntohl(half[1]),
				(uint64_t)ntohl(half[2]) << 32 | ntohl(half[3]) });
	else
		n = count_up_to((const void *)starts, count, ntohl(half[0]));
	if (n == 0)
		return 0;
	memcpy(&value, starts + count * (is_ipv6 ? sizeof(struct wide) : sizeof(uint32_t))
		+ (n - 1) * sizeof value, sizeof value);
	return value;
}

/* What is not an address is in no table of addresses, as in Postfix. */
static enum mm_table_result get_address(const struct image *i, struct mm_text key, struct mm_buffer *value,
	struct mm_fault *why)
{
	char text[ADDRESS_SIZE];
	uint8_t address[16];
	struct record r;
	if (key.size >= sizeof text)
		return MM_TABLE_NONE;
	memcpy(text, key.bytes, key.size);
	text[key.size] = '\0';
	bool is_ipv6 = strchr(text, ':') != NULL;
	if (strlen(text) != key.size || inet_pton(is_ipv6 ? AF_INET6 : AF_INET, text, address) != 1)
		return MM_TABLE_NONE;
	uint32_t offset = value_of_address(i, is_ipv6, address);
	if (offset == 0)
		return MM_TABLE_NONE;
	return record_at(i, offset, &r) ? append(value, i->bytes + offset + sizeof r, r.key_size & ~GONE, why)
		: damaged(why);
}

static enum mm_table_result get(struct mm_table *t, struct mm_text key, struct mm_buffer *value,
	struct mm_fault *why)
{
	const struct image *i = image_of(t);
	return i->header->has_ranges ? get_address(i, key, value, why) : get_key(i, key, value, why);
}

static bool each_key(const struct image *i, mm_table_visit *visit, void *self, struct mm_fault *why)
{
	struct record r;
	for (uint64_t at = sizeof *i->header, next; at < i->header->records_end; at = next) {
		if (!record_at(i, at, &r))
			return is_damaged(why);
		const char *bytes = (const char *)i->bytes + at + sizeof r;
		uint32_t key_size = r.key_size & ~GONE;
		next = at + (sizeof r + (uint64_t)key_size + r.value_size + 3) / 4 * 4;
		if ((r.key_size & GONE) == 0 && !visit(self, (struct mm_text){ bytes, key_size },
		    (struct mm_text){ bytes + key_size, r.value_size }))
			break;
	}
	return true;
}

/* ---- the ranges of an image as blocks ---- */

/* Both families as numbers of 128 bits; those of IPv4 are in the lowest 32. */
typedef unsigned __int128 number;

static number start_at(const struct image *i, int family, uint64_t n)
{
	const uint8_t *starts = i->bytes + i->header->starts_at[family];
	if (family == 0)
		return ((const uint32_t *)(const void *)starts)[n];
	const struct wide *w = (const struct wide *)(const void *)starts + n;
	return (number)w->high << 64 | w->low;
}

static void block_text(int family, number first, unsigned prefix, char *to, size_t size)
{
	unsigned width = family == 0 ? 32 : 128;
	uint8_t address[16];
	char text[INET6_ADDRSTRLEN];
	for (unsigned b = 0; b < width / 8; b++)
		address[b] = (uint8_t)(first >> (width - 8 - 8 * b));
	inet_ntop(family == 0 ? AF_INET : AF_INET6, address, text, sizeof text);
	snprintf(to, size, prefix == width ? "%s" : "%s/%u", text, prefix);
}

/* Visits the largest blocks that make up a range. False: enough. */
static bool each_block(int family, number first, number last, struct mm_text value, mm_table_visit *visit, void *self)
{
	unsigned width = family == 0 ? 32 : 128;
	for (;;) {
		unsigned host = 0;              /* bits after the prefix */
		while (host < width && (first >> host & 1) == 0
		    && (host + 1 == 128 ? last == ~(number)0 : first + (((number)1 << (host + 1)) - 1) <= last
			&& first + (((number)1 << (host + 1)) - 1) >= first))
			host++;
		char text[ADDRESS_SIZE];
		block_text(family, first, width - host, text, sizeof text);
		if (!visit(self, mm_text_of(text), value))
			return false;
		number end = host == 128 ? ~(number)0 : first + (((number)1 << host) - 1);
		if (end >= last)
			return true;
		first = end + 1;
	}
}

static bool each_range(const struct image *i, mm_table_visit *visit, void *self, struct mm_fault *why)
{
	const struct header *h = i->header;
	for (int family = 0; family < 2; family++) {
		uint64_t count = h->start_count[family];
		const uint8_t *values = i->bytes + h->starts_at[family]
			+ count * (family == 0 ? sizeof(uint32_t) : sizeof(struct wide));
		for (uint64_t n = 0; n < count; n++) {
			number first = start_at(i, family, n);
			number last = n + 1 < count ? start_at(i, family, n + 1) - 1
				: family == 0 ? UINT32_MAX : ~(number)0;
			uint32_t offset;
			struct record r;
			memcpy(&offset, values + n * sizeof offset, sizeof offset);
			if (offset == 0)
				continue;
			if (!record_at(i, offset, &r) || first > last)
				return is_damaged(why);
			struct mm_text value = { (const char *)i->bytes + offset + sizeof r, r.key_size & ~GONE };
			if (!each_block(family, first, last, value, visit, self))
				return true;
		}
	}
	return true;
}

static bool each(struct mm_table *t, mm_table_visit *visit, void *self, struct mm_fault *why)
{
	const struct image *i = image_of(t);
	return i->header->has_ranges ? each_range(i, visit, self, why) : each_key(i, visit, self, why);
}

static uint64_t count(const struct mm_table *t)
{
	return image_of(t)->header->count;
}

/* ---- open and close ---- */

static void close_image(struct mm_table *t)
{
	struct image *i = (struct image *)(void *)t;
	munmap((void *)(uintptr_t)i->bytes, i->mapped);
	free(i);
}

static const struct mm_table_format format = { .name = "image", .close = close_image, .get = get, .each = each,
	.count = count };

bool mm_image_find(struct mm_table *t, struct mm_text key, struct mm_text *value)
{
	struct mm_fault why;
	return t->format == &format && !image_of(t)->header->has_ranges
		&& find_key(image_of(t), key, value, &why) == MM_TABLE_FOUND;
}

/* TAKES the mapping, whatever comes of it. */
static struct mm_table *open_at(uint8_t *bytes, size_t size, size_t mapped, struct mm_fault *why)
{
	struct image *i = calloc(1, sizeof *i);
	if (i == NULL || !check_header((const void *)bytes, size, why)) {
		if (i == NULL)
			out_of_memory(why);
		free(i);
		munmap(bytes, mapped);
		return NULL;
	}
	i->mapped = mapped;
	i->table.format = &format;
	i->bytes = bytes;
	i->header = (const void *)bytes;
	return &i->table;
}

struct mm_table *mm_image_map(int fd, struct mm_fault *why)
{
	struct stat is;
	if (fstat(fd, &is) != 0 || is.st_size < (off_t)sizeof(struct header) || is.st_size > (off_t)MM_IMAGE_MAX) {
		mm_fault_set(why, MM_FAULT_CONFIG, "not an image of a table");
		return NULL;
	}
	void *bytes = mmap(NULL, (size_t)is.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED) {
		out_of_memory(why);
		return NULL;
	}
	return open_at(bytes, (size_t)is.st_size, (size_t)is.st_size, why);
}

struct mm_table *mm_image_of_block(struct mm_block *bytes, struct mm_fault *why)
{
	struct mm_block taken = *bytes;
	*bytes = (struct mm_block){ 0 };
	if (taken.bytes != NULL)
		return open_at(taken.bytes, taken.size, taken.capacity, why);
	mm_fault_set(why, MM_FAULT_CONFIG, "not an image of a table");
	return NULL;
}

struct mm_table *mm_image_keep(struct mm_image_writer *w, const struct mm_image_source *source, struct mm_fault *why)
{
	return mm_image_finish(w, source, why) != NULL ? mm_image_of_block(&w->bytes, why) : NULL;
}
