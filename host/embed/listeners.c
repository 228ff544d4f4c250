#include "embed/listeners.h"

#include "base/users.h"
#include "embed/parts.h"
#include "embed/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct listening {
	struct mm_listener listener;
	unsigned           milter;
};

/* A socket that we create as root is owned by the user we are about to become. */
static void leave_to_user(const struct mm_host *h, struct mm_listener_options *o)
{
	if (!h->options.drop_rights || geteuid() != 0)
		return;
	o->user = h->config.user;
	if (o->group == NULL)
		o->group = h->config.group;
}

static struct mm_listener_options listener_options(const struct mm_host *h, unsigned milter)
{
	const struct mm_config_milter *m = &h->config.milters[milter];
	struct mm_listener_options o = { .mode = m->socket_mode, .owner = m->socket_owner, .group = m->socket_group,
		.backlog = h->config.backlog };
	leave_to_user(h, &o);
	return o;
}

static bool add_listener(struct mm_host *h, unsigned milter, const struct mm_endpoint *spec, struct mm_fault *why)
{
	struct mm_listener_options o = listener_options(h, milter);
	struct listening *grown = reallocarray(h->listeners, h->listener_count + 1, sizeof *grown);
	if (grown == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a listener");
	h->listeners = grown;
	grown[h->listener_count].milter = milter;
	if (!mm_listener_open(&grown[h->listener_count].listener, spec, &o, why))
		return false;
	h->listener_count++;
	return true;
}

/* Every socket that systemd passes under NAME. */
static bool add_activated(struct mm_host *h, unsigned milter, const struct mm_endpoint *spec, struct mm_fault *why)
{
	int fds[MM_ACTIVATED_MAX];
	int count = mm_service_sockets(spec->name, fds, MM_ACTIVATED_MAX, why);
	if (count > MM_ACTIVATED_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "systemd: %d sockets; at most %d are served", count,
			MM_ACTIVATED_MAX);
	for (int i = 0; i < count; i++) {
		struct mm_endpoint one = { .kind = MM_ENDPOINT_FD, .fd = fds[i] };
		if (!add_listener(h, milter, &one, why))
			return false;
	}
	return count > 0;
}

bool mm_host_open_listeners(struct mm_host *h, struct mm_fault *why)
{
	for (unsigned i = 0; i < h->config.milter_count; i++) {
		const struct mm_config_strings *listen = &h->config.milters[i].listen;
		for (size_t j = 0; j < listen->count; j++) {
			struct mm_endpoint spec;
			if (!mm_endpoint_parse(listen->items[j], &spec, why))
				return false;
			bool ok = spec.kind == MM_ENDPOINT_SYSTEMD ? add_activated(h, i, &spec, why)
				: add_listener(h, i, &spec, why);
			if (!ok)
				return false;
		}
	}
	return true;
}

bool mm_host_watch_listeners(struct mm_host *h, struct mm_fault *why)
{
	for (unsigned i = 0; i < h->listener_count; i++)
		if (!mm_worker_watch(h->worker, h->listeners[i].milter, h->listeners[i].listener.fd, why))
			return false;
	return true;
}

bool mm_host_open_control(struct mm_host *h, struct mm_fault *why)
{
	struct mm_endpoint spec = { .kind = MM_ENDPOINT_UNIX };
	struct mm_listener_options o = { .mode = 0600, .backlog = h->config.backlog };
	leave_to_user(h, &o);
	if (h->config.control_readers != NULL) {
		o.group = h->config.control_readers;
		o.mode = 0660;
	}
	snprintf(spec.path, sizeof spec.path, "%s", h->config.control);
	return mm_listener_open(&h->control, &spec, &o, why);
}

bool mm_host_open_metrics(struct mm_host *h, struct mm_fault *why)
{
	const struct mm_config_strings *list = &h->config.metrics;
	const struct mm_config_milter *m = &h->config.top;
	struct mm_listener_options o = { .mode = m->socket_mode, .owner = m->socket_owner, .group = m->socket_group,
		.backlog = h->config.backlog };
	leave_to_user(h, &o);
	if (list->count > MM_METRICS_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "metrics: %zu listeners; there may be %u", list->count,
			MM_METRICS_MAX);
	for (size_t i = 0; i < list->count; i++) {
		struct mm_endpoint spec;
		if (!mm_endpoint_parse(list->items[i], &spec, why))
			return false;
		if (!mm_endpoint_has_address(&spec))
			return mm_fault_set(why, MM_FAULT_CONFIG, "metrics: %s: write an address or the path of a unix "
				"socket", list->items[i]);
		if (!mm_listener_open(&h->metrics[i], &spec, &o, why))
			return false;
		h->metrics_count++;
	}
	return true;
}

unsigned mm_host_metrics(const struct mm_host *h, int *fds)
{
	for (unsigned i = 0; i < h->metrics_count; i++)
		fds[i] = h->metrics[i].fd;
	return h->metrics_count;
}

/* In a worker they are somebody else's. */
static void close_metrics(struct mm_host *h, bool are_ours)
{
	for (unsigned i = 0; i < h->metrics_count; i++) {
		h->metrics[i].is_ours &= are_ours;
		mm_listener_close(&h->metrics[i]);
	}
	h->metrics_count = 0;
}

static void describe_listener(const struct mm_host *h, const struct mm_listener *l, struct mm_say say)
{
	const struct mm_endpoint *spec = &l->spec;
	char line[MM_ENDPOINT_LINE_SIZE + 64], text[MM_ENDPOINT_LINE_SIZE];
	snprintf(line, sizeof line, "listens on %s%s", mm_endpoint_text(spec, text, sizeof text), l->has_replaced
		? ", instead of the socket that a dead process had left there" : "");
	say.line(say.self, line);
	if (!mm_endpoint_has_address(spec))
		return;
	snprintf(line, sizeof line, "  Postfix, main.cf:  smtpd_milters = %s",
		mm_endpoint_postfix(spec, text, sizeof text));
	say.line(say.self, line);
	if (mm_endpoint_is_beyond_chroot(spec))
		say.line(say.self, "    (not from a chroot, as Debian's smtpd has it: listen below /var/spool/postfix, "
			"or on inet:10025@127.0.0.1, or leave the chroot: postconf -F smtp/inet/chroot=n)");
	snprintf(line, sizeof line, "  Sendmail, .mc:     %s", mm_endpoint_sendmail(spec, "moonmilter",
		h->config.stage_deadline, h->config.eom_deadline, text, sizeof text));
	say.line(say.self, line);
}

void mm_host_describe_milter(const struct mm_host *h, unsigned milter, struct mm_say say)
{
	char line[128];
	snprintf(line, sizeof line, "milter %s:", h->config.milters[milter].name);
	if (h->config.milter_count > 1)
		say.line(say.self, line);
	for (unsigned i = 0; i < h->listener_count; i++)
		if (h->listeners[i].milter == milter)
			describe_listener(h, &h->listeners[i].listener, say);
}

void mm_host_describe_listeners(const struct mm_host *h, struct mm_say say)
{
	for (unsigned i = 0; i < h->config.milter_count; i++)
		mm_host_describe_milter(h, i, say);
}

int mm_host_control(const struct mm_host *h)
{
	return h->control.fd;
}

unsigned mm_host_control_readers(const struct mm_host *h)
{
	const char *group = h->config.control_readers;
	gid_t id;
	return group != NULL && mm_users_find_group("control_readers", group, &id, NULL) ? id : 0;
}

unsigned mm_host_listener_count(const struct mm_host *h)
{
	return h->listener_count;
}

bool mm_host_listener_is_lost(const struct mm_host *h, unsigned listener)
{
	return mm_listener_is_lost(&h->listeners[listener].listener);
}

char *mm_host_listener_text(const struct mm_host *h, unsigned listener, char *to, size_t size)
{
	return mm_endpoint_text(&h->listeners[listener].listener.spec, to, size);
}

bool mm_host_control_is_lost(const struct mm_host *h)
{
	return mm_listener_is_lost(&h->control);
}

void mm_host_describe_lost(const struct mm_host *h, struct mm_say say)
{
	char line[MM_ENDPOINT_TEXT_SIZE + 128], text[MM_ENDPOINT_TEXT_SIZE];
	for (unsigned i = 0; i < h->listener_count; i++) {
		if (!mm_host_listener_is_lost(h, i))
			continue;
		snprintf(line, sizeof line, "lost: %s: another process removed the socket's file, and MTAs "
			"cannot connect", mm_endpoint_text(&h->listeners[i].listener.spec, text, sizeof text));
		say.line(say.self, line);
	}
}

bool mm_host_listener_renew(struct mm_host *h, unsigned listener, struct mm_fault *why)
{
	struct mm_listener fresh, *l = &h->listeners[listener].listener;
	struct mm_listener_options o = listener_options(h, h->listeners[listener].milter);
	if (!mm_listener_open(&fresh, &l->spec, &o, why))
		return false;
	int fd = fresh.fd;
	if (h->worker == NULL) {
		close(l->fd);
		*l = fresh;
		return true;
	}
	l->is_ours = false;             /* the file that is there now belongs to the new socket */
	if (!mm_host_listener_replace(h, listener, fd, why))
		return false;
	*l = fresh;
	return true;
}

int mm_host_listener_descriptor(const struct mm_host *h, unsigned listener)
{
	return h->listeners[listener].listener.fd;
}

bool mm_host_listener_replace(struct mm_host *h, unsigned listener, int fd, struct mm_fault *why)
{
	struct mm_listener *l = &h->listeners[listener].listener;
	mm_worker_unwatch(h->worker);
	close(l->fd);
	l->fd = fd;
	return h->generation == 0 || h->is_stopping || mm_host_watch_listeners(h, why);
}

void mm_host_close_listeners(struct mm_host *h)
{
	for (unsigned i = 0; i < h->listener_count; i++)
		mm_listener_close(&h->listeners[i].listener);
}

void mm_host_lend_listeners(struct mm_host *h)
{
	for (unsigned i = 0; i < h->listener_count; i++)
		h->listeners[i].listener.is_ours = false;
	mm_pid_file_leave(&h->pid_file);
	h->control.is_ours = false;
	mm_listener_close(&h->control);
	close_metrics(h, false);
}

void mm_host_close_copies(struct mm_host *h)
{
	for (unsigned i = 0; i < h->listener_count; i++) {
		h->listeners[i].listener.is_ours = false;
		mm_listener_close(&h->listeners[i].listener);
	}
}

void mm_host_free_listeners(struct mm_host *h)
{
	mm_host_close_listeners(h);
	mm_listener_close(&h->control);
	close_metrics(h, true);
	mm_pid_file_close(&h->pid_file);
	free(h->listeners);
}
