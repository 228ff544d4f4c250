/* mta/dialogue.h -- one SMTP session as Postfix or Sendmail reports it to a milter, over any transport.
 * Takes a player (player.h) through plain messages, several per session, and keeps everything that the filter answered.
 * Knows no socket and no loop: bytes go through the two functions of a transport.
 *
 * Differs from the MTAs where that helps to find faults: a reply that both would silently accept (a letter that is not
 * legal here, an edit that was not negotiated) is recorded as a complaint and obeyed as the MTA of the plan would.
 * Not played: recipients that the MTA itself refuses (RCPT_REJ), several filters on one message, QUIT_NC.
 * Ownership: plan, transport and mail are BORROWED while the dialogue lives; a result owns its content. */
#ifndef MM_MTA_DIALOGUE_H
#define MM_MTA_DIALOGUE_H

#include "mta/mail_edit.h"
#include "mta/mta_macros.h"
#include "milter/verdict.h"

struct mm_dialogue_transport {
	void *self;
	bool (*write)(void *self, const void *bytes, size_t n, struct mm_fault *why);
	/* Waits for bytes of the filter and lends them until the next call; *n 0: the filter has closed. False: late or
	 * broken; the fault says which. */
	bool (*read)(void *self, double timeout_s, const void **bytes, size_t *n, struct mm_fault *why);
	/* Every packet, commands as they are written and replies as they come; may be NULL. */
	void (*trace)(void *trace_self, bool is_command, const struct mm_packet *);
	void *trace_self;
	/* Which script decided the last reply, such as "10-auth.lua:12"; "": none. NULL: the transport cannot know. */
	const char *(*decided_by)(void *self);
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
	const char       *unknown;      /* a command line that the MTA does not know, sent after HELO; NULL: none */
	const struct mm_mta_macro *macros;
	size_t            macro_count;
	double            command_timeout_s, content_timeout_s;        /* for a reply; content: from
	                                                                * header to end of message */
};

/* The replies to one command, in order: edits and progress come before its final reply. */
struct mm_dialogue_reply {
	enum mm_stage   stage;          /* of the command */
	uint8_t         command;        /* its letter */
	uint32_t        nth;            /* which recipient, field or chunk, from 0 */
	uint8_t         letter;         /* of the reply */
	struct mm_span  data;           /* its payload, in the result's store */
	struct mm_span  complaint;      /* what an MTA would object to; empty: nothing */
	struct mm_span  decided_by;     /* script and line; empty: none, or not known */
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
	unsigned                  code;         /* of the reply to the SMTP client: 250, 451, 550, … */
	struct mm_span            text;         /* of the whole reply, lines separated by CRLF */
	struct mm_span            decided_by;   /* script and line; empty: none, or not known */
	bool                      is_quarantined;
	uint32_t                  recipients_refused;
};

struct mm_dialogue;

/* NULL: out of memory. */
struct mm_dialogue *mm_dialogue_new(const struct mm_dialogue_plan *, struct mm_dialogue_transport);
void mm_dialogue_free(struct mm_dialogue *);

/* Sends offer, connect and HELO. False: the filter failed as a filter (it closed, was late or broke the protocol).
 * is_decided: the session is refused or needs no filter, and that holds for every message. */
bool mm_dialogue_open(struct mm_dialogue *, struct mm_dialogue_result *, struct mm_fault *why);
/* Sends one message. stop_after: MM_STAGE_mail … MM_STAGE_body, the client gives up after that stage, with RSET or
 * (hangs_up) by closing the connection; MM_STAGE_COUNT: it does not give up. */
bool mm_dialogue_message(struct mm_dialogue *, const struct mm_mail_file *, enum mm_stage stop_after, bool hangs_up,
	struct mm_dialogue_result *, struct mm_fault *why);
/* Sends quit. Anything that the filter still sends is a complaint. False: the filter does not close. */
bool mm_dialogue_quit(struct mm_dialogue *, struct mm_dialogue_result *, struct mm_fault *why);
/* The filter closed, was late or broke the protocol: this session tells it nothing more. */
bool mm_dialogue_has_failed(const struct mm_dialogue *);
const struct mm_mta *mm_dialogue_mta(const struct mm_dialogue *);       /* what was negotiated; borrowed */

static inline struct mm_text mm_dialogue_text(const struct mm_dialogue_result *r, struct mm_span span)
{
	return (struct mm_text){ span.size > 0 ? (const char *)r->store.bytes + span.at : "", span.size };
}
/* Decodes a stored reply again. Its texts are BORROWED from the result. */
bool mm_dialogue_reply_at(const struct mm_dialogue_result *, uint32_t at, struct mm_mta_reply *out);
/* Applies a result's edits to a message as the MTA would: nothing unless it was accepted. to: the message as sent. */
bool mm_dialogue_apply(const struct mm_dialogue *, const struct mm_dialogue_result *, struct mm_mail_file *to,
	struct mm_fault *why);
void mm_dialogue_result_free(struct mm_dialogue_result *);      /* back to the zeroed state */

#endif
