#include "base/text.h"

uint64_t mm_text_hash(struct mm_text t)
{
	uint64_t h = 14695981039346656037u;
	for (size_t i = 0; i < t.size; i++)
		h = (h ^ (unsigned char)t.bytes[i]) * 1099511628211u;
	return h;
}

uint64_t mm_text_hash_mixed(struct mm_text t)
{
	uint64_t h = mm_text_hash(t);           /* then the finish of MurmurHash3 */
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	h ^= h >> 33;
	return h != 0 ? h : 1;
}

void mm_text_make_plain(char *text, unsigned char least)
{
	for (char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c < least || (unsigned char)*c >= 0x7f)
			*c = '?';
}
