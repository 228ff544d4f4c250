/* milter/edit_write.h -- the packets of a message's edits: the final list of fields, envelope and body, written for
 * each MTA such that both make the same message of them. Knows no scripts and checks nothing: edit.h has done that. */
#ifndef MM_MILTER_EDIT_WRITE_H
#define MM_MILTER_EDIT_WRITE_H

#include "milter/message.h"
#include "milter/negotiate.h"

/* The MTA at the other end; Postfix and Sendmail count header positions differently (protocol 3.7). For an unknown one
 * the protocol's own meaning holds: 0 is the top, and deleted fields count no more. */
enum mm_mta_kind { MM_MTA_UNKNOWN, MM_MTA_POSTFIX, MM_MTA_SENDMAIL };
const char *mm_mta_kind_name(enum mm_mta_kind);         /* "unknown" "postfix" "sendmail". Static. */

/* Does what the edits do depend on how the MTA counts fields? */
bool mm_edits_have_positions(const struct mm_message *);
/* Appends the packets of all edits: sender, recipients, header changes, deletions, insertions, body, quarantine
 * (protocol 3.10: Postfix refuses body packets mixed with others). The caller appends the final reply right
 * after them. */
void mm_edits_write(struct mm_message *, const struct mm_grants *, enum mm_mta_kind, struct mm_buffer *out);

#endif
