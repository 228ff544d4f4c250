/* milter/command.h -- what an MTA says: the table of commands and the decoder.
 * A decoded command BORROWS its texts from the packet; each is followed by a NUL that is not counted. Decoding checks
 * everything: a missing NUL, a short or an over-long payload is a fault that names the command and the bytes. */
#ifndef MM_MILTER_COMMAND_H
#define MM_MILTER_COMMAND_H

#include "base/cursor.h"
#include "base/fault.h"
#include "milter/frame.h"
#include "milter/stage.h"

/* How a payload is laid out. */
enum mm_layout {
	MM_LAYOUT_NONE,         /* nothing */
	MM_LAYOUT_TEXT,         /* one string */
	MM_LAYOUT_ADDRESS,      /* a string, then any number of strings */
	MM_LAYOUT_FIELD,        /* two strings */
	MM_LAYOUT_BYTES,        /* raw */
	MM_LAYOUT_CONNECT,      /* protocol 2.3 */
	MM_LAYOUT_MACROS,       /* protocol 2.2 */
	MM_LAYOUT_OFFER,        /* protocol 4.1 */
};

/* When a command may come. Anything else is out of order and ends the connection (protocol 5). */
#define MM_WHEN_START    0x01u  /* nothing negotiated yet */
#define MM_WHEN_IDLE     0x02u  /* negotiated, no message open */
#define MM_WHEN_ENVELOPE 0x04u  /* message open, recipients may come */
#define MM_WHEN_DATA     0x08u  /* DATA seen */
#define MM_WHEN_HEADERS  0x10u  /* a header seen */
#define MM_WHEN_BODY     0x20u  /* end of headers or a body chunk seen */
#define MM_WHEN_DECIDED  0x40u  /* our final verdict is given; an MTA may not have noticed yet */
#define MM_WHEN_MESSAGE  (MM_WHEN_ENVELOPE | MM_WHEN_DATA | MM_WHEN_HEADERS | MM_WHEN_BODY)
#define MM_WHEN_OPEN     (MM_WHEN_IDLE | MM_WHEN_MESSAGE | MM_WHEN_DECIDED)
#define MM_WHEN_ALWAYS   (MM_WHEN_START | MM_WHEN_OPEN)

/* MAIL may come with a message open: Sendmail sends no abort after RSET when MAIL needs no answer (protocol 5.6).
 * BODY may come without end of headers, which is a step one can switch off.
 * In a row: letter, name, stage, layout, when it may come, bit that switches it off, bit that promises silence. */
#define MM_COMMANDS(X) \
	X('O', negotiate, MM_STAGE_negotiate, OFFER,   MM_WHEN_START,   0,               0) \
	X('D', macros,    MM_STAGE_COUNT,     MACROS,  MM_WHEN_OPEN,    0,               0) \
	X('C', connect,   MM_STAGE_connect,   CONNECT, MM_WHEN_IDLE,    SMFIP_NOCONNECT, SMFIP_NR_CONN) \
	X('H', helo,      MM_STAGE_helo,      TEXT,    MM_WHEN_OPEN,    SMFIP_NOHELO,    SMFIP_NR_HELO) \
	X('M', mail,      MM_STAGE_mail,      ADDRESS, MM_WHEN_OPEN,    SMFIP_NOMAIL,    SMFIP_NR_MAIL) \
	X('R', rcpt,      MM_STAGE_rcpt,      ADDRESS, MM_WHEN_ENVELOPE | MM_WHEN_DECIDED, \
	                                                                SMFIP_NORCPT,    SMFIP_NR_RCPT) \
	X('T', data,      MM_STAGE_data,      NONE,    MM_WHEN_ENVELOPE | MM_WHEN_DECIDED, \
	                                                                SMFIP_NODATA,    SMFIP_NR_DATA) \
	X('L', header,    MM_STAGE_header,    FIELD,   MM_WHEN_ENVELOPE | MM_WHEN_DATA | MM_WHEN_HEADERS \
	                                             | MM_WHEN_DECIDED, \
	                                                                SMFIP_NOHDRS,    SMFIP_NR_HDR) \
	X('N', eoh,       MM_STAGE_eoh,       NONE,    MM_WHEN_ENVELOPE | MM_WHEN_DATA | MM_WHEN_HEADERS \
	                                             | MM_WHEN_DECIDED, \
	                                                                SMFIP_NOEOH,     SMFIP_NR_EOH) \
	X('B', body,      MM_STAGE_body,      BYTES,   MM_WHEN_MESSAGE | MM_WHEN_DECIDED, \
	                                                                SMFIP_NOBODY,    SMFIP_NR_BODY) \
	X('E', eom,       MM_STAGE_eom,       BYTES,   MM_WHEN_OPEN,    0,               0) \
	X('U', unknown,   MM_STAGE_unknown,   TEXT,    MM_WHEN_OPEN,    SMFIP_NOUNKNOWN, SMFIP_NR_UNKN) \
	X('A', abort,     MM_STAGE_abort,     NONE,    MM_WHEN_OPEN,    0,               0) \
	X('Q', quit,      MM_STAGE_close,     NONE,    MM_WHEN_ALWAYS,  0,               0) \
	X('K', quit_nc,   MM_STAGE_close,     NONE,    MM_WHEN_OPEN,    0,               0)

struct mm_command_row {
	const char     *name;           /* as in logs: "rcpt" */
	uint8_t         letter;
	enum mm_stage   stage;          /* MM_STAGE_COUNT: no handler belongs to it */
	enum mm_layout  layout;
	uint8_t         when;           /* MM_WHEN_ bits */
	bool            is_answered;    /* exactly one final reply, unless no_reply was negotiated */
	uint32_t        no_step;        /* SMFIP_NO… bit that switches it off, or 0 */
	uint32_t        no_reply;       /* SMFIP_NR_… bit that promises silence, or 0 */
};

/* The row of a letter, NULL for a letter no MTA sends. */
const struct mm_command_row *mm_command_row(uint8_t letter);
/* The row whose events go to a stage's handler, NULL for stages without a command. */
const struct mm_command_row *mm_command_of_stage(enum mm_stage stage);

/* Protocol 2.3. ORDER FAMILY */
enum mm_family { MM_FAMILY_UNKNOWN, MM_FAMILY_UNIX, MM_FAMILY_INET, MM_FAMILY_INET6 };
const char *mm_family_name(enum mm_family);     /* "unknown" "unix" "inet" "inet6". Static. */

struct mm_offer {
	uint32_t version;
	uint32_t actions;       /* SMFIF_ bits */
	uint32_t steps;         /* SMFIP_ bits */
};

struct mm_command {
	const struct mm_command_row *row;
	struct mm_text text;            /* helo argument, address as given, unknown line, header
	                                 * name, client host, body */
	struct mm_text value;           /* header value as sent, client address without "IPv6:" */
	struct mm_text strings;         /* further strings, each ended by NUL: ESMTP parameters,
	                                 * macro names and values */
	struct mm_offer offer;          /* negotiate */
	uint8_t        macros_of;       /* macros: letter of the command they belong to */
	enum mm_family family;          /* connect */
	uint16_t       port;            /* connect; 0 unknown */
};

bool mm_command_decode(const struct mm_packet *, struct mm_command *out, struct mm_fault *why);

#endif
