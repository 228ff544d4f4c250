#include "milter/macro.h"

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

bool mm_macros_set(struct mm_macros *m, uint8_t letter, struct mm_text strings)
{
	int set = mm_macro_set_of(letter);
	if (set < 0)
		return true;
	struct mm_buffer *b = &m->sets[set];
	mm_buffer_clear(b);
	mm_buffer_append(b, strings.bytes, strings.size);
	return !b->failed;
}

void mm_macros_clear_from(struct mm_macros *m, enum mm_macro_set first)
{
	for (int set = first; set < MM_MACRO_SET_COUNT; set++) {
		mm_buffer_clear(&m->sets[set]);
		if (m->sets[set].capacity > SET_KEEP)
			mm_buffer_trim(&m->sets[set], SET_KEEP);
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
	const struct mm_buffer *b = &m->sets[set];
	if (*at >= b->size)
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
		if (m->sets[set].size == 0)     /* an empty one may have no bytes to point at */
			continue;
		const char *at = (const char *)m->sets[set].bytes, *end = at + m->sets[set].size;
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

void mm_macros_free(struct mm_macros *m)
{
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		mm_buffer_free(&m->sets[set]);
}
