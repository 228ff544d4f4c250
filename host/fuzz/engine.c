/* fuzz/engine.c -- the whole engine between a made-up MTA and a stub of the script side, with a model of both that must
 * hold: one final reply for each command that waits for one and none for others, edits only after end-of-message, every
 * packet acceptable to Postfix and Sendmail (mta.h), for every message one done or abort, for every client one close,
 * last. Input: 8 bytes for the offer and the wanted options, then operations; answers of the stub come from the input's
 * end. Operations: commands well-formed, commands with any payload, bare bytes, split anywhere; verdicts that come
 * late; progress; the end. */
#include "base/bounds.h"
#include "milter/engine.h"
#include "mta/mta.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(claim) do { \
		if (!(claim)) { \
			fprintf(stderr, "model: %s does not hold (line %d)\n", #claim, __LINE__); \
			abort(); \
		} \
	} while (0)

#define OPEN_MAX 4096

/* ---- the input, from both ends ---- */

struct input {
	const uint8_t *bytes;
	size_t         at, end;
};

static uint8_t next(struct input *in)
{
	return in->at < in->end ? in->bytes[in->at++] : 0;
}

static uint8_t last(struct input *in)
{
	return in->at < in->end ? in->bytes[--in->end] : 0;
}

/* ---- the script side ---- */

struct stub {
	struct input      *in;
	struct mm_wanted   wanted;
	struct mm_session *session;     /* borrowed */
	struct mm_engine  *engine;      /* borrowed */
	bool               is_waiting, is_in_event;
	enum mm_stage      stage;       /* of the event that waits */
	uint64_t           messages_over;       /* of this client: done or abort */
	bool               is_closed;   /* the client has had its close */
	bool               is_freed;
};

struct edge {
	struct stub      *stub;
	struct mm_mta     mta;
	struct mm_frame   told, said;   /* packets of the MTA, packets of the filter */
	struct mm_buffer  out;
	uint8_t           open[OPEN_MAX];       /* letters of commands without their final reply */
	size_t            open_first, open_count;
	bool              has_fault, is_ended;
	bool              is_vague;     /* bare bytes made several packets at once, with an abort: which
	                                 * commands wait is unknown */
};

static struct mm_text piece(struct input *in, uint8_t size)
{
	static char copy[64];
	size %= sizeof copy;
	for (uint8_t i = 0; i < size; i++)
		copy[i] = (char)last(in);
	return (struct mm_text){ copy, size };
}

static void edit(struct stub *s)
{
	struct mm_message *m = s->session->message;
	const struct mm_grants *g = &s->session->grants;
	struct mm_fault why;
	char name[32];
	uint8_t what = last(s->in), n = last(s->in);
	struct mm_text first = piece(s->in, last(s->in) % 16);
	memcpy(name, first.bytes, first.size);
	first.bytes = name;
	struct mm_text second = piece(s->in, last(s->in));
	struct mm_text tag = { "X-Tag", 5 }, none = { "", 0 };
	switch (what % 14) {
	case 0: mm_edit_add_header(m, g, first, second, &why); break;
	case 1: mm_edit_add_header(m, g, tag, second, &why); break;
	case 2: mm_edit_insert_header(m, g, n, tag, second, &why); break;
	case 3: mm_edit_change_header(m, g, tag, (int8_t)n, second, &why); break;
	case 4: mm_edit_delete_header(m, g, tag, (int8_t)n, &why); break;
	case 5: mm_edit_delete_headers(m, g, first, &why); break;
	case 6: mm_edit_change_from(m, g, second, n & 1 ? first : none, &why); break;
	case 7: mm_edit_add_recipient(m, g, second, n & 1 ? first : none, &why); break;
	case 8: mm_edit_delete_recipient(m, g, second, &why); break;
	case 9: mm_edit_replace_body(m, g, second, 1 << 20, &why); break;
	case 10: mm_edit_quarantine(m, g, second, &why); break;
	case 11: mm_edits_drop(m); break;
	case 12: if (m->field_count > 0) mm_edit_field(m, g, n % m->field_count, second, n & 0x80, &why); break;
	case 13: if (m->field_count > 0) mm_edit_insert_before(m, g, n % m->field_count, first, second, &why); break;
	}
}

static void decide(struct stub *s, enum mm_stage stage, struct mm_verdict *out)
{
	struct mm_fault why;
	uint8_t what = last(s->in);
	enum mm_verdict_kind kind = (enum mm_verdict_kind)(what % MM_VERDICT_COUNT);
	if (getenv("FUZZ_TRACE") != NULL)
		fprintf(stderr, "  verdict %s at %s\n", mm_verdict_name(kind), mm_stage_name(stage));
	if (!(mm_verdict_stages(kind) & 1u << stage))
		kind = MM_VERDICT_continue;
	mm_verdict_plain(out, kind);
	if (what & 0x40 && (kind == MM_VERDICT_reject || kind == MM_VERDICT_tempfail)) {
		struct mm_text line = piece(s->in, last(s->in));
		mm_verdict_worded(out, kind, (kind == MM_VERDICT_reject ? 500 : 400) + last(s->in) % 100u,
			(struct mm_text){ "", 0 }, &line, 1, &why);
	}
}

static void *stub_open(void *runtime, struct mm_session *session, void *engine)
{
	struct stub *s = runtime;
	s->session = session;
	s->engine = engine;
	return s;
}

static const struct mm_wanted *stub_wanted(void *self)
{
	return &((struct stub *)self)->wanted;
}

/* Each event is work: with the shortest turn, each packet has its own. */
static uint64_t work;

static enum mm_outcome stub_event(void *self, const struct mm_event *e, struct mm_verdict *out)
{
	struct stub *s = self;
	CHECK(!s->is_waiting && !s->is_in_event && !s->is_closed && !s->is_freed);
	s->is_in_event = true;
	if (getenv("FUZZ_TRACE") != NULL)
		fprintf(stderr, "  event %s\n", mm_stage_name(e->stage));
	bool has_message = s->session->message != NULL;
	if (e->stage == MM_STAGE_done || e->stage == MM_STAGE_abort) {
		CHECK(has_message);
		s->messages_over++;
		CHECK(s->messages_over == s->session->message_count);
	}
	if (e->stage == MM_STAGE_close) {
		CHECK(s->messages_over == s->session->message_count && !has_message);
		s->is_closed = true;
	}
	if (e->stage == MM_STAGE_rcpt || e->stage == MM_STAGE_header || e->stage == MM_STAGE_eom)
		CHECK(has_message);
	uint8_t what = last(s->in);
	work++;
	if (has_message && e->stage != MM_STAGE_done && e->stage != MM_STAGE_abort)
		for (unsigned i = 0; i < (what >> 5); i++)
			edit(s);
	s->is_in_event = false;
	if ((what & 3) == 3) {
		s->is_waiting = true;
		s->stage = e->stage;
		return MM_WAITING;
	}
	if ((what & 0x1c) == 0)
		decide(s, e->stage, out);
	return MM_DECIDED;
}

static void stub_cancel(void *self, enum mm_cancel why)
{
	struct stub *s = self;
	(void)why;
	CHECK(s->is_waiting);
	s->is_waiting = false;
}

static void stub_end_message(void *self)
{
	(void)self;
}

static void stub_end_client(void *self)
{
	struct stub *s = self;
	CHECK(s->is_closed);
	s->is_closed = false;
	s->messages_over = 0;
}

static void stub_close(void *self)
{
	((struct stub *)self)->is_freed = true;
}

/* ---- the MTA's side ---- */

static bool is_of_message(uint8_t letter)
{
	return strchr("MRTLNBE", letter) != NULL;
}

/* A whole command has been sent: does a reply follow? */
static void note_command(struct edge *e, uint8_t letter)
{
	if (letter == 'A' || letter == 'Q' || letter == 'K')
		e->open_count = 0;              /* an MTA that gives up no longer listens */
	bool waits = letter == 'O' ? !e->mta.is_negotiated : mm_mta_waits(&e->mta, letter);
	if (!waits || e->open_first + e->open_count == OPEN_MAX)
		return;
	e->open[e->open_first + e->open_count++] = letter;
}

static void hear(struct edge *e)
{
	struct mm_packet p;
	struct mm_fault why;
	CHECK(!e->out.failed);
	mm_frame_feed(&e->said, e->out.bytes, e->out.size, &why);
	while (mm_frame_next(&e->said, &p, &why) == MM_FRAME_PACKET) {
		struct mm_mta_reply r;
		CHECK(mm_mta_decode(&p, &r, &why));
		bool taken = e->open_count > 0 && mm_mta_accepts(&e->mta, e->open[e->open_first], &r, &why);
		if (!taken && !e->is_vague)
			fprintf(stderr, "'%c' in answer to '%c': %s\n", p.letter, e->open_count > 0
				? e->open[e->open_first] : '-', e->open_count > 0 ? why.text : "nothing was asked");
		CHECK(taken || e->is_vague);
		if (taken && r.row->is_final) {
			e->open_first++;
			e->open_count--;
		}
		if (p.letter == SMFIR_OPTNEG)
			CHECK(mm_mta_agree(&e->mta, &r, &why));
		mm_frame_done(&e->said);
	}
	CHECK(mm_frame_pending(&e->said) == 0);         /* whole packets only */
	CHECK(mm_frame_keep(&e->said, &why));
	mm_buffer_clear(&e->out);
}

/* When nothing waits and nothing is wrong, every command has its answer. */
static void check_rest(struct edge *e)
{
	mm_engine_rest(e->stub->engine);
	if (e->has_fault || e->is_ended || e->is_vague || mm_engine_is_waiting(e->stub->engine)
	    || mm_engine_is_finished(e->stub->engine))
		return;
	if (e->open_count > 0)
		fprintf(stderr, "'%c' has no answer\n", e->open[e->open_first]);
	CHECK(e->open_count == 0);
}

/* Whole packets are noted before the engine answers them, one feed at a time. */
static void feed(struct edge *e, const void *bytes, size_t n)
{
	if (getenv("FUZZ_TRACE") != NULL)
		fprintf(stderr, "> %.*s (%zu)\n", n > 4 ? 1 : 0, n > 4 ? (const char *)bytes + 4 : "", n);
	struct mm_fault why = { .class = MM_FAULT_NONE };
	struct mm_packet p;
	if (e->is_ended || e->has_fault)
		return;
	unsigned count = 0;
	bool gives_up = false;
	mm_frame_feed(&e->told, bytes, n, &why);
	while (mm_frame_next(&e->told, &p, &why) == MM_FRAME_PACKET) {
		struct mm_command c;
		struct mm_fault bad;
		if (mm_command_decode(&p, 0, &c, &bad)) {
			if (p.letter == 'O' && !e->mta.is_negotiated)
				e->mta.offer = c.offer;
			note_command(e, p.letter);
		}
		count++;
		gives_up |= strchr("AQK", p.letter) != NULL;
		mm_frame_done(&e->told);
	}
	mm_frame_keep(&e->told, &why);
	e->is_vague |= gives_up && count > 1;
	e->has_fault = !mm_engine_feed(e->stub->engine, bytes, n, &why);
	while (!e->has_fault && mm_engine_has_more(e->stub->engine)) {
		CHECK(!e->stub->is_waiting && !mm_engine_wants_input(e->stub->engine));
		e->has_fault = !mm_engine_go_on(e->stub->engine, &why);
	}
	if (e->has_fault)
		CHECK(why.class != MM_FAULT_NONE && why.text[0] != '\0');
	hear(e);
	check_rest(e);
}

static void tell(struct edge *e, struct input *in, struct mm_buffer *packet)
{
	/* one command at a time, like an MTA: the rules of the negotiation about replies must be
	 * known before the next */
	size_t cut = next(in), size = packet->size;
	cut = cut > size ? size : cut;
	feed(e, packet->bytes, cut);
	if (cut < size)
		feed(e, packet->bytes + cut, size - cut);
}

static void tell_command(struct edge *e, struct input *in)
{
	static const uint8_t letters[] = "OCHMRTLNBEUAQKDMRRTLNBEMRLE";
	struct mm_buffer packet = { .size = 0 };
	uint8_t letter = letters[next(in) % (sizeof letters - 1)], size = next(in) % 48;
	char bytes[64];
	for (uint8_t i = 0; i < size; i++)
		bytes[i] = (char)next(in);
	struct mm_text text = { bytes, size }, tag = { "X-Tag", 5 };
	switch (letter) {
	case 'O': mm_mta_write_offer(&packet, &e->mta.offer); break;
	case 'C': mm_mta_write_connect(&packet, (struct mm_text){ "host", 4 }, MM_FAMILY_INET, 25,
		(struct mm_text){ "192.0.2.1", 9 }); break;
	case 'M': case 'R': mm_mta_write_address(&packet, letter, (struct mm_text){ "<a@b>", 5 },
		(struct mm_text){ "SIZE=1", 7 }); break;
	case 'H': case 'U': mm_mta_write_text(&packet, letter, (struct mm_text){ bytes, strnlen(bytes, size) }); break;
	case 'L': mm_mta_write_field(&e->mta, &packet, tag, (struct mm_text){ bytes, strnlen(bytes, size) }); break;
	case 'B': case 'E': mm_mta_write_bytes(&packet, letter, bytes, size); break;
	case 'D': mm_mta_write_macros(&packet, (uint8_t)bytes[0], (struct mm_text[]){ { "i", 1 }, { "QID", 3 } }, 2);
		break;
	default: mm_mta_write_bytes(&packet, letter, NULL, 0); break;
	}
	(void)text;
	/* An MTA waits for its answer before it sends anything else; it may give up. Not tried: giving up a command
	 * that has not begun because an earlier handler still waits (on_done, or one that promised silence); the engine
	 * answers it all the same, and no MTA gives up in this way. */
	enum mm_stage asked = e->open_count > 0 ? mm_command_row(e->open[e->open_first])->stage : MM_STAGE_COUNT;
	bool is_behind = e->stub->is_waiting && e->stub->stage != asked
		&& !(asked == MM_STAGE_eom && e->stub->stage == MM_STAGE_body);
	bool gives_up = (letter == 'A' && e->open_count > 0 && is_of_message(e->open[e->open_first])) || letter == 'Q'
		|| letter == 'K';
	if (e->open_count > 0 && (is_behind || !gives_up)) {
		mm_buffer_free(&packet);
		return;
	}
	if (letter == 'O' || mm_mta_sends(&e->mta, letter) || letter == 'D' || !e->mta.is_negotiated)
		tell(e, in, &packet);
	mm_buffer_free(&packet);
}

static void tell_bytes(struct edge *e, struct input *in, bool framed)
{
	struct mm_buffer packet = { .size = 0 };
	uint8_t size = next(in) % 64;
	if (e->open_count > 0)
		return;
	if (framed) {
		mm_buffer_append_u32(&packet, size + 1u);
		mm_buffer_append_u8(&packet, next(in));
	}
	for (uint8_t i = 0; i < size; i++)
		mm_buffer_append_u8(&packet, next(in));
	tell(e, in, &packet);
	mm_buffer_free(&packet);
}

static void late_verdict(struct edge *e)
{
	struct stub *s = e->stub;
	struct mm_verdict v = { 0 };
	if (!s->is_waiting)
		return;
	s->is_waiting = false;
	if (s->session->message != NULL && s->stage != MM_STAGE_done && s->stage != MM_STAGE_abort
	    && s->stage != MM_STAGE_close)
		edit(s);
	decide(s, s->stage, &v);
	mm_engine_decided(s->engine, &v);
	mm_verdict_reset(&v);
	for (struct mm_fault why; mm_engine_has_more(s->engine);)
		mm_engine_go_on(s->engine, &why);
	hear(e);
	check_rest(e);
}

static void wake(void *self)
{
	(void)self;
}

static void report(void *self, const struct mm_outcome_report *r)
{
	(void)self;
	CHECK(r->session->message != NULL);
}

static void fault(void *self, const struct mm_fault *why)
{
	struct edge *e = self;
	CHECK(why->text[0] != '\0');
	e->has_fault = true;
}

static void operate(struct edge *e, struct input *in)
{
	switch (next(in) % 16) {
	case 0: tell_bytes(e, in, false); break;
	case 1: tell_bytes(e, in, true); break;
	case 2: case 3: case 4: late_verdict(e); break;
	case 5:
		mm_engine_progress(e->stub->engine);
		hear(e);
		break;
	case 6:
		if (next(in) % 8 == 0 && !e->is_ended) {
			e->is_ended = true;
			mm_engine_end(e->stub->engine, MM_CANCEL_DISCONNECT);
			mm_buffer_clear(&e->out);       /* the MTA is gone */
		} else if (next(in) % 8 == 0 && !e->is_ended) {
			e->is_ended = true;
			mm_engine_shut_down(e->stub->engine);
			hear(e);
		}
		break;
	default: tell_command(e, in); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct mm_runtime_ops ops = {
		.open = stub_open, .wanted = stub_wanted, .event = stub_event, .cancel = stub_cancel,
			.end_message = stub_end_message,
		.end_client = stub_end_client, .close = stub_close,
	};
	static const uint8_t versions[] = { 6, 6, 6, 6, 2, 3, 4, 5 };
	struct input in = { data, 0, size };
	struct stub stub = { .in = &in };
	struct mm_engine_shared shared = { .id_prefix = "fuzz", .busy = &work, .turn_ticks = size % 2 };
	static struct edge e;
	if (size < 9)
		return 0;
	uint8_t shape = next(&in);
	struct mm_offer offer = { versions[shape & 7], 0x1ff, 0x1fffff };
	if (shape & 8)
		offer.steps = (uint32_t)next(&in) << 13 | (uint32_t)next(&in) << 5 | next(&in);
	if (shape & 16)
		offer.actions = (uint32_t)next(&in) << 1;
	stub.wanted.stages = shape & 32 ? (uint32_t)next(&in) << 8 | next(&in) : ~0u;
	stub.wanted.quiet = shape & 64 ? (uint32_t)next(&in) << 8 | next(&in) : 0;
	stub.wanted.actions = 0x1ff;
	stub.wanted.rejected_recipients = shape & 128;
	e = (struct edge){ .stub = &stub };
	mm_mta_init(&e.mta, &offer);
	mm_frame_init(&e.told, MM_PACKET_DATA_MAX_1M);
	mm_frame_init(&e.said, MM_PACKET_DATA_MAX_1M);
	static const struct mm_engine_owner owner = { wake, report, fault, NULL, NULL, NULL };
	struct mm_engine *engine = mm_engine_new(&shared, (struct mm_runtime){ &ops, &stub }, &owner, &e, &e.out);
	struct mm_buffer hello = { .size = 0 };
	mm_mta_write_offer(&hello, &offer);
	if (next(&in) % 8 != 0)
		feed(&e, hello.bytes, hello.size);
	mm_buffer_free(&hello);
	while (in.at < in.end)
		operate(&e, &in);
	for (int i = 0; stub.is_waiting && i < 64; i++)
		late_verdict(&e);
	if (!mm_engine_is_finished(engine))
		mm_engine_end(engine, MM_CANCEL_DISCONNECT);
	for (int i = 0; stub.is_waiting && i < 64; i++)
		late_verdict(&e);
	CHECK(mm_engine_is_finished(engine) || stub.is_waiting);
	mm_engine_free(engine);
	CHECK(stub.is_freed);
	mm_engine_shared_free(&shared);
	mm_mta_free(&e.mta);
	mm_frame_free(&e.told);
	mm_frame_free(&e.said);
	mm_buffer_free(&e.out);
	return 0;
}
