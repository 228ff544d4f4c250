/* fuzz/der.c -- libFuzzer target for seal/der.c and seal/keypair.c: any bytes as public and private keys, as DER and as
 * text. Laws: numbers are inside the input, without leading zeros; a key that is read has a size that is allowed, and
 * neither signs nor verifies what it must not. Every input is a malloc of exactly its size, so that the sanitizer sees
 * an access one byte too far.
 * The first byte chooses the reader. */
#include "seal/der.h"
#include "seal/keypair.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LAW(holds) ((holds) ? (void)0 : law_broken(#holds, __LINE__))

static void law_broken(const char *law, int line)
{
	fprintf(stderr, "law broken, line %d: %s\n", line, law);
	abort();
}

static void check_numbers(const struct mm_der_key *key, const unsigned char *s, size_t n)
{
	if (key->kind == MM_KEY_ED25519) {
		LAW(key->ed25519 >= s && key->ed25519 + MM_ED25519_BYTES <= s + n);
		return;
	}
	for (int i = 0; i < (key->is_private ? MM_RSA_NUMBERS : MM_RSA_E + 1); i++) {
		const struct mm_der_number *number = &key->rsa[i];
		LAW(number->bytes >= s && number->size >= 1 && number->bytes + number->size <= s + n);
		LAW(number->size == 1 || number->bytes[0] != 0);
		LAW(mm_der_bits(number) <= number->size * 8);
		LAW(number->size == 1 || mm_der_bits(number) > number->size * 8 - 8);
	}
}

/* A key with 4096 bits takes milliseconds, under sanitizers many: only the others sign here. */
static void check_key(struct mm_keypair *key, const struct mm_key_fault *why)
{
	unsigned char signature[MM_SIGNATURE_BYTES], out[1024];
	size_t size = 0;
	if (key == NULL) {
		LAW(why->text != NULL && why->code != NULL);
		return;
	}
	size_t bits = mm_keypair_bits(key);
	LAW(bits <= MM_RSA_BITS_MAX);
	if (bits <= MM_RSA_BITS_MIN) {
		bool is_signed = mm_keypair_sign(key, "text", 4, signature, &size);
		LAW(!is_signed || (mm_keypair_is_private(key) && size <= sizeof signature));
		LAW(!is_signed || mm_keypair_kind(key) == MM_KEY_ED25519 || bits >= MM_RSA_BITS_MIN);
		memset(signature, 1, sizeof signature);
		LAW(!mm_keypair_verify(key, "text", 4, signature, (bits + 7) / 8));
	}
	LAW(mm_keypair_export(key, out, sizeof out) <= sizeof out);
	mm_keypair_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mm_key_fault why = { 0 };
	struct mm_der_key key;
	if (size < 1)
		return 0;
	size_t n = size - 1;
	unsigned char *s = malloc(n > 0 ? n : 1);
	if (s == NULL)
		exit(2);
	if (n > 0)
		memcpy(s, data + 1, n);
	enum mm_key_kind kind = data[0] & 1 ? MM_KEY_ED25519 : MM_KEY_RSA;
	switch (data[0] % 3) {
	case 0:
		if (mm_der_public(kind, s, n, &key) == NULL)
			check_numbers(&key, s, n);
		check_key(mm_keypair_public(kind, s, n, &why), &why);
		break;
	case 1:
		if (mm_der_private(s, n, &key) == NULL)
			check_numbers(&key, s, n);
		break;
	default:
		check_key(mm_keypair_private((const char *)s, n, &why), &why);
	}
	free(s);
	return 0;
}
