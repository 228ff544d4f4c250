/* mta/dialogue.h -- one SMTP session as Postfix or Sendmail tells it to a milter, over any transport.
 * Takes a player (player.h) through plain messages, many a session, and keeps all that the filter answered. Knows no
 * socket and no loop: bytes go through the two functions of a transport.
 *
 * Differs from the MTAs where that helps to find faults: a reply both would take with a shrug (a letter that is not
 * legal here, an edit that was not negotiated) is noted as a complaint and obeyed as the MTA of the plan would.
 * Not played: recipients the MTA refuses itself (RCPT_REJ), several filters on one message, QUIT_NC.
 * Ownership: plan, transport and mail are BORROWED while the dialogue lives; a result owns what it tells. */
#ifndef MM_MTA_DIALOGUE_H
#define MM_MTA_DIALOGUE_H

#include "mta/mail_edit.h"
#include "mta/mta_macros.h"
#include "milter/verdict.h"

struct mm_dialogue_transport {
	void *self;
	bool (*write)(void *self, const void *bytes, size_t n, struct mm_fault *why);
	/* Waits for bytes of the filter and lends them until the next call; *n 0: the filter has closed. False: too
	 * late or broken, the fault says which. */
	bool (*read)(void *self, double timeout_s, const void **bytes, size_t *n, struct mm_fault *why);
	/* Every packet, commands as they are written and replies as they come; may be NULL. */
	void (*trace)(void *trace_self, bool is_command, const struct mm_packet *);
	void *trace_self;
};

struct mm_dialogue_plan {
	enum mm_mta_kind  kind;         /* MM_MTA_POSTFIX or MM_MTA_SENDMAIL */
	struct mm_offer   offer;
	const char       *mta_name;     /* macro j */
	enum mm_family    family;
	const char       *client_host;  /* NULL: not known, "[192.0.2.1]" is sent */
	const char       *client_address;       /* without "IPv6:" */
	uint16_t          client_port;
	const char       *helo;         /* NULL: the client says none */
	const char       *auth_user;    /* NULL: not authenticated */
	const char       *unknown;      /* a command line the MTA does not know, sent after HELO; NULL: none */
	const struct mm_mta_macro *macros;
	size_t            macro_count;
	double            command_timeout_s, content_timeout_s;        /* a reply; content is header to end of
	                                                                * message */
};

/* What one command brought, in order: edits and progress stand before the final reply of their command. */
struct mm_dialogue_reply {
	enum mm_stage   stage;          /* of the command */
	uint8_t         command;        /* its letter */
	uint32_t        nth;            /* which recipient, field or chunk, from 0 */
	uint8_t         letter;         /* of the reply */
	struct mm_span  data;           /* its payload, in the result's store */
	struct mm_span  complaint;      /* what an MTA would hold against it; empty: nothing */
	double          seconds;        /* since the command was written */
};

struct mm_dialogue_result {
	struct mm_buffer          store;        /* owned */
	struct mm_dialogue_reply *replies;      /* owned */
	uint32_t                  reply_count, reply_capacity;
	uint32_t                  complaint_count;
	bool                      is_decided;   /* a final verdict was given; else aborted, or the session goes on */
	bool                      is_aborted;
	enum mm_verdict_kind      verdict;      /* accept, reject, tempfail or discard */
	enum mm_stage             stage;        /* where it was given */
	unsigned                  code;         /* what the SMTP client is told: 250, 451, 550, … */
	struct mm_span            text;         /* all of it, lines apart by CRLF */
	bool                      is_quarantined;
	uint32_t                  recipients_refused;
};

struct mm_dialogue;

/* NULL: out of memory. */
struct mm_dialogue *mm_dialogue_new(const struct mm_dialogue_plan *, struct mm_dialogue_transport);
void mm_dialogue_free(struct mm_dialogue *);

/* Offer, connect, HELO. False: the filter failed as a filter (closed, too late, broke the protocol). Decided: the
 * session is refused or needs no filter, and every message shares that. */
bool mm_dialogue_open(struct mm_dialogue *, struct mm_dialogue_result *, struct mm_fault *why);
/* One message. stop_after: MM_STAGE_mail … MM_STAGE_body, the client gives up behind that stage, with RSET or
 * (hangs_up) by going away; MM_STAGE_COUNT: it does not. */
bool mm_dialogue_message(struct mm_dialogue *, const struct mm_mail_file *, enum mm_stage stop_after, bool hangs_up,
	struct mm_dialogue_result *, struct mm_fault *why);
/* Quit. What the filter still says is one more complaint. False: it does not close. */
bool mm_dialogue_quit(struct mm_dialogue *, struct mm_dialogue_result *, struct mm_fault *why);
const struct mm_mta *mm_dialogue_mta(const struct mm_dialogue *);       /* what was negotiated; borrowed */

static inline struct mm_text mm_dialogue_text(const struct mm_dialogue_result *r, struct mm_span span)
{
	return (struct mm_text){ span.size > 0 ? (const char *)r->store.bytes + span.at : "", span.size };
}
/* Decodes one reply again. Its texts are BORROWED from the result. */
bool mm_dialogue_reply_at(const struct mm_dialogue_result *, uint32_t at, struct mm_mta_reply *out);
/* Does to a message what a result's edits say, as the MTA would: nothing unless it was accepted. to: as sent. */
bool mm_dialogue_apply(const struct mm_dialogue *, const struct mm_dialogue_result *, struct mm_mail_file *to,
	struct mm_fault *why);
void mm_dialogue_result_free(struct mm_dialogue_result *);      /* back to the zeroed state */

#endif
