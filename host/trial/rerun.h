/* trial/rerun.h -- runs a recorded conversation (replay.h) again, through the scripts of a host in this
 * process, and finds the answers that differ. Compares the connection and each message separately. Knows no
 * files and no argv. Writes differences to stdout, "-" for the old answer, "+" for the new one, and reports on
 * stderr what it cannot compare. */
#ifndef MM_TRIAL_RERUN_H
#define MM_TRIAL_RERUN_H

#include "trial/inside.h"
#include "trial/replay.h"

struct mm_rerun {
	struct mm_inside *inside;       /* borrowed; is started. is_quiet: counts differences without showing them */
	/* of all records so far */
	unsigned          messages, different;
	unsigned          shortened;    /* messages that now go on where the record ends */
};

/* file: the record's name. False: why gives the reason; its class is CONFIG when there is no such milter, otherwise the
 * scripts gave no answer. */
bool mm_rerun(struct mm_rerun *, const char *file, const struct mm_replay *, struct mm_fault *why);

#endif
