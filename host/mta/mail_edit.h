/* mta/mail_edit.h -- what an MTA makes of a filter's edits.
 * Does not know the order of packets: one edit in, one change done.
 *
 * Editing imitates one MTA (protocol 3.7, Postfix 3.7 to 3.12, Sendmail 8.17 with Debian's default fields):
 *   Postfix   puts its Received on top, hidden from filters; insert counts all fields with it, change and delete count
 *             what the filter saw; a deleted field is gone at once.
 *   Sendmail  keeps nine fields of its own before the client's, most of them unset; insert counts all of them; a
 *             deleted field still counts; an added one goes before the first of its name.
 * The MTA's own fields are counted here, and left out when the message is written.
 * Ownership: as in mail_file.h; an edit's texts are copied. */
#ifndef MM_MTA_MAIL_EDIT_H
#define MM_MTA_MAIL_EDIT_H

#include "mta/mail_file.h"

/* Puts the MTA's own fields on top, before the first edit. */
bool mm_mail_edit_take_in(struct mm_mail_file *, enum mm_mta_kind, struct mm_fault *why);
/* Applies one edit. leading_space: HDR_LEADSPC was agreed, so the value includes the space after the colon. */
bool mm_mail_edit_apply(struct mm_mail_file *, enum mm_mta_kind, bool leading_space, const struct mm_mta_reply *,
	struct mm_fault *why);

#endif
