/* script/files.h -- which files are scripts: paths of the configuration to a list in the order in which they run. */
#ifndef MM_SCRIPT_FILES_H
#define MM_SCRIPT_FILES_H

#include "base/fault.h"

#include <stdbool.h>
#include <stddef.h>

struct mm_script_files {
	char   **items;         /* owned */
	size_t   count, capacity;
};

/* paths end with NULL. Files are taken as they are; of a directory its *.lua in the order of their names, byte by byte,
 * but neither hidden ones nor directories. On failure the list is to be freed as well. */
bool mm_script_files_find(struct mm_script_files *, const char *const *paths, struct mm_fault *why);
/* The path as we can use it. A checkout below a directory that is closed to us (/root) is still open from the working
 * directory: then the path from there. Borrowed from path. */
const char *mm_script_files_reach(const char *path);
void mm_script_files_free(struct mm_script_files *);

#endif
