/* codec/charset.h -- charsets to UTF-8 over iconv, and UTF-8 checked and cleaned.
 *
 * Knows no Lua and no MIME structure. Input is BORROWED for one call. What is made is UTF-8 in the strict sense of RFC
 * 3629, whatever came in: a bad byte becomes U+FFFD and is counted. Checks UTF-8 by itself, although base/utf8.h does
 * so, too: this folder is also built without the host. */
#ifndef MM_CODEC_CHARSET_H
#define MM_CODEC_CHARSET_H

#include "codec/pad.h"

/* How many bytes from the start of s[0..n) are UTF-8: n, or where the first bad byte is. */
size_t mm_charset_utf8_size(const unsigned char *s, size_t n);
/* s[0..n) with each ill-formed part as U+FFFD to out, which has room for 3 * n bytes; *bad counts the parts. -> bytes
 * written. */
size_t mm_charset_utf8_clean(const unsigned char *s, size_t n, unsigned char *out, size_t *bad);

/* Whether iconv may see this name. It comes from the message: letters, digits and "-_.:+" only, so that it can carry
 * none of iconv's own syntax ("//TRANSLIT", commas, paths in old implementations). */
bool mm_charset_is_name(const char *name, size_t n);

struct mm_conversion {
	size_t made;            /* bytes in the pad, from its start */
	size_t replaced;        /* input bytes that became U+FFFD */
};

/* A whole text through a handle of mm_pad_iconv(); the result is in the pad. False: no memory (the pad's refused). */
bool mm_charset_convert(struct mm_pad *, iconv_t, const unsigned char *in, size_t n, struct mm_conversion *out);

/* A text in chunks. It begins with all zero but cd, which says that it is closed. */
struct mm_converter {
	iconv_t       cd;           /* owned; (iconv_t)-1 when closed */
	char          name[MM_CHARSET_NAME_BYTES + 1];
	unsigned char held[16];     /* an unfinished character; the longest (GB 18030, escapes of ISO 2022) are 4 */
	size_t        held_size;
	size_t        replaced;     /* since the text began */
};

/* Of a converter that is closed; mm_charset_is_name() holds of the name. False: iconv does not know the charset, and
 * the converter stays closed. */
bool mm_charset_open(struct mm_converter *, const char *charset);
bool mm_charset_is_open(const struct mm_converter *);
/* The next chunk; what it makes is in the pad, *made bytes. False: no memory, see the pad's refused. */
bool mm_charset_feed(struct mm_converter *, struct mm_pad *, const unsigned char *in, size_t n, size_t *made);
/* The text is over. What is still to be written, U+FFFD or "", is static; *replaced counts for the whole text. The
 * converter is then as new, or closed when memory is out. */
const char *mm_charset_finish(struct mm_converter *, size_t *replaced);
void mm_charset_close(struct mm_converter *);

#endif
