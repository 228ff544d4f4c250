/* fuzz/mta_reply.c -- replies as a filter may send them, good or bad, into the MTA's decoder and checks.
 * Input: one byte for the command answered, then a stream of packets. Every decoded reply with contents is encoded
 * again with the engine's own encoder and must give the same bytes: the two sides of the tables agree. */
#include "base/bounds.h"
#include "mta/mta.h"

#include <stdlib.h>

static void encode(struct mm_buffer *out, const struct mm_mta_reply *r)
{
	enum mm_reply_letter letter = (enum mm_reply_letter)r->row->letter;
	switch (letter) {
	case SMFIR_ADDHEADER:
		mm_reply_header(out, r->first, r->second, false);
		break;
	case SMFIR_INSHEADER:
	case SMFIR_CHGHEADER:
		mm_reply_indexed_header(out, letter, r->index, r->first, r->second, false);
		break;
	case SMFIR_REPLBODY:
		mm_frame_write(out, letter, r->first.bytes, r->first.size);
		break;
	case SMFIR_ADDRCPT: case SMFIR_DELRCPT: case SMFIR_ADDRCPT_PAR: case SMFIR_CHGFROM:
	case SMFIR_QUARANTINE: case SMFIR_REPLYCODE:
		mm_reply_texts(out, letter, r->first, r->second);
		break;
	case SMFIR_OPTNEG:
		break;
	default:
		mm_reply_bare(out, letter);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct mm_offer offer = { 6, 0x1ff, 0x1fffff };
	struct mm_mta mta;
	struct mm_frame frame;
	struct mm_packet p;
	struct mm_fault why;
	if (size < 1)
		return 0;
	mm_mta_init(&mta, &offer);
	mta.agreed = offer;
	mm_frame_init(&frame, MM_PACKET_DATA_MAX_1M);
	mm_frame_feed(&frame, data + 1, size - 1, &why);
	while (mm_frame_next(&frame, &p, &why) == MM_FRAME_PACKET) {
		struct mm_mta_reply r;
		struct mm_buffer again = { .size = 0 };
		why.text[0] = '\0';
		if (mm_mta_decode(&p, &r, &why)) {
			if (r.row->letter == SMFIR_OPTNEG)
				mm_mta_agree(&mta, &r, &why);
			mm_mta_accepts(&mta, data[0], &r, &why);
			encode(&again, &r);
			if (again.size > 0 && (again.size != p.size + 5
			    || memcmp(again.bytes + 5, p.data, p.size) != 0))
				abort();
		} else if (why.text[0] == '\0') {
			abort();                /* refused without a reason */
		}
		mm_buffer_free(&again);
		mm_frame_done(&frame);
	}
	mm_frame_free(&frame);
	mm_mta_free(&mta);
	return 0;
}
