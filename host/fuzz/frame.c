/* fuzz/frame.c -- packets and commands from bytes cut anywhere are the same as from uncut bytes. The first
 * byte chooses the cuts. */
#include "base/bounds.h"
#include "milter/command.h"

#include <stdlib.h>

static uint64_t walk(const uint8_t *data, size_t size, uint8_t cuts)
{
	struct mm_frame f;
	struct mm_packet p;
	struct mm_fault why;
	uint64_t hash = 1469598103934665603u;
	size_t at = 0;
	uint32_t dice = cuts;
	mm_frame_init(&f, MM_PACKET_DATA_MAX);
	for (bool is_good = true; at < size && is_good;) {
		size_t n = size - at;
		dice = dice * 1103515245u + 12345u;
		if (cuts != 0 && n > (dice >> 16) % 24)
			n = (dice >> 16) & 15;
		n = n > size - at ? size - at : n == 0 ? 1 : n;
		if (!mm_frame_feed(&f, data + at, n, &why))
			abort();
		at += n;
		enum mm_frame_next got;
		while ((got = mm_frame_next(&f, &p, &why)) == MM_FRAME_PACKET) {
			struct mm_command c;
			bool ok = mm_command_decode(&p, cuts & 2 ? SMFIP_HDR_LEADSPC : 0, &c, &why);
			if (!ok && why.text[0] == '\0')
				abort();
			hash = (hash ^ p.letter) * 1099511628211u;
			hash = (hash ^ ok) * 1099511628211u;
			for (size_t i = 0; i < p.size; i++)
				hash = (hash ^ p.data[i]) * 1099511628211u;
			if (ok && c.text.size > 0 && c.row->layout != MM_LAYOUT_BYTES
			    && c.text.bytes[c.text.size] != '\0')
				abort();
			if (ok && c.value.size > 0 && c.value.bytes[c.value.size] != '\0')
				abort();
			mm_frame_done(&f);
		}
		if (got == MM_FRAME_BAD) {
			is_good = false;
			hash ^= 0xbad;
		} else if (!mm_frame_keep(&f, &why)) {
			abort();
		}
		if (mm_frame_pending(&f) > size)
			abort();
	}
	mm_frame_free(&f);
	return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 1 && walk(data + 1, size - 1, 0) != walk(data + 1, size - 1, data[0] | 1))
		abort();
	return 0;
}
