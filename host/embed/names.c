#include "embed/names.h"

#include "base/users.h"
#include "embed/owners.h"
#include "embed/rights.h"
#include "io/listener.h"

/* Root's group would open the socket to programs that have given up root's rights. */
static bool readers_are_known(const struct mm_config *c, struct mm_fault *why)
{
	gid_t id = 1;
	if (c->control_readers != NULL && !mm_users_find_group("control_readers", c->control_readers, &id, why))
		return false;
	return id != 0 || mm_fault_because(why, MM_REASON_IS_USER, "control_readers: name another group than root's");
}

bool mm_names_check(const struct mm_config *c, struct mm_fault *why)
{
	for (size_t i = 0; i < c->milter_count; i++) {
		const struct mm_config_milter *m = &c->milters[i];
		if (!mm_listener_check(&(struct mm_listener_options){ .owner = m->socket_owner,
		    .group = m->socket_group }, why))
			return false;
	}
	return mm_rights_check(c->user, c->group, why) && readers_are_known(c, why) && mm_owners_exist(c, why);
}
