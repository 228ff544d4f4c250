/* mta/player.h -- an MTA on one milter connection, stage by stage: which bytes a stage sends, with which macros, what
 * ends a message and what ends the session (protocol 2.14, 3.3, 5.6, 6.3). moonmilter_testing.h has its contract. This
 * header adds what the dialogue of `try`, `send` and `replay` needs to show every packet.
 * Ownership: as there. */
#ifndef MM_MTA_PLAYER_H
#define MM_MTA_PLAYER_H

#include "milter/verdict.h"
#include "moonmilter_testing.h"
#include "mta/mta_macros.h"

/* Replaces a profile's macros. BORROWED while the player lives. */
void mm_player_set_macros(struct mm_player *, const struct mm_mta_macro *, size_t count);
const struct mm_mta *mm_player_mta(const struct mm_player *);   /* what was negotiated; borrowed */
/* The packets that came in answer to the last command, including an undecodable one. Texts are BORROWED until the next
 * call; complaint: empty when there is none. False: there are fewer packets. */
bool mm_player_heard(const struct mm_player *, uint32_t i, struct mm_packet *, struct mm_text *complaint);
/* The verdict of the last reply; continue when nothing was asked. */
enum mm_verdict_kind mm_player_verdict(const struct mm_player *);
/* The filter has accepted the client for good: it gets no more of this session. */
bool mm_player_is_unfiltered(const struct mm_player *);
/* Bytes of a packet that has not arrived whole. */
size_t mm_player_pending(const struct mm_player *);

#endif
