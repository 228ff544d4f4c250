/* script/files.h -- turns paths of the configuration into the list of scripts, in the order in which they run. */
#ifndef MM_SCRIPT_FILES_H
#define MM_SCRIPT_FILES_H

#include "base/fault.h"

#include <stdbool.h>
#include <stddef.h>

struct mm_script_files {
	char   **items;         /* owned */
	size_t   count, capacity;
};

/* Where modules are looked for after lib/ beside the scripts; ends with NULL. A share/ holds Lua files, a lib/ holds C
 * modules. */
extern const char *const mm_script_module_directories[];

/* paths end with NULL. Takes files as they are, and the *.lua of a directory in the byte order of their names, except
 * hidden files and directories. Free the list after a failure, too. */
bool mm_script_files_find(struct mm_script_files *, const char *const *paths, struct mm_fault *why);
/* The path as we can use it. Below a directory that we may not enter (/root), a checkout can still be reached from the
 * working directory: then returns the path from there. Borrowed from path. */
const char *mm_script_files_reach(const char *path);
void mm_script_files_free(struct mm_script_files *);

#endif
