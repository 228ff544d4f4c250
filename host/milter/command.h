/* milter/command.h -- what an MTA sends: the rows of commands (stage.h) and the decoder.
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

struct mm_command_row {
	const char     *name;           /* as in logs: "rcpt" */
	enum mm_command_letter letter;
	enum mm_stage   stage;          /* MM_STAGE_COUNT: it has no handler */
	enum mm_layout  layout;
	uint8_t         when;           /* MM_WHEN_ bits */
	bool            is_answered;    /* exactly one final reply, unless no_reply was negotiated */
	bool            is_content;     /* of a message: when no message is open it is answered without a handler */
	uint32_t        no_step;        /* SMFIP_NO… bit that switches it off, or 0 */
	uint32_t        no_reply;       /* SMFIP_NR_… bit that promises silence, or 0 */
};

/* MM_LETTER_BIT()s (frame.h) of the commands that end the wait of a handler at a stage. */
uint32_t mm_commands_ending_wait(enum mm_stage stage);
/* The row of a letter, NULL for a letter no MTA sends. */
const struct mm_command_row *mm_command_row(uint8_t letter);

/* Families of a client's address (protocol 2.3): name, letter on the wire, word in logs. */
#define MM_FAMILIES(X) \
	X(UNKNOWN, 'U', "unknown") \
	X(UNIX,    'L', "unix") \
	X(INET,    '4', "inet") \
	X(INET6,   '6', "inet6")

enum mm_family {
#define X(name, letter, word) MM_FAMILY_##name,
	MM_FAMILIES(X)
#undef X
};

enum mm_family_letter {
#define X(name, letter, word) SMFIA_##name = letter,
	MM_FAMILIES(X)
#undef X
};

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
	struct mm_text value;           /* header value, client address without "IPv6:" */
	struct mm_text strings;         /* further strings, each ended by NUL: ESMTP parameters,
	                                 * macro names and values */
	struct mm_offer offer;          /* negotiate */
	uint8_t        macros_of;       /* macros: letter of the command they belong to */
	bool           has_space;       /* header: there is a space between colon and value */
	enum mm_family family;          /* connect */
	uint16_t       port;            /* connect; 0 unknown */
	size_t         bytes_beyond;    /* connect: after all that it has */
};

/* steps: SMFIP_ bits agreed. One space after the colon of a header field belongs to the notation, not to the value. The
 * MTA sends it only with HDR_LEADSPC (protocol 3.8); the decoder then takes it off the value. */
bool mm_command_decode(const struct mm_packet *, uint32_t steps, struct mm_command *out, struct mm_fault *why);
/* The same for a header packet, into a command that holds another header packet already. */
bool mm_command_decode_field(const struct mm_packet *, uint32_t steps, struct mm_command *, struct mm_fault *why);

#endif
