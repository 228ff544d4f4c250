/* process/fingerprint.h -- have the files changed that a generation is made of? For watch = true.
 * Looks at names, sizes and times of the configuration file and of every *.lua below the directories of the scripts;
 * reads none. */
#ifndef MM_PROCESS_FINGERPRINT_H
#define MM_PROCESS_FINGERPRINT_H

#include "config/config.h"

/* Differs when something changed. file: the configuration's, or NULL. */
uint64_t mm_fingerprint(const struct mm_config *, const char *file);

#endif
