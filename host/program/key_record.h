/* program/key_record.h -- the TXT record that publishes a DKIM key (RFC 6376 3.6.1, RFC 8463 4.2): as text, as a line
 * of a zone, and what DNS says.
 * Blocks while it asks DNS: for commands, not for the service. Knows no options and writes nothing. */
#ifndef MM_PROGRAM_KEY_RECORD_H
#define MM_PROGRAM_KEY_RECORD_H

#include "async/dns_answer.h"
#include "base/fault.h"
#include "seal/keypair.h"

#define MM_KEY_RECORD_SIZE 1024         /* of a record with an RSA key of 4096 bits: about 760 */
#define MM_KEY_NAME_SIZE   1536

/* Writes "SELECTOR._domainkey.DOMAIN" in A-labels, without a dot at its end. False: it is no domain name. */
bool mm_key_name(const char *domain, const char *selector, char out[MM_KEY_NAME_SIZE], struct mm_fault *why);
/* Writes "v=DKIM1; k=rsa; p=…". False: the crypto library failed. */
bool mm_key_record(const struct mm_keypair *, char out[MM_KEY_RECORD_SIZE]);
/* The record as a line of a zone file, its text in strings of at most 255 bytes. GIVES a text that ends with a line
 * end; NULL: out of memory. */
char *mm_key_zone_line(const char *name, const char *record);
/* Does a record publish this key? Blanks do not matter, nor do other tags. */
bool mm_key_is_published(const char *record, size_t n, const struct mm_keypair *);

/* Asks DNS for the TXT records of a name. server: "192.0.2.53" or "192.0.2.53:5353", IPv4; NULL: those of
 * /etc/resolv.conf. Always fills the answer, which the caller frees. False: the server is no address. */
bool mm_key_look_up(const char *name, const char *server, struct mm_dns_answer *, struct mm_fault *why);

#endif
