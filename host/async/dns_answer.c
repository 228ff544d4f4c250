#include "async/dns_answer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define POINTERS_MAX 64         /* compression pointers of one name */
#define CHAIN_MAX    16         /* CNAMEs in a row */
#define IS_RESPONSE  0x8000     /* flags of the header (RFC 1035 4.1.1) */
#define OPCODE       0x7800
#define TYPE_CNAME   5
#define TYPE_SOA     6
#define TYPE_ANY     255
#define TTL_MAX      86400      /* the most, whatever a zone says: a day is enough (RFC 8767 4 suggests the same) */
#define TEXT_MAX     (256u << 10) /* bytes: the compressed names of a 64 KiB answer could grow to megabytes */
#define NEGATIVE_MAX 3600       /* RFC 2308 5 */

static const struct type_row {
	const char        *name;
	uint16_t           number;
	enum mm_dns_shape  shape;
} types[] = {
#define X(name, number, shape) { #name, number, MM_DNS_##shape },
	MM_DNS_TYPES(X)
#undef X
};

const char *mm_dns_code_name(enum mm_dns_code code)
{
	static const char *const names[] = {    /* ORDER DNS_CODE */
		"ok", "nxdomain", "nodata", "servfail", "refused", "timeout", "unreachable", "badname", "badanswer",
		"busy", "memory",
	};
	_Static_assert(sizeof names / sizeof *names == MM_DNS_CODE_COUNT, "ORDER DNS_CODE");
	return names[code];
}

uint16_t mm_dns_type_of_name(const char *name)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcasecmp(types[i].name, name) == 0)
			return types[i].number;
	if (strncasecmp(name, "type", 4) != 0 || name[4 + strspn(name + 4, "0123456789")] != '\0')
		return 0;
	unsigned long number = strtoul(name + 4, NULL, 10);
	return number <= UINT16_MAX ? (uint16_t)number : 0;
}

enum mm_dns_shape mm_dns_shape_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (types[i].number == type)
			return types[i].shape;
	return MM_DNS_RAW;
}

/* ---- reading ---- */

struct reader {
	const uint8_t        *start;    /* of the whole response: compression pointers count from here */
	size_t                size;
	struct mm_cursor      at;
	struct mm_dns_answer *answer;
};

static bool is_plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '/' || c == '+'
		|| c == '=' || c == '*';
}

static size_t put_label(char *to, const uint8_t *label, size_t size)
{
	size_t n = 0;
	for (size_t i = 0; i < size; i++) {
		uint8_t c = label[i] >= 'A' && label[i] <= 'Z' ? label[i] | 0x20 : label[i];
		if (is_plain(c))
			to[n++] = (char)c;
		else
			n += (size_t)snprintf(to + n, 5, "\\%03u", c);
	}
	return n;
}

/* Reads a name at the cursor, as text. RFC 1035 4.1.4: a pointer goes back in the message; pointers are counted, so
 * that a loop ends. False: cut, too long, or a loop. */
static bool read_name(struct reader *r, char to[MM_DNS_NAME_SIZE], size_t *size)
{
	struct mm_cursor c = r->at;
	size_t n = 0, wire = 0;
	unsigned pointers = 0;
	for (;;) {
		uint8_t length = mm_cursor_u8(&c);
		if (c.failed)
			return false;
		if ((length & 0xc0) == 0xc0) {
			size_t target = (size_t)(length & 0x3f) << 8 | mm_cursor_u8(&c);
			if (c.failed || target >= r->size || ++pointers > POINTERS_MAX)
				return false;
			if (pointers == 1)
				r->at = c;
			c = mm_cursor_over(r->start + target, r->size - target);
			continue;
		}
		if (length & 0xc0 || c.left < length)
			return false;
		if (length == 0)
			break;
		wire += length + 1u;
		if (wire > 254)                         /* RFC 1035 2.3.4: 255 bytes with the root's */
			return false;
		if (n > 0)
			to[n++] = '.';
		n += put_label(to + n, c.at, length);
		c.at += length;
		c.left -= length;
	}
	if (pointers == 0)
		r->at = c;
	to[n] = '\0';
	*size = n;
	return true;
}

static struct mm_dns_piece keep(struct mm_dns_answer *a, const void *bytes, size_t size)
{
	struct mm_dns_piece piece = { (uint32_t)a->text.size, (uint32_t)size };
	mm_buffer_append(&a->text, bytes, size);
	return piece;
}

static bool keep_name(struct reader *r, struct mm_dns_piece *piece)
{
	char name[MM_DNS_NAME_SIZE];
	size_t size;
	if (!read_name(r, name, &size))
		return false;
	*piece = keep(r->answer, name, size);
	return true;
}

/* The one or more counted strings of a TXT record, joined (RFC 7208 3.3). */
static void keep_strings(struct reader *r, struct mm_cursor data, struct mm_dns_piece *piece)
{
	*piece = keep(r->answer, "", 0);
	while (data.left > 0) {
		size_t size = mm_cursor_u8(&data);
		if (size > data.left)
			size = data.left;
		mm_buffer_append(&r->answer->text, data.at, size);
		piece->size += (uint32_t)size;
		data.at += size;
		data.left -= size;
	}
}

static bool keep_address(struct reader *r, struct mm_cursor data, uint16_t type, struct mm_dns_piece *piece)
{
	char text[INET6_ADDRSTRLEN];
	if (data.left != (type == 1 ? 4 : 16)
	    || inet_ntop(type == 1 ? AF_INET : AF_INET6, data.at, text, sizeof text) == NULL)
		return false;
	*piece = keep(r->answer, text, strlen(text));
	return true;
}

static bool keep_caa(struct reader *r, struct mm_cursor data, struct mm_dns_record *record)
{
	record->number[0] = mm_cursor_u8(&data);
	size_t size = mm_cursor_u8(&data);
	if (data.failed || size > data.left)
		return false;
	record->text[1] = keep(r->answer, data.at, size);
	record->text[0] = keep(r->answer, data.at + size, data.left - size);
	return true;
}

/* Reads the data of one record at r->at; names in it may point backwards. */
static bool read_data(struct reader *r, struct mm_cursor data, struct mm_dns_record *record)
{
	enum mm_dns_shape shape = mm_dns_shape_of(record->type);
	unsigned shorts = shape == MM_DNS_MX ? 1 : shape == MM_DNS_SRV ? 3 : 0;
	switch (shape) {
	case MM_DNS_ADDRESS:
		return keep_address(r, data, record->type, &record->text[0]);
	case MM_DNS_STRINGS:
		keep_strings(r, data, &record->text[0]);
		return true;
	case MM_DNS_MX:
	case MM_DNS_SRV:
	case MM_DNS_NAME:
		for (unsigned i = 0; i < shorts; i++)
			record->number[i] = mm_cursor_u16(&r->at);
		return !r->at.failed && keep_name(r, &record->text[0]);
	case MM_DNS_SOA:
		if (!keep_name(r, &record->text[0]) || !keep_name(r, &record->text[1]))
			return false;
		for (int i = 0; i < 5; i++)
			record->number[i] = mm_cursor_u32(&r->at);
		return !r->at.failed;
	case MM_DNS_TLSA:
		for (int i = 0; i < 3; i++)
			record->number[i] = mm_cursor_u8(&data);
		record->text[0] = keep(r->answer, data.at, data.left);
		return !data.failed;
	case MM_DNS_CAA:
		return keep_caa(r, data, record);
	default:
		record->text[0] = keep(r->answer, data.at, data.left);
		return true;
	}
}

struct owned_record {
	char                 owner[MM_DNS_NAME_SIZE];
	struct mm_dns_record record;
};

/* Reads one resource record. False: cut or unreadable; nothing after it can be found. */
static bool read_record(struct reader *r, struct owned_record *out)
{
	size_t size;
	memset(&out->record, 0, sizeof out->record);
	if (!read_name(r, out->owner, &size))
		return false;
	out->record.type = mm_cursor_u16(&r->at);
	uint16_t class = mm_cursor_u16(&r->at);
	out->record.ttl = mm_cursor_u32(&r->at);
	if (out->record.ttl > INT32_MAX)                /* RFC 2181 8 */
		out->record.ttl = 0;
	size = mm_cursor_u16(&r->at);
	if (r->at.failed || size > r->at.left)
		return false;
	struct mm_cursor data = mm_cursor_over(r->at.at, size);
	const uint8_t *after = r->at.at + size;
	bool ok = class != 1 || read_data(r, data, &out->record);
	if (class != 1)
		out->record.type = 0;
	r->at = mm_cursor_over(after, (size_t)(r->start + r->size - after));
	return ok;
}

static bool add_record(struct mm_dns_answer *a, const struct mm_dns_record *record)
{
	if ((a->count & (a->count - 1)) == 0) {         /* 0, 1, 2, 4, …: the array is full */
		struct mm_dns_record *grown = realloc(a->records, (a->count ? a->count * 2 : 1) * sizeof *grown);
		if (grown == NULL)
			return false;
		a->records = grown;
	}
	a->records[a->count++] = *record;
	return true;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static enum mm_dns_code fail(struct mm_dns_answer *a, enum mm_dns_code code)
{
	mm_dns_answer_free(a);
	a->code = code;
	return code;
}

static bool same(struct mm_text a, struct mm_text b)
{
	return a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}

/* An alias that leads back, to the name asked for or to another alias, leads nowhere. */
static bool leads_back(const struct mm_dns_answer *a, const char *asked, const struct mm_dns_piece *chain,
	unsigned links, struct mm_text target)
{
	bool does = same(mm_text_of(asked), target);
	for (unsigned i = 0; i < links && !does; i++)
		does = same(mm_dns_text(a, chain[i]), target);
	return does;
}

/* Reads the records asked for: those of the name at the end of the chain. Servers send the chain in
 * order (RFC 1034 4.3.2). */
static bool read_answers(struct reader *r, unsigned count, char name[MM_DNS_NAME_SIZE])
{
	struct mm_dns_answer *a = r->answer;
	struct owned_record found;
	char asked[MM_DNS_NAME_SIZE];
	struct mm_dns_piece chain[CHAIN_MAX];           /* the aliases' targets so far */
	unsigned links = 0;
	strcpy(asked, name);
	a->ttl = TTL_MAX;
	for (; count > 0; count--) {
		size_t before = a->text.size;
		if (!read_record(r, &found))
			return false;
		if (strcmp(found.owner, name) != 0) {
			a->text.size = before;
			continue;
		}
		if (found.record.type == TYPE_CNAME && a->type != TYPE_CNAME && a->type != TYPE_ANY) {
			struct mm_text target = mm_dns_text(a, found.record.text[0]);
			if (links == CHAIN_MAX || a->text.failed || leads_back(a, asked, chain, links, target))
				return false;
			chain[links++] = found.record.text[0];
			memcpy(name, target.bytes, target.size);
			name[target.size] = '\0';
		} else if (found.record.type != a->type && a->type != TYPE_ANY) {
			a->text.size = before;
			continue;
		} else if (!add_record(a, &found.record)) {
			return false;
		}
		a->ttl = smaller(a->ttl, found.record.ttl);
		if (a->text.size > TEXT_MAX)
			return false;
	}
	return true;
}

static bool is_below(const char *name, const char *zone)
{
	size_t size = strlen(name), zone_size = strlen(zone);
	if (zone_size == 0 || zone_size > size || strcmp(name + size - zone_size, zone) != 0)
		return zone_size == 0;
	return zone_size == size || name[size - zone_size - 1] == '.';
}

/* How long a negative answer may be kept: as the SOA of the name's zone says (RFC 2308 5); without one, not at all. */
static uint32_t negative_ttl(struct reader *r, unsigned count, const char *name)
{
	struct owned_record found;
	for (; count > 0 && read_record(r, &found); count--)
		if (found.record.type == TYPE_SOA && is_below(name, found.owner))
			return smaller(NEGATIVE_MAX, smaller(found.record.ttl, found.record.number[4]));
	return 0;
}

/* Compares the question's name, which is never compressed, with one in text. */
static enum mm_dns_fit compare_name(struct mm_cursor *c, const char *name)
{
	enum mm_dns_fit fit = MM_DNS_FITS;
	for (uint8_t size; (size = mm_cursor_u8(c)) > 0;) {
		const char *label = (const char *)c->at;
		if (size > 63 || c->left < size || strnlen(name, size) < size || strncasecmp(label, name, size) != 0
		    || (name[size] != '.' && name[size] != '\0'))
			return MM_DNS_MISFIT;
		if (memcmp(label, name, size) != 0)
			fit = MM_DNS_OTHER_CASE;
		c->at += size;
		c->left -= size;
		name += size + (name[size] == '.');
	}
	return *name == '\0' && !c->failed ? fit : MM_DNS_MISFIT;
}

enum mm_dns_fit mm_dns_answer_fit(const void *bytes, size_t size, const char *name, uint16_t type)
{
	struct reader r = { bytes, size, mm_cursor_over(bytes, size), NULL };
	char ignored[MM_DNS_NAME_SIZE];
	size_t ignored_size;
	mm_cursor_u16(&r.at);                           /* id: the resolver has matched it */
	uint16_t flags = mm_cursor_u16(&r.at), questions = mm_cursor_u16(&r.at);
	mm_cursor_u32(&r.at);
	mm_cursor_u16(&r.at);
	if (r.at.failed || (flags & (IS_RESPONSE | OPCODE)) != IS_RESPONSE || questions != 1)
		return MM_DNS_MISFIT;
	enum mm_dns_fit fit = MM_DNS_FITS;
	if (strchr(name, '\\') == NULL)
		fit = compare_name(&r.at, name);
	else if (!read_name(&r, ignored, &ignored_size))
		return MM_DNS_MISFIT;
	uint16_t its_type = mm_cursor_u16(&r.at), its_class = mm_cursor_u16(&r.at);
	return its_type == type && its_class == 1 && !r.at.failed ? fit : MM_DNS_MISFIT;
}

#define HEADER_SIZE 12u

static enum mm_dns_code code_of(unsigned rcode)
{
	switch (rcode) {                        /* RFC 1035 4.1.1 */
	case 0:  return MM_DNS_ok;
	case 2:  return MM_DNS_servfail;
	case 3:  return MM_DNS_nxdomain;
	case 5:  return MM_DNS_refused;
	default: return MM_DNS_badanswer;
	}
}

enum mm_dns_code mm_dns_answer_code(const void *bytes, size_t size)
{
	return size >= HEADER_SIZE ? code_of(((const uint8_t *)bytes)[3] & 15u) : MM_DNS_badanswer;
}

static enum mm_dns_code read_response(struct reader *r)
{
	struct mm_dns_answer *a = r->answer;
	char name[MM_DNS_NAME_SIZE];
	size_t size;
	mm_cursor_u16(&r->at);                          /* id: the resolver has matched it */
	uint16_t flags = mm_cursor_u16(&r->at);
	unsigned questions = mm_cursor_u16(&r->at), answers = mm_cursor_u16(&r->at),
		authorities = mm_cursor_u16(&r->at);
	mm_cursor_u16(&r->at);
	if (r->at.failed || questions != 1 || !read_name(r, name, &size))
		return MM_DNS_badanswer;
	mm_cursor_u32(&r->at);                          /* type and class */
	enum mm_dns_code code = code_of(flags & 0xf);
	a->is_authentic = flags & 0x20;
	if (code != MM_DNS_ok && code != MM_DNS_nxdomain)
		return code;
	if (r->at.failed || !read_answers(r, answers, name))
		return MM_DNS_badanswer;
	if (code == MM_DNS_ok && a->count > 0) {
		a->name = keep(a, name, strlen(name));
		return a->text.failed ? MM_DNS_memory : MM_DNS_ok;
	}
	a->count = 0;
	a->ttl = smaller(a->ttl, negative_ttl(r, authorities, name));
	return code == MM_DNS_ok ? MM_DNS_nodata : code;
}

void mm_dns_answer_read(struct mm_dns_answer *a, const void *bytes, size_t size, uint16_t type)
{
	*a = (struct mm_dns_answer){ .type = type };
	struct reader r = { bytes, size, mm_cursor_over(bytes, size), a };
	a->code = read_response(&r);
	uint32_t ttl = a->code == MM_DNS_ok || a->code == MM_DNS_nxdomain || a->code == MM_DNS_nodata ? a->ttl : 0;
	bool is_authentic = a->is_authentic;
	if (a->code != MM_DNS_ok)
		fail(a, a->code);
	a->type = type;
	a->ttl = ttl;
	a->is_authentic = is_authentic;
}

void mm_dns_answer_free(struct mm_dns_answer *a)
{
	free(a->records);
	mm_buffer_free(&a->text);
	*a = (struct mm_dns_answer){ .code = MM_DNS_ok };
}

struct mm_text mm_dns_text(const struct mm_dns_answer *a, struct mm_dns_piece piece)
{
	if (piece.size == 0)
		return (struct mm_text){ "", 0 };
	return (struct mm_text){ (const char *)a->text.bytes + piece.at, piece.size };
}
