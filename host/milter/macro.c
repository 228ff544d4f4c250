#include "milter/macro.h"

#include <stdlib.h>
#include <string.h>

#define SET_KEEP 512u   /* bytes of a set's memory that a quiet session keeps */

int mm_macro_set_of(uint8_t letter)
{
	static const uint8_t sets[256] = {      /* counted from 1 */
#define X(name, letter, number) [letter] = MM_MACRO_SET_##name + 1,
		MM_MACRO_SETS(X)
#undef X
	};
	return sets[letter] - 1;
}

/* As large as malloc's blocks are, so that a set of another message mostly fits. */
static struct mm_macro_strings *new_strings(size_t size)
{
	const size_t head = sizeof(struct mm_macro_strings), step = 32, overhead = sizeof(size_t);
	size_t all = (head + size + overhead + step - 1) / step * step - overhead;
	struct mm_macro_strings *s = all <= UINT32_MAX ? malloc(all) : NULL;
	if (s != NULL)
		s->capacity = (uint32_t)(all - head);
	return s;
}

bool mm_macros_set(struct mm_macros *m, uint8_t letter, struct mm_text strings)
{
	int set = mm_macro_set_of(letter);
	if (set < 0)
		return true;
	struct mm_macro_strings *s = m->sets[set];
	if (s == NULL || s->capacity < strings.size) {
		free(s);
		s = m->sets[set] = new_strings(strings.size);
	}
	if (s == NULL)
		return false;
	s->size = (uint32_t)strings.size;
	if (strings.size > 0)
		memcpy(s->bytes, strings.bytes, strings.size);
	return true;
}

void mm_macros_clear_from(struct mm_macros *m, enum mm_macro_set first)
{
	for (int set = first; set < MM_MACRO_SET_COUNT; set++) {
		struct mm_macro_strings *s = m->sets[set];
		if (s == NULL)
			continue;
		s->size = 0;
		if (s->capacity <= SET_KEEP)
			continue;
		free(s);
		m->sets[set] = NULL;
	}
}

struct mm_text mm_macro_bare(struct mm_text name)
{
	if (name.size >= 2 && name.bytes[0] == '{' && name.bytes[name.size - 1] == '}')
		return (struct mm_text){ name.bytes + 1, name.size - 2 };
	return name;
}

bool mm_macros_next(const struct mm_macros *m, enum mm_macro_set set, size_t *at, struct mm_text *name,
	struct mm_text *value)
{
	const struct mm_macro_strings *b = m->sets[set];
	if (b == NULL || *at >= b->size)
		return false;
	struct mm_cursor c = mm_cursor_over(b->bytes + *at, b->size - *at);
	*name = mm_cursor_text(&c);
	*value = c.left > 0 ? mm_cursor_text(&c) : (struct mm_text){ "", 0 };   /* an odd last name has no value */
	*at = b->size - c.left;
	return !c.failed;
}

/* As mm_macros_next() walks, without a cursor: end of message looks up several. */
bool mm_macros_lookup(const struct mm_macros *m, struct mm_text wanted, struct mm_text *value)
{
	wanted = mm_macro_bare(wanted);
	for (int set = MM_MACRO_SET_COUNT - 1; set >= 0; set--) {
		const struct mm_macro_strings *s = m->sets[set];
		if (s == NULL)
			continue;
		const char *at = s->bytes, *end = at + s->size;
		while (at < end) {
			struct mm_text name = { at, strnlen(at, (size_t)(end - at)) };
			const char *text = at + name.size + 1;
			size_t size = text < end ? strnlen(text, (size_t)(end - text)) : 0;
			if (text > end || (text < end && text + size == end))
				break;                  /* no NUL at its end */
			at = text + size + 1;
			name = mm_macro_bare(name);
			if (name.size != wanted.size || memcmp(name.bytes, wanted.bytes, name.size) != 0)
				continue;
			*value = (struct mm_text){ size > 0 ? text : "", size };
			return true;
		}
	}
	return false;
}

uint32_t mm_macros_capacity(const struct mm_macros *m)
{
	uint32_t sum = 0;
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		sum += m->sets[set] != NULL ? m->sets[set]->capacity : 0;
	return sum;
}

void mm_macros_free(struct mm_macros *m)
{
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++) {
		free(m->sets[set]);
		m->sets[set] = NULL;
	}
}
