/* trial/recorded.h -- a record in the form of `ctl trace`: commands with their arguments, and the answers to each. It
 * has no times, and nothing of scripts: a record holds what was sent. */
#ifndef MM_TRIAL_RECORDED_H
#define MM_TRIAL_RECORDED_H

#include "trial/replay.h"

/* Appends a line for each packet. */
void mm_recorded_show(const struct mm_replay *, bool is_json, struct mm_buffer *out);

#endif
