/* trial/rerun.h -- a recorded conversation (replay.h) once more, through the scripts of a host in this process: what
 * would be answered differently now. The connection and each message are compared by themselves. Knows no files and no
 * argv. Differences go to stdout, "-" is what was answered then, "+" what would be now; what cannot be compared is said
 * on stderr. */
#ifndef MM_TRIAL_RERUN_H
#define MM_TRIAL_RERUN_H

#include "trial/inside.h"
#include "trial/replay.h"

struct mm_rerun {
	struct mm_inside *inside;       /* borrowed: started. is_quiet: differences are counted and not shown */
	/* of all records so far */
	unsigned          messages, different;
	unsigned          shortened;    /* go on now where the record ends */
};

/* file: what the record is called. False: why says why; class CONFIG when there is no such milter, else the scripts
 * gave no answer. */
bool mm_rerun(struct mm_rerun *, const char *file, const struct mm_replay *, struct mm_fault *why);

#endif
