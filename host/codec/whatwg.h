/* codec/whatwg.h -- text in the encodings that mail readers know, to UTF-8, as the WHATWG Encoding Standard decodes
 * them: its indexes, and its way to go on after bytes that mean nothing. Also UTF-32 and HZ (RFC 1843), which it lacks.
 *
 * Knows no labels (charset.lua) and no iconv (charset.h). Differs from the Standard where mail does:
 * - ISO-2022-JP: two escape sequences in a row are no error, for every encoded word begins and ends with one; and
 *   JIS X 0212 is read, after ESC $ ( D (ISO-2022-JP-1, RFC 2237).
 * - UTF-16 begins with a byte order mark of either order, which is not text. */
#ifndef MM_CODEC_WHATWG_H
#define MM_CODEC_WHATWG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MM_WHATWG_HELD 4                /* an unfinished character has fewer bytes: GB 18030, UTF-8, UTF-32, escapes */

struct mm_whatwg_encoding;

/* A text being decoded. */
struct mm_whatwg {
	const struct mm_whatwg_encoding *encoding;      /* static */
	const uint16_t                  *upper;         /* static: bytes 0x80 to 0xFF of a single-byte encoding */
	unsigned char held[MM_WHATWG_HELD];             /* an unfinished character */
	size_t        held_size;
	size_t        replaced;                         /* U+FFFD that stand for bad bytes, since the text began */
	uint8_t       mode;                             /* of ISO-2022-JP and HZ */
	bool          is_begun;                         /* past the first character */
	bool          is_swapped;                       /* a byte order mark said so */
};

/* Begins a text in an encoding, by its name in upper case ("GB18030", "SHIFT_JIS"). False: it is not among ours. */
bool mm_whatwg_begin(struct mm_whatwg *, const char *name);
/* Room that n more bytes may need, with those held and the end. */
size_t mm_whatwg_bound(size_t n);
/* Decodes in[0..n) into out, which has mm_whatwg_bound(n) bytes. -> bytes written. */
size_t mm_whatwg_feed(struct mm_whatwg *, const unsigned char *in, size_t n, unsigned char *out);
/* Ends the text: as feed; *replaced counts for the whole text. Another text may begin. */
size_t mm_whatwg_finish(struct mm_whatwg *, unsigned char *out, size_t *replaced);

#endif
