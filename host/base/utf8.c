#include "base/utf8.h"

size_t mm_utf8_size(struct mm_text t)
{
	const unsigned char *p = (const unsigned char *)t.bytes;
	size_t size = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	if (size > t.size)
		return 0;
	for (size_t i = 1; i < size; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* over-long forms, surrogates, beyond U+10FFFF */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90)
		|| (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return size;
}

bool mm_utf8_is_command(struct mm_text t)
{
	const unsigned char *p = (const unsigned char *)t.bytes;
	if (t.size == 2)
		return p[0] == 0xc2 && p[1] < 0xa0;
	if (t.size != 3 || p[0] != 0xe2)
		return false;
	return (p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xaa && p[2] <= 0xae)))
		|| (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
}

size_t mm_utf8_visible(struct mm_text t)
{
	unsigned char c = (unsigned char)t.bytes[0];
	if (c < 0x80)
		return c >= ' ' && c != 0x7f;
	size_t n = mm_utf8_size(t);
	bool is_separator = n == 3 && memcmp(t.bytes, "\xe2\x80", 2) == 0
		&& (t.bytes[2] == '\xa8' || t.bytes[2] == '\xa9');              /* U+2028, U+2029 */
	return n > 1 && !is_separator && !mm_utf8_is_command((struct mm_text){ t.bytes, n }) ? n : 0;
}
