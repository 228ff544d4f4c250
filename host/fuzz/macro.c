/* fuzz/macro.c -- macro packets of any kind between commands: every macro found was sent, and
 * belongs to this message. */
#include "milter/macro.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
				if (m.sets[set].size != 0)
					abort();
		} else if (n == 0 || strings.bytes[n - 1] == '\0') {   /* the decoder promises whole strings */
			if (!mm_macros_set(&m, (uint8_t)letters[what % 7], strings))
				abort();
		}
		if (mm_macros_lookup(&m, strings, &value)) {
			bool is_ours = value.size == 0;
			for (int set = 0; set < MM_MACRO_SET_COUNT && !is_ours; set++)
				is_ours |= m.sets[set].size > 0 && (const uint8_t *)value.bytes >= m.sets[set].bytes
					&& (const uint8_t *)value.bytes + value.size <= m.sets[set].bytes
					+ m.sets[set].size;
			if (!is_ours)
				abort();
		}
		for (int set = 0; set < MM_MACRO_SET_COUNT; set++) {
			struct mm_text name;
			size_t at = 0;
			for (size_t before = 0; mm_macros_next(&m, (enum mm_macro_set)set, &at, &name, &value);
			    before = at)
				if (at <= before || at > m.sets[set].size)
					abort();
		}
		data += 2 + n;
		size -= 2 + n;
	}
	mm_macros_free(&m);
	return 0;
}
