/* embed/names.h -- the users and groups that a configuration names: all exist, whether or not this start needs them.
 * Otherwise nobody would see a mistake: a socket with this owner may come with the next change only, and a process
 * that is not root's becomes no other user. */
#ifndef MM_EMBED_NAMES_H
#define MM_EMBED_NAMES_H

#include "base/fault.h"
#include "config/config.h"

/* user, group, owners, control_readers, and each milter's socket_owner and socket_group. */
bool mm_names_check(const struct mm_config *, struct mm_fault *why);

#endif
