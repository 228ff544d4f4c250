#include "map/cidr_table.h"

#include "base/array.h"
#include "base/quote.h"
#include "map/image.h"
#include "map/logical_lines.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <strings.h>

#define PATTERN_SIZE 64u                /* bytes of an address as text */
#define DEPTH_MAX    100u               /* of IF */
#define PIECES_MAX   (1u << 24)         /* of rules, and of blocks of IF: negated ones cut others into pieces */

enum family { INET, INET6, FAMILIES };

/* An address of either family as a number. */
typedef unsigned __int128 number;

static const number highest[FAMILIES] = { UINT32_MAX, ~(number)0 };

struct range {
	number first, last;
};

/* What a pattern covers: one range, or with "!" what is before and after it. */
struct pattern {
	enum family  family;
	struct range range;
	bool         is_negated;
};

/* A part of a rule. */
struct piece {
	struct range range;
	uint32_t     rule;              /* the smallest counts */
	uint32_t     value;             /* of the image */
};

/* The addresses that rules inside an IF can match. */
struct block {
	enum family   family;
	struct range *ranges;           /* owned array, in order */
	uint32_t      count, capacity;
};

struct compilation {
	struct mm_image_writer *writer; /* borrowed */
	struct mm_fault        *why;    /* borrowed */
	struct block            blocks[DEPTH_MAX];      /* open ones */
	unsigned                depth;
	struct mm_block         pieces[FAMILIES];       /* owned: struct piece */
	uint32_t                count[FAMILIES];
	uint32_t                rules;
};

static bool out_of_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the table");
}

/* ---- patterns ---- */

/* "1.2.3.4", "1.2.3.0/24", "[::1]", "[::]/0" or "[::/0]". Returns what is wrong; NULL: nothing. */
static const char *split_pattern(struct mm_text t, struct mm_text *address, struct mm_text *length)
{
	*address = t;
	*length = (struct mm_text){ NULL, 0 };
	if (t.size > 0 && t.bytes[0] == '[') {
		const char *end = memchr(t.bytes, ']', t.size);
		if (end == NULL)
			return "a \"]\" is missing";
		*address = (struct mm_text){ t.bytes + 1, (size_t)(end - t.bytes) - 1 };
		struct mm_text rest = { end + 1, t.size - address->size - 2 };
		if (rest.size > 0 && rest.bytes[0] != '/')
			return "there is something after the \"]\"";
		if (rest.size > 0) {
			*length = (struct mm_text){ rest.bytes + 1, rest.size - 1 };
			return NULL;
		}
	}
	const char *slash = memchr(address->bytes, '/', address->size);
	if (slash != NULL) {
		*length = (struct mm_text){ slash + 1, (size_t)(address->bytes + address->size - slash) - 1 };
		address->size = (size_t)(slash - address->bytes);
	}
	return NULL;
}

static bool parse_length(struct mm_text t, unsigned most, unsigned *length)
{
	*length = 0;
	for (size_t i = 0; i < t.size; i++) {
		if (t.bytes[i] < '0' || t.bytes[i] > '9')
			return false;
		*length = *length * 10 + (unsigned)(t.bytes[i] - '0');
		if (*length > most)
			return false;
	}
	return t.size > 0;
}

/* Returns what is wrong; NULL: nothing. */
static const char *parse_pattern(struct mm_text t, struct pattern *p)
{
	struct mm_text address, length;
	char text[PATTERN_SIZE];
	uint8_t bytes[16];
	const char *fault = split_pattern(t, &address, &length);
	if (fault != NULL)
		return fault;
	if (address.size >= sizeof text)
		return "not an address";
	memcpy(text, address.bytes, address.size);
	text[address.size] = '\0';
	p->family = strchr(text, ':') != NULL ? INET6 : INET;
	unsigned width = p->family == INET6 ? 128 : 32, bits = width;
	if (length.bytes != NULL && !parse_length(length, width, &bits))
		return "the length of the prefix is wrong";
	if (inet_pton(p->family == INET6 ? AF_INET6 : AF_INET, text, bytes) != 1)
		return "not an address";
	p->range.first = 0;
	for (unsigned i = 0; i < width / 8; i++)
		p->range.first = p->range.first << 8 | bytes[i];
	number host = bits == 0 ? highest[p->family] : bits == width ? 0 : ((number)1 << (width - bits)) - 1;
	if ((p->range.first & host) != 0)
		return "there are bits set after the prefix";
	p->range.last = p->range.first | host;
	return NULL;
}

/* Takes "!" and blanks off. */
static bool take_negations(struct mm_text *t)
{
	bool is_negated = false;
	while (t->size > 0 && (t->bytes[0] == '!' || mm_is_blank(t->bytes[0])))
		is_negated ^= mm_text_take(t, 1).bytes[0] == '!';
	return is_negated;
}

/* ---- what a pattern covers within the open blocks ---- */

typedef bool add_range(struct compilation *, struct range, void *self);

static bool intersect(struct compilation *c, const struct block *b, struct range r, add_range *add, void *self)
{
	uint32_t low = 0, count = b->count;
	while (count > 0) {                     /* the first range that ends at r.first or later */
		uint32_t half = count / 2;
		bool is_before = b->ranges[low + half].last < r.first;
		low += is_before ? half + 1 : 0;
		count = is_before ? count - half - 1 : half;
	}
	for (; low < b->count && b->ranges[low].first <= r.last; low++) {
		const struct range *in = &b->ranges[low];
		struct range both = { in->first > r.first ? in->first : r.first,
			in->last < r.last ? in->last : r.last };
		if (!add(c, both, self))
			return false;
	}
	return true;
}

/* Calls add for each range, in order. */
static bool cover(struct compilation *c, const struct pattern *p, add_range *add, void *self)
{
	const struct range all = { 0, highest[p->family] };
	const struct block whole = { p->family, (struct range *)(uintptr_t)&all, 1, 1 };
	const struct block *b = c->depth > 0 ? &c->blocks[c->depth - 1] : &whole;
	if (b->family != p->family)
		return true;
	if (!p->is_negated)
		return intersect(c, b, p->range, add, self);
	const struct range before = { 0, p->range.first - 1 }, after = { p->range.last + 1, all.last };
	return (p->range.first == 0 || intersect(c, b, before, add, self))
		&& (p->range.last == all.last || intersect(c, b, after, add, self));
}

static bool add_to_block(struct compilation *c, struct range r, void *self)
{
	struct block *b = self;
	if (b->count >= PIECES_MAX || !mm_array_grow(&b->ranges, b->count, &b->capacity, sizeof *b->ranges))
		return out_of_memory(c->why);
	b->ranges[b->count++] = r;
	return true;
}

static bool add_piece(struct compilation *c, struct range r, void *self)
{
	const struct piece *like = self;
	enum family family = like->rule & 1 ? INET6 : INET;
	if (c->count[family] >= PIECES_MAX)
		return mm_fault_set(c->why, MM_FAULT_CONFIG, "the table has too many rules inside of IF with \"!\"");
	const struct piece new = { r, like->rule, like->value };
	mm_block_append(&c->pieces[family], &new, sizeof new);
	c->count[family]++;
	return !c->pieces[family].failed || out_of_memory(c->why);
}

/* ---- lines ---- */

static bool is_word(struct mm_text line, const char *word)
{
	size_t size = strlen(word);
	if (line.size < size || strncasecmp(line.bytes, word, size) != 0)
		return false;
	char next = line.size > size ? line.bytes[size] : ' ';
	return !((next >= '0' && next <= '9') || (next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z'));
}

static bool skip(struct compilation *c, unsigned number, const char *fault, struct mm_text line)
{
	mm_image_ignore(c->writer, "line %u: %s: %s", number, fault, mm_quote(line.bytes, line.size).text);
	return true;
}

static bool begin_block(struct compilation *c, struct mm_text line, unsigned number)
{
	struct pattern p;
	struct mm_text rest = { line.bytes + 2, line.size - 2 };
	p.is_negated = take_negations(&rest);
	rest = mm_trimmed(rest);
	const char *fault = rest.size > 0 ? parse_pattern(rest, &p) : "IF without an address";
	if (fault != NULL)
		return skip(c, number, fault, line);
	if (c->depth == DEPTH_MAX)
		return mm_fault_set(c->why, MM_FAULT_CONFIG, "line %u: more than %u IF inside each other", number,
			DEPTH_MAX);
	struct block b = { .family = p.family };
	bool good = cover(c, &p, add_to_block, &b);
	c->blocks[c->depth++] = b;              /* freed with the others */
	return good;
}

static bool end_block(struct compilation *c, struct mm_text line, unsigned number)
{
	struct mm_text rest = { line.bytes + 5, line.size - 5 };
	if (mm_trimmed(rest).size > 0)
		return skip(c, number, "there is something after ENDIF", line);
	if (c->depth == 0)
		return skip(c, number, "ENDIF without IF", line);
	free(c->blocks[--c->depth].ranges);
	return true;
}

static bool add_rule(struct compilation *c, struct mm_text line, unsigned number)
{
	struct mm_text rest = line;
	struct pattern p;
	p.is_negated = take_negations(&rest);
	size_t size = 0;
	while (size < rest.size && !mm_is_blank(rest.bytes[size]))
		size++;
	struct mm_text address = mm_text_take(&rest, size), value = mm_trimmed(rest);
	const char *fault = address.size == 0 ? "there is no address" : value.size == 0 ? "there is no value"
		: parse_pattern(address, &p);
	if (fault != NULL)
		return skip(c, number, fault, line);
	uint32_t offset = mm_image_value(c->writer, value, c->why);
	if (offset == 0)
		return false;
	if (c->rules == UINT32_MAX / 2)
		return mm_fault_set(c->why, MM_FAULT_CONFIG, "the table has too many rules");
	struct piece like = { .rule = c->rules++ * 2 + (p.family == INET6), .value = offset };
	return cover(c, &p, add_piece, &like);
}

static bool read_lines(struct compilation *c, struct mm_text source)
{
	struct mm_logical_lines lines = { .rest = source };
	struct mm_text line;
	bool good = true;
	while (good && mm_logical_lines_next(&lines, &line))
		good = is_word(line, "if") ? begin_block(c, line, lines.first)
			: is_word(line, "endif") ? end_block(c, line, lines.first)
			: add_rule(c, line, lines.first);
	if (lines.orphans > 0)
		mm_image_ignore(c->writer, "a line that begins with a blank continues nothing");
	if (good && c->depth > 0)
		mm_image_ignore(c->writer, "an IF has no ENDIF");
	if (good && lines.joined.failed)
		good = out_of_memory(c->why);
	mm_logical_lines_end(&lines);
	return good;
}

/* ---- from pieces that overlap to ranges that do not ---- */

static int by_first(const void *one, const void *two)
{
	const struct piece *a = one, *b = two;
	return a->range.first != b->range.first ? (a->range.first < b->range.first ? -1 : 1)
		: a->rule < b->rule ? -1 : a->rule > b->rule;
}

/* Most lists are in order already. */
static void sort(struct piece *pieces, uint32_t count)
{
	uint32_t at = 1;
	while (at < count && by_first(&pieces[at - 1], &pieces[at]) < 0)
		at++;
	if (at < count)
		qsort(pieces, count, sizeof *pieces, by_first);
}

/* A heap of the pieces that cover the present address, by number; the one with the smallest rule is the first. */
struct heap {
	const struct piece *pieces;     /* borrowed */
	uint32_t           *items;      /* owned; room for all pieces */
	uint32_t            count;
};

static uint32_t rule_at(const struct heap *h, uint32_t at)
{
	return h->pieces[h->items[at]].rule;
}

static void swap(struct heap *h, uint32_t one, uint32_t two)
{
	uint32_t was = h->items[one];
	h->items[one] = h->items[two];
	h->items[two] = was;
}

static void heap_add(struct heap *h, uint32_t piece)
{
	uint32_t at = h->count++;
	h->items[at] = piece;
	for (; at > 0 && rule_at(h, at) < rule_at(h, (at - 1) / 2); at = (at - 1) / 2)
		swap(h, at, (at - 1) / 2);
}

static void heap_drop(struct heap *h)
{
	h->items[0] = h->items[--h->count];
	for (uint32_t at = 0, least = 0;; at = least) {
		for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < h->count; child++)
			if (rule_at(h, child) < rule_at(h, least))
				least = child;
		if (least == at)
			return;
		swap(h, at, least);
	}
}

static bool add_start(struct compilation *c, enum family family, number at, uint32_t value)
{
	uint8_t address[16];
	unsigned size = family == INET6 ? 16 : 4;
	for (unsigned i = 0; i < size; i++)
		address[i] = (uint8_t)(at >> (8 * (size - 1 - i)));
	return mm_image_add_start(c->writer, family == INET6, address, value, c->why);
}

/* Walks over all addresses at which something begins or ends. */
static bool write_ranges(struct compilation *c, enum family family, struct heap *h)
{
	const struct piece *pieces = h->pieces;
	uint32_t count = c->count[family], next = 0, value = 0;
	for (number at = 0;;) {
		while (next < count && pieces[next].range.first == at)
			heap_add(h, next++);
		while (h->count > 0 && pieces[h->items[0]].range.last < at)
			heap_drop(h);
		uint32_t now = h->count > 0 ? pieces[h->items[0]].value : 0;
		if (now != value && !add_start(c, family, at, now))
			return false;
		value = now;
		bool ends = h->count > 0 && pieces[h->items[0]].range.last < highest[family];
		number end = ends ? pieces[h->items[0]].range.last + 1 : 0;
		if (next == count && !ends)
			return true;
		at = next < count && (!ends || pieces[next].range.first < end) ? pieces[next].range.first : end;
	}
}

static bool write_family(struct compilation *c, enum family family)
{
	struct piece *pieces = (void *)c->pieces[family].bytes;
	uint32_t count = c->count[family];
	struct mm_block items = { 0 };
	if (count == 0)
		return true;
	if (!mm_block_reserve(&items, count * sizeof(uint32_t)))
		return out_of_memory(c->why);
	sort(pieces, count);
	struct heap h = { .pieces = pieces, .items = (void *)items.bytes };
	bool good = write_ranges(c, family, &h);
	mm_block_free(&items);
	return good;
}

static bool compile(struct mm_text source, const struct mm_table_options *o, struct mm_image_writer *w,
	struct mm_fault *why)
{
	(void)o;
	struct compilation *c = calloc(1, sizeof *c);
	if (c == NULL)
		return out_of_memory(why);
	c->writer = w;
	c->why = why;
	mm_image_be_ranges(w);
	bool good = read_lines(c, source) && write_family(c, INET) && write_family(c, INET6);
	mm_image_set_count(w, c->rules);
	while (c->depth > 0)
		free(c->blocks[--c->depth].ranges);
	mm_block_free(&c->pieces[INET]);
	mm_block_free(&c->pieces[INET6]);
	free(c);
	return good;
}

const struct mm_table_format mm_cidr_format = { .name = "cidr", .compile = compile };
