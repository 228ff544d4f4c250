/* codec/pad.h -- what one Lua state keeps between calls of the codec: working memory to write into, and open iconv
 * handles, which are costly to open.
 *
 * Knows no Lua and no encodings. Ownership: a pad OWNS its memory and its handles; both are BORROWED from it until the
 * next call that takes the pad. */
#ifndef MM_CODEC_PAD_H
#define MM_CODEC_PAD_H

#include <iconv.h>
#include <stdbool.h>
#include <stddef.h>

#define MM_CHARSET_NAME_BYTES 40 /* longest charset name given to iconv; IANA's longest in use is 29 */
#define MM_PAD_ICONVS         8  /* iconv handles kept open for one-shot conversions */

struct mm_pad_iconv {
	char    name[MM_CHARSET_NAME_BYTES + 1]; /* "": free */
	iconv_t cd;
};

/* All zero is an empty pad. */
struct mm_pad {
	unsigned char      *bytes;                  /* owned */
	size_t              size;                   /* of bytes */
	size_t              refused;                /* the size for which there was no memory */
	struct mm_pad_iconv cached[MM_PAD_ICONVS];  /* owned */
	unsigned            next_victim;
};

/* Makes room for at least `size` bytes; the present bytes stay. False: out of memory, and the pad is unchanged. */
bool mm_pad_grow(struct mm_pad *, size_t size);
/* Call it when the first `used` bytes have been copied. A huge message must not leave a huge pad: a large pad that this
 * call did not need is freed. */
void mm_pad_relax(struct mm_pad *, size_t used);
/* A handle from the charset to UTF-8, in its initial state. The name has at most MM_CHARSET_NAME_BYTES bytes.
 * (iconv_t)-1: iconv does not know it. */
iconv_t mm_pad_iconv(struct mm_pad *, const char *charset);
/* TAKES a handle of the charset and returns it in its initial state, or another one in its place. (iconv_t)-1: the
 * handle is closed, and opening another failed. */
iconv_t mm_pad_iconv_again(iconv_t, const char *charset);
/* Frees everything it holds; the pad is then empty. */
void mm_pad_free(struct mm_pad *);

#endif
