/* milter/edit_rules.h -- what an edit may ask for: which edits are granted, and the rules for names, values, addresses
 * and parameters. Where Postfix and Sendmail differ, the stricter rule applies (protocol 3.7 to 3.13). These functions
 * know only how many edits came before, not which.
 * Each function returns false with a fault that a script author can act on. */
#ifndef MM_MILTER_EDIT_RULES_H
#define MM_MILTER_EDIT_RULES_H

#include "milter/message.h"
#include "milter/negotiate.h"

/* The SMFIF_ bit was negotiated, and there is room for one more edit. */
bool mm_edit_is_granted(const struct mm_grants *, uint32_t action, const struct mm_message *, struct mm_fault *why);
/* RFC 5322 2.2. */
bool mm_edit_name_is_good(struct mm_text name, struct mm_fault *why);
/* Folded with LF and white space (RFC 5322 2.2.3); name counts only for the length of the first line. */
bool mm_edit_value_is_good(struct mm_text name, struct mm_text value, struct mm_fault *why);
/* Without angle brackets; the null sender is good. */
bool mm_edit_address_is_good(struct mm_text bare, struct mm_fault *why);
/* The same, and not empty. */
bool mm_edit_recipient_is_good(struct mm_text bare, struct mm_fault *why);
/* "KEY=value KEY=value" as the edit may carry it: SMFIR_ADDRCPT_PAR or SMFIR_CHGFROM. */
bool mm_edit_params_are_good(enum mm_reply_letter, struct mm_text params, struct mm_fault *why);
/* The reason for a quarantine. */
bool mm_edit_reason_is_good(struct mm_text reason, struct mm_fault *why);

#endif
