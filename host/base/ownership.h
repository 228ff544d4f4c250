/* base/ownership.h -- who could change a file that decides what a service does.
 * A file is as safe as the least safe directory on its way: whoever may write there can replace what is below. Access
 * lists show in the bits of the group. */
#ifndef MM_BASE_OWNERSHIP_H
#define MM_BASE_OWNERSHIP_H

#include "base/fault.h"

#include <sys/types.h>

#define MM_TRUSTED_USERS_MAX 72

struct mm_trusted_users {
	uid_t    ids[MM_TRUSTED_USERS_MAX];
	unsigned count;
};

/* ORDER OWNERSHIP: better ones first */
enum mm_ownership {
	MM_OWNERSHIP_GOOD,      /* only trusted users may change it; or it does not exist, or we cannot look at it */
	MM_OWNERSHIP_SHARED,    /* so may the members of a group */
	MM_OWNERSHIP_FOREIGN,   /* so may a user who is not trusted, or every user */
};

/* Does nothing when there is no room. */
void mm_trusted_users_add(struct mm_trusted_users *, uid_t user);
/* Looks at the file or directory and at every directory on its way, as written and with links resolved. why is filled
 * unless it is GOOD: it names what is wrong and the command that mends it. path is absolute. */
enum mm_ownership mm_ownership_of(const char *path, const struct mm_trusted_users *, struct mm_fault *why);
/* The same for a directory in which we or an MTA look for a socket: FOREIGN when every user may replace it. Groups and
 * other owners may be meant: MTAs have directories for sockets. */
enum mm_ownership mm_ownership_of_socket(const char *path, struct mm_fault *why);

#endif
