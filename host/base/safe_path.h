/* base/safe_path.h -- the way to a file that we are about to open, create, give away or remove while we may be root.
 *
 * Directories on the way often belong to the user who serves mail. That user must not be able to lead root elsewhere:
 * as root we walk from "/" one component at a time, hold a descriptor of each directory, and follow a symbolic link
 * only when root owns it and when every directory before it is root's alone (/var/run -> /run is, a link in the log
 * directory of another user is not). All later work names the last component relative to the directory found
 * (openat, unlinkat ...), so that no rename in between matters. openat2(RESOLVE_NO_SYMLINKS) would refuse root's own
 * links, too, and would not report which component is wrong.
 *
 * As another user the kernel's own checks suffice: then the way is opened as it stands, links included. */
#ifndef MM_BASE_SAFE_PATH_H
#define MM_BASE_SAFE_PATH_H

#include "base/fault.h"

#include <limits.h>
#include <sys/types.h>

struct mm_safe_path {
	int  directory;                 /* owned: of the directory that holds the file; -1: none */
	char name[NAME_MAX + 1];        /* the last component */
	bool is_guarded;                /* we are root: the entry is not followed if it is a link */
	bool is_trusted;                /* only root may change any directory on the way, so root may give away what is
	                                 * there */
	int  error;                     /* why it could not be opened: as errno */
};

/* Walks to the directory of path. The file itself need not exist. False: the fault names the wrong component and what
 * to do, and p->error is set; nothing is left open. */
bool mm_safe_path_open(struct mm_safe_path *p, const char *path, struct mm_fault *why);
void mm_safe_path_close(struct mm_safe_path *p);
/* O_NOFOLLOW where the entry must not be a link, else 0. */
int mm_safe_path_flags(const struct mm_safe_path *p);
/* A path of the entry for calls that take nothing else (bind, connect), which no rename can lead elsewhere. `path` is
 * what was opened, and is used where nobody but root could change the way. Returns to, or NULL: too long. */
const char *mm_safe_path_entry(const struct mm_safe_path *p, const char *path, char *to, size_t size);

#endif
