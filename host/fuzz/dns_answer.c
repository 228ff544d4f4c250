/* fuzz/dns_answer.c -- a name server's response of any content: two bytes of type, then the response. Every piece
 * must lie inside the text. */
#include "async/dns_answer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void touch(const struct mm_dns_answer *a, struct mm_dns_piece piece)
{
	if (piece.size > 0 && (piece.at > a->text.size || piece.size > a->text.size - piece.at))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct mm_dns_answer answer;
	if (size < 2)
		return 0;
	if (mm_dns_answer_fit(bytes + 2, size - 2, "eXample.tEst", 1) == MM_DNS_FITS
	    && mm_dns_answer_fit(bytes + 2, size - 2, "exampLe.tEst", 1) != MM_DNS_OTHER_CASE)
		abort();
	mm_dns_answer_read(&answer, bytes + 2, size - 2, (uint16_t)(bytes[0] << 8 | bytes[1]));
	touch(&answer, answer.name);
	for (unsigned i = 0; i < answer.count; i++) {
		touch(&answer, answer.records[i].text[0]);
		touch(&answer, answer.records[i].text[1]);
	}
	if (answer.code != MM_DNS_ok && answer.count != 0)
		abort();
	mm_dns_answer_free(&answer);
	return 0;
}
