#include "mta/dialogue.h"

#include "base/array.h"
#include "base/bounds.h"
#include "mta/player.h"

#include <stdlib.h>
#include <time.h>

#define WRITE_AT      (256u << 10)      /* bytes of commands without answers that are written together */
#define CLOSE_TIMEOUT 5.0               /* seconds for the filter to close after Q */

struct mm_dialogue {
	const struct mm_dialogue_plan *plan;    /* borrowed */
	struct mm_dialogue_transport   transport;
	struct mm_player              *player;  /* owned: makes the commands and evaluates the replies */
	size_t                         traced;  /* bytes of the player's output that were shown */
	uint32_t                       noted;   /* packets heard in answer to this command that are
	                                         * already in the result */
	struct mm_dialogue_result     *result;  /* borrowed while a call runs */
	double                         asked_at;        /* when the last command was written */

	/* the SMTP session */
	bool                           is_over;         /* no more contact: decided at connect or helo, or failed */
	bool                           has_failed;
	bool                           has_heard;       /* anything from the filter */
	bool                           says_quit;       /* Q is still due although the session is over */
	struct mm_dialogue_result      shared;          /* decided for the session; owned */

	/* one message */
	const struct mm_mail_file     *mail;            /* borrowed */
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

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Who decided the reply that came last. */
static struct mm_span keep_decided_by(struct mm_dialogue *d, struct mm_dialogue_result *r)
{
	const char *by = d->transport.decided_by != NULL ? d->transport.decided_by(d->transport.self) : "";
	return by[0] != '\0' ? keep(r, by, strlen(by)) : (struct mm_span){ 0, 0 };
}

static bool is_verdict(uint8_t letter)
{
	return letter == SMFIR_ACCEPT || letter == SMFIR_REJECT || letter == SMFIR_DISCARD || letter == SMFIR_TEMPFAIL
		|| letter == SMFIR_REPLYCODE;
}

static bool note(struct mm_dialogue *d, uint8_t command, uint32_t nth, const struct mm_packet *p,
	struct mm_text complaint)
{
	struct mm_dialogue_result *r = d->result;
	if (!mm_array_grow(&r->replies, r->reply_count, &r->reply_capacity, sizeof *r->replies))
		return false;
	r->replies[r->reply_count] = (struct mm_dialogue_reply){
		.stage = mm_command_row(command)->stage, .command = command, .nth = nth, .letter = p->letter,
		.data = keep(r, p->data, p->size), .complaint = keep(r, complaint.bytes, complaint.size),
		.seconds = now() - d->asked_at,
	};
	if (is_verdict(p->letter))
		r->replies[r->reply_count].decided_by = keep_decided_by(d, r);
	if (r->store.failed)
		return false;
	r->reply_count++;
	r->complaint_count += complaint.size > 0;
	r->is_quarantined |= p->letter == SMFIR_QUARANTINE;
	return true;
}

/* ---- life ---- */

struct mm_dialogue *mm_dialogue_new(const struct mm_dialogue_plan *plan, struct mm_dialogue_transport transport)
{
	struct mm_dialogue *d = calloc(1, sizeof *d);
	if (d == NULL)
		return NULL;
	d->plan = plan;
	d->transport = transport;
	d->player = mm_player_open(&(struct mm_player_profile){
		.kind = plan->kind == MM_MTA_SENDMAIL ? "sendmail" : "postfix", .name = plan->mta_name,
		.version = plan->offer.version, .actions = plan->offer.actions, .steps = plan->offer.steps,
	}, NULL);
	if (d->player == NULL) {
		free(d);
		return NULL;
	}
	mm_player_set_macros(d->player, plan->macros, plan->macro_count);
	return d;
}

void mm_dialogue_free(struct mm_dialogue *d)
{
	if (d == NULL)
		return;
	mm_player_close(d->player);
	mm_dialogue_result_free(&d->shared);
	free(d);
}

bool mm_dialogue_has_failed(const struct mm_dialogue *d)
{
	return d->has_failed;
}

const struct mm_mta *mm_dialogue_mta(const struct mm_dialogue *d)
{
	return mm_player_mta(d->player);
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

/* The player cannot go on. */
static bool player_failed(struct mm_dialogue *d, struct mm_fault *why)
{
	const struct mm_error *error = mm_player_error(d->player);
	mm_fault_set(why, (enum mm_fault_class)error->code, "%s", error->text);
	return failed(d);
}

/* Shows the commands that the player has written since. */
static void trace_commands(struct mm_dialogue *d)
{
	size_t size;
	const uint8_t *bytes = mm_player_output(d->player, &size);
	if (d->transport.trace != NULL && size > d->traced) {
		struct mm_frame f;
		struct mm_packet p;
		struct mm_fault ignored;
		mm_frame_init(&f, UINT32_MAX - 1);
		mm_frame_feed(&f, bytes + d->traced, size - d->traced, &ignored);
		while (mm_frame_next(&f, &p, &ignored) == MM_FRAME_PACKET) {
			d->transport.trace(d->transport.trace_self, true, &p);
			mm_frame_done(&f);
		}
		mm_frame_free(&f);
	}
	d->traced = size;
}

static bool flush(struct mm_dialogue *d, struct mm_fault *why)
{
	size_t size;
	trace_commands(d);
	const void *bytes = mm_player_output(d->player, &size);
	d->asked_at = now();
	bool ok = size == 0 || d->transport.write(d->transport.self, bytes, size, why);
	mm_player_consume(d->player, size);
	d->traced = 0;
	return ok || failed(d);
}

/* Copies the packets that the player has heard since into the result. */
static bool note_heard(struct mm_dialogue *d, uint8_t command, uint32_t nth)
{
	struct mm_packet p;
	struct mm_text complaint;
	for (; mm_player_heard(d->player, d->noted, &p, &complaint); d->noted++) {
		if (d->transport.trace != NULL)
			d->transport.trace(d->transport.trace_self, false, &p);
		if (!note(d, command, nth, &p, complaint))
			return false;
	}
	return true;
}

static bool no_milter(const char *bytes, size_t n, struct mm_fault *why)
{
	size_t size = 0;
	while (size < n && size < 60 && bytes[size] >= ' ' && bytes[size] < 0x7f)
		size++;
	return mm_fault_set(why, MM_FAULT_PEER, "%s answers there (\"%.*s\"), not a milter; give the address that "
		"smtpd_milters or INPUT_MAIL_FILTER name", mm_mta_other_service(bytes, n), (int)size, bytes);
}

/* Waits for bytes of the filter and passes them to the player. *closed: there will be no more. */
static bool listen(struct mm_dialogue *d, double timeout, bool *closed, struct mm_fault *why)
{
	const void *bytes;
	size_t n;
	*closed = false;
	if (!d->transport.read(d->transport.self, timeout, &bytes, &n, why))
		return false;
	if (n == 0) {
		*closed = true;
		size_t left = mm_player_pending(d->player);
		return mm_fault_set(why, MM_FAULT_PEER, left > 0 ? "the filter closed the connection %zu bytes "
			"into a packet" : "the filter closed the connection", left);
	}
	bool is_first = !d->has_heard;
	d->has_heard = true;
	if (is_first && mm_mta_other_service(bytes, n) != NULL)
		return no_milter(bytes, n, why);
	mm_player_hear(d->player, bytes, n);
	return true;
}

static bool is_content(uint8_t command)
{
	return command == SMFIC_HEADER || command == SMFIC_EOH || command == SMFIC_BODY || command == SMFIC_BODYEOB;
}

/* The player has written a command: passes it to the filter, and the reply, if one is due, to the player. */
static bool exchange(struct mm_dialogue *d, uint8_t command, uint32_t nth, struct mm_fault *why)
{
	double timeout = is_content(command) ? d->plan->content_timeout_s : d->plan->command_timeout_s;
	struct mm_fault text;
	bool closed;
	size_t size;
	d->noted = 0;
	trace_commands(d);
	mm_player_output(d->player, &size);
	if ((mm_player_is_waiting(d->player) || size >= WRITE_AT) && !flush(d, why))
		return false;
	for (;;) {
		if (!note_heard(d, command, nth))
			return no_memory(d, why);
		if (mm_player_error(d->player) != NULL)
			return player_failed(d, why);
		if (!mm_player_is_waiting(d->player))
			return true;
		if (!listen(d, timeout, &closed, &text)) {
			mm_fault_set(why, text.class, "in answer to %s: %s", mm_command_row(command)->name, text.text);
			return failed(d);
		}
	}
}

/* ---- verdicts ---- */

static bool is_postfix(const struct mm_dialogue *d)
{
	return d->plan->kind != MM_MTA_SENDMAIL;
}

/* The player's reply is the last word on the message, or the session. */
static bool decide(struct mm_dialogue *d, enum mm_stage stage)
{
	const struct mm_player_reply *reply = mm_player_reply(d->player);
	struct mm_dialogue_result *r = d->result;
	r->is_decided = true;
	r->verdict = mm_player_verdict(d->player);
	r->stage = stage;
	r->code = reply->code;
	r->text = keep(r, reply->text, reply->text_size);
	r->decided_by = keep_decided_by(d, r);
	return !r->store.failed;
}

/* Every further message of the session gets the same. */
static void share(struct mm_dialogue *d)
{
	struct mm_text text = mm_dialogue_text(d->result, d->result->text);
	struct mm_text by = mm_dialogue_text(d->result, d->result->decided_by);
	d->is_over = true;
	d->shared.is_decided = true;
	d->shared.verdict = d->result->verdict;
	d->shared.stage = d->result->stage;
	d->shared.code = d->result->code;
	d->shared.text = keep(&d->shared, text.bytes, text.size);
	d->shared.decided_by = keep(&d->shared, by.bytes, by.size);
}

/* ---- the session ---- */

/* Accept and refusals at connect and helo apply to the whole session (protocol 3.3). */
static bool decide_session(struct mm_dialogue *d, enum mm_stage stage, struct mm_fault *why)
{
	bool is_unfiltered = mm_player_is_unfiltered(d->player);
	if (!is_unfiltered && !mm_player_reply(d->player)->ends_session)
		return true;
	if (!decide(d, stage))
		return no_memory(d, why);
	if (is_unfiltered) {
		struct mm_text text = mm_text_of("250 2.0.0 Ok");
		d->result->verdict = MM_VERDICT_accept;
		d->result->code = 250;
		d->result->text = keep(d->result, text.bytes, text.size);
	}
	share(d);
	d->says_quit = !is_postfix(d);
	return true;
}

static bool connect_client(struct mm_dialogue *d, struct mm_fault *why)
{
	const struct mm_dialogue_plan *plan = d->plan;
	mm_player_connect(d->player, &(struct mm_player_client){
		.family = mm_family_name(plan->family), .host = plan->client_host, .address = plan->client_address,
		.port = plan->client_port, .auth_user = plan->auth_user,
	});
	return exchange(d, SMFIC_CONNECT, 0, why) && decide_session(d, MM_STAGE_connect, why);
}

static bool say_helo(struct mm_dialogue *d, struct mm_fault *why)
{
	if (d->is_over || d->plan->helo == NULL)
		return true;
	mm_player_helo(d->player, d->plan->helo, strlen(d->plan->helo));
	return exchange(d, SMFIC_HELO, 0, why) && decide_session(d, MM_STAGE_helo, why);
}

static bool say_unknown(struct mm_dialogue *d, struct mm_fault *why)
{
	if (d->is_over || d->plan->unknown == NULL)
		return true;
	mm_player_unknown(d->player, d->plan->unknown, strlen(d->plan->unknown));
	return exchange(d, SMFIC_UNKNOWN, 0, why);
}

bool mm_dialogue_open(struct mm_dialogue *d, struct mm_dialogue_result *result, struct mm_fault *why)
{
	d->result = result;
	mm_player_negotiate(d->player);
	return exchange(d, SMFIC_OPTNEG, 0, why) && connect_client(d, why) && say_helo(d, why) && say_unknown(d, why);
}

/* ---- one message ---- */

enum step { STEP_FAILED, STEP_ON, STEP_OVER };

/* The player has written a command. */
static enum step play(struct mm_dialogue *d, uint8_t command, uint32_t nth, struct mm_fault *why)
{
	if (!exchange(d, command, nth, why))
		return STEP_FAILED;
	if (!mm_player_reply(d->player)->ends_message)
		return STEP_ON;
	if (!decide(d, mm_command_row(command)->stage)) {
		no_memory(d, why);
		return STEP_FAILED;
	}
	return STEP_OVER;
}

static enum step tell_sender(struct mm_dialogue *d, struct mm_fault *why)
{
	struct mm_text address = mm_mail_text(d->mail, d->mail->sender);
	struct mm_text params = mm_mail_text(d->mail, d->mail->sender_params);
	mm_player_mail(d->player, address.bytes, address.size, params.bytes, params.size);
	return play(d, SMFIC_MAIL, 0, why);
}

static enum step tell_recipients(struct mm_dialogue *d, struct mm_fault *why)
{
	for (uint32_t i = 0; i < d->mail->recipient_count; i++) {
		struct mm_text address = mm_mail_text(d->mail, d->mail->recipients[i].address);
		struct mm_text params = mm_mail_text(d->mail, d->mail->recipients[i].params);
		mm_player_rcpt(d->player, address.bytes, address.size, params.bytes, params.size);
		enum step step = play(d, SMFIC_RCPT, i, why);
		if (step != STEP_ON)
			return step;
		enum mm_verdict_kind kind = mm_player_verdict(d->player);
		d->result->recipients_refused += kind == MM_VERDICT_reject || kind == MM_VERDICT_tempfail;
	}
	if (d->mail->recipient_count == 0 || d->result->recipients_refused < d->mail->recipient_count)
		return STEP_ON;
	mm_player_no_recipients(d->player);
	return play(d, SMFIC_RCPT, d->mail->recipient_count - 1, why);
}

static enum step tell_data(struct mm_dialogue *d, struct mm_fault *why)
{
	mm_player_data(d->player);
	return play(d, SMFIC_DATA, 0, why);
}

static enum step tell_header(struct mm_dialogue *d, struct mm_fault *why)
{
	enum step step = STEP_ON;
	for (uint32_t i = 0; i < d->mail->field_count && step == STEP_ON; i++) {
		const struct mm_mail_field *f = &d->mail->fields[i];
		struct mm_text name = mm_mail_text(d->mail, f->name), value = mm_mail_text(d->mail, f->value);
		if (f->is_own)
			continue;
		mm_player_header(d->player, name.bytes, name.size, value.bytes, value.size);
		step = play(d, SMFIC_HEADER, i, why);
	}
	return step;
}

static enum step tell_eoh(struct mm_dialogue *d, struct mm_fault *why)
{
	mm_player_eoh(d->player);
	return play(d, SMFIC_EOH, 0, why);
}

static enum step tell_body(struct mm_dialogue *d, struct mm_fault *why)
{
	enum step step = STEP_ON;
	for (size_t i = 0; i * MM_CHUNK_SIZE < d->mail->body.size && step == STEP_ON; i++) {
		size_t left = d->mail->body.size - i * MM_CHUNK_SIZE;
		mm_player_body(d->player, d->mail->body.bytes + i * MM_CHUNK_SIZE,
			left < MM_CHUNK_SIZE ? left : MM_CHUNK_SIZE);
		step = play(d, SMFIC_BODY, (uint32_t)i, why);
	}
	return step;
}

static enum step tell_eom(struct mm_dialogue *d, struct mm_fault *why)
{
	mm_player_eom(d->player);
	return play(d, SMFIC_BODYEOB, 0, why);
}

/* The stages of a message, in the order of a client and an MTA. */
static const struct {
	enum mm_stage stage;
	enum step   (*tell)(struct mm_dialogue *, struct mm_fault *);
} steps[] = {
	{ MM_STAGE_mail, tell_sender }, { MM_STAGE_rcpt, tell_recipients }, { MM_STAGE_data, tell_data },
	{ MM_STAGE_header, tell_header }, { MM_STAGE_eoh, tell_eoh }, { MM_STAGE_body, tell_body },
	{ MM_STAGE_eom, tell_eom },
};

static bool share_verdict(struct mm_dialogue *d, struct mm_fault *why)
{
	struct mm_text text = mm_dialogue_text(&d->shared, d->shared.text);
	struct mm_text by = mm_dialogue_text(&d->shared, d->shared.decided_by);
	struct mm_dialogue_result *r = d->result;
	if (d->has_failed)
		return mm_fault_set(why, MM_FAULT_PEER, "the filter has failed before: an MTA does not use it again in "
			"this session");
	r->is_decided = d->shared.is_decided;
	r->verdict = d->shared.verdict;
	r->stage = d->shared.stage;
	r->code = d->shared.code;
	r->text = keep(r, text.bytes, text.size);
	r->decided_by = keep(r, by.bytes, by.size);
	return !r->store.failed || no_memory(d, why);
}

bool mm_dialogue_message(struct mm_dialogue *d, const struct mm_mail_file *mail, enum mm_stage stop_after,
	bool hangs_up, struct mm_dialogue_result *result, struct mm_fault *why)
{
	d->result = result;
	if (d->is_over)
		return share_verdict(d, why);
	d->mail = mail;
	enum step step = STEP_ON;
	for (size_t i = 0; step == STEP_ON && i < sizeof steps / sizeof *steps; i++) {
		step = steps[i].tell(d, why);
		if (step == STEP_ON && steps[i].stage == stop_after) {
			result->is_aborted = true;
			d->is_over = hangs_up;
			if (!hangs_up)
				mm_player_abort(d->player);
			return flush(d, why);
		}
	}
	if (step == STEP_FAILED)
		return false;
	if (mm_player_reply(d->player)->ends_session) {
		share(d);
		d->says_quit = true;
	}
	return flush(d, why);
}

bool mm_dialogue_quit(struct mm_dialogue *d, struct mm_dialogue_result *result, struct mm_fault *why)
{
	struct mm_fault text;
	bool closed = false;
	d->result = result;
	if (d->is_over && !d->says_quit)
		return true;
	mm_player_quit(d->player);
	d->noted = 0;
	if (!flush(d, why))
		return false;
	do {
		if (!note_heard(d, SMFIC_QUIT, 0))
			return no_memory(d, why);
		if (mm_player_error(d->player) != NULL)
			return player_failed(d, why);
	} while (listen(d, CLOSE_TIMEOUT, &closed, &text));
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
	bool space = mm_dialogue_mta(d)->agreed.steps & SMFIP_HDR_LEADSPC;
	if (!r->is_decided || r->verdict != MM_VERDICT_accept)
		return true;
	if (!mm_mail_edit_take_in(to, d->plan->kind, why))
		return false;
	for (uint32_t i = 0; i < r->reply_count; i++) {
		struct mm_mta_reply reply;
		if (r->replies[i].command != SMFIC_BODYEOB || !mm_dialogue_reply_at(r, i, &reply)
		    || reply.row->is_final)
			continue;
		if (!mm_mail_edit_apply(to, d->plan->kind, space, &reply, why))
			return false;
	}
	return true;
}
