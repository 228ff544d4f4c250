/* codec/charset.h -- charsets to UTF-8: those that mail readers know with whatwg.h, others with iconv.
 *
 * Knows no Lua and no MIME structure. Input is BORROWED for one call. The result is UTF-8 in the strict sense of RFC
 * 3629 for any input: what means nothing becomes U+FFFD and is counted. */
#ifndef MM_CODEC_CHARSET_H
#define MM_CODEC_CHARSET_H

#include "codec/pad.h"
#include "codec/whatwg.h"

/* Whether a converter may be looked for by this name. It comes from the message: letters, digits and "-_.:+" only, so
 * that it cannot contain iconv's own syntax ("//TRANSLIT", commas, paths in old implementations). */
bool mm_charset_is_name(const char *name, size_t n);

struct mm_conversion {
	size_t made;            /* bytes in the pad, from its start */
	size_t replaced;        /* U+FFFD that stand for something else */
};

/* Is there a converter? */
bool mm_charset_is_known(struct mm_pad *, const char *charset);
/* Converts a whole text; the result is in the pad. mm_charset_is_known() must hold. False: out of memory (the pad's
 * refused). */
bool mm_charset_convert(struct mm_pad *, const char *charset, const unsigned char *in, size_t n,
	struct mm_conversion *out);

/* Converts a text in chunks. It begins all zero except cd, which says that it is closed. */
struct mm_converter {
	bool             is_whatwg;     /* else iconv */
	struct mm_whatwg whatwg;
	iconv_t          cd;            /* owned; (iconv_t)-1 when closed */
	char             name[MM_CHARSET_NAME_BYTES + 1];
	unsigned char    held[16];      /* an unfinished character; the longest (escapes of ISO 2022) are 4 */
	size_t           held_size;
	size_t           replaced;      /* since the text began */
};

/* Opens a closed converter; mm_charset_is_name() must hold for the name. False: there is no such converter, and this
 * one stays closed. */
bool mm_charset_open(struct mm_converter *, const char *charset);
bool mm_charset_is_open(const struct mm_converter *);
/* Converts the next chunk; the result is in the pad, *made bytes. False: out of memory, see the pad's refused. */
bool mm_charset_feed(struct mm_converter *, struct mm_pad *, const unsigned char *in, size_t n, size_t *made);
/* Ends the text. What is still to be written is in the pad; `replaced` counts for the whole text. The converter is then
 * as new, or closed when memory ran out. False: out of memory, see the pad's refused. */
bool mm_charset_finish(struct mm_converter *, struct mm_pad *, struct mm_conversion *out);
void mm_charset_close(struct mm_converter *);

#endif
