/* program/environment.h -- options from the environment: MOONMILTER_LOG_LEVEL=debug is --log-level=debug, for every key
 * of the configuration, and MOONMILTER_CONFIG is -c. An option of the command line comes before, the configuration
 * after. Variables are empty, or unset, for nothing; words of a list are separated by blanks. */
#ifndef MM_PROGRAM_ENVIRONMENT_H
#define MM_PROGRAM_ENVIRONMENT_H

#include "base/fault.h"
#include "config/key.h"

/* NULL: not set. BORROWED from the environment. */
const char *mm_environment_config(void);
/* Calls take with each value of the key, once, or for each word of a list. */
void mm_environment_read(const struct mm_config_key *, void (*take)(void *self, const struct mm_config_key *,
	const char *value), void *self);
/* False: a value does not fit its key; why names the variable. Says what a misspelt variable may mean. */
bool mm_environment_check(struct mm_fault *why);

#endif
