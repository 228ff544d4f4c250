#include "process/look.h"

#include "config/endpoint.h"
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

/* No client of the control socket loses anything but its answer, so it is not bound again. */
static void look_at_control(struct mm_look *l)
{
	bool is_lost = mm_host_control(l->host) >= 0 && mm_host_control_is_lost(l->host);
	if (is_lost && !l->has_said_control)
		mm_log_say(mm_host_log(l->host), MM_LEVEL_ERROR, "listener", "another process removed the control "
			"socket's file; moonmilter ctl cannot reach this host until it is restarted; a SIGHUP still "
			"reloads");
	l->has_said_control = is_lost;
}

static void renew(struct mm_look *l, unsigned listener, void (*renewed)(void *, unsigned), void *self)
{
	struct mm_log *log = mm_host_log(l->host);
	struct mm_fault why = { .class = MM_FAULT_NONE };
	char text[MM_ENDPOINT_TEXT_SIZE];
	mm_host_listener_text(l->host, listener, text, sizeof text);
	bool ok = mm_host_listener_renew(l->host, listener, &why);
	if (ok)
		mm_log_say(log, MM_LEVEL_WARN, "listener", "another process removed the socket's file; it has "
			"been recreated: %s", text);
	else if (!l->has_said_lost)
		mm_log_say(log, MM_LEVEL_ERROR, "listener", "another process removed the socket's file; %s; "
			"until then MTAs cannot connect: let the user that serves write there, or restart", why.text);
	l->has_said_lost = !ok;
	if (ok && renewed != NULL)
		renewed(self, listener);
}

void mm_look_at_sockets(struct mm_look *l, void (*renewed)(void *self, unsigned listener), void *self)
{
	look_at_control(l);
	for (unsigned i = 0; i < mm_host_listener_count(l->host); i++)
		if (mm_host_listener_is_lost(l->host, i))
			renew(l, i, renewed, self);
}
