/* async/dns_answer.h -- a DNS response as records: types, names, the chain of CNAMEs (RFC 1035 4, RFC 2308).
 * Names come out in lower case, without the last dot, and with unusual bytes as \DDD. Knows no sockets and no cache. An
 * answer OWNS its records. */
#ifndef MM_ASYNC_DNS_ANSWER_H
#define MM_ASYNC_DNS_ANSWER_H

#include "base/buffer.h"
#include "base/cursor.h"

#define MM_DNS_NAME_SIZE 1025u          /* bytes of a name in text, every byte escaped, and a NUL */

/* X(name, number, shape of its data). A row serves the parser, the names that scripts use and the fields that
 * they get (bind/dns.c). */
#define MM_DNS_TYPES(X) \
	X(a,     1,   ADDRESS) \
	X(ns,    2,   NAME) \
	X(cname, 5,   NAME) \
	X(soa,   6,   SOA) \
	X(ptr,   12,  NAME) \
	X(mx,    15,  MX) \
	X(txt,   16,  STRINGS) \
	X(aaaa,  28,  ADDRESS) \
	X(srv,   33,  SRV) \
	X(ds,    43,  RAW) \
	X(tlsa,  52,  TLSA) \
	X(spf,   99,  STRINGS) \
	X(any,   255, RAW) \
	X(caa,   257, CAA)

enum mm_dns_shape {
	MM_DNS_ADDRESS,         /* text[0] */
	MM_DNS_NAME,            /* text[0] */
	MM_DNS_STRINGS,         /* text[0], all strings joined */
	MM_DNS_MX,              /* number[0] preference, text[0] host */
	MM_DNS_SRV,             /* number[0..2] priority weight port, text[0] host */
	MM_DNS_SOA,             /* number[0..4] serial refresh retry expire minimum, text[0] primary, text[1] contact */
	MM_DNS_TLSA,            /* number[0..2] usage selector matching, text[0] bytes */
	MM_DNS_CAA,             /* number[0] flags, text[0] value, text[1] tag */
	MM_DNS_RAW,             /* text[0] bytes */
};

/* Also the code that scripts see; ok means an answer. ORDER DNS_CODE */
enum mm_dns_code {
	MM_DNS_ok,
	MM_DNS_nxdomain,        /* no such name */
	MM_DNS_nodata,          /* the name has nothing of this type */
	MM_DNS_servfail,        /* the server could not find out */
	MM_DNS_refused,         /* the server does not answer us */
	MM_DNS_timeout,         /* no response came in time */
	MM_DNS_unreachable,     /* no server listens there */
	MM_DNS_badname,         /* no such name can exist */
	MM_DNS_badanswer,       /* a response that cannot be read */
	MM_DNS_busy,            /* too many questions are in flight */
	MM_DNS_memory,
	MM_DNS_CODE_COUNT,
};

struct mm_dns_record {
	uint16_t type;
	uint32_t ttl;
	uint32_t number[5];
	struct mm_dns_piece {
		uint32_t at, size;              /* in the answer's text; see mm_dns_text() */
	}        text[2];
};

struct mm_dns_answer {
	enum mm_dns_code      code;
	uint16_t              type;
	uint32_t              ttl;              /* seconds this may be kept, 0: not at all */
	bool                  is_authentic;     /* the server says that it has verified it with DNSSEC (AD) */
	struct mm_dns_piece   name;             /* after all CNAMEs */
	struct mm_dns_record *records;          /* owned */
	unsigned              count;
	struct mm_buffer      text;             /* owned */
};

/* ORDER: worse last */
enum mm_dns_fit {
	MM_DNS_FITS,            /* a response to this question */
	MM_DNS_OTHER_CASE,      /* the same, but letters of the name changed their case on the way */
	MM_DNS_MISFIT,          /* no response, or one to another question */
};

/* name: as sent. A name with escapes is not compared: whoever received the response has matched it. */
enum mm_dns_fit mm_dns_answer_fit(const void *bytes, size_t size, const char *name, uint16_t type);
/* Reads a response to a question of this type. Always fills the answer; an unreadable response is badanswer. */
void mm_dns_answer_read(struct mm_dns_answer *, const void *bytes, size_t size, uint16_t type);
void mm_dns_answer_free(struct mm_dns_answer *);        /* back to the zeroed state */
struct mm_text mm_dns_text(const struct mm_dns_answer *, struct mm_dns_piece);

/* "servfail"; static. */
const char *mm_dns_code_name(enum mm_dns_code);
/* 0: no such type. "TYPE65" works as well (RFC 3597 5), letter case does not matter. */
uint16_t mm_dns_type_of_name(const char *name);
enum mm_dns_shape mm_dns_shape_of(uint16_t type);

#endif
