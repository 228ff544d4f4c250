#include "seal/digest.h"

#include "seal/method.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

/* ---- algorithms ---- */

const EVP_MD *mm_hash_method(enum mm_hash hash)
{
	static const enum mm_method methods[] = { [MM_HASH_SHA256] = MM_METHOD_SHA256 };
	return mm_method(methods[hash]);
}

bool mm_hash_text(enum mm_hash hash, const void *bytes, size_t n, unsigned char out[MM_HASH_BYTES])
{
	const EVP_MD *md = mm_hash_method(hash);
	return md != NULL && EVP_Digest(bytes, n, out, NULL, md, NULL) == 1;
}

/* ---- wants ---- */

struct want {
	enum mm_canon canon;
	enum mm_hash  hash;
	uint64_t      limit, hashed;    /* bytes */
	EVP_MD_CTX   *context;          /* owned */
	unsigned char value[MM_HASH_BYTES];
};

struct form {
	struct mm_canon_body canon;
	struct mm_digest    *digest;    /* the owner */
	uint64_t             length;
	bool                 is_wanted;
};

enum { FORMS = MM_CANON_RELAXED + 1 };

struct mm_digest {
	struct form forms[FORMS];       /* by enum mm_canon */
	struct want wants[MM_DIGEST_WANTS];
	int         count;
	bool        has_begun, is_finished, is_broken;
};

static void hash_piece(struct mm_digest *d, struct want *w, const unsigned char *bytes, size_t n)
{
	if (n > w->limit - w->hashed)
		n = (size_t)(w->limit - w->hashed);
	w->hashed += n;
	if (n > 0 && EVP_DigestUpdate(w->context, bytes, n) != 1)
		d->is_broken = true;
}

static void take(void *to, const unsigned char *bytes, size_t n)
{
	struct form *form = to;
	struct mm_digest *d = form->digest;
	form->length += n;
	for (int i = 0; i < d->count; i++) {
		if (&d->forms[d->wants[i].canon] == form)
			hash_piece(d, &d->wants[i], bytes, n);
	}
}

struct mm_digest *mm_digest_new(void)
{
	struct mm_digest *d = calloc(1, sizeof *d);
	if (d == NULL)
		return NULL;
	for (int i = 0; i < FORMS; i++) {
		d->forms[i].digest = d;
		mm_canon_body_begin(&d->forms[i].canon, (enum mm_canon)i, take, &d->forms[i]);
	}
	return d;
}

void mm_digest_free(struct mm_digest *d)
{
	if (d == NULL)
		return;
	for (int i = 0; i < d->count; i++)
		EVP_MD_CTX_free(d->wants[i].context);
	free(d);
}

static int find(const struct mm_digest *d, enum mm_canon canon, enum mm_hash hash, uint64_t limit)
{
	for (int i = 0; i < d->count; i++) {
		const struct want *w = &d->wants[i];
		if (w->canon == canon && w->hash == hash && w->limit == limit)
			return i;
	}
	return -1;
}

int mm_digest_want(struct mm_digest *d, enum mm_canon canon, enum mm_hash hash, uint64_t limit)
{
	int found = find(d, canon, hash, limit);
	if (found >= 0)
		return found;
	const EVP_MD *md = mm_hash_method(hash);
	if (d->has_begun || d->count == MM_DIGEST_WANTS || md == NULL)
		return -1;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (context == NULL || EVP_DigestInit_ex2(context, md, NULL) != 1) {
		EVP_MD_CTX_free(context);
		return -1;
	}
	d->wants[d->count] = (struct want){ .canon = canon, .hash = hash, .limit = limit, .context = context };
	d->forms[canon].is_wanted = true;
	return d->count++;
}

void mm_digest_feed(struct mm_digest *d, const void *bytes, size_t n)
{
	if (d->is_finished)
		return;
	d->has_begun = true;
	for (int i = 0; i < FORMS; i++) {
		if (d->forms[i].is_wanted)
			mm_canon_body_feed(&d->forms[i].canon, bytes, n);
	}
}

bool mm_digest_finish(struct mm_digest *d)
{
	if (d->is_finished)
		return !d->is_broken;
	d->is_finished = d->has_begun = true;
	for (int i = 0; i < FORMS; i++) {
		if (d->forms[i].is_wanted)
			mm_canon_body_finish(&d->forms[i].canon);
	}
	for (int i = 0; i < d->count; i++) {
		if (EVP_DigestFinal_ex(d->wants[i].context, d->wants[i].value, NULL) != 1)
			d->is_broken = true;
	}
	return !d->is_broken;
}

const unsigned char *mm_digest_hash(const struct mm_digest *d, int want, uint64_t *length)
{
	if (want < 0 || want >= d->count || !d->is_finished || d->is_broken)
		return NULL;
	if (length != NULL)
		*length = d->forms[d->wants[want].canon].length;
	return d->wants[want].value;
}
