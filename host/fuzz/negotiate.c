/* fuzz/negotiate.c -- any offer against any wanted options: refused with a reason, or an answer
 * that every MTA accepts. */
#include "base/bounds.h"
#include "mta/mta.h"
#include "milter/negotiate.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mm_fault why = { .text = "" };
	struct mm_grants g = { 0 };
	struct mm_buffer out = { .size = 0 };
	if (size < 40)
		return 0;
	struct mm_offer offer = { data[0] & 128 ? u32(data) : data[0] & 7, u32(data + 4), u32(data + 8) };
	struct mm_wanted w = {
		.stages = u32(data + 12), .quiet = u32(data + 16), .actions = u32(data + 20) & 0x1ff,
		.needs_actions = data[24] & 1 ? u32(data + 25) & 0x1ff : 0, .needs_steps = data[24] & 2
		? u32(data + 29) : 0,
		.rejected_recipients = data[24] & 4,
	};
	for (int i = 0; i < MM_MACRO_SET_COUNT; i++)
		w.macro_lists[i] = data[33 + i] & 1 ? "i {rcpt_addr} j" : NULL;
	if (mm_negotiate(&offer, &w, &g, &out, &why)) {
		struct mm_mta mta;
		struct mm_frame f;
		struct mm_packet p;
		struct mm_mta_reply r;
		mm_mta_init(&mta, &offer);
		mm_frame_init(&f, MM_PACKET_DATA_MAX_1M);
		mm_frame_feed(&f, out.bytes, out.size, &why);
		if (mm_frame_next(&f, &p, &why) != MM_FRAME_PACKET || !mm_mta_decode(&p, &r, &why)
		    || !mm_mta_agree(&mta, &r, &why)) {
			fprintf(stderr, "%s\n", why.text);
			abort();
		}
		mm_frame_done(&f);
		if (mm_frame_pending(&f) != 0 || g.actions & ~offer.actions || g.steps & ~offer.steps)
			abort();
		/* a command that waits must be answered, any other must not be (engine.c uses grants.quiet) */
		for (const char *letter = "CHMRTLNBU"; *letter != '\0'; letter++)
			if (mm_mta_waits(&mta, (uint8_t)*letter)
			    != !(g.quiet & 1u << mm_command_row((uint8_t)*letter)->stage))
				abort();
		mm_frame_free(&f);
		mm_mta_free(&mta);
	} else if (why.text[0] == '\0' || out.size != 0) {
		abort();
	}
	mm_buffer_free(&out);
	return 0;
}
