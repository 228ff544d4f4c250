#include "process/look.h"

#include "process/fingerprint.h"

bool mm_look_at_files(struct mm_look *l)
{
	const struct mm_config *c = mm_host_config(l->host);
	if (!c->watch)
		return false;
	uint64_t now = mm_fingerprint(c, mm_host_config_file(l->host));
	bool has_changed = now != l->fingerprint && l->fingerprint != 0;
	l->fingerprint = now;
	return has_changed;
}

void mm_look_at_sockets(struct mm_look *l, void (*renewed)(void *self, unsigned listener), void *self)
{
	struct mm_log *log = mm_host_log(l->host);
	struct mm_fault why = { .class = MM_FAULT_NONE };
	for (unsigned i = 0; i < mm_host_listener_count(l->host); i++) {
		if (!mm_host_listener_is_lost(l->host, i))
			continue;
		bool ok = mm_host_listener_renew(l->host, i, &why);
		if (ok)
			mm_log_say(log, MM_LEVEL_WARN, "listener", "another process removed the socket's file; it has "
				"been recreated");
		else if (!l->has_said_lost)
			mm_log_say(log, MM_LEVEL_ERROR, "listener", "another process removed the socket's file; %s; "
				"until then MTAs cannot connect: let the user that serves write there, "
				"or restart", why.text);
		l->has_said_lost = !ok;
		if (ok && renewed != NULL)
			renewed(self, i);
	}
}
