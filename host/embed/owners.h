/* embed/owners.h -- who could change what a host loads: the configuration, the scripts, the directories in which
 * scripts find modules and in which MTAs find our sockets. A host that serves (options.drop_rights) looks at start and
 * before each load. One that root has started refuses what belongs to a foreign user or what every user may write: its
 * files decide what a service does. One that a person has started only warns.
 *
 * Trusted are root, the user who started us (with sudo: from its own account), those that `owners` names, and for
 * scripts and modules the user who serves: it could not do more with them. The configuration decides more: which files
 * root opens, and who serves. */
#ifndef MM_EMBED_OWNERS_H
#define MM_EMBED_OWNERS_H

#include "base/fault.h"
#include "base/ownership.h"
#include "base/say.h"
#include "config/config.h"

#define MM_OWNERS_MAX 64        /* users that `owners` can name */
_Static_assert(MM_TRUSTED_USERS_MAX >= MM_OWNERS_MAX + 5, "root, who started us, by sudo, and who serves, twice");

struct mm_owners {
	bool                    is_on;          /* the host serves */
	bool                    is_strict;      /* root has started it */
	struct mm_trusted_users of_config;
};

/* Notes who has started the process: before rights are dropped. commanded: "key=value" of the command line, whose
 * `owners` count for the configuration file, too. */
void mm_owners_begin(struct mm_owners *, bool serves, const char *const *commanded);
/* False: `owners` names a user who does not exist, or more than MM_OWNERS_MAX. */
bool mm_owners_exist(const struct mm_config *, struct mm_fault *why);
/* Is the configuration file safe to read? file NULL: yes. */
bool mm_owners_check_config(const struct mm_owners *, const char *file, struct mm_fault *why);
/* Are the scripts of a milter's shadow safe to load? */
bool mm_owners_check_shadow(const struct mm_owners *, const struct mm_config *, unsigned milter, struct mm_fault *why);
/* Are the scripts and the modules safe to load? */
bool mm_owners_check(const struct mm_owners *, const struct mm_config *, struct mm_fault *why);
/* Calls say, once for each doubt, for what is not refused; for the sockets' directories, too. */
void mm_owners_describe(const struct mm_owners *, const char *file, const struct mm_config *, struct mm_say say);

#endif
