/* codec/encode.h -- bytes to base64 or quoted-printable (RFC 2045 6).
 *
 * Knows no Lua and no MIME structure. An encoder allocates nothing and holds nothing to free; input and output are
 * BORROWED for one call. The way the bytes are cut into chunks does not change the output. */
#ifndef MM_CODEC_ENCODE_H
#define MM_CODEC_ENCODE_H

#include "codec/decode.h"

#define MM_ENCODE_WIDTH 76 /* characters in a line, RFC 2045 6.7 (5) and 6.8 */

struct mm_encoder {
	enum mm_encoding kind;
	unsigned      width;        /* most characters in a line; 0: no line ends (base64 only) */
	unsigned      column;
	/* base64 */
	unsigned char group[3];
	unsigned      group_size;
	/* quoted-printable: one byte waits, because a blank or CR before a line end is written differently */
	int           waiting;      /* -1: none */
};

/* MM_BASE64 or MM_QUOTED_PRINTABLE, the only two that are written. The width is at least 8; with
 * MM_BASE64 it may be 0. */
void mm_encode_begin(struct mm_encoder *, enum mm_encoding, unsigned width);
/* The most bytes that one call with n bytes of input can write; for 0: the most that finish can write. */
size_t mm_encode_bound(size_t n);
/* Encodes in[0..n) to out, which has room for mm_encode_bound(n) bytes. -> bytes written. */
size_t mm_encode_feed(struct mm_encoder *, const unsigned char *in, size_t n, unsigned char *out);
/* Writes the bytes held back, at most mm_encode_bound(0); the encoder is then as new. -> bytes written. */
size_t mm_encode_finish(struct mm_encoder *, unsigned char *out);

#endif
