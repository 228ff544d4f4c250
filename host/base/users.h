/* base/users.h -- users and groups of the system, by name or number. A name that is all digits is a name first.
 * Asks the system's databases, which may take their time: only for starts and reloads. Safe in any thread. */
#ifndef MM_BASE_USERS_H
#define MM_BASE_USERS_H

#include "base/fault.h"

#include <limits.h>
#include <sys/types.h>

struct mm_user {
	uid_t id;
	gid_t group;                    /* the user's own */
	bool  is_known;                 /* false: a number without an entry; group, name and home say nothing */
	char  name[LOGIN_NAME_MAX];
	char  home[PATH_MAX];
};

/* key: what names it, for the fault ("socket_owner"). False: there is no such user, or it cannot be looked up. */
bool mm_users_find(const char *key, const char *text, struct mm_user *, struct mm_fault *why);
bool mm_users_find_group(const char *key, const char *text, gid_t *, struct mm_fault *why);
/* The name, or the number when there is none, or it cannot be looked up. Return to; *is_name may be NULL. */
char *mm_users_name(uid_t, char *to, size_t size, bool *is_name);
char *mm_users_group_name(gid_t, char *to, size_t size);
/* Is this the user's own group, and nobody else in it? */
bool mm_users_is_own_group(uid_t, gid_t);

#endif
