/* trial/transcript.h -- shows a dialogue to people and programs: packets, replies, edits, the verdict; as text and
 * JSON. Edits have the names that scripts use. Control bytes are shown as \r \n \t \xNN, so that no raw byte from the
 * wire reaches a terminal. Every function appends to out; its `failed` says when memory ran out. */
#ifndef MM_TRIAL_TRANSCRIPT_H
#define MM_TRIAL_TRANSCRIPT_H

#include "mta/dialogue.h"
#include "base/json.h"

/* One line, without its end: "> rcpt <bob@example.org> NOTIFY=NEVER", "< add_header X-Tag: yes". */
void mm_transcript_packet(struct mm_buffer *out, bool is_command, const struct mm_packet *);
/* One reply: "reject 550 5.7.1 no bobs here", "add_header X-Tag: yes", "progress". */
void mm_transcript_reply(struct mm_buffer *out, const struct mm_mta_reply *);
/* A line for each reply; a run of plain "continue" of one stage takes one line. */
void mm_transcript_replies(struct mm_buffer *out, const struct mm_mail_file *, const struct mm_dialogue_result *);
/* The edits of an accepted message, a line each; a body takes one line. */
void mm_transcript_edits(struct mm_buffer *out, const struct mm_dialogue_result *);
/* A line for each refused recipient: "  refused <bob@example.org>: 550 5.1.1 no such user (20-users.lua:3)". */
void mm_transcript_refused(struct mm_buffer *out, const struct mm_mail_file *, const struct mm_dialogue_result *);
/* "reject at rcpt: 550 5.7.1 no bobs here", the lines of a reply below each other. "  decided by 20-users.lua:3",
 * if known, is a line of its own. With its line end. */
void mm_transcript_verdict(struct mm_buffer *out, const struct mm_dialogue_result *);
/* "version 6; actions: add_header; steps: no_helo skip" */
void mm_transcript_offer(struct mm_buffer *out, const struct mm_offer *);
/* One object: verdict, stage, code, reply, decided_by, edits, replies, envelope, message (null unless it was accepted).
 * edited: the message as the MTA would pass it on; why: the fault that ended it, or NULL; script_errors: since the
 * message before. */
void mm_transcript_json(struct mm_json *, const char *file, enum mm_mta_kind, const struct mm_dialogue_result *,
	const struct mm_mail_file *edited, const struct mm_fault *why, unsigned long script_errors);
/* Appends bytes; makes control bytes and everything that is not UTF-8 visible. */
void mm_transcript_shown(struct mm_buffer *out, struct mm_text);
/* The word of a verdict in --expect: "accept", "quarantine", "abort", … Static. */
const char *mm_transcript_word(const struct mm_dialogue_result *);

#endif
