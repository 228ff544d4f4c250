/* fuzz_replay.c -- any file as a record of a conversation. */
#include "trial/replay.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mm_replay r = { .command_count = 0 };
	struct mm_fault why = { .text = "" };
	struct mm_buffer out = { .size = 0 };
	if (mm_replay_parse(&r, data, size, &why)) {
		for (uint32_t i = 0; i < r.command_count; i++) {
			const struct mm_replay_command *c = &r.commands[i];
			if (c->reply_count > 0 && c->first_reply + c->reply_count > r.reply_count)
				abort();
			if (c->reply_count > 0)
				mm_replay_outcome(&out, c->packet.letter, r.replies + c->first_reply, c->reply_count);
		}
	} else if (why.text[0] == '\0') {
		abort();
	}
	mm_buffer_free(&out);
	mm_replay_free(&r);
	return 0;
}
