/* milter/edit.h -- edits: checked when a script asks (edit_rules.h), queued in the message, written in one burst after
 * end-of-message (edit_write.h). When an edit is not granted, malformed or too large, the function returns false with a
 * fault that a script author can act on, and queues nothing. */
#ifndef MM_MILTER_EDIT_H
#define MM_MILTER_EDIT_H

#include "milter/message.h"
#include "milter/negotiate.h"

/* Adds a field at the end of the header (SMFIR_ADDHEADER). */
bool mm_edit_add_header(struct mm_message *, const struct mm_grants *, struct mm_text name, struct mm_text value,
	struct mm_fault *why);
/* position 0: above everything; see the index rule in message.h. */
bool mm_edit_insert_header(struct mm_message *, const struct mm_grants *, int64_t position, struct mm_text name,
	struct mm_text value, struct mm_fault *why);
/* Changes field n of a name, from 1, negative from the end; n 0 means 1. No such field: it is added at the end, as both
 * MTAs do. An empty value deletes. */
bool mm_edit_change_header(struct mm_message *, const struct mm_grants *, struct mm_text name, int64_t n,
	struct mm_text value, struct mm_fault *why);
/* No such field: nothing happens. */
bool mm_edit_delete_header(struct mm_message *, const struct mm_grants *, struct mm_text name, int64_t n,
	struct mm_fault *why);
bool mm_edit_delete_headers(struct mm_message *, const struct mm_grants *, struct mm_text name, struct mm_fault *why);
/* The field at an index of message.fields. */
bool mm_edit_field(struct mm_message *, const struct mm_grants *, uint32_t index, struct mm_text value, bool deletes,
	struct mm_fault *why);
/* A new field before the one at an index of message.fields. */
bool mm_edit_insert_before(struct mm_message *, const struct mm_grants *, uint32_t index, struct mm_text name,
	struct mm_text value, struct mm_fault *why);
/* Addresses come with or without angle brackets; "" or "<>" is the null sender. params is
 * "KEY=value KEY=value" or empty. */
bool mm_edit_change_from(struct mm_message *, const struct mm_grants *, struct mm_text address, struct mm_text params,
	struct mm_fault *why);
bool mm_edit_add_recipient(struct mm_message *, const struct mm_grants *, struct mm_text address, struct mm_text params,
	struct mm_fault *why);
bool mm_edit_delete_recipient(struct mm_message *, const struct mm_grants *, struct mm_text address,
	struct mm_fault *why);
/* Drops the pieces so far; the next one begins a new body. The body that a mark refers to moves into
 * the mark; NULL: no mark. */
struct mm_edit_mark;
void mm_edit_restart_body(struct mm_message *, struct mm_edit_mark *);
/* The first piece drops the old body; further ones append (new_body.h). An empty piece is an empty body.
 * body_max: bytes in all. */
bool mm_edit_replace_body(struct mm_message *, const struct mm_grants *, struct mm_text piece, size_t body_max,
	struct mm_fault *why);
bool mm_edit_quarantine(struct mm_message *, const struct mm_grants *, struct mm_text reason, struct mm_fault *why);
/* One more seal (message.h): it will need to insert fields. */
bool mm_edit_seal(struct mm_message *, const struct mm_grants *, struct mm_fault *why);
/* Forgets every edit of the message. */
void mm_edits_drop(struct mm_message *);

/* A mark records the edits up to now: a failed handler whose message goes on (a recipient's) takes back its own edits
 * and no others. NULL means no edits, which is the usual case. */
/* Makes a mark in *mark, which must be NULL before. False: out of memory. */
bool mm_edits_mark(const struct mm_message *, struct mm_edit_mark **mark);
/* Undoes all edits since the mark. Call it once per mark: the saved body moves back into the message. */
void mm_edits_back_to(struct mm_message *, struct mm_edit_mark *);
void mm_edit_mark_free(struct mm_edit_mark *);          /* NULL is fine */

#endif
