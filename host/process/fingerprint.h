/* process/fingerprint.h -- detects changes of the files of a generation, for watch = true. Looks at names, sizes and
 * times of the configuration file and of every *.lua below the scripts' directories; reads no file. */
#ifndef MM_PROCESS_FINGERPRINT_H
#define MM_PROCESS_FINGERPRINT_H

#include "config/config.h"

/* The result differs when something changed. file: the configuration file, or NULL. */
uint64_t mm_fingerprint(const struct mm_config *, const char *file);

#endif
