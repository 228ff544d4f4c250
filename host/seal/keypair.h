/* seal/keypair.h -- keys of DKIM and ARC: read, sign, verify (RFC 6376 3.3, RFC 8301, RFC 8463).
 *
 * The algorithms are rsa-sha256 and ed25519-sha256; both hash the text with SHA-256. rsa-sha1 has no place here: no
 * signature with it may pass (RFC 8301 3.1).
 * A key with a modulus of more than MM_RSA_BITS_MAX bits is not read, because signing with it takes many milliseconds
 * of the loop; one with fewer than MM_RSA_BITS_MIN is read, so that a report can name its size, but verifies nothing
 * and signs nothing (RFC 8301 3.2).
 * Knows no Lua, no DNS and no header fields. Ownership: a keypair OWNS its key; one thread at a time may use it. */
#ifndef MM_SEAL_KEYPAIR_H
#define MM_SEAL_KEYPAIR_H

#include "seal/der.h"

#include <stdbool.h>
#include <stddef.h>

#define MM_RSA_BITS_MIN    1024
#define MM_RSA_BITS_MAX    4096
#define MM_SIGNATURE_BYTES 512          /* RSA with 4096 bits */
#define MM_KEY_TEXT_BYTES  16384        /* a private key as text; RSA with 4096 bits has about 3300 */

struct mm_keypair;

/* Why a key could not be read: `text` completes "key: …"; the code is for programs. */
struct mm_key_fault {
	const char *text;
	const char *code;       /* "syntax", "too-large", "encrypted", "memory" */
};

/* GIVES the key, or NULL and why. */
struct mm_keypair *mm_keypair_public(enum mm_key_kind, const void *der, size_t n, struct mm_key_fault *why);
/* A private key as text: PEM "PRIVATE KEY" (PKCS#8) or "RSA PRIVATE KEY" (PKCS#1), or an Ed25519 seed in base64, as
 * dkimpy writes it. An encrypted key is refused. */
struct mm_keypair *mm_keypair_private(const char *text, size_t n, struct mm_key_fault *why);
void mm_keypair_free(struct mm_keypair *);      /* NULL is fine */

enum mm_key_kind mm_keypair_kind(const struct mm_keypair *);
size_t mm_keypair_bits(const struct mm_keypair *);      /* of the modulus; 256 for Ed25519 */
bool mm_keypair_is_private(const struct mm_keypair *);

/* Signs a text. size: bytes written to `out`. False: no private key, a key under MM_RSA_BITS_MIN, or the crypto library
 * failed. */
bool mm_keypair_sign(struct mm_keypair *, const void *text, size_t n, unsigned char out[MM_SIGNATURE_BYTES],
	size_t *size);
/* Is it the signature of the text? The same faults are "no". */
bool mm_keypair_verify(struct mm_keypair *, const void *text, size_t n, const unsigned char *signature, size_t size);

/* The public half as the tag p= of a key record holds it, before base64: SubjectPublicKeyInfo, or the bare 32 bytes of
 * Ed25519 (RFC 8463 4.2). -> bytes written; 0: no room, or the crypto library failed. */
size_t mm_keypair_export(const struct mm_keypair *, unsigned char *out, size_t room);
/* Makes a key. bits: MM_RSA_BITS_MIN to MM_RSA_BITS_MAX; not read for Ed25519. GIVES its text as PEM (PKCS#8), to be
 * freed with free(); NULL: the crypto library failed. */
char *mm_keypair_generate(enum mm_key_kind, size_t bits);

#endif
