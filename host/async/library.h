/* async/library.h -- functions of a library that is loaded only when it is needed, so that it is needed neither to
 * build nor to run. What we call of it, we declare ourselves, by its ABI. */
#ifndef MM_ASYNC_LIBRARY_H
#define MM_ASYNC_LIBRARY_H

#include "base/fault.h"

struct mm_library_function {
	const char *name;
	void       *to;         /* the pointer to the function */
};

/* Loads the first of the names that is there, and fills all pointers. Blocks while files are read. False: *why names
 * the package to install. The library stays loaded.  files: NULL-ended. */
bool mm_library_load(const char *const *files, const char *package, const struct mm_library_function *, size_t count,
	struct mm_fault *why);

#endif
