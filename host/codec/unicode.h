/* codec/unicode.h -- UTF-8 checked, cleaned and written. Checks UTF-8 itself, although base/utf8.h does so, too: this
 * folder is also built without the host. */
#ifndef MM_CODEC_UNICODE_H
#define MM_CODEC_UNICODE_H

#include <stddef.h>
#include <stdint.h>

#define MM_UNICODE_REPLACEMENT 0xFFFD
#define MM_UNICODE_BYTES       4        /* of a character in UTF-8, at most */

/* Bytes of the well-formed sequence at s[0..n), n > 0 (RFC 3629 4: no overlong forms, no surrogates, nothing above
 * U+10FFFF), or 0. On 0, *skip is the length of the part to replace by one U+FFFD ("maximal subpart", Unicode 3.9). It
 * is n when s is the beginning of a sequence, or one bad byte. */
size_t mm_unicode_sequence(const unsigned char *s, size_t n, size_t *skip);
/* How many bytes from the start of s[0..n) are UTF-8: n, or the offset of the first bad byte. */
size_t mm_unicode_size(const unsigned char *s, size_t n);
/* Writes s[0..n) to out, with each ill-formed part as U+FFFD; out has room for 3 * n bytes; *bad counts the parts.
 * -> bytes written. */
size_t mm_unicode_clean(const unsigned char *s, size_t n, unsigned char *out, size_t *bad);
/* Writes a code point below U+110000 that is not a surrogate. -> bytes written, at most MM_UNICODE_BYTES. */
size_t mm_unicode_write(uint32_t code, unsigned char *out);

#endif
