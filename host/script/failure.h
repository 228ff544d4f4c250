/* script/failure.h -- a handler that failed: what the log says, and which verdict the MTA gets instead. */
#ifndef MM_SCRIPT_FAILURE_H
#define MM_SCRIPT_FAILURE_H

#include "task/task.h"

/* Does a failure at this stage decide anything? Not once the message or the session is over, and not
 * while the MTA negotiates. */
bool mm_failure_has_verdict(enum mm_stage);
/* Logs the failure of the script at script_at and fills out with the verdict of on_error, where the stage takes one.
 * Drops the edits of the message, or those of this recipient: a failed script must not change the message. */
void mm_failure_decide(struct mm_script_session *, const char *text, struct mm_verdict *out);
/* A script has read a part of the message that is cut (over_due): fills out with the verdict of `over`. The log has
 * said so (bind/whole.h). */
void mm_failure_over(struct mm_script_session *, struct mm_verdict *out);
/* Does the text name the file of the script at script_at? */
bool mm_failure_names_script(const struct mm_script_session *, const char *text);
/* Puts file, line and name of the handler (a registry reference) before the fault's text. */
void mm_failure_name_handler(struct mm_script_session *, int handler, struct mm_fault *why);

#endif
