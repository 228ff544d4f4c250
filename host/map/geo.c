#include "map/geo.h"

#include "base/quote.h"
#include "state/packed.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* ---- records ----
 * A byte of type and size, then the value. A pointer leads to a value elsewhere, so a small file can hold a record
 * without end: items, depth and bytes have limits. */

enum type { EXTENDED, POINTER, STRING, DOUBLE, BYTES, UINT16, UINT32, MAP, INT32, UINT64, UINT128, ARRAY, CONTAINER,
	END, BOOLEAN, FLOAT };

struct reader {
	const uint8_t    *bytes;        /* borrowed: the section; pointers count from here */
	size_t            size;
	struct mm_buffer *to;           /* NULL: only checked */
	size_t            items;        /* that may still come */
	size_t            began;        /* of `to`, bytes */
};

struct item {
	enum type      type;
	size_t         size;            /* of the value, bytes or entries; of BOOLEAN the value */
	const uint8_t *value;
	bool           is_elsewhere;    /* a pointer led to it */
};

static bool take(const struct reader *r, size_t *at, size_t count, const uint8_t **bytes)
{
	if (*at > r->size || r->size - *at < count)
		return false;
	*bytes = r->bytes + *at;
	*at += count;
	return true;
}

static uint64_t number_of(const uint8_t *bytes, size_t size)
{
	uint64_t n = 0;
	for (size_t i = 0; i < size; i++)
		n = n << 8 | bytes[i];
	return n;
}

static bool read_pointer(const struct reader *r, unsigned control, size_t *at, size_t *target)
{
	static const uint32_t base[] = { 0, 2048, 526336, 0 };
	const uint8_t *bytes;
	unsigned form = control >> 3 & 3;
	if (!take(r, at, form + 1, &bytes))
		return false;
	uint64_t high = form < 3 ? (uint64_t)(control & 7) << 8 * (form + 1) : 0;
	*target = (size_t)(high + number_of(bytes, form + 1) + base[form]);
	return true;
}

static bool read_size(const struct reader *r, size_t *at, size_t *size)
{
	static const size_t base[] = { 29, 285, 65821 };
	const uint8_t *bytes;
	if (*size < 29)
		return true;
	size_t form = *size - 29;
	if (!take(r, at, form + 1, &bytes))
		return false;
	*size = base[form] + (size_t)number_of(bytes, form + 1);
	return true;
}

static bool has_entries(enum type type)
{
	return type == MAP || type == ARRAY || type == BOOLEAN;
}

/* Reads one item; *at is then after it, or after its pointer. A pointer to a pointer is refused, as the specification
 * says. *inner: where the entries of a map or an array begin. */
static bool read_item(struct reader *r, size_t *at, bool is_pointed_to, struct item *item, size_t *inner)
{
	const uint8_t *bytes;
	if (r->items == 0 || !take(r, at, 1, &bytes))
		return false;
	unsigned control = *bytes;
	item->type = (enum type)(control >> 5);
	item->is_elsewhere = is_pointed_to;
	if (item->type == POINTER) {
		size_t target;
		return !is_pointed_to && read_pointer(r, control, at, &target)
			&& read_item(r, &target, true, item, inner);
	}
	r->items--;
	if (item->type == EXTENDED) {
		if (!take(r, at, 1, &bytes))
			return false;
		item->type = (enum type)(7 + *bytes);
	}
	item->size = control & 31;
	if (!read_size(r, at, &item->size) || (!has_entries(item->type) && !take(r, at, item->size, &item->value)))
		return false;
	*inner = *at;
	return true;
}

static void put_number(struct reader *r, double number)
{
	char packed[MM_PACKED_NUMBER_SIZE];
	mm_packed_write_number(number, packed);
	mm_buffer_append(r->to, packed, sizeof packed);
}

static void put_string(struct reader *r, const void *bytes, size_t size)
{
	uint32_t count = (uint32_t)size;
	mm_buffer_append_u8(r->to, 's');
	mm_buffer_append(r->to, &count, sizeof count);
	mm_buffer_append(r->to, bytes, size);
}

static void put_uint128(struct reader *r, const struct item *item)
{
	char digits[33];
	snprintf(digits, sizeof digits, "%016llx%016llx",
		(unsigned long long)(item->size > 8 ? number_of(item->value, item->size - 8) : 0),
		(unsigned long long)(item->size > 8 ? number_of(item->value + item->size - 8, 8)
			: number_of(item->value, item->size)));
	put_string(r, digits, 32);
}

static double floating(const struct item *item)
{
	uint64_t bits = number_of(item->value, item->size);
	uint32_t half = (uint32_t)bits;
	double d;
	float f;
	if (item->type == DOUBLE)
		return memcpy(&d, &bits, sizeof d), d;
	return memcpy(&f, &half, sizeof f), f;
}

/* The most bytes of a value; 0: there is no such type, or it has no place in a record. */
static const uint8_t size_max[] = { [DOUBLE] = 8, [UINT16] = 2, [UINT32] = 4, [INT32] = 4, [UINT64] = 8, [UINT128] = 16,
	[BOOLEAN] = 1, [FLOAT] = 4 };

static bool put_scalar(struct reader *r, const struct item *item)
{
	if (item->type == STRING || item->type == BYTES) {
		if (r->to != NULL)
			put_string(r, item->value, item->size);
		return true;
	}
	if (item->type > FLOAT || item->size > size_max[item->type] || size_max[item->type] == 0)
		return false;
	if ((item->type == DOUBLE || item->type == FLOAT) && item->size != size_max[item->type])
		return false;
	if (r->to == NULL)
		return true;
	if (item->type == BOOLEAN)
		mm_buffer_append_u8(r->to, item->size != 0 ? 't' : 'f');
	else if (item->type == UINT128)
		put_uint128(r, item);
	else if (item->type == INT32)
		put_number(r, (int32_t)number_of(item->value, item->size));
	else
		put_number(r, item->type == DOUBLE || item->type == FLOAT ? floating(item)
			: (double)number_of(item->value, item->size));
	return true;
}

/* *at is then after the value. */
static bool put_value(struct reader *r, size_t *at, unsigned depth)
{
	struct item item, key;
	size_t inner, unused;
	if (!read_item(r, at, false, &item, &inner))
		return false;
	if (item.type != MAP && item.type != ARRAY)
		return put_scalar(r, &item);
	if (depth >= MM_PACKED_DEPTH_MAX || item.size > r->items)
		return false;
	if (r->to != NULL)
		mm_buffer_append_u8(r->to, '{');
	for (size_t i = 0; i < item.size; i++) {
		if (item.type == MAP && (!read_item(r, &inner, false, &key, &unused) || key.type != STRING
			|| !put_scalar(r, &key)))
			return false;
		if (item.type == ARRAY && r->to != NULL)
			put_number(r, (double)i + 1);
		if (!put_value(r, &inner, depth + 1))
			return false;
		if (r->to != NULL && (r->to->failed || r->to->size - r->began > MM_GEO_RECORD_MAX))
			return false;
	}
	if (r->to != NULL)
		mm_buffer_append_u8(r->to, '}');
	if (!item.is_elsewhere)
		*at = inner;
	return true;
}

/* ---- the file: search tree, 16 bytes of zero, data, metadata ---- */

#define MARKER      "\xab\xcd\xefMaxMind.com"
#define MARKER_SIZE (sizeof MARKER - 1)
#define TAIL_MAX    131072                      /* bytes at the end in which the metadata are */
#define ZEROS       16

static const char *find_metadata(struct mm_text file)
{
	size_t from = file.size > TAIL_MAX ? file.size - TAIL_MAX : 0;
	for (size_t at = file.size; at-- > from;)
		if (file.size - at >= MARKER_SIZE && memcmp(file.bytes + at, MARKER, MARKER_SIZE) == 0)
			return file.bytes + at;
	return NULL;
}

/* One value of the metadata, which are a map. */
static void note(struct mm_geo *g, struct mm_text name, const struct mm_packed *value, enum mm_packed_token token)
{
	const struct { const char *name; double *to; } numbers[] = {
		{ "node_count", &g->nodes }, { "record_size", &g->record_bits }, { "ip_version", &g->ip_version },
		{ "binary_format_major_version", &g->format }, { "build_epoch", &g->built },
	};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers && token == MM_PACKED_NUMBER; i++)
		if (strlen(numbers[i].name) == name.size && memcmp(name.bytes, numbers[i].name, name.size) == 0)
			*numbers[i].to = value->number;
	if (token == MM_PACKED_STRING && name.size == 13 && memcmp(name.bytes, "database_type", 13) == 0)
		snprintf(g->type, sizeof g->type, "%.*s", (int)value->string.size, value->string.bytes);
}

static bool read_metadata(struct mm_geo *g, struct mm_text from, struct mm_fault *why)
{
	struct mm_buffer packed = { 0 };
	struct reader r = { (const uint8_t *)from.bytes, from.size, &packed, MM_GEO_ITEMS_MAX, 0 };
	size_t begin = 0;
	if (!put_value(&r, &begin, 0) || packed.failed) {
		mm_buffer_free(&packed);
		return mm_fault_set(why, MM_FAULT_CONFIG, "its metadata are broken");
	}
	struct mm_packed p = mm_packed_of((struct mm_text){ (const char *)packed.bytes, packed.size });
	struct mm_text key = { "", 0 };
	for (enum mm_packed_token token; (token = mm_packed_next(&p)) != MM_PACKED_NONE;) {
		if (p.is_key && p.depth == 1)
			key = token == MM_PACKED_STRING ? p.string : (struct mm_text){ "", 0 };
		else if (p.depth == 1)
			note(g, key, &p, token);
	}
	mm_buffer_free(&packed);
	return true;
}

bool mm_geo_read(struct mm_geo *g, struct mm_text file, struct mm_fault *why)
{
	*g = (struct mm_geo){ .format = 0 };
	const char *marker = find_metadata(file);
	if (marker == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "it is not a whole MaxMind DB: it has no metadata at its "
			"end");
	const char *begin = marker + MARKER_SIZE;
	if (!read_metadata(g, (struct mm_text){ begin, (size_t)(file.bytes + file.size - begin) }, why))
		return false;
	if (g->format != 2 || (g->record_bits != 24 && g->record_bits != 28 && g->record_bits != 32)
		|| (g->ip_version != 4 && g->ip_version != 6))
		return mm_fault_set(why, MM_FAULT_CONFIG, "it has version %g, records of %g bits and addresses of IPv%g"
			"; known are version 2, 24, 28 and 32 bits, IPv4 and IPv6", g->format, g->record_bits,
			g->ip_version);
	double tree = g->nodes * g->record_bits / 4, before = (double)(marker - file.bytes);
	if (!(g->nodes >= 1) || tree + ZEROS > before)
		return mm_fault_set(why, MM_FAULT_CONFIG, "its search tree of %g nodes is larger than the file",
			g->nodes);
	g->tree = (const uint8_t *)file.bytes;
	g->data = g->tree + (size_t)tree + ZEROS;
	g->data_size = (size_t)(before - tree) - ZEROS;
	return true;
}

/* ---- look up ---- */

static uint32_t side_of(const struct mm_geo *g, uint32_t node, unsigned bit)
{
	unsigned bits = (unsigned)g->record_bits;
	const uint8_t *at = g->tree + (size_t)node * (bits / 4);
	if (bits != 28)
		return (uint32_t)number_of(at + bit * (bits / 8), bits / 8);
	unsigned high = bit == 0 ? at[3] >> 4 : at[3] & 15;
	return high << 24 | (uint32_t)number_of(at + bit * 4, 3);
}

/* The address as bytes in network order; an IPv4 address, or one that is mapped into IPv6, is the last 4 of 16. */
static bool read_address(struct mm_text text, uint8_t to[16], bool *is_ipv4)
{
	char string[INET6_ADDRSTRLEN];
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	if (text.size >= sizeof string || memchr(text.bytes, '\0', text.size) != NULL)
		return false;
	memcpy(string, text.bytes, text.size);
	string[text.size] = '\0';
	memset(to, 0, 16);
	*is_ipv4 = inet_pton(AF_INET, string, to + 12) == 1;
	if (*is_ipv4)
		return true;
	if (inet_pton(AF_INET6, string, to) != 1)
		return false;
	*is_ipv4 = memcmp(to, mapped, sizeof mapped) == 0;
	if (*is_ipv4)
		memset(to, 0, sizeof mapped);
	return true;
}

/* In a tree of IPv6, IPv4 is at ::/96. */
static bool find(const struct mm_geo *g, const uint8_t address[16], bool is_ipv4, size_t *offset)
{
	uint32_t nodes = (uint32_t)g->nodes, at = 0;
	if (g->ip_version == 4 && !is_ipv4)
		return false;
	for (unsigned i = g->ip_version == 4 ? 96 : 0; i < 128 && at < nodes; i++)
		at = side_of(g, at, address[i / 8] >> (7 - i % 8) & 1);
	*offset = (size_t)at - nodes - ZEROS;
	return at > nodes;
}

enum mm_geo_result mm_geo_get(const struct mm_geo *g, struct mm_text address, struct mm_buffer *record,
	struct mm_fault *why)
{
	uint8_t bytes[16];
	bool is_ipv4;
	size_t begin, had = record->size;
	if (!read_address(address, bytes, &is_ipv4))
		return MM_GEO_NO_ADDRESS;
	if (!find(g, bytes, is_ipv4, &begin))
		return MM_GEO_NONE;
	struct reader r = { g->data, g->data_size, record, MM_GEO_ITEMS_MAX, had };
	if (put_value(&r, &begin, 0) && !record->failed)
		return MM_GEO_FOUND;
	record->size = had < record->size ? had : record->size;
	mm_fault_set(why, MM_FAULT_CONFIG, "the record of %s is broken, or has more than %d values",
		mm_quote(address.bytes, address.size).text, MM_GEO_ITEMS_MAX);
	return MM_GEO_BROKEN;
}
