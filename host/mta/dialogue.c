#include "mta/dialogue.h"

#include "base/array.h"
#include "base/bounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WRITE_AT      (256u << 10)      /* bytes of commands without answers that are written together */
#define CLOSE_TIMEOUT 5.0               /* seconds for the filter to close after Q */

struct mm_dialogue {
	const struct mm_dialogue_plan *plan;    /* borrowed */
	struct mm_dialogue_transport   transport;
	struct mm_mta                  mta;
	struct mm_frame                frame;
	struct mm_buffer               out;     /* owned: commands not yet written */
	struct mm_dialogue_result     *result;  /* borrowed while a call runs */
	double                         asked_at;        /* when the last command was written */

	/* the SMTP session */
	bool                           is_over;         /* no more contact: decided at connect or helo, or failed */
	bool                           has_failed;
	bool                           says_quit;       /* Q is still due although the session is over */
	bool                           said_helo;
	bool                           owes_abort;      /* Sendmail's RSET comes with the next message */
	struct mm_dialogue_result      shared;          /* decided for the session; owned */

	/* one message */
	const struct mm_mail_file     *mail;            /* borrowed */
	bool                           is_begun;        /* Sendmail: the filter has said continue to
	                                                 * MAIL, or content has come */
	struct mm_mta_facts            facts;           /* what macros tell; of the session, too */
};

/* ---- results ---- */

void mm_dialogue_result_free(struct mm_dialogue_result *r)
{
	mm_buffer_free(&r->store);
	free(r->replies);
	*r = (struct mm_dialogue_result){ .reply_count = 0 };
}

static struct mm_span keep(struct mm_dialogue_result *r, const void *bytes, size_t n)
{
	struct mm_span span = { (uint32_t)r->store.size, (uint32_t)n };
	mm_buffer_append(&r->store, bytes, n);
	return r->store.failed ? (struct mm_span){ 0, 0 } : span;
}

bool mm_dialogue_reply_at(const struct mm_dialogue_result *r, uint32_t at, struct mm_mta_reply *out)
{
	const struct mm_dialogue_reply *e = &r->replies[at];
	struct mm_text data = mm_dialogue_text(r, e->data);
	struct mm_fault ignored;
	return mm_mta_decode(&(struct mm_packet){ e->letter, (const uint8_t *)data.bytes, data.size }, out, &ignored);
}

static struct mm_dialogue_reply *note(struct mm_dialogue *d, enum mm_stage stage, uint8_t command, uint32_t nth,
	const struct mm_packet *p)
{
	struct mm_dialogue_result *r = d->result;
	if (!mm_array_grow(&r->replies, r->reply_count, &r->reply_capacity, sizeof *r->replies))
		return NULL;
	struct mm_dialogue_reply *e = &r->replies[r->reply_count];
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	*e = (struct mm_dialogue_reply){
		.stage = stage, .command = command, .nth = nth, .letter = p->letter, .data = keep(r, p->data, p->size),
		.seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - d->asked_at,
	};
	if (r->store.failed)
		return NULL;
	r->reply_count++;
	return e;
}

static void complain(struct mm_dialogue *d, struct mm_dialogue_reply *e, const struct mm_fault *why)
{
	e->complaint = keep(d->result, why->text, strlen(why->text));
	d->result->complaint_count++;
}

/* ---- life ---- */

struct mm_dialogue *mm_dialogue_new(const struct mm_dialogue_plan *plan, struct mm_dialogue_transport transport)
{
	struct mm_dialogue *d = calloc(1, sizeof *d);
	if (d == NULL)
		return NULL;
	d->plan = plan;
	d->transport = transport;
	d->facts = (struct mm_mta_facts){
		.kind = plan->kind, .mta_name = plan->mta_name, .mta = &d->mta,
		.macros = plan->macros, .macro_count = plan->macro_count,
		.client = { plan->family, plan->client_host, plan->client_address, plan->client_port, plan->auth_user },
	};
	mm_mta_init(&d->mta, &plan->offer);
	mm_frame_init(&d->frame, MM_PACKET_DATA_MAX_1M);        /* more than a filter may send,
	                                                         * so that it can be shown */
	return d;
}

void mm_dialogue_free(struct mm_dialogue *d)
{
	if (d == NULL)
		return;
	mm_mta_free(&d->mta);
	mm_frame_free(&d->frame);
	mm_buffer_free(&d->out);
	mm_dialogue_result_free(&d->shared);
	free(d);
}

const struct mm_mta *mm_dialogue_mta(const struct mm_dialogue *d)
{
	return &d->mta;
}

/* ---- bytes ---- */

static bool failed(struct mm_dialogue *d)
{
	d->is_over = d->has_failed = true;
	return false;
}

static bool no_memory(struct mm_dialogue *d, struct mm_fault *why)
{
	mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	return failed(d);
}

static void trace_from(struct mm_dialogue *d, size_t from)
{
	if (d->transport.trace == NULL || d->out.failed)
		return;
	struct mm_frame f;
	struct mm_packet p;
	struct mm_fault ignored;
	mm_frame_init(&f, UINT32_MAX - 1);
	mm_frame_feed(&f, d->out.bytes + from, d->out.size - from, &ignored);
	while (mm_frame_next(&f, &p, &ignored) == MM_FRAME_PACKET) {
		d->transport.trace(d->transport.trace_self, true, &p);
		mm_frame_done(&f);
	}
	mm_frame_free(&f);
}

static bool flush(struct mm_dialogue *d, struct mm_fault *why)
{
	if (d->out.failed)
		return no_memory(d, why);
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	d->asked_at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
	bool ok = d->out.size == 0 || d->transport.write(d->transport.self, d->out.bytes, d->out.size, why);
	mm_buffer_clear(&d->out);
	return ok || failed(d);
}

/* True and a packet, which the caller ends with mm_frame_done(). *closed: the filter said no more. */
static bool next_packet(struct mm_dialogue *d, double timeout, struct mm_packet *out, bool *closed,
	struct mm_fault *why)
{
	*closed = false;
	for (;;) {
		const void *bytes;
		size_t n;
		switch (mm_frame_next(&d->frame, out, why)) {
		case MM_FRAME_PACKET:
			if (d->transport.trace != NULL)
				d->transport.trace(d->transport.trace_self, false, out);
			return true;
		case MM_FRAME_BAD:
			return false;
		case MM_FRAME_MORE:
			break;
		}
		if (!mm_frame_keep(&d->frame, why) || !d->transport.read(d->transport.self, timeout, &bytes, &n, why))
			return false;
		if (n == 0) {
			*closed = true;
			size_t left = mm_frame_pending(&d->frame);
			return mm_fault_set(why, MM_FAULT_PEER, left > 0 ? "the filter closed the connection %zu bytes "
				"into a packet" : "the filter closed the connection", left);
		}
		if (!mm_frame_feed(&d->frame, bytes, n, why))
			return false;
	}
}

static bool is_content(uint8_t command)
{
	return strchr("LNBE", command) != NULL;
}

/* Takes replies until the final one. */
static bool wait_reply(struct mm_dialogue *d, uint8_t command, uint32_t nth, struct mm_mta_reply *out,
	struct mm_fault *why)
{
	const struct mm_command_row *row = mm_command_row(command);
	double timeout = is_content(command) ? d->plan->content_timeout_s : d->plan->command_timeout_s;
	struct mm_packet p;
	struct mm_fault text;
	bool closed;
	do {
		if (!next_packet(d, timeout, &p, &closed, &text)) {
			mm_fault_set(why, text.class, "in answer to %s: %s", row->name, text.text);
			return failed(d);
		}
		struct mm_dialogue_reply *e = note(d, row->stage, command, nth, &p);
		mm_frame_done(&d->frame);
		if (e == NULL)
			return no_memory(d, why);
		if (!mm_dialogue_reply_at(d->result, d->result->reply_count - 1, out)) {
			struct mm_text data = mm_dialogue_text(d->result, e->data);
			mm_mta_decode(&(struct mm_packet){ e->letter, (const uint8_t *)data.bytes, data.size }, out,
				&text);
			complain(d, e, &text);
			mm_fault_set(why, MM_FAULT_PEER, "in answer to %s: %s", row->name, text.text);
			return failed(d);
		}
		if (!mm_mta_accepts(&d->mta, command, out, &text)) {
			complain(d, e, &text);
			/* the store has moved */
			mm_dialogue_reply_at(d->result, d->result->reply_count - 1, out);
		}
		d->result->is_quarantined |= out->row->letter == SMFIR_QUARANTINE;
	} while (!out->row->is_final);
	return true;
}

/* ---- verdicts ---- */

static bool is_postfix(const struct mm_dialogue *d)
{
	return d->plan->kind != MM_MTA_SENDMAIL;
}

/* What the SMTP client hears for r and t without words (protocol 3.3). */
static const char *own_words(const struct mm_dialogue *d, enum mm_stage stage, enum mm_verdict_kind kind)
{
	bool in_content = (MM_STAGE_BIT(header) | MM_STAGE_BIT(eoh) | MM_STAGE_BIT(body)
		| MM_STAGE_BIT(eom)) & 1u << stage;
	if (kind == MM_VERDICT_accept || kind == MM_VERDICT_discard)
		return "250 2.0.0 Ok";
	if (kind == MM_VERDICT_tempfail)
		return is_postfix(d) ? "451 4.7.1 Service unavailable - try again later" : "451 4.3.2 Please "
			"try again later";
	if (stage == MM_STAGE_connect)
		return is_postfix(d) ? "554 ESMTP not accepting connections" : "554 ESMTP not accepting messages";
	if (stage == MM_STAGE_helo && !is_postfix(d))
		return "550 5.0.0 Command rejected";
	return in_content && !is_postfix(d) ? "554 5.7.1 Command rejected" : "550 5.7.1 Command rejected";
}

/* "%%" is "%" to both. A lone "%" makes Sendmail drop the text, Postfix the "%". */
static struct mm_span keep_worded(struct mm_dialogue_result *r, struct mm_text text)
{
	size_t start = r->store.size;
	for (size_t i = 0; i < text.size; i++) {
		if (text.bytes[i] == '%' && (++i == text.size || text.bytes[i] != '%')) {
			i--;
			continue;
		}
		mm_buffer_append_u8(&r->store, (uint8_t)text.bytes[i]);
	}
	return (struct mm_span){ (uint32_t)start, (uint32_t)(r->store.size - start) };
}

static enum mm_verdict_kind kind_of(const struct mm_mta_reply *r)
{
	switch (r->row->letter) {
	case SMFIR_ACCEPT:    return MM_VERDICT_accept;
	case SMFIR_REJECT:    return MM_VERDICT_reject;
	case SMFIR_TEMPFAIL:  return MM_VERDICT_tempfail;
	case SMFIR_DISCARD:   return MM_VERDICT_discard;
	case SMFIR_SKIP:      return MM_VERDICT_skip;
	case SMFIR_REPLYCODE: return r->first.size > 0 && r->first.bytes[0] == '4' ? MM_VERDICT_tempfail
		: MM_VERDICT_reject;
	default:              return MM_VERDICT_continue;
	}
}

static bool decide(struct mm_dialogue *d, enum mm_stage stage, enum mm_verdict_kind kind,
	const struct mm_mta_reply *reply)
{
	struct mm_dialogue_result *r = d->result;
	if (kind == MM_VERDICT_continue || kind == MM_VERDICT_skip)
		kind = MM_VERDICT_accept;       /* at end of message they are the same */
	struct mm_text copy = mm_text_of(own_words(d, stage, kind));
	struct mm_fault ignored;
	bool is_told = reply != NULL && reply->row->letter == SMFIR_REPLYCODE
		&& !(stage == MM_STAGE_connect && !is_postfix(d));      /* Sendmail words a refused connection itself */
	char *text = NULL;
	if (is_told && mm_mta_code_is_good(reply->first, &ignored)) {
		text = malloc(reply->first.size);               /* out of the store that keep_worded() moves */
		if (text == NULL)
			return false;
		memcpy(text, reply->first.bytes, reply->first.size);
		copy = (struct mm_text){ text, reply->first.size };
	}
	r->is_decided = true;
	r->verdict = kind;
	r->stage = stage;
	r->text = keep_worded(r, copy);
	r->code = 0;
	for (size_t i = 0; i < 3 && i < copy.size; i++)
		r->code = r->code * 10 + (unsigned)(copy.bytes[i] - '0');
	free(text);
	return !r->store.failed;
}

/* ---- one command ---- */

struct answer {
	enum mm_verdict_kind kind;      /* continue when nothing was asked */
	struct mm_mta_reply  reply;     /* row NULL when nothing was asked */
};

/* The command's own packet stands in d->out, if it is sent at all. */
static bool finish_command(struct mm_dialogue *d, uint8_t letter, uint32_t nth, struct answer *a, struct mm_fault *why)
{
	*a = (struct answer){ .kind = MM_VERDICT_continue };
	if (!mm_mta_sends(&d->mta, letter) || !mm_mta_waits(&d->mta, letter))
		return d->out.size < WRITE_AT || flush(d, why);
	if (!flush(d, why) || !wait_reply(d, letter, nth, &a->reply, why))
		return false;
	a->kind = kind_of(&a->reply);
	return true;
}

/* Writes macros and, when it is sent, lets write() append the command. Packets are traced as they are written. */
static bool tell(struct mm_dialogue *d, uint8_t letter, uint32_t nth,
	void (*write)(struct mm_dialogue *, uint8_t, uint32_t), struct answer *a, struct mm_fault *why)
{
	size_t from = d->out.size;
	mm_mta_write_macros_before(&d->facts, letter, &d->out);
	if (mm_mta_sends(&d->mta, letter))
		write(d, letter, nth);
	trace_from(d, from);
	return finish_command(d, letter, nth, a, why);
}

static void write_connect(struct mm_dialogue *d, uint8_t letter, uint32_t nth)
{
	char address[300] = "";
	(void)letter, (void)nth;
	if (d->plan->client_address != NULL)
		snprintf(address, sizeof address, "%s%s", mm_mta_address_prefix(&d->facts), d->plan->client_address);
	mm_mta_write_connect(&d->out, mm_mta_client_name(&d->facts), d->plan->family, d->plan->client_port,
		mm_text_of(address));
}

static void write_line(struct mm_dialogue *d, uint8_t letter, uint32_t nth)
{
	(void)nth;
	mm_mta_write_text(&d->out, letter, mm_text_of(letter == 'H' ? d->plan->helo : d->plan->unknown));
}

static void write_sender(struct mm_dialogue *d, uint8_t letter, uint32_t nth)
{
	(void)nth;
	mm_mta_write_address(&d->out, letter, mm_mail_text(d->mail, d->mail->sender),
		mm_mail_text(d->mail, d->mail->sender_params));
}

static void write_recipient(struct mm_dialogue *d, uint8_t letter, uint32_t nth)
{
	const struct mm_mail_recipient *r = &d->mail->recipients[nth];
	mm_mta_write_address(&d->out, letter, mm_mail_text(d->mail, r->address), mm_mail_text(d->mail, r->params));
}

static void write_field(struct mm_dialogue *d, uint8_t letter, uint32_t nth)
{
	const struct mm_mail_field *f = &d->mail->fields[nth];
	(void)letter;
	mm_mta_write_field(&d->mta, &d->out, mm_mail_text(d->mail, f->name), mm_mail_text(d->mail, f->value));
}

static void write_chunk(struct mm_dialogue *d, uint8_t letter, uint32_t nth)
{
	size_t at = (size_t)nth * MM_CHUNK_SIZE, left = d->mail->body.size - at;
	mm_mta_write_bytes(&d->out, letter, d->mail->body.bytes + at, left < MM_CHUNK_SIZE ? left : MM_CHUNK_SIZE);
}

static void write_bare(struct mm_dialogue *d, uint8_t letter, uint32_t nth)
{
	(void)nth;
	mm_mta_write_bytes(&d->out, letter, NULL, 0);
}

/* Abort and quit. Sendmail sends no abort to a filter it does not count as in a message: one that promised silence at
 * MAIL and has seen no content (protocol 5.6). */
static void say(struct mm_dialogue *d, uint8_t letter)
{
	if (letter == 'A' && !is_postfix(d) && !d->is_begun)
		return;
	size_t from = d->out.size;
	write_bare(d, letter, 0);
	trace_from(d, from);
}

/* ---- the session ---- */

static bool negotiate(struct mm_dialogue *d, struct mm_fault *why)
{
	struct mm_mta_reply r;
	struct mm_fault text;
	mm_mta_write_offer(&d->out, &d->plan->offer);
	trace_from(d, 0);
	if (!flush(d, why) || !wait_reply(d, 'O', 0, &r, why))
		return false;
	if (mm_mta_agree(&d->mta, &r, &text))
		return true;
	mm_fault_set(why, text.class, "%s", text.text);
	return failed(d);
}

/* accept and refusals at connect and helo are for the whole session (protocol 3.3). Discard means nothing there. */
static bool decide_session(struct mm_dialogue *d, enum mm_stage stage, const struct answer *a, struct mm_fault *why)
{
	bool unfiltered = a->kind == MM_VERDICT_discard && stage == MM_STAGE_connect && !is_postfix(d);
	if (!unfiltered && (a->kind == MM_VERDICT_continue || a->kind == MM_VERDICT_skip
	    || a->kind == MM_VERDICT_discard))
		return true;
	if (!decide(d, stage, unfiltered ? MM_VERDICT_accept : a->kind, &a->reply))
		return no_memory(d, why);
	d->is_over = true;
	d->says_quit = !is_postfix(d);
	d->shared.is_decided = true;
	d->shared.verdict = d->result->verdict;
	d->shared.stage = stage;
	d->shared.code = d->result->code;
	struct mm_text text = mm_dialogue_text(d->result, d->result->text);
	d->shared.text = keep(&d->shared, text.bytes, text.size);
	return true;
}

bool mm_dialogue_open(struct mm_dialogue *d, struct mm_dialogue_result *result, struct mm_fault *why)
{
	struct answer a;
	d->result = result;
	if (!negotiate(d, why) || !tell(d, 'C', 0, write_connect, &a, why)
	    || !decide_session(d, MM_STAGE_connect, &a, why))
		return false;
	if (!d->is_over && d->plan->helo != NULL) {
		d->said_helo = true;
		if (!tell(d, 'H', 0, write_line, &a, why) || !decide_session(d, MM_STAGE_helo, &a, why))
			return false;
	}
	if (!d->is_over && d->plan->unknown != NULL && !tell(d, 'U', 0, write_line, &a, why))
		return false;
	return true;
}

/* ---- one message ---- */

enum step { STEP_FAILED, STEP_ON, STEP_OVER };

/* A stage whose verdict is for the whole message. */
static enum step after(struct mm_dialogue *d, enum mm_stage stage, const struct answer *a, struct mm_fault *why)
{
	if (a->kind == MM_VERDICT_continue || a->kind == MM_VERDICT_skip)
		return STEP_ON;
	if (!decide(d, stage, a->kind, &a->reply)) {
		no_memory(d, why);
		return STEP_FAILED;
	}
	return STEP_OVER;
}

static enum step tell_one(struct mm_dialogue *d, uint8_t letter, void (*write)(struct mm_dialogue *, uint8_t, uint32_t),
	struct mm_fault *why)
{
	struct answer a;
	if (!tell(d, letter, 0, write, &a, why))
		return STEP_FAILED;
	return after(d, mm_command_row(letter)->stage, &a, why);
}

static enum step tell_sender(struct mm_dialogue *d, struct mm_fault *why)
{
	d->facts.in_envelope = true;
	enum step step = tell_one(d, 'M', write_sender, why);
	d->is_begun = step == STEP_ON && mm_mta_sends(&d->mta, 'M') && mm_mta_waits(&d->mta, 'M');
	return step;
}

static enum step tell_recipients(struct mm_dialogue *d, struct mm_fault *why)
{
	struct answer a;
	for (uint32_t i = 0; i < d->mail->recipient_count; i++) {
		d->facts.recipient = mm_mail_text(d->mail, d->mail->recipients[i].address);
		if (!tell(d, 'R', i, write_recipient, &a, why))
			return STEP_FAILED;
		bool is_refused = a.kind == MM_VERDICT_reject || a.kind == MM_VERDICT_tempfail;
		d->facts.recipients_taken += !is_refused;
		d->result->recipients_refused += is_refused;
		if (is_refused && i + 1 == d->mail->recipient_count && d->facts.recipients_taken == 0) {
			d->owes_abort = !is_postfix(d);         /* the client has nobody left: RSET or QUIT */
			return after(d, MM_STAGE_rcpt, &a, why);
		}
		if (is_refused)
			continue;
		enum step step = after(d, MM_STAGE_rcpt, &a, why);
		if (step != STEP_ON) {
			if (step == STEP_OVER && a.kind == MM_VERDICT_discard && !is_postfix(d))
				say(d, 'A');                    /* protocol 3.3: to Sendmail the
				                                 * message is over at once */
			return step;
		}
	}
	return STEP_ON;
}

static enum step tell_data(struct mm_dialogue *d, struct mm_fault *why)
{
	return tell_one(d, 'T', write_bare, why);
}

static enum step tell_header(struct mm_dialogue *d, struct mm_fault *why)
{
	struct answer a;
	d->is_begun = true;
	for (uint32_t i = 0; i < d->mail->field_count && mm_mta_sends(&d->mta, 'L'); i++) {
		if (d->mail->fields[i].is_own)
			continue;
		if (!tell(d, 'L', i, write_field, &a, why))
			return STEP_FAILED;
		enum step step = after(d, MM_STAGE_header, &a, why);
		if (step != STEP_ON)
			return step;
		if (a.kind == MM_VERDICT_skip && is_postfix(d))
			break;                          /* Postfix: no more of this kind. Sendmail
			                                 * sends them all the same */
	}
	return STEP_ON;
}

static enum step tell_eoh(struct mm_dialogue *d, struct mm_fault *why)
{
	return tell_one(d, 'N', write_bare, why);
}

static enum step tell_body(struct mm_dialogue *d, struct mm_fault *why)
{
	struct answer a;
	for (uint32_t i = 0; (size_t)i * MM_CHUNK_SIZE < d->mail->body.size && mm_mta_sends(&d->mta, 'B'); i++) {
		if (!tell(d, 'B', i, write_chunk, &a, why))
			return STEP_FAILED;
		enum step step = after(d, MM_STAGE_body, &a, why);
		if (step != STEP_ON || a.kind == MM_VERDICT_skip)
			return step;
	}
	return STEP_ON;
}

static enum step tell_eom(struct mm_dialogue *d, struct mm_fault *why)
{
	struct answer a;
	if (!tell(d, 'E', 0, write_bare, &a, why))
		return STEP_FAILED;
	if (!decide(d, MM_STAGE_eom, a.kind, &a.reply)) {
		no_memory(d, why);
		return STEP_FAILED;
	}
	return STEP_OVER;
}

/* As a client and an MTA go through a message. */
static const struct {
	enum mm_stage stage;
	enum step   (*tell)(struct mm_dialogue *, struct mm_fault *);
} steps[] = {
	{ MM_STAGE_mail, tell_sender }, { MM_STAGE_rcpt, tell_recipients }, { MM_STAGE_data, tell_data },
	{ MM_STAGE_header, tell_header }, { MM_STAGE_eoh, tell_eoh }, { MM_STAGE_body, tell_body },
	{ MM_STAGE_eom, tell_eom },
};

static void begin_message(struct mm_dialogue *d, const struct mm_mail_file *mail)
{
	d->mail = d->facts.mail = mail;
	d->facts.number++;
	d->facts.recipients_taken = 0;
	d->facts.recipient = (struct mm_text){ NULL, 0 };
	d->facts.in_envelope = false;
	if (d->owes_abort)
		say(d, 'A');
	d->owes_abort = d->is_begun = false;
}

static bool share_verdict(struct mm_dialogue *d, struct mm_fault *why)
{
	struct mm_text text = mm_dialogue_text(&d->shared, d->shared.text);
	struct mm_dialogue_result *r = d->result;
	if (d->has_failed)
		return mm_fault_set(why, MM_FAULT_PEER, "the filter has failed before: no MTA talks to it again in "
			"this session");
	r->is_decided = d->shared.is_decided;
	r->verdict = d->shared.verdict;
	r->stage = d->shared.stage;
	r->code = d->shared.code;
	r->text = keep(r, text.bytes, text.size);
	return !r->store.failed || no_memory(d, why);
}

bool mm_dialogue_message(struct mm_dialogue *d, const struct mm_mail_file *mail, enum mm_stage stop_after,
	bool hangs_up, struct mm_dialogue_result *result, struct mm_fault *why)
{
	d->result = result;
	if (d->is_over)
		return share_verdict(d, why);
	begin_message(d, mail);
	enum step step = STEP_ON;
	for (size_t i = 0; step == STEP_ON && i < sizeof steps / sizeof *steps; i++) {
		step = steps[i].tell(d, why);
		if (step == STEP_ON && steps[i].stage == stop_after) {
			result->is_aborted = true;
			d->is_over = hangs_up;
			d->owes_abort = false;
			if (!hangs_up)
				say(d, 'A');
			return flush(d, why);
		}
	}
	d->facts.in_envelope = false;
	if (step == STEP_FAILED)
		return false;
	if (is_postfix(d))
		say(d, 'A');                    /* behind every message (protocol 2.14) */
	/* 421 ends the SMTP session with either MTA */
	if (result->code == 421) {
		d->is_over = d->says_quit = true;
		d->shared.is_decided = true;
		d->shared.verdict = result->verdict;
		d->shared.stage = result->stage;
		d->shared.code = result->code;
		struct mm_text text = mm_dialogue_text(result, result->text);
		d->shared.text = keep(&d->shared, text.bytes, text.size);
	}
	return flush(d, why);
}

bool mm_dialogue_quit(struct mm_dialogue *d, struct mm_dialogue_result *result, struct mm_fault *why)
{
	struct mm_packet p;
	struct mm_fault text;
	bool closed;
	d->result = result;
	if (d->is_over && !d->says_quit)
		return true;
	if (is_postfix(d) && d->said_helo)
		say(d, 'A');
	say(d, 'Q');
	if (!flush(d, why))
		return false;
	while (next_packet(d, CLOSE_TIMEOUT, &p, &closed, &text)) {
		struct mm_dialogue_reply *e = note(d, MM_STAGE_close, 'Q', 0, &p);
		mm_frame_done(&d->frame);
		if (e == NULL)
			return no_memory(d, why);
		mm_fault_set(&text, MM_FAULT_PEER, "a reply that no command asked for: it would have answered "
			"the next one");
		complain(d, e, &text);
	}
	d->is_over = true;
	d->says_quit = false;
	if (!closed)
		return mm_fault_set(why, text.class, "after quit: %s", text.text);
	return true;
}

/* ---- what becomes of the message ---- */

bool mm_dialogue_apply(const struct mm_dialogue *d, const struct mm_dialogue_result *r, struct mm_mail_file *to,
	struct mm_fault *why)
{
	bool space = d->mta.agreed.steps & SMFIP_HDR_LEADSPC;
	if (!r->is_decided || r->verdict != MM_VERDICT_accept)
		return true;
	if (!mm_mail_edit_take_in(to, d->plan->kind, why))
		return false;
	for (uint32_t i = 0; i < r->reply_count; i++) {
		struct mm_mta_reply reply;
		if (r->replies[i].command != 'E' || !mm_dialogue_reply_at(r, i, &reply) || reply.row->is_final)
			continue;
		if (!mm_mail_edit_apply(to, d->plan->kind, space, &reply, why))
			return false;
	}
	return true;
}
