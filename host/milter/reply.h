/* milter/reply.h -- what we send: the table of replies and their encoder (protocol 3.1).
 * Each function appends exactly one packet to out. Texts are trusted here: verdict.h and
 * milter/edit.h have checked them. */
#ifndef MM_MILTER_REPLY_H
#define MM_MILTER_REPLY_H

#include "base/buffer.h"
#include "base/cursor.h"

/*        letter name             final  carries */
#define MM_REPLIES(X) \
	X('+', ADDRCPT,       0, "address") \
	X('-', DELRCPT,       0, "address") \
	X('2', ADDRCPT_PAR,   0, "address, parameters") \
	X('a', ACCEPT,        1, "") \
	X('b', REPLBODY,      0, "chunk") \
	X('c', CONTINUE,      1, "") \
	X('d', DISCARD,       1, "") \
	X('e', CHGFROM,       0, "address, parameters") \
	X('h', ADDHEADER,     0, "name, value") \
	X('i', INSHEADER,     0, "index, name, value") \
	X('m', CHGHEADER,     0, "index, name, value") \
	X('p', PROGRESS,      0, "") \
	X('q', QUARANTINE,    0, "reason") \
	X('r', REJECT,        1, "") \
	X('s', SKIP,          1, "") \
	X('t', TEMPFAIL,      1, "") \
	X('y', REPLYCODE,     1, "text") \
	X('O', OPTNEG,        1, "offer")

enum mm_reply_letter {
#define X(letter, name, is_final, carries) SMFIR_##name = letter,
	MM_REPLIES(X)
#undef X
};

void mm_reply_bare(struct mm_buffer *out, enum mm_reply_letter letter);
void mm_reply_text(struct mm_buffer *out, enum mm_reply_letter letter, struct mm_text text);
/* second.bytes NULL: only one string is sent. */
void mm_reply_texts(struct mm_buffer *out, enum mm_reply_letter letter, struct mm_text first, struct mm_text second);
/* space: HDR_LEADSPC was negotiated, so the packet includes the space after the colon (protocol 3.8). */
void mm_reply_header(struct mm_buffer *out, struct mm_text name, struct mm_text value, bool space);
void mm_reply_indexed_header(struct mm_buffer *out, enum mm_reply_letter letter, uint32_t index,
	struct mm_text name, struct mm_text value, bool space);

#endif
