/* fuzz/verdict.c -- any text of a refusal: rejected with a reason, or a reply that both MTAs accept and
 * read in the same way. */
#include "mta/mta.h"
#include "milter/verdict.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mm_fault why = { .text = "" };
	struct mm_text lines[40];
	struct mm_verdict v = { .kind = MM_VERDICT_continue };
	if (size < 4)
		return 0;
	enum mm_verdict_kind kind = data[0] & 1 ? MM_VERDICT_reject : MM_VERDICT_tempfail;
	unsigned code = (unsigned)data[1] << 2 | (data[0] >> 1 & 3);
	size_t enhanced_size = data[2] % 16, count = 0;
	data += 3;
	size -= 3;
	enhanced_size = enhanced_size > size ? size : enhanced_size;
	struct mm_text enhanced = { (const char *)data, enhanced_size },
		rest = { (const char *)data + enhanced_size, size - enhanced_size };
	while (count < 40 && rest.size > 0) {           /* 0xff ends a line; everything else is text */
		const char *end = memchr(rest.bytes, 0xff, rest.size);
		size_t n = end != NULL ? (size_t)(end - rest.bytes) : rest.size;
		lines[count++] = (struct mm_text){ rest.bytes, n };
		n += end != NULL;
		rest.bytes += n;
		rest.size -= n;
	}
	if (mm_verdict_worded(&v, kind, code, enhanced, lines, count, &why)) {
		struct mm_text text = { (const char *)v.reply.bytes, v.reply.size };
		if (!mm_mta_code_is_good(text, &why)) {
			fprintf(stderr, "%s\n", why.text);
			abort();
		}
		if (text.bytes[0] != (kind == MM_VERDICT_reject ? '5' : '4'))
			abort();
	} else if (why.text[0] == '\0') {
		abort();
	}
	mm_verdict_reset(&v);
	return 0;
}
