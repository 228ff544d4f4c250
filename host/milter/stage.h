/* milter/stage.h -- stages, handler names and protocol bits, once, as data.
 * Wire constants keep the names every milter text uses (SMFIC_ command, SMFIR_ reply, SMFIF_ action, SMFIP_ step).
 * Sections are those of docs/protocol.md: 4.2 actions, 4.3 steps. */
#ifndef MM_MILTER_STAGE_H
#define MM_MILTER_STAGE_H

#include <stdint.h>

/* ORDER STAGE: as a session meets them. enum mm_stage, names and handlers are made from these rows.
 *        name        handler          what it is for, in a log or a help text */
#define MM_STAGES(X) \
	X(negotiate,  "on_negotiate",  "the MTA offers versions, actions and steps") \
	X(connect,    "on_connect",    "an SMTP client has connected") \
	X(helo,       "on_helo",       "HELO or EHLO") \
	X(mail,       "on_mail",       "MAIL FROM: a message begins") \
	X(rcpt,       "on_rcpt",       "RCPT TO, once a recipient") \
	X(data,       "on_data",       "DATA") \
	X(header,     "on_header",     "one header field") \
	X(eoh,        "on_eoh",        "end of headers") \
	X(body,       "on_body",       "a piece of the body") \
	X(eom,        "on_eom",        "end of message") \
	X(unknown,    "on_unknown",    "an SMTP command the MTA does not know") \
	X(abort,      "on_abort",      "a message ended without a final reply") \
	X(done,       "on_done",       "a message got its final reply") \
	X(close,      "on_close",      "the session is over") \
	X(macros,     "on_macros",     "the MTA has sent macros for the stage that follows") \
	X(load,       "on_load",       "a generation of scripts starts") \
	X(unload,     "on_unload",     "a generation of scripts ends")

enum mm_stage {
#define X(name, handler, about) MM_STAGE_##name,
	MM_STAGES(X)
#undef X
	MM_STAGE_COUNT
};

#define MM_STAGE_BIT(name) (1u << MM_STAGE_##name)

/* Sets of stages: of an SMTP client before its first message, of a message, and those whose handlers decide no reply,
 * so that nothing the MTA does can end them. */
#define MM_STAGES_OF_CLIENT  (MM_STAGE_BIT(connect) | MM_STAGE_BIT(helo))
#define MM_STAGES_OF_MESSAGE (MM_STAGE_BIT(mail) | MM_STAGE_BIT(rcpt) | MM_STAGE_BIT(data) | MM_STAGE_BIT(header) \
	| MM_STAGE_BIT(eoh) | MM_STAGE_BIT(body) | MM_STAGE_BIT(eom))
#define MM_STAGES_AFTERWARDS (MM_STAGE_BIT(abort) | MM_STAGE_BIT(done) | MM_STAGE_BIT(close))

/* "rcpt". Static. */
static inline const char *mm_stage_name(enum mm_stage stage)
{
	static const char *const names[] = {
#define X(name, handler, about) #name,
		MM_STAGES(X)
#undef X
	};
	return (unsigned)stage < MM_STAGE_COUNT ? names[stage] : "?";
}

/* "on_rcpt". Static. */
static inline const char *mm_stage_handler(enum mm_stage stage)
{
	static const char *const names[] = {
#define X(name, handler, about) handler,
		MM_STAGES(X)
#undef X
	};
	return (unsigned)stage < MM_STAGE_COUNT ? names[stage] : "?";
}

/* Actions: what a filter may ask for (protocol 4.2). name as ctx:can() takes it */
#define MM_ACTIONS(X) \
	X(SMFIF_ADDHDRS,     0x001u, "add_header") \
	X(SMFIF_CHGBODY,     0x002u, "replace_body") \
	X(SMFIF_ADDRCPT,     0x004u, "add_recipient") \
	X(SMFIF_DELRCPT,     0x008u, "delete_recipient") \
	X(SMFIF_CHGHDRS,     0x010u, "change_header") \
	X(SMFIF_QUARANTINE,  0x020u, "quarantine") \
	X(SMFIF_CHGFROM,     0x040u, "change_from") \
	X(SMFIF_ADDRCPT_PAR, 0x080u, "add_recipient_params") \
	X(SMFIF_SETSYMLIST,  0x100u, "macro_lists")

/* Steps: what the MTA sends, and what we answer (protocol 4.3). */
#define MM_STEPS(X) \
	X(SMFIP_NOCONNECT,   0x00000001u, "no_connect") \
	X(SMFIP_NOHELO,      0x00000002u, "no_helo") \
	X(SMFIP_NOMAIL,      0x00000004u, "no_mail") \
	X(SMFIP_NORCPT,      0x00000008u, "no_rcpt") \
	X(SMFIP_NOBODY,      0x00000010u, "no_body") \
	X(SMFIP_NOHDRS,      0x00000020u, "no_header") \
	X(SMFIP_NOEOH,       0x00000040u, "no_eoh") \
	X(SMFIP_NR_HDR,      0x00000080u, "quiet_header") \
	X(SMFIP_NOUNKNOWN,   0x00000100u, "no_unknown") \
	X(SMFIP_NODATA,      0x00000200u, "no_data") \
	X(SMFIP_SKIP,        0x00000400u, "skip") \
	X(SMFIP_RCPT_REJ,    0x00000800u, "rejected_rcpt") \
	X(SMFIP_NR_CONN,     0x00001000u, "quiet_connect") \
	X(SMFIP_NR_HELO,     0x00002000u, "quiet_helo") \
	X(SMFIP_NR_MAIL,     0x00004000u, "quiet_mail") \
	X(SMFIP_NR_RCPT,     0x00008000u, "quiet_rcpt") \
	X(SMFIP_NR_DATA,     0x00010000u, "quiet_data") \
	X(SMFIP_NR_UNKN,     0x00020000u, "quiet_unknown") \
	X(SMFIP_NR_EOH,      0x00040000u, "quiet_eoh") \
	X(SMFIP_NR_BODY,     0x00080000u, "quiet_body") \
	X(SMFIP_HDR_LEADSPC, 0x00100000u, "leading_space") \
	X(SMFIP_MDS_256K,    0x10000000u, "packets_256k") \
	X(SMFIP_MDS_1M,      0x20000000u, "packets_1m")

enum mm_action_bit {
#define X(name, bit, word) name = bit,
	MM_ACTIONS(X)
#undef X
};

enum mm_step_bit {
#define X(name, bit, word) name = bit,
	MM_STEPS(X)
#undef X
};

/* When a command may come. Anything else is out of order and ends the connection (protocol 5). */
#define MM_WHEN_START    0x01u  /* nothing negotiated yet */
#define MM_WHEN_IDLE     0x02u  /* negotiated, no message open */
#define MM_WHEN_ENVELOPE 0x04u  /* message open, recipients may come */
#define MM_WHEN_DATA     0x08u  /* DATA seen */
#define MM_WHEN_HEADERS  0x10u  /* a header seen */
#define MM_WHEN_BODY     0x20u  /* end of headers or a body chunk seen */
#define MM_WHEN_DECIDED  0x40u  /* our final verdict has been sent; the MTA may not have seen it yet */
#define MM_WHEN_RCPTS    (MM_WHEN_ENVELOPE | MM_WHEN_DECIDED)
#define MM_WHEN_HEADER   (MM_WHEN_RCPTS | MM_WHEN_DATA | MM_WHEN_HEADERS)
#define MM_WHEN_MESSAGE  (MM_WHEN_ENVELOPE | MM_WHEN_DATA | MM_WHEN_HEADERS | MM_WHEN_BODY)
#define MM_WHEN_CONTENT  (MM_WHEN_MESSAGE | MM_WHEN_DECIDED)
#define MM_WHEN_OPEN     (MM_WHEN_IDLE | MM_WHEN_CONTENT)
#define MM_WHEN_ALWAYS   (MM_WHEN_START | MM_WHEN_OPEN)

/* Commands: what an MTA sends (protocol 2).
 * MAIL may come with a message open: Sendmail sends no abort after RSET when MAIL needs no answer (protocol 5.6).
 * BODY may come without end of headers, because that step can be switched off.
 * In a row: letter, SMFIC_ name, our name, MM_STAGE_ (COUNT: it has no handler), MM_LAYOUT_ (command.h), whether it is
 * answered with exactly one final reply, whether it is part of a message's recipients and content, when it may come,
 * the bit that switches it off, the bit that promises silence, the stages at which it ends the wait of a handler. An
 * abort ends a message, not the client: at other stages the reply is still wanted. */
#define MM_COMMANDS(X) \
	X('O', OPTNEG,  negotiate, negotiate, OFFER,   1, 0, MM_WHEN_START,   0,               0, 0) \
	X('D', MACRO,   macros,    COUNT,     MACROS,  0, 0, MM_WHEN_OPEN,    0,               0, 0) \
	X('C', CONNECT, connect,   connect,   CONNECT, 1, 0, MM_WHEN_IDLE,    SMFIP_NOCONNECT, SMFIP_NR_CONN, 0) \
	X('H', HELO,    helo,      helo,      TEXT,    1, 0, MM_WHEN_OPEN,    SMFIP_NOHELO,    SMFIP_NR_HELO, 0) \
	X('M', MAIL,    mail,      mail,      ADDRESS, 1, 0, MM_WHEN_OPEN,    SMFIP_NOMAIL,    SMFIP_NR_MAIL, 0) \
	X('R', RCPT,    rcpt,      rcpt,      ADDRESS, 1, 1, MM_WHEN_RCPTS,   SMFIP_NORCPT,    SMFIP_NR_RCPT, 0) \
	X('T', DATA,    data,      data,      NONE,    1, 1, MM_WHEN_RCPTS,   SMFIP_NODATA,    SMFIP_NR_DATA, 0) \
	X('L', HEADER,  header,    header,    FIELD,   1, 1, MM_WHEN_HEADER,  SMFIP_NOHDRS,    SMFIP_NR_HDR, 0) \
	X('N', EOH,     eoh,       eoh,       NONE,    1, 1, MM_WHEN_HEADER,  SMFIP_NOEOH,     SMFIP_NR_EOH, 0) \
	X('B', BODY,    body,      body,      BYTES,   1, 1, MM_WHEN_CONTENT, SMFIP_NOBODY,    SMFIP_NR_BODY, 0) \
	X('E', BODYEOB, eom,       eom,       BYTES,   1, 1, MM_WHEN_OPEN,    0,               0, 0) \
	X('U', UNKNOWN, unknown,   unknown,   TEXT,    1, 0, MM_WHEN_OPEN,    SMFIP_NOUNKNOWN, SMFIP_NR_UNKN, 0) \
	X('A', ABORT,   abort,     abort,     NONE,    0, 0, MM_WHEN_OPEN,    0, 0, MM_STAGES_OF_MESSAGE) \
	X('Q', QUIT,    quit,      close,     NONE,    0, 0, MM_WHEN_ALWAYS,  0, 0, ~MM_STAGES_AFTERWARDS) \
	X('K', QUIT_NC, quit_nc,   close,     NONE,    0, 0, MM_WHEN_OPEN,    0, 0, ~MM_STAGES_AFTERWARDS)

enum mm_command_letter {
#define X(letter, wire, name, stage, layout, answered, content, when, off, quiet, ends) SMFIC_##wire = letter,
	MM_COMMANDS(X)
#undef X
};

/* Macro sets, in the order an MTA fills them, and their numbers inside an O answer (protocol 4.5, SMFIM_*).
 * ORDER MACRO_SET: mm_macros_lookup() goes from the last to the first. */
#define MM_MACRO_SETS(X) \
	X(connect, SMFIC_CONNECT, 0) \
	X(helo,    SMFIC_HELO,    1) \
	X(mail,    SMFIC_MAIL,    2) \
	X(rcpt,    SMFIC_RCPT,    3) \
	X(data,    SMFIC_DATA,    4) \
	X(eoh,     SMFIC_EOH,     6) \
	X(eom,     SMFIC_BODYEOB, 5)

enum mm_macro_set {
#define X(name, letter, number) MM_MACRO_SET_##name,
	MM_MACRO_SETS(X)
#undef X
	MM_MACRO_SET_COUNT
};

/* "rcpt". Static. */
static inline const char *mm_macro_set_name(enum mm_macro_set set)
{
	static const char *const names[] = {
#define X(name, letter, number) #name,
		MM_MACRO_SETS(X)
#undef X
	};
	return (unsigned)set < MM_MACRO_SET_COUNT ? names[set] : "?";
}

#endif
