/* trial/transcript.h -- a dialogue as people and programs read it: packets, replies, edits, the verdict; text and JSON.
 * Edits have the names scripts know them by. Control bytes are shown as \r \n \t \xNN, so that nothing from the wire
 * reaches a terminal as it is. Every function appends to out; its `failed` says when memory ran out. */
#ifndef MM_TRIAL_TRANSCRIPT_H
#define MM_TRIAL_TRANSCRIPT_H

#include "mta/dialogue.h"
#include "base/json.h"

/* One line, without its end: "> rcpt <bob@example.org> NOTIFY=NEVER", "< add_header X-Tag: yes". */
void mm_transcript_packet(struct mm_buffer *out, bool is_command, const struct mm_packet *);
/* One reply: "reject 550 5.7.1 no bobs here", "add_header X-Tag: yes", "progress". */
void mm_transcript_reply(struct mm_buffer *out, const struct mm_mta_reply *);
/* A line for each reply; runs of plain "continue" of one stage are one line. */
void mm_transcript_replies(struct mm_buffer *out, const struct mm_mail_file *, const struct mm_dialogue_result *);
/* The edits of a message that was let through, a line each; a body is one line. */
void mm_transcript_edits(struct mm_buffer *out, const struct mm_dialogue_result *);
/* "reject at rcpt: 550 5.7.1 no bobs here", lines of a reply below each other. With its line end. */
void mm_transcript_verdict(struct mm_buffer *out, const struct mm_dialogue_result *);
/* "version 6; actions: add_header; steps: no_helo skip" */
void mm_transcript_offer(struct mm_buffer *out, const struct mm_offer *);
/* One object: verdict, stage, code, reply, edits, replies, envelope, message (null unless it was accepted). edited: as
 * the MTA would pass it on; why: the fault that ended it, or NULL. */
void mm_transcript_json(struct mm_json *, const char *file, enum mm_mta_kind, const struct mm_dialogue_result *,
	const struct mm_mail_file *edited, const struct mm_fault *why);
/* Bytes with control bytes and everything that is no UTF-8 made visible. */
void mm_transcript_shown(struct mm_buffer *out, struct mm_text);
/* The word of a verdict as --expect knows it: "accept", "quarantine", "abort", … Static. */
const char *mm_transcript_word(const struct mm_dialogue_result *);

#endif
