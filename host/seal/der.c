#include "seal/der.h"

#include <stdint.h>
#include <string.h>

enum tag { INTEGER = 0x02, BIT_STRING = 0x03, OCTET_STRING = 0x04, OBJECT = 0x06, SEQUENCE = 0x30 };

static const unsigned char RSA_OBJECT[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01 };
static const unsigned char ED25519_OBJECT[] = { 0x2b, 0x65, 0x70 };     /* 1.3.101.112 */

/* What is left of a value. */
struct span {
	const unsigned char *at;
	size_t               size;
};

static void skip(struct span *s, size_t n)
{
	s->at += n;
	s->size -= n;
}

/* DER lengths have one spelling (X.690 10.1); keys need at most two bytes of it. */
static bool take_length(struct span *s, size_t *length)
{
	if (s->size < 1)
		return false;
	unsigned first = s->at[0], bytes = first & 0x7f;
	skip(s, 1);
	if (first < 0x80) {
		*length = first;
		return *length <= s->size;
	}
	if (bytes < 1 || bytes > 2 || s->size < bytes)
		return false;
	*length = bytes == 1 ? s->at[0] : (size_t)s->at[0] << 8 | s->at[1];
	skip(s, bytes);
	return *length >= (bytes == 1 ? 0x80u : 0x100u) && *length <= s->size;
}

/* Takes the value with this tag that comes next. */
static bool take(struct span *s, enum tag tag, struct span *value)
{
	if (s->size < 1 || s->at[0] != tag)
		return false;
	struct span rest = { s->at + 1, s->size - 1 };
	size_t length;
	if (!take_length(&rest, &length))
		return false;
	*value = (struct span){ rest.at, length };
	skip(&rest, length);
	*s = rest;
	return true;
}

/* A number that is not negative, in its one spelling (X.690 8.3). */
static bool take_number(struct span *s, struct mm_der_number *number)
{
	struct span value;
	if (!take(s, INTEGER, &value) || value.size == 0 || value.at[0] >= 0x80)
		return false;
	if (value.at[0] == 0 && value.size > 1) {
		skip(&value, 1);
		if (value.at[0] < 0x80)
			return false;
	}
	*number = (struct mm_der_number){ value.at, value.size };
	return true;
}

static bool take_version(struct span *s, unsigned most)
{
	struct span value;
	return take(s, INTEGER, &value) && value.size == 1 && value.at[0] <= most;
}

static bool is_object(struct span object, const unsigned char *bytes, size_t n)
{
	return object.size == n && memcmp(object.at, bytes, n) == 0;
}

/* AlgorithmIdentifier; its parameters are NULL or absent (RFC 3279 2.3.1, RFC 8410 3), and so are not read. */
static bool take_algorithm(struct span *s, enum mm_key_kind *kind)
{
	struct span algorithm, object;
	if (!take(s, SEQUENCE, &algorithm) || !take(&algorithm, OBJECT, &object))
		return false;
	bool is_rsa = is_object(object, RSA_OBJECT, sizeof RSA_OBJECT);
	*kind = is_rsa ? MM_KEY_RSA : MM_KEY_ED25519;
	return is_rsa || is_object(object, ED25519_OBJECT, sizeof ED25519_OBJECT);
}

static const char *whole_sequence(const unsigned char *der, size_t n, struct span *inside)
{
	struct span s = { der, n };
	if (!take(&s, SEQUENCE, inside))
		return "it is no DER sequence, or it is cut";
	return s.size == 0 ? NULL : "bytes follow the key";
}

/* ---- public keys ---- */

static const char *rsa_public(struct span s, struct mm_der_key *out)
{
	if (!take_number(&s, &out->rsa[MM_RSA_N]) || !take_number(&s, &out->rsa[MM_RSA_E]))
		return "it has no modulus and exponent (RFC 8017 A.1.1)";
	return s.size == 0 ? NULL : "bytes follow the exponent";
}

/* The BIT STRING of SubjectPublicKeyInfo has no unused bits. */
static const char *wrapped_public(enum mm_key_kind kind, struct span s, struct mm_der_key *out)
{
	enum mm_key_kind found;
	struct span bits, inside;
	if (!take_algorithm(&s, &found))
		return "its algorithm is neither RSA nor Ed25519";
	if (found != kind)
		return "it is a key of the other algorithm";
	if (!take(&s, BIT_STRING, &bits) || bits.size < 1 || bits.at[0] != 0 || s.size != 0)
		return "it has no bit string with the key (RFC 5280 4.1)";
	skip(&bits, 1);
	if (kind == MM_KEY_ED25519) {
		out->ed25519 = bits.at;
		return bits.size == MM_ED25519_BYTES ? NULL : "an Ed25519 key has 32 bytes";
	}
	const char *why = whole_sequence(bits.at, bits.size, &inside);
	return why != NULL ? why : rsa_public(inside, out);
}

const char *mm_der_public(enum mm_key_kind kind, const unsigned char *der, size_t n, struct mm_der_key *out)
{
	*out = (struct mm_der_key){ .kind = kind };
	if (kind == MM_KEY_ED25519 && n == MM_ED25519_BYTES) {
		out->ed25519 = der;
		return NULL;
	}
	struct span inside;
	const char *why = whole_sequence(der, n, &inside);
	if (why != NULL)
		return why;
	bool is_bare = inside.size > 0 && inside.at[0] == INTEGER;
	if (is_bare && kind != MM_KEY_RSA)
		return "an Ed25519 key has 32 bytes";
	return is_bare ? rsa_public(inside, out) : wrapped_public(kind, inside, out);
}

/* ---- private keys ---- */

static const char *rsa_private(struct span s, struct mm_der_key *out)
{
	out->kind = MM_KEY_RSA;
	for (int i = 0; i < MM_RSA_NUMBERS; i++) {
		if (!take_number(&s, &out->rsa[i]))
			return "it has not the eight numbers of an RSA key (RFC 8017 A.1.2)";
	}
	return s.size == 0 ? NULL : "bytes follow the key";
}

/* PrivateKeyInfo: attributes, and a public key in its version 1, may follow and are not read. */
static const char *wrapped_private(struct span s, struct mm_der_key *out)
{
	struct span octets, inside;
	if (!take_algorithm(&s, &out->kind))
		return "its algorithm is neither RSA nor Ed25519";
	if (!take(&s, OCTET_STRING, &octets))
		return "it has no octet string with the key (RFC 5958 2)";
	if (out->kind == MM_KEY_ED25519) {
		bool is_good = take(&octets, OCTET_STRING, &inside) && octets.size == 0
			&& inside.size == MM_ED25519_BYTES;
		out->ed25519 = is_good ? inside.at : NULL;
		return is_good ? NULL : "an Ed25519 key has 32 bytes";
	}
	const char *why = whole_sequence(octets.at, octets.size, &inside);
	if (why != NULL)
		return why;
	return take_version(&inside, 0) ? rsa_private(inside, out) : "it is an RSA key with more than two primes";
}

const char *mm_der_private(const unsigned char *der, size_t n, struct mm_der_key *out)
{
	*out = (struct mm_der_key){ .is_private = true };
	struct span s;
	const char *why = whole_sequence(der, n, &s);
	if (why != NULL)
		return why;
	if (!take_version(&s, 1))
		return "its version is unknown";
	bool is_bare = s.size > 0 && s.at[0] == INTEGER;
	return is_bare ? rsa_private(s, out) : wrapped_private(s, out);
}

size_t mm_der_bits(const struct mm_der_number *number)
{
	size_t bits = number->size * 8;
	for (unsigned mask = 0x80; number->size > 0 && mask > 0 && !(number->bytes[0] & mask); mask >>= 1)
		bits--;
	return bits;
}
