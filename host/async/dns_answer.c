#include "async/dns_answer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define POINTERS_MAX 64         /* compression pointers of one name */
#define CHAIN_MAX    16         /* CNAMEs in a row */
#define IS_RESPONSE  0x8000     /* flags of the header (RFC 1035 4.1.1) */
#define OPCODE       0x7800
#define IS_AUTHORITY 0x0400
#define IS_CUT       0x0200     /* c-ares has asked again over TCP, so this is what came there */
#define RESOLVES     0x0080
#define TYPE_NS      2
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

/* A record's place in the response. */
struct found_record {
	char                 owner[MM_DNS_NAME_SIZE];
	uint16_t             type;      /* 0: of another class than IN */
	uint32_t             ttl;
	struct mm_cursor     data;
};

/* Finds the next resource record, and moves on to the one after it. False: cut or unreadable; nothing after it can be
 * found. */
static bool find_record(struct reader *r, struct found_record *out)
{
	size_t size;
	if (!read_name(r, out->owner, &size))
		return false;
	out->type = mm_cursor_u16(&r->at);
	uint16_t class = mm_cursor_u16(&r->at);
	out->ttl = mm_cursor_u32(&r->at);
	if (out->ttl > INT32_MAX)                       /* RFC 2181 8 */
		out->ttl = 0;
	size = mm_cursor_u16(&r->at);
	if (r->at.failed || size > r->at.left)
		return false;
	if (class != 1)
		out->type = 0;
	out->data = mm_cursor_over(r->at.at, size);
	r->at.at += size;
	r->at.left -= size;
	return true;
}

/* Reads the data of a record that was found. Leaves r->at alone. */
static bool read_found(struct reader *r, const struct found_record *found, struct mm_dns_record *record)
{
	struct mm_cursor next = r->at;
	*record = (struct mm_dns_record){ .type = found->type, .ttl = found->ttl };
	r->at = mm_cursor_over(found->data.at, (size_t)(r->start + r->size - found->data.at));
	bool ok = read_data(r, found->data, record);
	r->at = next;
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

/* Where an alias leads, as its record in the section says. False: unreadable, or two records disagree, and the order
 * in a response must not decide (RFC 2181 10.1). *is_alias: there is such a record. */
static bool find_alias(struct reader r, unsigned count, char name[MM_DNS_NAME_SIZE], bool *is_alias, uint32_t *ttl)
{
	struct found_record found;
	char target[MM_DNS_NAME_SIZE], other[MM_DNS_NAME_SIZE];
	size_t size;
	*is_alias = false;
	for (; count > 0; count--) {
		if (!find_record(&r, &found))
			return false;
		if (found.type != TYPE_CNAME || strcmp(found.owner, name) != 0)
			continue;
		struct reader at = r;
		at.at = mm_cursor_over(found.data.at, (size_t)(r.start + r.size - found.data.at));
		if (!read_name(&at, *is_alias ? other : target, &size) || (*is_alias && strcmp(other, target) != 0))
			return false;
		*is_alias = true;
		*ttl = smaller(*ttl, found.ttl);
	}
	if (*is_alias)
		strcpy(name, target);
	return true;
}

/* Follows the aliases from the name asked for to the last, in whatever order their records stand: servers should send
 * them in order (RFC 1034 4.3.2), and some shuffle. A chain that is longer than any real one, or leads back, leads
 * nowhere. */
static bool follow_aliases(struct reader *r, unsigned count, char name[MM_DNS_NAME_SIZE], unsigned *links)
{
	struct mm_dns_answer *a = r->answer;
	bool is_alias = a->type != TYPE_CNAME && a->type != TYPE_ANY;
	a->ttl = TTL_MAX;
	*links = 0;
	for (; is_alias; *links += is_alias)
		if (*links > CHAIN_MAX || !find_alias(*r, count, name, &is_alias, &a->ttl))
			return false;
	return true;
}

/* Reads the records asked for: those of the name at the end of the aliases. */
static bool read_answers(struct reader *r, unsigned count, const char *name)
{
	struct mm_dns_answer *a = r->answer;
	struct found_record found;
	struct mm_dns_record record;
	for (; count > 0; count--) {
		if (!find_record(r, &found))
			return false;
		bool is_asked_for = found.type == a->type || (a->type == TYPE_ANY && found.type != 0);
		if (!is_asked_for || strcmp(found.owner, name) != 0)
			continue;
		if (!read_found(r, &found, &record) || !add_record(a, &record))
			return false;
		a->ttl = smaller(a->ttl, found.ttl);
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

/* What the authority section says about a name that has no records. */
struct authority {
	bool     has_zone;      /* the SOA of the name's zone */
	bool     refers;        /* to other servers */
	uint32_t ttl;           /* how long the answer may be kept (RFC 2308 5); without the zone's SOA, not at all */
};

static struct authority read_authority(struct reader *r, unsigned count, const char *name)
{
	struct authority says = { 0 };
	struct found_record found;
	struct mm_dns_record soa;
	for (; count > 0 && find_record(r, &found); count--) {
		says.refers |= found.type == TYPE_NS;
		if (says.has_zone || found.type != TYPE_SOA || !is_below(name, found.owner)
		    || !read_found(r, &found, &soa))
			continue;
		says.has_zone = true;
		says.ttl = smaller(NEGATIVE_MAX, smaller(soa.ttl, soa.number[4]));
	}
	return says;
}

/* May this server say that there is nothing? A referral looks like an answer without records (RFC 2308 2.2), and a
 * server that neither has the zone nor resolves for us knows nothing. The SOA of the zone is proof; many resolvers
 * leave it out. An authoritative server without it knows the name asked for, not what an alias points to. */
static bool is_negative(const struct authority *says, enum mm_dns_code code, uint16_t flags, unsigned links)
{
	if (says->has_zone)
		return true;
	if (code == MM_DNS_nxdomain)
		return flags & (IS_AUTHORITY | RESOLVES);
	return !says->refers && (flags & RESOLVES || (flags & IS_AUTHORITY && links == 0));
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

/* No records: is that an answer? */
static enum mm_dns_code read_negative(struct reader *r, unsigned authorities, const char *name, enum mm_dns_code code,
	uint16_t flags, unsigned links)
{
	struct mm_dns_answer *a = r->answer;
	struct authority says = read_authority(r, authorities, name);
	a->ttl = smaller(a->ttl, says.ttl);
	if (!is_negative(&says, code, flags, links))    /* it refers to others, or does not know the zone */
		return MM_DNS_servfail;
	return code == MM_DNS_ok ? MM_DNS_nodata : code;
}

static enum mm_dns_code read_response(struct reader *r)
{
	struct mm_dns_answer *a = r->answer;
	char name[MM_DNS_NAME_SIZE];
	size_t size;
	unsigned links;
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
	if (r->at.failed || flags & IS_CUT || !follow_aliases(r, answers, name, &links)
	    || !read_answers(r, answers, name))
		return MM_DNS_badanswer;
	if (a->count == 0)
		return read_negative(r, authorities, name, code, flags, links);
	if (code != MM_DNS_ok)                          /* "no such name", and its records */
		return MM_DNS_badanswer;
	a->name = keep(a, name, strlen(name));
	return a->text.failed ? MM_DNS_memory : MM_DNS_ok;
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
