/* seal/der.h -- the DER of keys, read without copies: SubjectPublicKeyInfo (RFC 5280 4.1), RSAPublicKey and
 * RSAPrivateKey (RFC 8017 A.1), PrivateKeyInfo (RFC 5958 2), Ed25519 (RFC 8410).
 *
 * Why not OpenSSL's decoders: those of 3.0 take 208 µs for a public key and 783 µs for a private one, more than five
 * times what the verification takes. Knows no OpenSSL and no Lua. Numbers BORROW the input. Lengths are judged before
 * bytes are read; what is left over after a key is a fault. */
#ifndef MM_SEAL_DER_H
#define MM_SEAL_DER_H

#include <stdbool.h>
#include <stddef.h>

#define MM_ED25519_BYTES 32     /* of a public key, and of the seed that is the private key (RFC 8032 5.1.5) */

enum mm_key_kind { MM_KEY_RSA, MM_KEY_ED25519 };

/* An unsigned number, big endian, without leading zeros. */
struct mm_der_number {
	const unsigned char *bytes;     /* borrowed */
	size_t               size;
};

enum mm_rsa_number {
	MM_RSA_N, MM_RSA_E, MM_RSA_D, MM_RSA_P, MM_RSA_Q, MM_RSA_DP, MM_RSA_DQ, MM_RSA_QINV, MM_RSA_NUMBERS
};

struct mm_der_key {
	enum mm_key_kind     kind;
	bool                 is_private;
	struct mm_der_number rsa[MM_RSA_NUMBERS];       /* of a public key: n and e only */
	const unsigned char *ed25519;                   /* MM_ED25519_BYTES; borrowed */
};

/* A public key of the kind: DER as above; for Ed25519 also the bare 32 bytes (RFC 8463 4.2). NULL: `out` is filled;
 * else what is wrong, in words. */
const char *mm_der_public(enum mm_key_kind, const unsigned char *der, size_t n, struct mm_der_key *out);
/* A private key of either kind. */
const char *mm_der_private(const unsigned char *der, size_t n, struct mm_der_key *out);

/* Length of a number in bits. */
size_t mm_der_bits(const struct mm_der_number *);

#endif
