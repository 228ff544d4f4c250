/* embed/log_target.h -- where a host's log goes: to the embedder, a file, syslog or stderr, as options and
 * configuration say. What a line looks like is base/log.h's. */
#ifndef MM_EMBED_LOG_TARGET_H
#define MM_EMBED_LOG_TARGET_H

#include "base/fault.h"
#include "moonmilter.h"

/* Opens the log that the configuration names, or reopens it, since its file may have been renamed. False:
 * the log stays as it was. */
bool mm_host_reopen_log(struct mm_host *, struct mm_fault *why);
/* Sets level and format to those of the configuration. */
void mm_host_tune_log(struct mm_host *);
/* Sets this level until the configuration is read again. */
void mm_host_set_log_level(struct mm_host *, enum mm_level);

#endif
