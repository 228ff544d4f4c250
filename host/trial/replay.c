#include "trial/replay.h"

#include "base/array.h"
#include "base/bounds.h"
#include "trial/transcript.h"

#include <stdio.h>
#include <stdlib.h>

void mm_replay_free(struct mm_replay *r)
{
	mm_buffer_free(&r->bytes);
	free(r->commands);
	free(r->replies);
	*r = (struct mm_replay){ .command_count = 0 };
}

static bool no_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a record");
}

/* Reads the first line and moves *at past it. */
static bool read_line(struct mm_replay *r, size_t *at, struct mm_fault *why)
{
	const char *text = (const char *)r->bytes.bytes;
	const char *end = r->bytes.size > 0 ? memchr(text, '\n', r->bytes.size) : NULL;
	size_t size = end != NULL ? (size_t)(end - text) : 0;
	if (size < strlen(MM_RECORD_MAGIC) || memcmp(text, MM_RECORD_MAGIC, strlen(MM_RECORD_MAGIC)) != 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "not a record: its first line does not begin with \""
			MM_RECORD_MAGIC "\"");
	const char *word = memmem(text, size, "redact=", 7);
	r->redact = MM_REDACT_NOTHING;
	for (int i = MM_REDACT_NOTHING; word != NULL && i <= MM_REDACT_ALL; i++) {
		const char *name = mm_redact_name((enum mm_redact)i);
		if ((size_t)(text + size - word) >= 7 + strlen(name) && memcmp(word + 7, name, strlen(name)) == 0)
			r->redact = (enum mm_redact)i;
	}
	*at = size + 1;
	return true;
}

static bool read_packet(struct mm_replay *r, size_t *at, struct mm_packet *out, struct mm_fault *why)
{
	struct mm_cursor c = mm_cursor_over(r->bytes.bytes + *at, r->bytes.size - *at);
	uint32_t length = mm_cursor_u32(&c);
	if (c.failed || length == 0 || length > c.left)
		return mm_fault_set(why, MM_FAULT_CONFIG, "byte %zu: not a whole packet; the file is damaged", *at);
	out->letter = r->bytes.bytes[*at + 4];
	out->data = r->bytes.bytes + *at + 5;
	out->size = length - 1;
	*at += 4 + (size_t)length;
	return true;
}

static bool add_command(struct mm_replay *r, const struct mm_packet *p, struct mm_fault *why)
{
	if (!mm_array_grow(&r->commands, r->command_count, &r->command_capacity, sizeof *r->commands))
		return no_memory(why);
	r->commands[r->command_count++] = (struct mm_replay_command){ .packet = *p };
	return true;
}

/* The replies to a command are contiguous: they come in order, and only one command at a time waits for replies. */
static bool add_reply(struct mm_replay *r, uint32_t *waiting, struct mm_mta *mta, const struct mm_packet *p,
	struct mm_fault *why)
{
	struct mm_mta_reply reply;
	if (!mm_array_grow(&r->replies, r->reply_count, &r->reply_capacity, sizeof *r->replies))
		return no_memory(why);
	while (*waiting < r->command_count && (r->commands[*waiting].is_answered
	    || !(r->commands[*waiting].packet.letter == SMFIC_OPTNEG
	    || mm_mta_waits(mta, r->commands[*waiting].packet.letter))))
		++*waiting;
	if (*waiting == r->command_count)
		return mm_fault_set(why, MM_FAULT_CONFIG, "reply '%c' answers no command; the file "
			"is damaged", p->letter);
	struct mm_replay_command *c = &r->commands[*waiting];
	if (!mm_mta_decode(p, &reply, why))
		return false;
	if (c->reply_count == 0)
		c->first_reply = r->reply_count;
	r->replies[r->reply_count++] = *p;
	c->reply_count++;
	c->is_answered = reply.row->is_final;
	if (p->letter == SMFIR_OPTNEG && mm_mta_agree(mta, &reply, why))
		r->agreed = mta->agreed;
	return true;
}

bool mm_replay_parse(struct mm_replay *r, const void *bytes, size_t n, struct mm_fault *why)
{
	size_t at = 0;
	uint32_t waiting = 0;
	struct mm_mta mta = { .is_negotiated = false };
	mm_buffer_append(&r->bytes, bytes, n);
	if (r->bytes.failed)
		return no_memory(why);
	if (!read_line(r, &at, why))
		return false;
	bool ok = true;
	while (ok && at < r->bytes.size) {
		char from = (char)r->bytes.bytes[at++];
		struct mm_packet p;
		struct mm_command c;
		if (from == MM_RECORD_CUT) {
			r->is_cut = true;
			break;
		}
		if (from != MM_RECORD_FROM_MTA && from != MM_RECORD_FROM_US) {
			ok = mm_fault_set(why, MM_FAULT_CONFIG, "byte %zu: neither '>' nor '<'; the file "
				"is damaged", at - 1);
			break;
		}
		ok = read_packet(r, &at, &p, why);
		if (ok && from == MM_RECORD_FROM_US)
			ok = add_reply(r, &waiting, &mta, &p, why);
		else if (ok)
			ok = add_command(r, &p, why);
		if (ok && from == MM_RECORD_FROM_MTA && p.letter == SMFIC_OPTNEG && mm_command_decode(&p, 0, &c, why)) {
			r->offer = c.offer;
			mm_mta_free(&mta);
			mm_mta_init(&mta, &c.offer);
		}
	}
	mm_mta_free(&mta);
	return ok;
}

void mm_replay_outcome(struct mm_buffer *out, uint8_t command, const struct mm_packet *replies, uint32_t count)
{
	const struct mm_command_row *row = mm_command_row(command);
	for (uint32_t i = 0; i < count; i++) {
		struct mm_mta_reply r;
		struct mm_fault ignored;
		if (replies[i].letter == SMFIR_PROGRESS || !mm_mta_decode(&replies[i], &r, &ignored))
			continue;
		if (r.row->is_final && command == SMFIC_BODYEOB
		    && (r.row->letter == SMFIR_CONTINUE || r.row->letter == SMFIR_ACCEPT)) {
			mm_buffer_append(out, "accept", 6);             /* an MTA treats them alike */
		} else {
			mm_transcript_reply(out, &r);
		}
		if (r.row->is_final && row != NULL) {
			mm_buffer_append(out, " at ", 4);
			mm_buffer_append(out, row->name, strlen(row->name));
		}
		mm_buffer_append_u8(out, '\n');
	}
}
