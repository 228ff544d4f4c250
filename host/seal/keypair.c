/* A. Keys are made by EVP_PKEY_fromdata from numbers that der.c found: 11 µs against 208 for d2i_PUBKEY.
 * B. An RSA key keeps a context for its operation, ready with padding and hash. Without it each signature would fetch
 *    the algorithm again, for a third of the time of a verification. */
#include "seal/keypair.h"

#include "seal/digest.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

struct mm_keypair {
	enum mm_key_kind kind;
	bool             is_private;
	size_t           bits;
	EVP_PKEY        *key;           /* owned */
	EVP_PKEY_CTX    *operation;     /* owned; RSA: signs when the key is private, else verifies. See B. */
};

static void *refuse(struct mm_key_fault *why, const char *text, const char *code)
{
	*why = (struct mm_key_fault){ text, code };
	return NULL;
}

/* What OpenSSL noted about a failure that was handled must not be found by TLS, which shares the thread's queue. */
static void forget_errors(void) { ERR_clear_error(); }

/* ---- from numbers to a key ---- */

static const char *const rsa_params[MM_RSA_NUMBERS] = {
	[MM_RSA_N] = OSSL_PKEY_PARAM_RSA_N, [MM_RSA_E] = OSSL_PKEY_PARAM_RSA_E, [MM_RSA_D] = OSSL_PKEY_PARAM_RSA_D,
	[MM_RSA_P] = OSSL_PKEY_PARAM_RSA_FACTOR1, [MM_RSA_Q] = OSSL_PKEY_PARAM_RSA_FACTOR2,
	[MM_RSA_DP] = OSSL_PKEY_PARAM_RSA_EXPONENT1, [MM_RSA_DQ] = OSSL_PKEY_PARAM_RSA_EXPONENT2,
	[MM_RSA_QINV] = OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

/* OSSL_PARAM takes numbers in the order of the machine's bytes. */
static void to_native(unsigned char *out, const struct mm_der_number *number)
{
	for (size_t i = 0; i < number->size; i++) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		out[i] = number->bytes[number->size - 1 - i];
#else
		out[i] = number->bytes[i];
#endif
	}
}

static EVP_PKEY *from_params(const char *algorithm, int selection, OSSL_PARAM *params)
{
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
	if (context != NULL && EVP_PKEY_fromdata_init(context) == 1
		&& EVP_PKEY_fromdata(context, &key, selection, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(context);
	return key;
}

static EVP_PKEY *rsa_key(const struct mm_der_key *der)
{
	unsigned char native[MM_RSA_NUMBERS][MM_RSA_BITS_MAX / 8];
	OSSL_PARAM params[MM_RSA_NUMBERS + 1];
	int count = der->is_private ? MM_RSA_NUMBERS : MM_RSA_E + 1;
	for (int i = 0; i < count; i++) {
		to_native(native[i], &der->rsa[i]);
		params[i] = OSSL_PARAM_construct_BN(rsa_params[i], native[i], der->rsa[i].size);
	}
	params[count] = OSSL_PARAM_construct_end();
	EVP_PKEY *key = from_params("RSA", der->is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params);
	if (der->is_private)
		OPENSSL_cleanse(native, sizeof native);
	return key;
}

static bool prepare_rsa(struct mm_keypair *k)
{
	const EVP_MD *md = mm_hash_method(MM_HASH_SHA256);
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, k->key, NULL);
	k->operation = context;
	return md != NULL && context != NULL
		&& (k->is_private ? EVP_PKEY_sign_init(context) : EVP_PKEY_verify_init(context)) == 1
		&& EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1
		&& EVP_PKEY_CTX_set_signature_md(context, md) == 1;
}

/* NULL: this size of key is read. */
static const char *rsa_limits(const struct mm_der_key *der, const char **code)
{
	size_t bits = mm_der_bits(&der->rsa[MM_RSA_N]);
	*code = "too-large";
	if (bits > MM_RSA_BITS_MAX)
		return "it has more than 4096 bits, and using it would hold up all other mail";
	/* a verification with a long exponent takes as long as a signature */
	if (der->rsa[MM_RSA_E].size > 8)
		return "its exponent has more than 64 bits";
	*code = "syntax";
	if (bits < 8 || !(der->rsa[MM_RSA_N].bytes[der->rsa[MM_RSA_N].size - 1] & 1))
		return "its modulus is no product of two primes";
	for (int i = MM_RSA_D; der->is_private && i < MM_RSA_NUMBERS; i++) {
		if (der->rsa[i].size > der->rsa[MM_RSA_N].size)
			return "one of its numbers is larger than the modulus";
	}
	return NULL;
}

static struct mm_keypair *new_keypair(const struct mm_der_key *der, struct mm_key_fault *why)
{
	const char *code, *text = der->kind == MM_KEY_RSA ? rsa_limits(der, &code) : NULL;
	if (text != NULL)
		return refuse(why, text, code);
	struct mm_keypair *k = calloc(1, sizeof *k);
	if (k == NULL)
		return refuse(why, "out of memory", "memory");
	k->kind = der->kind;
	k->is_private = der->is_private;
	k->bits = der->kind == MM_KEY_RSA ? mm_der_bits(&der->rsa[MM_RSA_N]) : 256;
	if (der->kind == MM_KEY_RSA)
		k->key = rsa_key(der);
	else if (der->is_private)
		k->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, der->ed25519, MM_ED25519_BYTES);
	else
		k->key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, der->ed25519, MM_ED25519_BYTES);
	bool is_ready = k->key != NULL && (k->kind != MM_KEY_RSA || prepare_rsa(k));
	forget_errors();
	if (is_ready)
		return k;
	mm_keypair_free(k);
	return refuse(why, "the crypto library refuses it", "syntax");
}

void mm_keypair_free(struct mm_keypair *k)
{
	if (k == NULL)
		return;
	EVP_PKEY_CTX_free(k->operation);
	EVP_PKEY_free(k->key);
	free(k);
}

struct mm_keypair *mm_keypair_public(enum mm_key_kind kind, const void *der, size_t n, struct mm_key_fault *why)
{
	struct mm_der_key found;
	const char *text = mm_der_public(kind, der, n, &found);
	return text != NULL ? refuse(why, text, "syntax") : new_keypair(&found, why);
}

/* ---- a private key as text ---- */

struct armour {
	const char *text;       /* borrowed: the base64 between the lines, or the whole */
	size_t      size;
};

static const char *find(const char *text, size_t n, const char *wanted)
{
	return memmem(text, n, wanted, strlen(wanted));
}

/* Finds the first block with one of these labels. Files may hold other text before and after (RFC 7468 2). */
static bool find_armour(const char *text, size_t n, const char *begin, const char *end, struct armour *out)
{
	const char *first = find(text, n, begin);
	if (first == NULL)
		return false;
	first += strlen(begin);
	const char *last = find(first, n - (size_t)(first - text), end);
	if (last == NULL)
		return false;
	*out = (struct armour){ first, (size_t)(last - first) };
	return true;
}

static bool is_encrypted(const char *text, size_t n)
{
	return find(text, n, "-----BEGIN ENCRYPTED PRIVATE KEY-----") != NULL
		|| find(text, n, "Proc-Type: 4,ENCRYPTED") != NULL;
}

/* base64 without line ends; false: something else is in it, or no room. */
static bool decode(const struct armour *a, unsigned char *out, size_t room, size_t *made)
{
	EVP_ENCODE_CTX *context = EVP_ENCODE_CTX_new();
	int first = 0, last = 0;
	bool is_good = context != NULL && a->size / 4 * 3 + 3 <= room;
	if (is_good) {
		EVP_DecodeInit(context);
		is_good = EVP_DecodeUpdate(context, out, &first, (const unsigned char *)a->text, (int)a->size) >= 0
			&& EVP_DecodeFinal(context, out + first, &last) == 1;
	}
	EVP_ENCODE_CTX_free(context);
	*made = (size_t)(first + last);
	return is_good;
}

static struct mm_keypair *from_bytes(const unsigned char *bytes, size_t n, bool is_armoured, struct mm_key_fault *why)
{
	struct mm_der_key found = { .kind = MM_KEY_ED25519, .is_private = true, .ed25519 = bytes };
	if (!is_armoured && n == MM_ED25519_BYTES)
		return new_keypair(&found, why);
	const char *text = mm_der_private(bytes, n, &found);
	return text != NULL ? refuse(why, text, "syntax") : new_keypair(&found, why);
}

struct mm_keypair *mm_keypair_private(const char *text, size_t n, struct mm_key_fault *why)
{
	if (n > MM_KEY_TEXT_BYTES)
		return refuse(why, "it has more than 16384 bytes", "too-large");
	if (is_encrypted(text, n))
		return refuse(why, "it is encrypted; decrypt it with: openssl pkey -in FILE", "encrypted");
	struct armour a = { text, n };
	bool is_armoured = find_armour(text, n, "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", &a)
		|| find_armour(text, n, "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", &a);
	unsigned char bytes[MM_KEY_TEXT_BYTES];
	size_t made;
	struct mm_keypair *k = decode(&a, bytes, sizeof bytes, &made) ? from_bytes(bytes, made, is_armoured, why)
		: refuse(why, "it is no private key in PEM (openssl genpkey writes one)", "syntax");
	OPENSSL_cleanse(bytes, sizeof bytes);
	forget_errors();
	return k;
}

/* ---- facts ---- */

enum mm_key_kind mm_keypair_kind(const struct mm_keypair *k) { return k->kind; }
size_t mm_keypair_bits(const struct mm_keypair *k) { return k->bits; }
bool mm_keypair_is_private(const struct mm_keypair *k) { return k->is_private; }

/* ---- signatures ---- */

static bool is_long_enough(const struct mm_keypair *k) { return k->kind != MM_KEY_RSA || k->bits >= MM_RSA_BITS_MIN; }

/* RFC 8463 3: Ed25519 signs the SHA-256 hash, not the text. */
static bool ed25519_sign(EVP_PKEY *key, const unsigned char *hash, unsigned char *out, size_t *size)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool is_done = context != NULL && EVP_DigestSignInit_ex(context, NULL, NULL, NULL, NULL, key, NULL) == 1
		&& EVP_DigestSign(context, out, size, hash, MM_HASH_BYTES) == 1;
	EVP_MD_CTX_free(context);
	return is_done;
}

static bool ed25519_verify(EVP_PKEY *key, const unsigned char *hash, const unsigned char *signature, size_t size)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool is_good = context != NULL && EVP_DigestVerifyInit_ex(context, NULL, NULL, NULL, NULL, key, NULL) == 1
		&& EVP_DigestVerify(context, signature, size, hash, MM_HASH_BYTES) == 1;
	EVP_MD_CTX_free(context);
	return is_good;
}

bool mm_keypair_sign(struct mm_keypair *k, const void *text, size_t n, unsigned char out[MM_SIGNATURE_BYTES],
	size_t *size)
{
	unsigned char hash[MM_HASH_BYTES];
	if (!k->is_private || !is_long_enough(k) || !mm_hash_text(MM_HASH_SHA256, text, n, hash))
		return false;
	*size = MM_SIGNATURE_BYTES;
	bool is_done = k->kind == MM_KEY_ED25519 ? ed25519_sign(k->key, hash, out, size)
		: EVP_PKEY_sign(k->operation, out, size, hash, sizeof hash) == 1;
	forget_errors();
	return is_done;
}

bool mm_keypair_verify(struct mm_keypair *k, const void *text, size_t n, const unsigned char *signature, size_t size)
{
	unsigned char hash[MM_HASH_BYTES];
	if (!is_long_enough(k) || !mm_hash_text(MM_HASH_SHA256, text, n, hash))
		return false;
	if (k->kind == MM_KEY_RSA && k->is_private)
		return false;           /* its context signs; verify with the public half */
	bool is_good = k->kind == MM_KEY_ED25519 ? ed25519_verify(k->key, hash, signature, size)
		: EVP_PKEY_verify(k->operation, signature, size, hash, sizeof hash) == 1;
	forget_errors();
	return is_good;
}

/* ---- new keys ---- */

size_t mm_keypair_export(const struct mm_keypair *k, unsigned char *out, size_t room)
{
	size_t size = room;
	if (k->kind == MM_KEY_ED25519)
		return EVP_PKEY_get_raw_public_key(k->key, out, &size) == 1 ? size : 0;
	int needed = i2d_PUBKEY(k->key, NULL);
	return needed > 0 && (size_t)needed <= room ? (size_t)i2d_PUBKEY(k->key, &out) : 0;
}

static EVP_PKEY *generate(enum mm_key_kind kind, size_t bits)
{
	return kind == MM_KEY_RSA ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits)
		: EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

char *mm_keypair_generate(enum mm_key_kind kind, size_t bits)
{
	EVP_PKEY *key = generate(kind, bits);
	BIO *memory = BIO_new(BIO_s_secmem());
	char *bytes, *text = NULL;
	if (key != NULL && memory != NULL && PEM_write_bio_PrivateKey(memory, key, NULL, NULL, 0, NULL, NULL) == 1) {
		long size = BIO_get_mem_data(memory, &bytes);
		text = strndup(bytes, (size_t)size);
	}
	BIO_free(memory);
	EVP_PKEY_free(key);
	forget_errors();
	return text;
}
