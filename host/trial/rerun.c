#include "trial/rerun.h"

#include "base/bounds.h"
#include "base/clock.h"
#include "trial/transcript.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_S 300.0          /* seconds that a handler may take; its own deadline is shorter */

/* ---- one session, through the present scripts ---- */

struct run {
	struct mm_feed *session;     /* borrowed */
	struct mm_mta      mta;         /* negotiated now */
	struct mm_frame    frame;       /* of the filter's bytes */
	struct mm_buffer   store;       /* owned: payloads of the replies to one command */
	struct mm_packet   replies[4096];
	uint32_t           count;
	enum mm_redact     redact;
};

/* Takes the filter's replies until it waits for us again. False: it did not answer in time. */
static bool wait_for_output(const struct mm_rerun *re, struct run *run, struct mm_fault *why)
{
	double deadline = mm_clock_real() + ANSWER_S;
	for (;;) {
		size_t size;
		const void *bytes = mm_feed_output(run->session, &size);
		if (size > 0) {
			bool ok = mm_frame_feed(&run->frame, bytes, size, why) && mm_frame_keep(&run->frame, why);
			mm_feed_consume(run->session, size);
			return ok;
		}
		if (mm_feed_is_finished(run->session) || !mm_feed_is_waiting(run->session))
			return mm_fault_set(why, MM_FAULT_PEER, "the filter %s",
				mm_feed_is_finished(run->session) ? "closes" : "gives no answer");
		if (mm_clock_real() > deadline)
			return mm_fault_set(why, MM_FAULT_PEER, "the filter does not answer in time");
		mm_host_turn(re->inside->host, MM_INSIDE_TURN_S);
	}
}

static bool take_replies(const struct mm_rerun *re, struct run *run, struct mm_fault *why)
{
	size_t offsets[sizeof run->replies / sizeof *run->replies];
	bool is_final = false;
	while (!is_final) {
		struct mm_packet p;
		struct mm_mta_reply r;
		switch (mm_frame_next(&run->frame, &p, why)) {
		case MM_FRAME_BAD:
			return false;
		case MM_FRAME_MORE:
			if (!wait_for_output(re, run, why))
				return false;
			continue;
		case MM_FRAME_PACKET:
			break;
		}
		if (!mm_mta_decode(&p, &r, why))
			return false;
		is_final = r.row->is_final;
		if (run->count < sizeof run->replies / sizeof *run->replies && p.letter != SMFIR_PROGRESS) {
			offsets[run->count] = run->store.size;
			mm_buffer_append(&run->store, p.data, p.size);
			run->replies[run->count++] = (struct mm_packet){ .letter = p.letter, .size = p.size };
		}
		mm_frame_done(&run->frame);
	}
	for (uint32_t i = 0; i < run->count; i++) {
		uint8_t *data = run->store.bytes + offsets[i];
		mm_record_mask(run->redact, MM_RECORD_FROM_US, run->replies[i].letter, data, run->replies[i].size);
		run->replies[i].data = data;
	}
	return !run->store.failed || mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
}

/* Sends the space after the colon as negotiated now. */
static bool write_field(const struct run *run, const struct mm_replay *record, const struct mm_packet *p,
	struct mm_buffer *out)
{
	struct mm_command c;
	struct mm_fault ignored;
	struct mm_buffer value = { .size = 0 };
	if (!mm_command_decode(p, 0, &c, &ignored))
		return false;
	if (!(record->agreed.steps & SMFIP_HDR_LEADSPC))
		mm_buffer_append_u8(&value, ' ');
	mm_buffer_append(&value, c.value.bytes, c.value.size);
	if (value.failed)
		out->failed = true;
	else
		mm_mta_write_field(&run->mta, out, c.text, (struct mm_text){ (const char *)value.bytes, value.size });
	mm_buffer_free(&value);
	return true;
}

/* Sends one recorded command as the MTA would send it now. Its replies are in run. */
static bool send_command(const struct mm_rerun *re, struct run *run, const struct mm_replay *record,
	const struct mm_packet *p, struct mm_fault *why)
{
	struct mm_buffer out = { .size = 0 };
	struct mm_error error;
	run->count = 0;
	mm_buffer_clear(&run->store);
	if (p->letter != SMFIC_OPTNEG && p->letter != SMFIC_MACRO && !mm_mta_sends(&run->mta, p->letter))
		return true;
	if (p->letter != SMFIC_HEADER || !write_field(run, record, p, &out))
		mm_frame_write(&out, p->letter, p->data, p->size);
	bool ok = !out.failed && mm_feed_bytes(run->session, out.bytes, out.size, &error);
	if (!ok)
		mm_fault_set(why, MM_FAULT_PEER, "%s", out.failed ? "out of memory" : error.text);
	mm_buffer_free(&out);
	if (ok && p->letter == SMFIC_OPTNEG) {
		struct mm_mta_reply r;
		ok = take_replies(re, run, why) && mm_mta_decode(&run->replies[0], &r, why)
			&& mm_mta_agree(&run->mta, &r, why);
	} else if (ok && mm_mta_waits(&run->mta, p->letter)) {
		ok = take_replies(re, run, why);
	}
	return ok;
}

/* ---- comparing ---- */

/* A run of commands with one outcome: those before the first message, or those of a message. */
struct part {
	struct mm_buffer before, after;         /* owned: lines */
	bool             decided_before, decided_after;
	bool             is_cut;                /* the record ends within this part */
	unsigned         number;                /* 0: the connection */
	struct mm_text   sender;                /* borrowed from the record */
};

/* The address of MAIL or RCPT. */
static struct mm_text address_of(const struct mm_packet *command)
{
	const char *bytes = (const char *)command->data;
	return (struct mm_text){ bytes, strnlen(bytes, command->size) };
}

static bool decides(uint8_t command, uint8_t letter)
{
	if (command == SMFIC_BODYEOB)
		return true;
	if (letter == SMFIR_ACCEPT || letter == SMFIR_DISCARD)
		return true;
	return command != SMFIC_RCPT && (letter == SMFIR_REJECT || letter == SMFIR_TEMPFAIL
		|| letter == SMFIR_REPLYCODE);
}

static void note_outcome(struct mm_buffer *lines, bool *decided, const struct mm_packet *command,
	const struct mm_packet *replies, uint32_t count)
{
	uint8_t last = count > 0 ? replies[count - 1].letter : 0;
	if (count == 0 || (command->letter != SMFIC_BODYEOB && (last == SMFIR_CONTINUE || last == SMFIR_SKIP)))
		return;
	if (command->letter == SMFIC_RCPT) {
		mm_transcript_shown(lines, address_of(command));
		mm_buffer_append(lines, ": ", 2);
	}
	mm_replay_outcome(lines, command->letter, replies, count);
	*decided |= decides(command->letter, last);
}

static void print_lines(const struct mm_buffer *lines, char sign)
{
	const char *at = (const char *)lines->bytes, *end = at + lines->size;
	while (at < end) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		printf("  %c %.*s\n", sign, (int)(lf - at), at);
		at = lf + 1;
	}
}

static bool same(const struct mm_buffer *a, const struct mm_buffer *b)
{
	return a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

static void print_heading(const char *file, const struct part *p)
{
	struct mm_buffer from = { .size = 0 };
	if (p->number == 0) {
		printf("%s: the connection\n", file);
		return;
	}
	mm_transcript_shown(&from, p->sender);
	printf("%s: message %u from %.*s\n", file, p->number, (int)from.size, (const char *)from.bytes);
	mm_buffer_free(&from);
}

static void end_part(struct mm_rerun *re, const char *file, struct part *p)
{
	re->messages += p->number > 0;
	/* it was refused early then and goes on now, but the record ends here */
	if (p->decided_before && !p->decided_after && p->number > 0) {
		static const char words[] = "goes on, but its record ends here\n";
		mm_buffer_append(&p->after, words, sizeof words - 1);
		re->shortened++;
	}
	bool is_unknown = p->is_cut && p->decided_after && !p->decided_before;  /* the old answer came after the cut */
	if (!is_unknown && !same(&p->before, &p->after)) {
		re->different++;
		if (!re->inside->is_quiet) {
			print_heading(file, p);
			print_lines(&p->before, '-');
			print_lines(&p->after, '+');
		}
	}
	mm_buffer_clear(&p->before);
	mm_buffer_clear(&p->after);
	p->decided_before = p->decided_after = false;
}

static void say_missing(const struct mm_replay *record, const struct run *run, const char *file)
{
	static const struct { uint8_t letter; const char *what; } steps[] = {
		{ SMFIC_CONNECT, "connect" }, { SMFIC_HELO, "helo" }, { SMFIC_MAIL, "mail" }, { SMFIC_RCPT, "rcpt" },
		{ SMFIC_DATA, "data" }, { SMFIC_HEADER, "headers" }, { SMFIC_EOH, "end of headers" },
		{ SMFIC_BODY, "bodies" }, { SMFIC_UNKNOWN, "unknown commands" },
	};
	struct mm_mta then = { .agreed = record->agreed };
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
		if (mm_mta_sends(&run->mta, steps[i].letter) && !mm_mta_sends(&then, steps[i].letter))
			fprintf(stderr, "moonmilter replay: %s: the scripts want %s, which the recorded ones did not: "
				"the record has none\n", file, steps[i].what);
}

/* A message, or what follows the last one. */
static bool begins_part(uint8_t letter)
{
	return letter == SMFIC_MAIL || letter == SMFIC_ABORT || letter == SMFIC_QUIT || letter == SMFIC_QUIT_NC;
}

/* True: the record was cut before the answer to this command. */
static bool is_cut_at(const struct mm_replay *record, const struct mm_replay_command *c)
{
	struct mm_mta then = { .agreed = record->agreed };
	return record->is_cut && !c->is_answered && mm_mta_waits(&then, c->packet.letter);
}

static bool play(struct mm_rerun *re, struct run *run, const struct mm_replay *record, const char *file,
	struct mm_fault *why)
{
	struct part part = { .number = 0 };
	unsigned number = 0;
	bool is_refused = false, ok = true;     /* refused: the session is over for the present scripts */
	for (uint32_t i = 0; ok && i < record->command_count; i++) {
		const struct mm_replay_command *c = &record->commands[i];
		uint8_t letter = c->packet.letter;
		if (begins_part(letter) && (part.number > 0 || letter == SMFIC_MAIL || number == 0)) {
			if (part.decided_after && part.number == 0)
				is_refused = true;
			end_part(re, file, &part);
			part.number = letter == SMFIC_MAIL ? ++number : 0;
			part.sender = address_of(&c->packet);
		}
		if (is_cut_at(record, c))
			break;
		if (letter != SMFIC_OPTNEG)
			note_outcome(&part.before, &part.decided_before, &c->packet, c->reply_count > 0
				? record->replies + c->first_reply : NULL, c->reply_count);
		run->count = 0;
		bool is_moot = (part.decided_after || is_refused) && !begins_part(letter);
		if (!is_moot && !(is_refused && letter != SMFIC_QUIT))
			ok = send_command(re, run, record, &c->packet, why);
		if (ok && letter == SMFIC_OPTNEG)
			say_missing(record, run, file);
		else if (ok)
			note_outcome(&part.after, &part.decided_after, &c->packet, run->replies, run->count);
		if (letter == SMFIC_QUIT)
			break;
	}
	if (record->is_cut)
		fprintf(stderr, "moonmilter replay: %s: cut at record_max; the rest is not compared\n", file);
	part.is_cut = record->is_cut;
	end_part(re, file, &part);
	mm_buffer_free(&part.before);
	mm_buffer_free(&part.after);
	return ok;
}

bool mm_rerun(struct mm_rerun *re, const char *file, const struct mm_replay *record, struct mm_fault *why)
{
	struct mm_error error;
	struct run *run = calloc(1, sizeof *run);
	if (run == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	run->redact = record->redact;
	run->session = mm_feed_open(re->inside->host, re->inside->milter, &error);
	if (run->session == NULL) {
		free(run);
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s", error.text);
	}
	mm_mta_init(&run->mta, &record->offer);
	mm_frame_init(&run->frame, MM_PACKET_DATA_MAX_1M);
	bool ok = play(re, run, record, file, why);
	mm_inside_end_session(re->inside, run->session);
	mm_mta_free(&run->mta);
	mm_frame_free(&run->frame);
	mm_buffer_free(&run->store);
	free(run);
	return ok;
}
