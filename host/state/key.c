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
