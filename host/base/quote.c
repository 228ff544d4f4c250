#include "base/quote.h"

#include <stdio.h>
#include <string.h>

#define TAIL "...\""

struct mm_quoted mm_quote(const char *bytes, size_t size)
{
	struct mm_quoted q = { "\"" };
	size_t at = 1;
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)bytes[i];
		char piece[8];
		if (c == '"' || c == '\\')
			snprintf(piece, sizeof piece, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			snprintf(piece, sizeof piece, "\\x%02x", c);
		else
			snprintf(piece, sizeof piece, "%c", c);
		size_t n = strlen(piece);
		if (at + n + sizeof TAIL > sizeof q.text) {
			memcpy(q.text + at, TAIL, sizeof TAIL);
			return q;
		}
		memcpy(q.text + at, piece, n);
		at += n;
	}
	memcpy(q.text + at, "\"", 2);
	return q;
}
