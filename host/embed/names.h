/* embed/names.h -- the users and groups that a configuration names: all of them exist, whether or not this start needs
 * them. A name that is unknown is a mistake that nobody would see otherwise: the socket that it is for may come with the
 * next change, and a process that is not root's becomes no other user. */
#ifndef MM_EMBED_NAMES_H
#define MM_EMBED_NAMES_H

#include "base/fault.h"
#include "config/config.h"

/* user, group, owners, and each milter's socket_owner and socket_group. */
bool mm_names_check(const struct mm_config *, struct mm_fault *why);

#endif
