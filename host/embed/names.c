#include "embed/names.h"

#include "embed/owners.h"
#include "embed/rights.h"
#include "io/listener.h"

bool mm_names_check(const struct mm_config *c, struct mm_fault *why)
{
	for (size_t i = 0; i < c->milter_count; i++) {
		const struct mm_config_milter *m = &c->milters[i];
		if (!mm_listener_check(&(struct mm_listener_options){ .owner = m->socket_owner,
		    .group = m->socket_group }, why))
			return false;
	}
	return mm_rights_check(c->user, c->group, why) && mm_owners_exist(c, why);
}
