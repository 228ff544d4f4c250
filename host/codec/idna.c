#include "codec/idna.h"

#include <idn2.h>
#include <stdbool.h>
#include <string.h>

static bool is_domain(const char *domain, size_t n)
{
	return strlen(domain) == n && n <= MM_IDNA_BYTES;
}

static const char *result(int rc, char *taken, char *out, size_t *made)
{
	if (rc != IDN2_OK)
		return idn2_strerror(rc);
	size_t n = strlen(taken);
	*made = n > MM_IDNA_BYTES ? MM_IDNA_BYTES : n;
	memcpy(out, taken, *made);
	idn2_free(taken);
	return NULL;
}

const char *mm_idna_to_ascii(const char *domain, size_t n, char *out, size_t *made)
{
	char *ascii = NULL;
	int rc = is_domain(domain, n) ? idn2_to_ascii_8z(domain, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT)
		: IDN2_TOO_BIG_DOMAIN;
	return result(rc, ascii, out, made);
}

const char *mm_idna_to_unicode(const char *domain, size_t n, char *out, size_t *made)
{
	char *unicode = NULL;
	int rc = is_domain(domain, n) ? idn2_to_unicode_8z8z(domain, &unicode, 0) : IDN2_TOO_BIG_DOMAIN;
	return result(rc, unicode, out, made);
}
