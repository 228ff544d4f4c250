/* mta/mta.h -- the protocol from the other side: what an MTA sends, what it waits for, and which replies it accepts.
 * Uses the engine's own tables (command.h, reply.h, stage.h), so that the two sides cannot drift apart. Pure: knows no
 * socket, no Lua, no message file and no order of commands (dialogue.h).
 *
 * Doubles as the oracle for our own replies: Postfix 3.7 to 3.12 and Sendmail 8.17 accept every reply that passes
 * mm_mta_decode() and mm_mta_accepts(), and read it in the same way. Where the two differ the stricter rule holds
 * (protocol 3.1 to 3.14). decode checks the form, accepts the meaning; a client that wants to show the replies of a lax
 * filter goes on when the second fails, but not when the first does.
 * Ownership: a reply BORROWS its texts from its packet. */
#ifndef MM_MTA_MTA_H
#define MM_MTA_MTA_H

#include "base/buffer.h"
#include "milter/command.h"
#include "milter/reply.h"

/* One MTA's end of one milter connection. Zeroed: nothing offered. */
struct mm_mta {
	struct mm_offer  offer;         /* what this MTA offers */
	struct mm_offer  agreed;        /* the filter's answer; all 0 before it */
	bool             is_negotiated;
	bool             has_list[MM_MACRO_SET_COUNT];          /* the filter asked for its own list of macros here */
	struct mm_buffer lists[MM_MACRO_SET_COUNT];             /* owned: their names, separated by
	                                                         * blanks, without a NUL */
	bool             replaces_body; /* body packets came since the last end-of-message */
	bool             body_is_whole; /* another request came after them: no more of them may come */
};

struct mm_reply_row {
	uint8_t     letter;
	const char *name;               /* "REPLYCODE" */
	bool        is_final;           /* answers the command; else it is an edit or progress, and more follows */
	const char *carries;            /* "index, name, value" */
};

struct mm_mta_reply {
	const struct mm_reply_row *row;
	uint32_t        index;          /* i m */
	struct mm_text  first;          /* name, address, reason, reply text, chunk */
	struct mm_text  second;         /* value, parameters; bytes NULL when absent */
	struct mm_offer offer;          /* O */
	struct mm_text  lists;          /* O: the macro lists after it, as on the wire */
};

/* Copies the offer. For a fresh struct: frees nothing. */
void mm_mta_init(struct mm_mta *, const struct mm_offer *);
void mm_mta_free(struct mm_mta *);

/* ---- what it sends; each appends exactly one packet ---- */

void mm_mta_write_offer(struct mm_buffer *out, const struct mm_offer *);
/* pairs: name, value, name, value …; count: number of texts, so it is even. */
void mm_mta_write_macros(struct mm_buffer *out, uint8_t letter, const struct mm_text *pairs, size_t count);
/* address is written as given: Sendmail puts "IPv6:" before one, Postfix does not (protocol 2.3). */
void mm_mta_write_connect(struct mm_buffer *out, struct mm_text host, enum mm_family, uint16_t port,
	struct mm_text address);
void mm_mta_write_text(struct mm_buffer *out, uint8_t letter, struct mm_text);          /* H U */
/* strings: further parameters, each ended by NUL. */
/* Commands M and R. */
void mm_mta_write_address(struct mm_buffer *out, uint8_t letter, struct mm_text address, struct mm_text strings);
/* value: everything after the colon; its one leading space stays only when HDR_LEADSPC was agreed (protocol 3.8). */
/* Command L. */
void mm_mta_write_field(const struct mm_mta *, struct mm_buffer *out, struct mm_text name, struct mm_text value);
void mm_mta_write_bytes(struct mm_buffer *out, uint8_t letter, const void *, size_t n); /* B E, and n 0: T N A Q K */

/* ---- what it knows from the negotiation ---- */

/* Accepts the filter's answer: version, actions, steps, macro lists. False: Postfix or Sendmail would
 * close (protocol 4.4). */
bool mm_mta_agree(struct mm_mta *, const struct mm_mta_reply *, struct mm_fault *why);
bool mm_mta_sends(const struct mm_mta *, uint8_t letter);       /* not switched off, and known to the version */
bool mm_mta_waits(const struct mm_mta *, uint8_t letter);       /* exactly one final reply is due */

/* ---- what it takes ---- */

/* The row of a letter, NULL for a letter no filter sends. */
const struct mm_reply_row *mm_reply_row(uint8_t letter);
/* The SMFIF_ bit that an edit needs, 0 for a letter that is not an edit. */
uint32_t mm_mta_action_of(uint8_t letter);
/* An edit as a script would have asked for it, or a verdict: "delete_header", "tempfail". Static. */
const char *mm_mta_reply_word(const struct mm_mta_reply *);
/* Does it add, insert or change a header field? `first` and `second` are then name and value. */
bool mm_mta_reply_is_field(const struct mm_mta_reply *);
/* Checks the form: a known letter, every string ended, none too many, nothing after them. */
bool mm_mta_decode(const struct mm_packet *, struct mm_mta_reply *out, struct mm_fault *why);
/* Checks the meaning: legal in answer to this command, negotiated, well-formed texts. Remembers whether body
 * packets may still come. */
bool mm_mta_accepts(struct mm_mta *, uint8_t command, const struct mm_mta_reply *, struct mm_fault *why);
/* Checks the text of a reply code: 4xx or 5xx throughout, CRLF between lines, "%" doubled (protocol 3.4). */
bool mm_mta_code_is_good(struct mm_text, struct mm_fault *why);

/* Which service begins like that, and is no milter: "an SMTP server". NULL: none that is known. Static. */
const char *mm_mta_other_service(const void *bytes, size_t n);

#endif
