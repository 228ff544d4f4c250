/* fuzz/macro.c -- macro packets of any kind between commands: every macro found was sent, and
 * belongs to this message. */
#include "milter/macro.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_within(struct mm_text text, const struct mm_macro_strings *s)
{
	return s != NULL && text.bytes >= s->bytes && text.bytes + text.size <= s->bytes + s->size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char letters[] = "CHMRTNE";
	struct mm_macros m = { 0 };
	while (size >= 2) {
		uint8_t what = data[0];
		size_t n = data[1] > size - 2 ? size - 2 : data[1];
		struct mm_text strings = { (const char *)data + 2, n }, value;
		if (what & 0x80) {
			int first = what % MM_MACRO_SET_COUNT;
			mm_macros_clear_from(&m, (enum mm_macro_set)first);
			for (int set = first; set < MM_MACRO_SET_COUNT; set++)
				if (!mm_macros_is_empty(&m, (enum mm_macro_set)set))
					abort();
		} else if (n == 0 || strings.bytes[n - 1] == '\0') {   /* the decoder promises whole strings */
			if (!mm_macros_set(&m, (uint8_t)letters[what % 7], strings))
				abort();
		}
		if (mm_macros_lookup(&m, strings, &value)) {
			bool is_ours = value.size == 0;
			for (int set = 0; set < MM_MACRO_SET_COUNT && !is_ours; set++)
				is_ours |= is_within(value, m.sets[set]);
			if (!is_ours)
				abort();
		}
		for (int set = 0; set < MM_MACRO_SET_COUNT; set++) {
			struct mm_text name;
			size_t at = 0;
			for (size_t before = 0; mm_macros_next(&m, (enum mm_macro_set)set, &at, &name, &value);
			    before = at)
				if (at <= before || at > m.sets[set]->size)
					abort();
		}
		data += 2 + n;
		size -= 2 + n;
	}
	mm_macros_free(&m);
	return 0;
}
