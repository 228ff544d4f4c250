/* trial/replay.h -- parses a record: the MTA's commands, and what the filter answered to each. Assigns replies to
 * commands by the rules negotiated then (mta.h), so it does not matter how bytes of both directions crossed. Knows
 * no host: the caller decides what to do with the commands. Ownership: a replay owns a copy of the file; packets
 * are BORROWED from it. */
#ifndef MM_TRIAL_REPLAY_H
#define MM_TRIAL_REPLAY_H

#include "mta/mta.h"
#include "io/recorder.h"

struct mm_replay_command {
	struct mm_packet packet;
	uint32_t         first_reply, reply_count;      /* in replies of the replay */
	bool             is_answered;                   /* a final reply came */
};

struct mm_replay {
	struct mm_buffer          bytes;        /* owned: the file */
	enum mm_redact            redact;
	bool                      is_cut;       /* the session went on */
	struct mm_replay_command *commands;     /* owned */
	uint32_t                  command_count, command_capacity;
	struct mm_packet         *replies;      /* owned */
	uint32_t                  reply_count, reply_capacity;
	struct mm_offer           offer, agreed;        /* negotiated then; all 0 when no offer was recorded */
};

/* The struct must be empty before. Free it after a failure, too. */
bool mm_replay_parse(struct mm_replay *, const void *bytes, size_t n, struct mm_fault *why);
void mm_replay_free(struct mm_replay *);

/* Appends the result of one message as lines of text: the verdict, then the edits. agreed: what the filter that
 * answered had negotiated. */
void mm_replay_outcome(struct mm_buffer *out, uint8_t command, const struct mm_packet *replies, uint32_t count);

#endif
