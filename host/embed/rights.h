/* embed/rights.h -- the user we run as: never root while mail is served.
 * Listeners are bound first; then groups, group and user are dropped for good and the drop is verified. */
#ifndef MM_EMBED_RIGHTS_H
#define MM_EMBED_RIGHTS_H

#include "base/fault.h"

/* When running as root, fills *user (owned by the caller) with the first of "moonmilter" and "nobody" that exists. */
bool mm_rights_need_a_user(char **user, struct mm_fault *why);
/* While we are root: gives the file to the user we are about to become, who must be able to open it again. */
void mm_rights_hand_over(int fd, const char *user);
/* As many descriptors as the system lets us have, and a stack on which Lua says "stack overflow"
 * before the kernel does. */
void mm_rights_raise_limits(void);
/* Are there such a user and group, and are they not root's? NULL: not named. */
bool mm_rights_check(const char *user, const char *group, struct mm_fault *why);
/* Becomes the user, if we are root; user may be NULL when we are not. group NULL: the user's own. Fails when the result
 * would still be root. HOME follows. No new privileges can be gained by exec afterwards. */
bool mm_rights_drop(const char *user, const char *group, struct mm_fault *why);

#endif
