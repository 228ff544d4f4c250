/* trial/log_lines.h -- the host's log as `try` shows it: what scripts print and log, their errors, the fields that they
 * add to the line of a message, the events that they would send, and every other warning, each as a person wants to
 * read it; or, on request, every line as it is.
 * Reads only lines of the text format that base/log.h writes. */
#ifndef MM_TRIAL_LOG_LINES_H
#define MM_TRIAL_LOG_LINES_H

#include "base/text.h"
#include "moonmilter.h"

/* Prints a line in short on standard error, or nothing when it only repeats what `try` shows anyway. */
void mm_log_line_show(enum mm_level, struct mm_text line);
/* The value of a key, without quotes and escapes, cut to fit; false: the line has no such key. */
bool mm_log_line_value(struct mm_text line, const char *key, char *to, size_t size);

#endif
