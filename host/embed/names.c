#include "embed/names.h"

#include "embed/owners.h"
#include "embed/rights.h"
#include "io/listener.h"

#include <grp.h>

/* Root's group would open the socket to programs that have given up root's rights. */
static bool readers_are_known(const struct mm_config *c, struct mm_fault *why)
{
	const struct group *g = c->control_readers != NULL ? getgrnam(c->control_readers) : NULL;
	if (c->control_readers != NULL && (g == NULL || g->gr_gid == 0))
		return mm_fault_because(why, MM_REASON_IS_USER, g != NULL
			? "control_readers: name another group than root's" : "control_readers: there is no group "
			"\"%s\"; create it (addgroup --system %s)", c->control_readers, c->control_readers);
	return true;
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
