/* embed/rights.h -- the user we run as: never root while mail is served.
 * We bind the listeners first, then drop groups, group and user for good and verify that. */
#ifndef MM_EMBED_RIGHTS_H
#define MM_EMBED_RIGHTS_H

#include "base/fault.h"

#include <sys/types.h>

/* When running as root, fills *user (owned by the caller) with the first of "moonmilter" and "nobody" that exists. */
bool mm_rights_need_a_user(char **user, struct mm_fault *why);
/* Is this the user's id? user may be NULL: no. */
bool mm_rights_is_user(uid_t owner, const char *user);
/* If we are root: gives the file to the user we are about to become, who must be able to reopen it. */
void mm_rights_hand_over(int fd, const char *user);
/* Takes as many descriptors as the system allows, and a stack large enough that Lua reports "stack overflow"
 * before the kernel kills us. */
void mm_rights_raise_limits(void);
/* Checks that user and group exist and are not root's. NULL: not named. */
bool mm_rights_check(const char *user, const char *group, struct mm_fault *why);
/* Becomes the user, if we are root; user may be NULL when we are not. group NULL: the user's own. Fails when the result
 * would still be root. Sets HOME. Afterwards no exec can gain new privileges. */
bool mm_rights_drop(const char *user, const char *group, struct mm_fault *why);

#endif
