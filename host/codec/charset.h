/* codec/charset.h -- charsets to UTF-8 over iconv, and UTF-8 checked and cleaned.
 *
 * Knows no Lua and no MIME structure. Input is BORROWED for one call. The result is UTF-8 in the strict sense of RFC
 * 3629 for any input: a bad byte becomes U+FFFD and is counted. Checks UTF-8 itself, although base/utf8.h does so, too:
 * this folder is also built without the host. */
#ifndef MM_CODEC_CHARSET_H
#define MM_CODEC_CHARSET_H

#include "codec/pad.h"

/* How many bytes from the start of s[0..n) are UTF-8: n, or the offset of the first bad byte. */
size_t mm_charset_utf8_size(const unsigned char *s, size_t n);
/* Writes s[0..n) to out, with each ill-formed part as U+FFFD; out has room for 3 * n bytes; *bad counts the
 * parts. -> bytes written. */
size_t mm_charset_utf8_clean(const unsigned char *s, size_t n, unsigned char *out, size_t *bad);

/* Whether iconv may see this name. It comes from the message: letters, digits and "-_.:+" only, so that it cannot
 * contain iconv's own syntax ("//TRANSLIT", commas, paths in old implementations). */
bool mm_charset_is_name(const char *name, size_t n);

struct mm_conversion {
	size_t made;            /* bytes in the pad, from its start */
	size_t replaced;        /* input bytes that became U+FFFD */
};

/* Converts a whole text through a handle of mm_pad_iconv(); the result is in the pad. False: out of
 * memory (the pad's refused). */
bool mm_charset_convert(struct mm_pad *, iconv_t, const unsigned char *in, size_t n, struct mm_conversion *out);

/* Converts a text in chunks. It begins all zero except cd, which says that it is closed. */
struct mm_converter {
	iconv_t       cd;           /* owned; (iconv_t)-1 when closed */
	char          name[MM_CHARSET_NAME_BYTES + 1];
	unsigned char held[16];     /* an unfinished character; the longest (GB 18030, escapes of ISO 2022) are 4 */
	size_t        held_size;
	size_t        replaced;     /* since the text began */
};

/* Opens a closed converter; mm_charset_is_name() must hold for the name. False: iconv does not know the charset, and
 * the converter stays closed. */
bool mm_charset_open(struct mm_converter *, const char *charset);
bool mm_charset_is_open(const struct mm_converter *);
/* Converts the next chunk; the result is in the pad, *made bytes. False: out of memory, see the pad's refused. */
bool mm_charset_feed(struct mm_converter *, struct mm_pad *, const unsigned char *in, size_t n, size_t *made);
/* Ends the text. Returns what is still to be written, U+FFFD or "" (static); *replaced counts for the whole text. The
 * converter is then as new, or closed when memory ran out. */
const char *mm_charset_finish(struct mm_converter *, size_t *replaced);
void mm_charset_close(struct mm_converter *);

#endif
