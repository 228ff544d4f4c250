#include "mta/player.h"

#include "base/array.h"
#include "base/bounds.h"
#include "mta/mail_edit.h"

#include <stdio.h>
#include <stdlib.h>

struct heard {
	uint8_t        letter;
	struct mm_span data, complaint;         /* in the store; an empty complaint: none */
};

struct mm_player {
	/* the milter connection */
	struct mm_mta         mta;
	struct mm_frame       frame;
	struct mm_buffer      out;              /* owned: bytes not yet passed to the filter */
	struct mm_mta_facts   facts;            /* values of macros, including those of the SMTP
	                                         * session and the message */
	struct mm_mta_macro  *macros;           /* owned */
	bool                  is_bare;          /* no macros, and replies have no effect */
	bool                  has_failed, has_quit;
	struct mm_error       error;

	/* one command */
	uint8_t               command;          /* its letter */
	bool                  is_waiting;
	struct mm_buffer      store;            /* owned: the filter's packets, and complaints, each with a NUL */
	struct heard         *heard;            /* owned */
	uint32_t              heard_count, heard_capacity;
	enum mm_verdict_kind  kind;
	struct mm_player_reply reply;
	struct mm_buffer      words;            /* owned: the reply's text */

	/* the SMTP session */
	bool                  said_helo;
	bool                  is_unfiltered;    /* the filter has accepted the client for good */
	bool                  is_refused;       /* the client was refused */
	bool                  owes_abort;       /* Sendmail's RSET comes with the next message */

	/* one message */
	struct mm_mail_file   mail;             /* owned: the message as sent, with the accepted recipients */
	struct mm_buffer      recipient;        /* owned: the one being sent, then its parameters */
	size_t                recipient_size;
	bool                  is_told;          /* the filter may know of it */
	bool                  is_begun;         /* Sendmail: the filter has answered MAIL with continue, or
	                                         * content has been sent */
	bool                  skips_headers, skips_body;
	bool                  is_accepted;      /* and not yet edited */
	struct mm_buffer      written;          /* owned: the message as a file */
};

static bool is_postfix(const struct mm_player *p)
{
	return p->facts.kind != MM_MTA_SENDMAIL;
}

/* ---- faults ---- */

static void fail(struct mm_player *p, const struct mm_fault *why)
{
	p->has_failed = true;
	p->is_waiting = false;
	mm_fault_tell(why, &p->error);
}

static void no_memory(struct mm_player *p)
{
	struct mm_fault why;
	mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory");
	fail(p, &why);
}

const struct mm_error *mm_player_error(const struct mm_player *p)
{
	return p->has_failed ? &p->error : NULL;
}

/* ---- life ---- */

static int set_of_name(const char *name)
{
	for (int set = 0; name != NULL && set < MM_MACRO_SET_COUNT; set++)
		if (strcmp(mm_macro_set_name((enum mm_macro_set)set), name) == 0)
			return set;
	return -1;
}

static bool take_macros(struct mm_player *p, const struct mm_player_macro *given)
{
	size_t count = 0;
	while (given != NULL && given[count].name != NULL)
		count++;
	p->macros = calloc(count + 1, sizeof *p->macros);
	if (p->macros == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		p->macros[i] = (struct mm_mta_macro){
			.set = set_of_name(given[i].stage), .name = mm_text_of(given[i].name),
			.value = given[i].value != NULL ? mm_text_of(given[i].value) : (struct mm_text){ NULL, 0 },
		};
	mm_player_set_macros(p, p->macros, count);
	return true;
}

struct mm_player *mm_player_open(const struct mm_player_profile *profile, struct mm_error *error)
{
	struct mm_fault why;
	bool is_sendmail = strcmp(profile->kind, "sendmail") == 0;
	if (!is_sendmail && strcmp(profile->kind, "postfix") != 0) {
		mm_fault_set(&why, MM_FAULT_CONFIG, "there is no MTA \"%s\"; use postfix or sendmail", profile->kind);
		mm_fault_tell(&why, error);
		return NULL;
	}
	struct mm_player *p = calloc(1, sizeof *p);
	if (p == NULL || !take_macros(p, profile->macros)) {
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory");
		mm_fault_tell(&why, error);
		free(p);
		return NULL;
	}
	mm_mta_init(&p->mta, &(struct mm_offer){ profile->version, profile->actions, profile->steps });
	mm_frame_init(&p->frame, MM_PACKET_DATA_MAX_1M);        /* more than a filter may send, so that an
	                                                         * oversized packet can be shown */
	p->facts.kind = is_sendmail ? MM_MTA_SENDMAIL : MM_MTA_POSTFIX;
	p->facts.mta_name = profile->name;
	p->is_bare = profile->is_bare;
	p->facts.mta = &p->mta;
	p->facts.mail = &p->mail;
	p->reply = (struct mm_player_reply){ .stage = "negotiate", .verdict = "none" };
	return p;
}

void mm_player_close(struct mm_player *p)
{
	if (p == NULL)
		return;
	mm_mta_free(&p->mta);
	mm_frame_free(&p->frame);
	mm_mail_file_free(&p->mail);
	mm_buffer_free(&p->out);
	mm_buffer_free(&p->store);
	mm_buffer_free(&p->words);
	mm_buffer_free(&p->recipient);
	mm_buffer_free(&p->written);
	free(p->macros);
	free(p->heard);
	free(p);
}

void mm_player_set_macros(struct mm_player *p, const struct mm_mta_macro *macros, size_t count)
{
	p->facts.macros = macros;
	p->facts.macro_count = count;
}

void mm_player_count_from(struct mm_player *p, unsigned number)
{
	p->facts.number = number;
}

/* ---- what was heard ---- */

static struct mm_text stored(const struct mm_player *p, struct mm_span span)
{
	return (struct mm_text){ span.size > 0 ? (const char *)p->store.bytes + span.at : "", span.size };
}

static struct mm_span keep(struct mm_player *p, const void *bytes, size_t n)
{
	struct mm_span span = { (uint32_t)p->store.size, (uint32_t)n };
	mm_buffer_append_text(&p->store, bytes, n);
	return span;
}

bool mm_player_heard(const struct mm_player *p, uint32_t i, struct mm_packet *packet, struct mm_text *complaint)
{
	if (i >= p->heard_count)
		return false;
	struct mm_text data = stored(p, p->heard[i].data);
	*packet = (struct mm_packet){ p->heard[i].letter, (const uint8_t *)data.bytes, data.size };
	*complaint = stored(p, p->heard[i].complaint);
	return true;
}

/* Its texts are BORROWED from the store, which moves when a text is kept. */
static bool decode(const struct mm_player *p, uint32_t i, struct mm_mta_reply *out, struct mm_fault *why)
{
	struct mm_packet packet;
	struct mm_text complaint;
	return mm_player_heard(p, i, &packet, &complaint) && mm_mta_decode(&packet, out, why);
}

static bool note(struct mm_player *p, const struct mm_packet *packet)
{
	if (!mm_array_grow(&p->heard, p->heard_count, &p->heard_capacity, sizeof *p->heard))
		return false;
	p->heard[p->heard_count] = (struct heard){
		.letter = packet->letter, .data = keep(p, packet->data, packet->size),
	};
	p->heard_count += !p->store.failed;
	return !p->store.failed;
}

static void complain(struct mm_player *p, const struct mm_fault *why)
{
	p->heard[p->heard_count - 1].complaint = keep(p, why->text, strlen(why->text));
}

static bool is_edit(const struct heard *h)
{
	return mm_mta_action_of(h->letter) != 0;
}

bool mm_player_edit(const struct mm_player *p, unsigned nth, struct mm_player_edit *out)
{
	struct mm_mta_reply r;
	struct mm_fault ignored;
	uint32_t i = 0;
	for (; i < p->heard_count; i++)
		if (is_edit(&p->heard[i]) && nth-- == 0)
			break;
	if (!decode(p, i, &r, &ignored))
		return false;
	bool is_field = mm_mta_reply_is_field(&r);
	if (is_field && p->mta.agreed.steps & SMFIP_HDR_LEADSPC && r.second.size > 0 && r.second.bytes[0] == ' ') {
		r.second.bytes++;
		r.second.size--;
	}
	*out = (struct mm_player_edit){
		.name = mm_mta_reply_word(&r), .has_index = r.row->letter == SMFIR_INSHEADER
			|| r.row->letter == SMFIR_CHGHEADER, .index = r.index,
		.first = r.first.bytes, .first_size = r.first.size,
		.second = r.second.bytes, .second_size = r.second.size,
	};
	return true;
}

/* ---- bytes ---- */

const void *mm_player_output(const struct mm_player *p, size_t *size)
{
	*size = p->out.failed ? 0 : p->out.size;
	return p->out.bytes;
}

void mm_player_consume(struct mm_player *p, size_t size)
{
	mm_buffer_consume(&p->out, size < p->out.size ? size : p->out.size);
}

bool mm_player_is_waiting(const struct mm_player *p)
{
	return p->is_waiting;
}

size_t mm_player_pending(const struct mm_player *p)
{
	return mm_frame_pending(&p->frame);
}

/* ---- verdicts ---- */

const struct mm_player_reply *mm_player_reply(const struct mm_player *p)
{
	return &p->reply;
}

enum mm_verdict_kind mm_player_verdict(const struct mm_player *p)
{
	return p->kind;
}

bool mm_player_is_unfiltered(const struct mm_player *p)
{
	return p->is_unfiltered;
}

/* The text for r and t without a text (protocol 3.3). */
static const char *own_words(const struct mm_player *p, enum mm_stage stage, enum mm_verdict_kind kind)
{
	bool in_content = (MM_STAGE_BIT(header) | MM_STAGE_BIT(eoh) | MM_STAGE_BIT(body)
		| MM_STAGE_BIT(eom)) & 1u << stage;
	if (kind == MM_VERDICT_accept || kind == MM_VERDICT_discard)
		return "250 2.0.0 Ok";
	if (kind == MM_VERDICT_tempfail)
		return is_postfix(p) ? "451 4.7.1 Service unavailable - try again later" : "451 4.3.2 Please "
			"try again later";
	if (stage == MM_STAGE_connect)
		return is_postfix(p) ? "554 ESMTP not accepting connections" : "554 ESMTP not accepting messages";
	if (stage == MM_STAGE_helo && !is_postfix(p))
		return "550 5.0.0 Command rejected";
	return in_content && !is_postfix(p) ? "554 5.7.1 Command rejected" : "550 5.7.1 Command rejected";
}

/* Both read "%%" as "%". At a lone "%" Sendmail drops the text, Postfix drops the "%". */
static void keep_worded(struct mm_player *p, struct mm_text text)
{
	mm_buffer_clear(&p->words);
	for (size_t i = 0; i < text.size; i++) {
		if (text.bytes[i] == '%' && (++i == text.size || text.bytes[i] != '%')) {
			i--;
			continue;
		}
		mm_buffer_append_u8(&p->words, (uint8_t)text.bytes[i]);
	}
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

static enum mm_stage stage_of(const struct mm_player *p)
{
	return mm_command_row(p->command)->stage;
}

/* The filter's own text, if it gave one that can be passed on. Sendmail words a refused connection itself. */
static struct mm_text filters_words(const struct mm_player *p)
{
	struct mm_mta_reply r;
	struct mm_fault ignored;
	if (p->heard_count > 0 && decode(p, p->heard_count - 1, &r, &ignored) && r.row->letter == SMFIR_REPLYCODE
	    && !(p->command == SMFIC_CONNECT && !is_postfix(p)) && mm_mta_code_is_good(r.first, &ignored))
		return r.first;
	return (struct mm_text){ NULL, 0 };
}

/* Makes the reply to the SMTP client. */
static void word(struct mm_player *p)
{
	struct mm_text text = filters_words(p);
	if (text.bytes == NULL)
		text = mm_text_of(own_words(p, stage_of(p), p->kind));
	keep_worded(p, text);
	p->reply.code = 0;
	for (size_t i = 0; i < 3 && i < p->words.size; i++)
		p->reply.code = p->reply.code * 10 + (unsigned)(p->words.bytes[i] - '0');
	p->reply.text = (const char *)p->words.bytes;
	p->reply.text_size = p->words.size;
	if (p->words.failed)
		no_memory(p);
}

/* ---- what follows from a verdict ---- */

static bool is_refusal(const struct mm_player *p)
{
	return p->kind == MM_VERDICT_reject || p->kind == MM_VERDICT_tempfail;
}

/* Writes an abort. Sendmail sends none to a filter that it does not count as inside a message: one that promised
 * silence at MAIL and has seen no content (protocol 5.6). */
static void write_abort(struct mm_player *p)
{
	if (is_postfix(p) || p->is_begun)
		mm_mta_write_bytes(&p->out, SMFIC_ABORT, NULL, 0);
}

static void forget_message(struct mm_player *p)
{
	p->facts.in_envelope = p->skips_headers = p->skips_body = false;
}

/* Accept and refusals at connect and helo apply to the whole session (protocol 3.3). Discard means nothing there,
 * except to Sendmail at connect. */
static void after_client(struct mm_player *p)
{
	p->is_refused |= is_refusal(p);
	p->is_unfiltered |= p->kind == MM_VERDICT_accept
		|| (p->kind == MM_VERDICT_discard && p->command == SMFIC_CONNECT && !is_postfix(p));
	p->reply.ends_session = p->is_refused;
}

static void end_message(struct mm_player *p)
{
	if (p->kind == MM_VERDICT_continue || p->kind == MM_VERDICT_skip)
		p->kind = MM_VERDICT_accept;            /* at end of message they are the same */
	p->reply.verdict = mm_verdict_name(p->kind);
	p->reply.ends_message = true;
	if (p->reply.text == NULL)
		word(p);
	p->is_accepted = p->kind == MM_VERDICT_accept;
	if (is_postfix(p) && p->is_told)
		write_abort(p);                         /* after every message (protocol 2.14) */
	p->reply.ends_session = p->reply.code == 421;   /* with either MTA */
	forget_message(p);
}

static void after_stage(struct mm_player *p)
{
	if (p->kind != MM_VERDICT_continue && p->kind != MM_VERDICT_skip)
		end_message(p);
}

static void after_sender(struct mm_player *p)
{
	p->is_told = !p->is_unfiltered;
	p->is_begun = p->kind == MM_VERDICT_continue && mm_mta_sends(&p->mta, SMFIC_MAIL)
		&& mm_mta_waits(&p->mta, SMFIC_MAIL);
	after_stage(p);
}

static void after_recipient(struct mm_player *p)
{
	if (is_refusal(p))
		return;
	const char *bytes = (const char *)p->recipient.bytes;
	struct mm_text address = { bytes, p->recipient_size };
	struct mm_text params = { bytes + p->recipient_size, p->recipient.size - p->recipient_size };
	p->facts.recipients_taken++;
	if (!mm_mail_file_put_recipient(&p->mail, address, params)) {
		no_memory(p);
		return;
	}
	if (p->kind == MM_VERDICT_discard && !is_postfix(p))
		write_abort(p);                         /* protocol 3.3: for Sendmail the message is over at once */
	after_stage(p);
}

static void after_header(struct mm_player *p)
{
	/* Postfix: no more of this kind. Sendmail still sends them */
	p->skips_headers |= p->kind == MM_VERDICT_skip && is_postfix(p);
	after_stage(p);
}

static void after_body(struct mm_player *p)
{
	p->skips_body |= p->kind == MM_VERDICT_skip;
	after_stage(p);
}

static void after_offer(struct mm_player *p)
{
	struct mm_mta_reply r;
	struct mm_fault why;
	if (decode(p, p->heard_count - 1, &r, &why) && !mm_mta_agree(&p->mta, &r, &why))
		fail(p, &why);
}

static void no_consequence(struct mm_player *p)
{
	(void)p;
}

static void (*consequence_of(uint8_t command))(struct mm_player *)
{
	switch (command) {
	case SMFIC_OPTNEG: return after_offer;
	case SMFIC_CONNECT:
	case SMFIC_HELO: return after_client;
	case SMFIC_MAIL: return after_sender;
	case SMFIC_RCPT: return after_recipient;
	case SMFIC_HEADER: return after_header;
	case SMFIC_BODY: return after_body;
	case SMFIC_DATA:
	case SMFIC_EOH: return after_stage;
	case SMFIC_BODYEOB: return end_message;
	default:  return no_consequence;
	}
}

/* The command has got its reply, or gets none. */
static void settle(struct mm_player *p)
{
	p->is_waiting = false;
	for (uint32_t i = 0; i < p->heard_count && p->reply.complaint == NULL; i++)
		if (p->heard[i].complaint.size > 0)
			p->reply.complaint = stored(p, p->heard[i].complaint).bytes;
	if (p->heard_count > 0)
		p->reply.verdict = mm_verdict_name(p->kind);
	if (is_refusal(p))
		word(p);
	if (!p->is_bare || p->command == SMFIC_OPTNEG)
		consequence_of(p->command)(p);
}

/* Takes one packet that the filter sent in answer to the command. */
static void take(struct mm_player *p, const struct mm_packet *packet)
{
	const char *name = mm_command_row(p->command)->name;
	struct mm_mta_reply r;
	struct mm_fault why, text;
	if (!note(p, packet)) {
		no_memory(p);
		return;
	}
	if (!decode(p, p->heard_count - 1, &r, &text)) {
		complain(p, &text);
		mm_fault_set(&why, MM_FAULT_PEER, "in answer to %s: %s", name, text.text);
		fail(p, &why);
		return;
	}
	bool is_final = r.row->is_final;
	p->kind = kind_of(&r);
	p->reply.edit_count += is_edit(&p->heard[p->heard_count - 1]);
	p->reply.progress += packet->letter == SMFIR_PROGRESS;
	if (!mm_mta_accepts(&p->mta, p->command, &r, &text))
		complain(p, &text);
	if (p->store.failed)
		no_memory(p);
	else if (is_final)
		settle(p);
}

/* After quit no reply is due. */
static void take_surplus(struct mm_player *p, const struct mm_packet *packet)
{
	struct mm_fault why;
	mm_fault_set(&why, MM_FAULT_PEER, "a reply without a command: the MTA would take it for the reply to its "
		"next command");
	if (!note(p, packet)) {
		no_memory(p);
		return;
	}
	complain(p, &why);
	p->reply.complaint = stored(p, p->heard[p->heard_count - 1].complaint).bytes;
}

/* Bytes that came while no reply was due wait for the next command, as in an MTA. */
static void listen(struct mm_player *p)
{
	struct mm_packet packet;
	struct mm_fault why, text;
	while (!p->has_failed && (p->is_waiting || p->has_quit)) {
		switch (mm_frame_next(&p->frame, &packet, &text)) {
		case MM_FRAME_PACKET:
			if (p->has_quit)
				take_surplus(p, &packet);
			else
				take(p, &packet);
			mm_frame_done(&p->frame);
			continue;
		case MM_FRAME_BAD:
			mm_fault_set(&why, MM_FAULT_PEER, "in answer to %s: %s", mm_command_row(p->command)->name,
				text.text);
			fail(p, &why);
			return;
		case MM_FRAME_MORE:
			return;
		}
	}
}

bool mm_player_hear(struct mm_player *p, const void *bytes, size_t size)
{
	struct mm_fault why;
	if (p->has_failed)
		return false;
	if (!mm_frame_feed(&p->frame, bytes, size, &why)) {
		fail(p, &why);
		return false;
	}
	listen(p);
	if (!mm_frame_keep(&p->frame, &why))
		fail(p, &why);
	return !p->has_failed;
}

/* ---- commands ---- */

static void begin(struct mm_player *p, uint8_t command)
{
	p->command = command;
	p->heard_count = 0;
	mm_buffer_clear(&p->store);
	p->kind = MM_VERDICT_continue;
	p->reply = (struct mm_player_reply){ .stage = mm_stage_name(mm_command_row(command)->stage),
		.verdict = "none" };
}

/* Begins a command with its macros. True: the command itself is sent, too, and the caller writes it. */
static bool begins(struct mm_player *p, uint8_t command)
{
	begin(p, command);
	if (p->has_failed || p->is_unfiltered || (command == SMFIC_HEADER && p->skips_headers)
	    || (command == SMFIC_BODY && p->skips_body))
		return false;
	if (!p->is_bare)
		mm_mta_write_macros_before(&p->facts, command, &p->out);
	return mm_mta_sends(&p->mta, command);
}

/* Ends a command; when it is sent, it is already in the output. */
static void finish(struct mm_player *p, bool is_sent)
{
	if (p->has_failed)
		return;
	if (p->out.failed || p->mail.store.failed || p->mail.body.failed || p->recipient.failed) {
		no_memory(p);
		return;
	}
	p->is_waiting = is_sent && mm_mta_waits(&p->mta, p->command);
	if (p->is_waiting)
		listen(p);
	else
		settle(p);
}

static void tell_bare(struct mm_player *p, uint8_t command)
{
	bool is_sent = begins(p, command);
	if (is_sent)
		mm_mta_write_bytes(&p->out, command, NULL, 0);
	finish(p, is_sent);
}

static void tell_line(struct mm_player *p, uint8_t command, const char *line, size_t size)
{
	bool is_sent = begins(p, command);
	if (is_sent)
		mm_mta_write_text(&p->out, command, (struct mm_text){ line, size });
	finish(p, is_sent);
}

void mm_player_negotiate(struct mm_player *p)
{
	begin(p, SMFIC_OPTNEG);
	mm_mta_write_offer(&p->out, &p->mta.offer);
	p->is_waiting = true;
	listen(p);
}

static enum mm_family family_of(const char *name)
{
	enum mm_family family = MM_FAMILY_INET6;
	while (family != MM_FAMILY_UNKNOWN && strcmp(mm_family_name(family), name) != 0)
		family--;
	return family;
}

void mm_player_connect(struct mm_player *p, const struct mm_player_client *c)
{
	char address[300] = "";
	p->facts.client = (struct mm_mta_client){
		.family = family_of(c->family), .host = c->host, .address = c->address, .port = (uint16_t)c->port,
		.auth_user = c->auth_user, .tls_version = c->tls_version, .cipher = c->cipher,
		.cipher_bits = c->cipher_bits, .cert_subject = c->cert_subject, .cert_issuer = c->cert_issuer,
	};
	bool is_sent = begins(p, SMFIC_CONNECT);
	if (c->address != NULL)
		snprintf(address, sizeof address, "%s%s", mm_mta_address_prefix(&p->facts), c->address);
	if (is_sent)
		mm_mta_write_connect(&p->out, mm_mta_client_name(&p->facts), p->facts.client.family,
			p->facts.client.port, mm_text_of(address));
	finish(p, is_sent);
}

void mm_player_helo(struct mm_player *p, const char *name, size_t size)
{
	p->said_helo = true;
	tell_line(p, SMFIC_HELO, name, size);
}

void mm_player_unknown(struct mm_player *p, const char *line, size_t size)
{
	tell_line(p, SMFIC_UNKNOWN, line, size);
}

void mm_player_mail(struct mm_player *p, const char *address, size_t size, const char *params, size_t params_size)
{
	mm_mail_file_free(&p->mail);
	p->mail.sender = mm_mail_file_keep(&p->mail, (struct mm_text){ address, size });
	p->mail.sender_params = mm_mail_file_keep(&p->mail, (struct mm_text){ params, params_size });
	if (p->owes_abort)
		write_abort(p);
	p->owes_abort = p->is_begun = p->is_told = p->is_accepted = false;
	p->facts.in_envelope = true;
	p->facts.number++;
	p->facts.recipients_taken = 0;
	p->facts.recipient = (struct mm_text){ NULL, 0 };
	bool is_sent = begins(p, SMFIC_MAIL);
	if (is_sent)
		mm_mta_write_address(&p->out, SMFIC_MAIL, (struct mm_text){ address, size },
			(struct mm_text){ params, params_size });
	finish(p, is_sent);
}

void mm_player_rcpt(struct mm_player *p, const char *address, size_t size, const char *params, size_t params_size)
{
	mm_buffer_clear(&p->recipient);
	mm_buffer_append(&p->recipient, address, size);
	mm_buffer_append(&p->recipient, params, params_size);
	p->recipient_size = size;
	p->facts.recipient = (struct mm_text){ (const char *)p->recipient.bytes, size };
	bool is_sent = begins(p, SMFIC_RCPT);
	if (is_sent)
		mm_mta_write_address(&p->out, SMFIC_RCPT, (struct mm_text){ address, size },
			(struct mm_text){ params, params_size });
	finish(p, is_sent);
}

void mm_player_no_recipients(struct mm_player *p)
{
	p->owes_abort = !is_postfix(p);         /* the client has no recipient left: RSET or QUIT */
	end_message(p);
}

void mm_player_data(struct mm_player *p)
{
	tell_bare(p, SMFIC_DATA);
}

void mm_player_header(struct mm_player *p, const char *name, size_t size, const char *value, size_t value_size)
{
	struct mm_text n = { name, size }, v = { value, value_size };
	struct mm_mail_field *f = mm_mail_file_put_field(&p->mail, p->mail.field_count);
	p->is_begun = true;
	if (f == NULL) {
		no_memory(p);
		return;
	}
	f->name = mm_mail_file_keep(&p->mail, n);
	f->value = mm_mail_file_keep(&p->mail, v);
	bool is_sent = begins(p, SMFIC_HEADER);
	if (is_sent)
		mm_mta_write_field(&p->mta, &p->out, n, v);
	finish(p, is_sent);
}

void mm_player_eoh(struct mm_player *p)
{
	p->is_begun = true;
	tell_bare(p, SMFIC_EOH);
}

void mm_player_body(struct mm_player *p, const void *bytes, size_t size)
{
	mm_buffer_append(&p->mail.body, bytes, size);
	bool is_sent = begins(p, SMFIC_BODY);
	if (is_sent)
		mm_mta_write_bytes(&p->out, SMFIC_BODY, bytes, size);
	finish(p, is_sent);
}

void mm_player_eom(struct mm_player *p)
{
	tell_bare(p, SMFIC_BODYEOB);
}

void mm_player_abort(struct mm_player *p)
{
	begin(p, SMFIC_ABORT);
	if (p->is_told && !p->has_failed)
		write_abort(p);
	p->is_told = false;
	forget_message(p);
}

void mm_player_quit(struct mm_player *p)
{
	if (p->facts.in_envelope)
		mm_player_abort(p);
	begin(p, SMFIC_QUIT);
	if (p->has_failed || ((p->is_refused || p->is_unfiltered) && is_postfix(p)))
		return;
	if (is_postfix(p) && p->said_helo)
		write_abort(p);
	mm_mta_write_bytes(&p->out, SMFIC_QUIT, NULL, 0);
	p->has_quit = true;
	listen(p);
}

void mm_player_await(struct mm_player *p, char command)
{
	if (mm_command_row((uint8_t)command) == NULL)
		return;
	begin(p, (uint8_t)command);
	p->is_waiting = true;
	listen(p);
}

void mm_player_agreed(const struct mm_player *p, unsigned *version, unsigned *actions, unsigned *steps)
{
	*version = p->mta.agreed.version;
	*actions = p->mta.agreed.actions;
	*steps = p->mta.agreed.steps;
}

const struct mm_mta *mm_player_mta(const struct mm_player *p)
{
	return &p->mta;
}

/* ---- what becomes of the message ---- */

/* Applies the filter's edits to an accepted message, once. */
static bool deliver(struct mm_player *p)
{
	struct mm_fault why;
	bool space = p->mta.agreed.steps & SMFIP_HDR_LEADSPC;
	if (!p->is_accepted)
		return true;
	p->is_accepted = false;
	if (!mm_mail_file_end_body(&p->mail) || !mm_mail_edit_take_in(&p->mail, p->facts.kind, &why))
		return false;
	for (uint32_t i = 0; p->command == SMFIC_BODYEOB && i < p->heard_count; i++) {
		struct mm_mta_reply r;
		if (is_edit(&p->heard[i]) && decode(p, i, &r, &why)
		    && !mm_mail_edit_apply(&p->mail, p->facts.kind, space, &r, &why))
			return false;
	}
	return true;
}

const char *mm_player_message(struct mm_player *p, size_t *size)
{
	*size = 0;
	if (!deliver(p))
		return NULL;
	mm_buffer_clear(&p->written);
	mm_mail_file_write(&p->mail, &p->written);
	*size = p->written.size;
	return p->written.failed ? NULL : (const char *)p->written.bytes;
}

static const char *text_of_mail(struct mm_player *p, struct mm_span span, size_t *size)
{
	struct mm_text text = mm_mail_text(&p->mail, span);
	*size = text.size;
	return text.bytes;
}

const char *mm_player_sender(struct mm_player *p, size_t *size)
{
	return deliver(p) ? text_of_mail(p, p->mail.sender, size) : NULL;
}

const char *mm_player_recipient(struct mm_player *p, unsigned i, size_t *size)
{
	return deliver(p) && i < p->mail.recipient_count ? text_of_mail(p, p->mail.recipients[i].address, size) : NULL;
}

const char *mm_player_quarantine(struct mm_player *p, size_t *size)
{
	return deliver(p) && p->mail.is_quarantined ? text_of_mail(p, p->mail.reason, size) : NULL;
}
