/* milter/negotiate.h -- the options that are offered AND wanted (protocol 4).
 * The answer never holds a bit that was not offered. When a filter does not get what it wants, the engine fills the
 * gap: it answers "continue" itself to steps that the MTA cannot switch off, replies where silence was not granted, and
 * turns SKIP into "continue". */
#ifndef MM_MILTER_NEGOTIATE_H
#define MM_MILTER_NEGOTIATE_H

#include "base/buffer.h"
#include "milter/command.h"
#include "base/fault.h"

/* What a filter wants, derived from its scripts' handlers and options. */
struct mm_wanted {
	uint32_t stages;                /* MM_STAGE_BIT()s of the commands that the MTA must send */
	uint32_t quiet;                 /* MM_STAGE_BIT()s that need no answer when the MTA agrees */
	uint32_t actions;               /* SMFIF_ bits, taken when offered */
	uint32_t needs_actions;         /* SMFIF_ bits without which we refuse the MTA */
	uint32_t needs_steps;           /* SMFIP_ bits without which we refuse the MTA */
	bool     rejected_recipients;   /* SMFIP_RCPT_REJ */
	/* Names separated by one space, ORDER MACRO_SET; NULL: the MTA's own list. Borrowed. */
	const char *macro_lists[MM_MACRO_SET_COUNT];
};

/* What the two sides of one connection have agreed on. */
struct mm_grants {
	uint32_t version;               /* 2..6 */
	uint32_t actions;               /* SMFIF_ bits we may use */
	uint32_t steps;                 /* SMFIP_ bits as answered */
	uint32_t quiet;                 /* MM_STAGE_BIT()s that get no reply */
	uint32_t data_max;              /* bytes a packet may carry after its letter */
	bool     asks_version;          /* a list of ours asks for macro v */
	struct mm_offer offer;          /* what the MTA offered, for ctx.mta */
};

/* The versions of the protocol that brought commands 'U' and 'T' (protocol 2.1). */
#define MM_UNKNOWN_SINCE 3u
#define MM_DATA_SINCE    4u

/* A macro list is wanted. */
bool mm_wanted_has_lists(const struct mm_wanted *);
/* Fills grants and appends the O packet to out. False: the MTA cannot serve this filter; nothing is appended. */
bool mm_negotiate(const struct mm_offer *, const struct mm_wanted *, struct mm_grants *, struct mm_buffer *out,
	struct mm_fault *why);

/* "add_header quarantine" for the bits of an actions mask, "" for none; cut at size. Returns to. */
char *mm_actions_text(uint32_t actions, char *to, size_t size);
char *mm_steps_text(uint32_t steps, char *to, size_t size);
/* The SMFIF_ bit of a word of MM_ACTIONS, 0 when there is none. Also knows insert_header and delete_header. */
uint32_t mm_action_bit(const char *word);
/* The SMFIP_ bit of a word of MM_STEPS, 0 when there is none. */
uint32_t mm_step_bit(const char *word);

#endif
