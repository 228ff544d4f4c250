#include "base/suggest.h"

#include <stddef.h>
#include <string.h>

static int lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Optimal string alignment: three rows of the usual matrix, because a swap looks two rows back. */
static unsigned distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
	unsigned rows[3][MM_SUGGEST_LENGTH_MAX + 1];
	unsigned *above2 = rows[0], *above = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b_size; j++)
		above[j] = (unsigned)j;
	for (size_t i = 1; i <= a_size; i++) {
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_size; j++) {
			int x = lower(a[i - 1]), y = lower(b[j - 1]);
			row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == lower(b[j - 2]) && y == lower(a[i - 2]))
				row[j] = least(row[j], above2[j - 2] + 1);
		}
		unsigned *spare = above2;
		above2 = above;
		above = row;
		row = spare;
	}
	return above[b_size];
}

const char *mm_suggest(const char *word, const char *const *words)
{
	size_t size = strlen(word);
	if (size == 0 || size > MM_SUGGEST_LENGTH_MAX)
		return NULL;
	const char *nearest = NULL;
	unsigned best = (unsigned)(size < 3 ? 1 : (size + 2) / 3) + 1;
	for (; *words != NULL; words++) {
		size_t other = strlen(*words);
		if (other > MM_SUGGEST_LENGTH_MAX)
			continue;
		unsigned d = distance(word, size, *words, other);
		if (d < best && d < other) {    /* a word with as many changes as letters is not near */
			best = d;
			nearest = *words;
		}
	}
	return nearest;
}
