/* seal/digest.h -- hashes of a body in its canonical forms (RFC 6376 3.7): all that a message needs, in one pass.
 *
 * A digest is a set of wants: a canonical form, a hash algorithm, and how many canonical bytes count (the tag l=).
 * Equal wants share a hash, and each canonical form is computed once.
 * Knows no Lua, no messages and no signatures. Ownership: a digest OWNS its hashes; input is BORROWED for one call. */
#ifndef MM_SEAL_DIGEST_H
#define MM_SEAL_DIGEST_H

#include "seal/canon.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MM_HASH_BYTES     32            /* SHA-256 */
#define MM_DIGEST_WANTS   32            /* in one digest; a verifier evaluates at most 10 signatures */
#define MM_DIGEST_WHOLE   UINT64_MAX    /* a want without a limit */

enum mm_hash { MM_HASH_SHA256 };        /* RFC 8301 3.1: sha1 must not be used, so it has no row */

struct mm_digest;

struct mm_digest *mm_digest_new(void);  /* NULL: out of memory */
void mm_digest_free(struct mm_digest *);        /* NULL is fine */
/* Before the first feed. -> its number, 0 .. MM_DIGEST_WANTS - 1, the same for an equal want; -1: out of memory, too
 * many, or bytes were fed already. */
int mm_digest_want(struct mm_digest *, enum mm_canon, enum mm_hash, uint64_t limit_bytes);
void mm_digest_feed(struct mm_digest *, const void *bytes, size_t n);
/* Ends the body. False: the crypto library failed, and no hash can be read. Again: the same answer. */
bool mm_digest_finish(struct mm_digest *);
/* After finish: the hash of a want, MM_HASH_BYTES bytes, BORROWED; NULL: no such want, or not finished.
 * length: bytes of the whole body in this canonical form, which may be more or less than the limit; may be NULL. */
const unsigned char *mm_digest_hash(const struct mm_digest *, int want, uint64_t *length);

/* One text whole. False: the crypto library failed. */
bool mm_hash_text(enum mm_hash, const void *bytes, size_t n, unsigned char out[MM_HASH_BYTES]);
/* OpenSSL's object for the algorithm (seal/method.h). BORROWED; NULL: out of memory. */
const struct evp_md_st *mm_hash_method(enum mm_hash);

#endif
