/* codec/idna.h -- domain names between Unicode and ASCII (RFC 5890, IDNA2008; libidn2 maps as UTS 46,
 * non-transitional).
 *
 * Knows no Lua and no addresses. The domain is BORROWED for the call; the caller owns the result. */
#ifndef MM_CODEC_IDNA_H
#define MM_CODEC_IDNA_H

#include <stddef.h>

#define MM_IDNA_BYTES 1024 /* of a domain, either way: 4 bytes for each of 255 */

/* Writes domain (n bytes and a NUL after them) as A-labels to out, at most MM_IDNA_BYTES bytes and no NUL; *made counts
 * them. -> NULL, or libidn2's text for the failure (static). */
const char *mm_idna_to_ascii(const char *domain, size_t n, char *out, size_t *made);
/* The other way, to U-labels in UTF-8. */
const char *mm_idna_to_unicode(const char *domain, size_t n, char *out, size_t *made);

#endif
