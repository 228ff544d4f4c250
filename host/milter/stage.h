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
	X(load,       "on_load",       "a generation of scripts starts") \
	X(unload,     "on_unload",     "a generation of scripts ends")

enum mm_stage {
#define X(name, handler, about) MM_STAGE_##name,
	MM_STAGES(X)
#undef X
	MM_STAGE_COUNT
};

#define MM_STAGE_BIT(name) (1u << MM_STAGE_##name)

/* Sets of stages: of an SMTP client before its first message, of a message, and those whose handlers belong to no reply,
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

/* Steps: what is sent, and what is answered (protocol 4.3). */
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

/* Macro sets, in the order an MTA fills them, and their numbers inside an O answer (protocol 4.5, SMFIM_*).
 * ORDER MACRO_SET: mm_macros_lookup() goes from the last to the first. */
#define MM_MACRO_SETS(X) \
	X(connect, 'C', 0) \
	X(helo,    'H', 1) \
	X(mail,    'M', 2) \
	X(rcpt,    'R', 3) \
	X(data,    'T', 4) \
	X(eoh,     'N', 6) \
	X(eom,     'E', 5)

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
