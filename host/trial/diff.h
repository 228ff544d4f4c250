/* trial/diff.h -- what changed between two texts, as `diff -u` shows it.
 * Lines are compared without their CR, so that a file with CRLF lines reads well. The shortest edit script (Myers 1986,
 * "An O(ND) difference algorithm and its variations") up to DIFFERENCES_MAX lines of difference; beyond that everything
 * between the common beginning and the common end counts as replaced, which is correct, but longer. */
#ifndef MM_TRIAL_DIFF_H
#define MM_TRIAL_DIFF_H

#include "base/buffer.h"
#include "base/cursor.h"

/* Appends the diff, nothing when the texts are equal. False: out of memory. */
bool mm_diff_unified(struct mm_buffer *out, const char *old_name, struct mm_text old, const char *new_name,
	struct mm_text new);

#endif
