#include "seal/method.h"

#include <stdatomic.h>
#include <stddef.h>

#include <openssl/evp.h>

static const char *const names[] = {
	[MM_METHOD_SHA1] = "SHA1", [MM_METHOD_SHA256] = "SHA256", [MM_METHOD_SHA512] = "SHA512",
};

const EVP_MD *mm_method(enum mm_method method)
{
	static _Atomic(EVP_MD *) fetched[sizeof names / sizeof *names];
	EVP_MD *md = atomic_load(&fetched[method]);
	if (md != NULL)
		return md;
	md = EVP_MD_fetch(NULL, names[method], NULL);
	EVP_MD *other = NULL;           /* of another thread */
	if (md == NULL || atomic_compare_exchange_strong(&fetched[method], &other, md))
		return md;
	EVP_MD_free(md);
	return other;
}
