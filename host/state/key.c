#include "state/key.h"

#include <openssl/sha.h>

_Static_assert(MM_KEY_HASH_SIZE == SHA256_DIGEST_LENGTH, "the hash of a long key");

struct mm_text mm_key_shorten(struct mm_text key, size_t most, char *to)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	if (key.size <= most)
		return key;
	SHA256((const unsigned char *)key.bytes, key.size, hash);
	memcpy(to, key.bytes, most - sizeof hash);
	memcpy(to + most - sizeof hash, hash, sizeof hash);
	return (struct mm_text){ to, most };
}

void mm_key_digest(struct mm_text key, char *to)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned char hash[SHA256_DIGEST_LENGTH];
	SHA256((const unsigned char *)key.bytes, key.size, hash);
	for (const unsigned char *h = hash; h < hash + MM_KEY_DIGEST_SIZE * 3 / 4; h += 3, to += 4) {
		to[0] = letters[h[0] >> 2];
		to[1] = letters[(h[0] & 3) << 4 | h[1] >> 4];
		to[2] = letters[(h[1] & 15) << 2 | h[2] >> 6];
		to[3] = letters[h[2] & 63];
	}
}
