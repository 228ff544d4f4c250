/* seal_allocation.c -- seal/ with its n-th allocation failing, n from 1 on, those of libcrypto included: each function
 * then works or says that it did not, never gives a wrong answer, and leaks nothing of its own.
 * Usage: seal_allocation PRIVATE_KEY.pem. Linked with --wrap for the host's calls; libcrypto's go through its hooks.
 * Prints one line: rounds with a failure, wrong answers, blocks that were not freed. */
#include "seal/digest.h"
#include "seal/keypair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

static long countdown = -1;     /* calls until one fails; negative: none does */
static bool has_failed;
static long blocks;             /* of the host, not freed */

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
char *__real_strndup(const char *, size_t);
void __real_free(void *);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
char *__wrap_strndup(const char *, size_t);
void __wrap_free(void *);

static bool fails(void)
{
	if (countdown < 0 || countdown-- > 0)
		return false;
	has_failed = true;
	return true;
}

static void *counted(void *block)
{
	blocks += block != NULL;
	return block;
}

void *__wrap_malloc(size_t n) { return fails() ? NULL : counted(__real_malloc(n)); }
void *__wrap_calloc(size_t n, size_t m) { return fails() ? NULL : counted(__real_calloc(n, m)); }
char *__wrap_strndup(const char *s, size_t n) { return fails() ? NULL : counted(__real_strndup(s, n)); }

void __wrap_free(void *block)
{
	blocks -= block != NULL;
	__real_free(block);
}

static void *crypto_malloc(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return n == 0 || fails() ? NULL : __real_malloc(n);
}

static void *crypto_realloc(void *block, size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return fails() ? NULL : realloc(block, n);
}

static void crypto_free(void *block, const char *file, int line)
{
	(void)file, (void)line;
	__real_free(block);
}

/* ---- a round: true unless an answer is wrong ---- */

static bool hash_body(const unsigned char wanted[MM_HASH_BYTES], unsigned char made[MM_HASH_BYTES])
{
	struct mm_digest *d = mm_digest_new();
	if (d == NULL)
		return true;
	int want = mm_digest_want(d, MM_CANON_RELAXED, MM_HASH_SHA256, MM_DIGEST_WHOLE);
	bool is_right = true;
	mm_digest_feed(d, "a  body \r\n\r\n", 12);
	if (mm_digest_finish(d) && want >= 0) {
		memcpy(made, mm_digest_hash(d, want, NULL), MM_HASH_BYTES);
		is_right = wanted == NULL || memcmp(wanted, made, MM_HASH_BYTES) == 0;
	}
	mm_digest_free(d);
	return is_right;
}

static bool use_keys(const char *pem, size_t n)
{
	struct mm_key_fault why = { 0 };
	unsigned char signature[MM_SIGNATURE_BYTES], der[1024];
	size_t size, der_size = 0;
	bool is_signed = false, is_right = true;
	struct mm_keypair *key = mm_keypair_private(pem, n, &why);
	if (key == NULL)
		return why.text != NULL;
	is_signed = mm_keypair_sign(key, "text", 4, signature, &size);
	der_size = mm_keypair_export(key, der, sizeof der);
	struct mm_keypair *public = der_size > 0 ? mm_keypair_public(mm_keypair_kind(key), der, der_size, &why) : NULL;
	if (public != NULL && is_signed) {
		long rest = countdown;
		bool is_verified = mm_keypair_verify(public, "text", 4, signature, size);
		is_right = is_verified || (rest >= 0 && has_failed);
		is_right = is_right && !mm_keypair_verify(public, "Text", 4, signature, size);
	}
	mm_keypair_free(public);
	mm_keypair_free(key);
	return is_right;
}

int main(int argc, char **argv)
{
	static char pem[MM_KEY_TEXT_BYTES];
	unsigned char wanted[MM_HASH_BYTES], made[MM_HASH_BYTES];
	if (argc != 2 || !CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free))
		return 2;
	FILE *file = fopen(argv[1], "rb");
	if (file == NULL)
		return 2;
	size_t n = fread(pem, 1, sizeof pem, file);
	fclose(file);
	hash_body(NULL, wanted);        /* and libcrypto has loaded what it keeps */
	if (!use_keys(pem, n))
		return 2;
	long rounds = 0, wrong = 0, before = blocks;
	for (long at = 0; at < 100000; at++, rounds++) {
		countdown = at;
		has_failed = false;
		wrong += !hash_body(wanted, made);
		wrong += !use_keys(pem, n);
		countdown = -1;
		if (!has_failed)
			break;
	}
	wrong += !hash_body(wanted, made) || !use_keys(pem, n);
	printf("%ld rounds, %ld wrong, %ld lost\n", rounds, wrong, blocks - before);
	return 0;
}
