/* codec/decode.h -- transfer encodings back to bytes: base64 and quoted-printable (RFC 2045 6), the "Q" of encoded
 * words (RFC 2047 4.2), uuencode as seen in old mail.
 *
 * Knows no Lua, no charsets and no MIME structure. A decoder allocates nothing and holds nothing to free; input and
 * output are BORROWED for one call. The way a text is cut into chunks does not change the output.
 *
 * Each loop looks at each input byte a bounded number of times. Decoders never refuse input: they skip bytes that
 * cannot be decoded and count them, because a filter must see what a mail reader will make of broken mail. Each
 * deviation from strict RFC 2045 is commented where it happens. */
#ifndef MM_CODEC_DECODE_H
#define MM_CODEC_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MM_QP_HELD_BYTES 1024 /* blanks held back at a line's end; RFC 5322 2.1.1 allows lines of 998 */
#define MM_UU_LINE_BYTES 128  /* a uuencoded line is at most 61 characters */

enum mm_encoding { MM_BASE64, MM_QUOTED_PRINTABLE, MM_Q_WORD, MM_UUENCODE };

enum mm_qp_state { MM_QP_TEXT, MM_QP_EQUALS, MM_QP_HEX, MM_QP_SOFT, MM_QP_SOFT_CR };

struct mm_decoder {
	enum mm_encoding kind;
	size_t        bad;          /* bytes that did not fit the encoding */
	bool          is_truncated; /* it ended inside a base64 group; known after finish */
	bool          is_continued; /* base64 went on after its padding */
	/* base64 */
	uint32_t      bits;
	unsigned      digits;       /* 0..3 in the current group */
	bool          was_padded;
	/* quoted-printable */
	enum mm_qp_state state;
	unsigned char hex;          /* first digit of =XX, as written */
	size_t        held_size;    /* blanks that vanish if a line end follows */
	/* uuencode */
	bool          in_body;
	size_t        line_size;
	/* valid up to the sizes above; mm_decode_begin() does not clear them, because for a short text that would cost
	 * more than decoding it */
	unsigned char held[MM_QP_HELD_BYTES];
	unsigned char line[MM_UU_LINE_BYTES];
};

void mm_decode_begin(struct mm_decoder *, enum mm_encoding);
/* The most bytes that one call with n bytes of input can write; for 0: the most that finish can write. */
size_t mm_decode_bound(size_t n);
/* Decodes in[0..n) to out, which has room for mm_decode_bound(n) bytes. -> bytes written. MM_Q_WORD needs the whole
 * word in one call: an escape cut by the end of a call stays as written. */
size_t mm_decode_feed(struct mm_decoder *, const unsigned char *in, size_t n, unsigned char *out);
/* Ends the text: writes the bytes held back, at most mm_decode_bound(0). -> bytes written. The counts are then those of
 * the whole text; mm_decode_begin() starts the next one. */
size_t mm_decode_finish(struct mm_decoder *, unsigned char *out);

#endif
