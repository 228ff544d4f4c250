#include "async/dns_channel.h"

#include "base/list.h"
#include "base/watch.h"

#include <stdlib.h>
#include <string.h>

/* c-ares keeps a socket to each server while a question is in flight, so each question goes through an idle channel, as
 * long as there are few. Not a socket for each question: thousands in flight would take all descriptors. */
#define CHANNELS        32u     /* kept; each takes 75 KB with c-ares 1.18 */
#define CHANNELS_MAX    256u    /* at the busiest time */
#define SHARE_MAX       16u     /* questions of a channel before it must be idle once, which changes its port */
#define SILENT_MAX      3       /* questions in a row that the first server left to the next */
#define SECOND_CHOICE   300.0   /* seconds until such a server is the first again */

/* One ares channel. */
struct mm_dns_channel {
	struct mm_dns_channel  *next, *previous, **list;
	struct mm_dns_channels *set;            /* borrowed */
	ares_channel            ares;           /* owned */
	struct mm_timer         timer;
	struct socket          *sockets;        /* owned list */
	unsigned                in_flight;
	unsigned                used;           /* questions since it was idle: they share a source port */
};

struct mm_dns_channels {
	struct mm_dns_channels *next, *previous, **list;
	struct mm_clock        *clock;          /* borrowed */
	char                   *servers, *resolv_conf;  /* owned; NULL as in mm_dns_channels_new() */
	double                  timeout;
	/* owned lists; leaving: only wait for answers, then go */
	struct mm_dns_channel  *idle, *open, *full, *leaving;
	unsigned                count;          /* of channels that are not leaving */
	unsigned                in_flight;
	unsigned                server_count;
	unsigned                first;          /* index of the server that is asked first */
	unsigned                silent;         /* questions in a row that it has not answered in time */
	double                  first_until;
	bool                    is_retired;
};

struct socket {
	struct mm_watch        watch;
	struct mm_dns_channel *channel;         /* borrowed */
	int                    fd;              /* c-ares owns it */
	struct socket         *next;
};

static void set_free(struct mm_dns_channels *s)
{
	MM_LIST_REMOVE(*s->list, s);
	free(s->servers);
	free(s->resolv_conf);
	free(s);
}

/* ---- a channel ---- */

static void move(struct mm_dns_channel *c, struct mm_dns_channel **list)
{
	MM_LIST_REMOVE(*c->list, c);
	c->list = list;
	MM_LIST_PUSH(*list, c);
}

static void channel_free(struct mm_dns_channel *c)
{
	ares_destroy(c->ares);          /* answers its questions, and closes its sockets: on_socket */
	c->set->count -= c->list != &c->set->leaving;
	MM_LIST_REMOVE(*c->list, c);
	mm_timer_stop(&c->timer);
	free(c);
}

/* Called after every call into c-ares. Afterwards the channel and its set may be gone. Only here does a channel become
 * idle: inside c-ares its socket is still open. */
static void settle(struct mm_dns_channel *c)
{
	struct mm_dns_channels *s = c->set;
	struct timeval wait;
	if (c->in_flight > 0) {
		if (ares_timeout(c->ares, NULL, &wait) != NULL)
			mm_timer_start(&c->timer, (double)wait.tv_sec + (double)wait.tv_usec / 1e6);
		else
			mm_timer_stop(&c->timer);
		return;
	}
	mm_timer_stop(&c->timer);
	c->used = 0;
	if (c->list == &s->leaving || s->count > CHANNELS)
		channel_free(c);
	else
		move(c, &s->idle);
	if (s->is_retired && s->in_flight == 0)
		set_free(s);
}

static void channel_timer(struct mm_timer *timer)
{
	struct mm_dns_channel *c = MM_OWNER_OF(timer, struct mm_dns_channel, timer);
	ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	settle(c);
}

static void socket_ready(struct mm_watch *watch, int ready)
{
	struct socket *s = MM_OWNER_OF(watch, struct socket, watch);
	struct mm_dns_channel *c = s->channel;
	int fd = s->fd;                 /* c-ares may close it: then s is gone */
	ares_process_fd(c->ares, ready & MM_READABLE ? fd : ARES_SOCKET_BAD, ready & MM_WRITABLE
		? fd : ARES_SOCKET_BAD);
	settle(c);
}

static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
	struct mm_dns_channel *c = data;
	struct socket **at = &c->sockets;
	while (*at != NULL && (*at)->fd != fd)
		at = &(*at)->next;
	struct socket *s = *at;
	if (!readable && !writable) {
		if (s == NULL)
			return;
		mm_watch_stop(&s->watch);
		*at = s->next;
		free(s);
		return;
	}
	if (s == NULL) {
		s = calloc(1, sizeof *s);
		if (s == NULL)
			return;         /* not watched: its questions time out */
		s->channel = c;
		s->fd = fd;
		mm_watch_init(&s->watch, c->set->clock, socket_ready);
		s->next = c->sockets;
		c->sockets = s;
	}
	mm_watch_start(&s->watch, fd, (readable ? MM_READABLE : 0) | (writable ? MM_WRITABLE : 0));
}

static bool open_ares(struct mm_dns_channel *c, int flags, struct mm_fault *why)
{
	const struct mm_dns_channels *s = c->set;
	struct ares_options o = {
		.flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | flags,
		.sock_state_cb = on_socket, .sock_state_cb_data = c,
		.resolvconf_path = s->resolv_conf,
	};
	int mask = mm_ares_options(&o, ARES_OPT_FLAGS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_DOMAINS, s->timeout);
	if (s->resolv_conf != NULL)
		mask |= ARES_OPT_RESOLVCONF;
	int status = ares_init_options(&c->ares, &o, mask);
	if (status != ARES_SUCCESS) {
		c->ares = NULL;
		return mm_fault_set(why, MM_FAULT_RESOURCE, "dns: the resolver cannot be started: %s",
			ares_strerror(status));
	}
	if (s->servers != NULL)
		status = ares_set_servers_ports_csv(c->ares, s->servers);
	if (status != ARES_SUCCESS)
		return mm_fault_set(why, MM_FAULT_CONFIG, "dns: servers \"%s\": %s; write addresses with or without a "
			"port: \"192.0.2.53\", \"192.0.2.53:5353\", \"[2001:db8::53]:53\"", s->servers,
			ares_strerror(status));
	return s->first == 0 || mm_ares_put_first(c->ares, s->first)
		|| mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
}

/* c-ares skips a server that answers SERVFAIL or REFUSED, and in the end reports "connection refused". That is right
 * with several servers; with only one we want its real answer. */
static bool open_channel(struct mm_dns_channel *c, struct mm_fault *why)
{
	struct mm_dns_channels *s = c->set;
	if (s->server_count > 0)
		return open_ares(c, s->server_count > 1 ? 0 : ARES_FLAG_NOCHECKRESP, why);
	if (!open_ares(c, 0, why))
		return false;
	s->server_count = mm_ares_server_count(c->ares);
	if (s->server_count > 1)
		return true;
	ares_destroy(c->ares);
	return open_ares(c, ARES_FLAG_NOCHECKRESP, why);
}

static struct mm_dns_channel *channel_new(struct mm_dns_channels *s, struct mm_fault *why)
{
	struct mm_dns_channel *c = calloc(1, sizeof *c);
	if (c == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
		return NULL;
	}
	c->set = s;
	mm_timer_init(&c->timer, s->clock, channel_timer);
	if (open_channel(c, why)) {
		c->list = &s->idle;
		MM_LIST_PUSH(s->idle, c);
		s->count++;
		return c;
	}
	if (c->ares != NULL)
		ares_destroy(c->ares);
	free(c);
	return NULL;
}

/* ---- which channel ---- */

/* All channels go; those with questions in flight after the answers. */
static void leave_all(struct mm_dns_channels *s)
{
	while (s->idle != NULL)
		channel_free(s->idle);
	while (s->open != NULL)
		move(s->open, &s->leaving);
	while (s->full != NULL)
		move(s->full, &s->leaving);
	s->count = 0;
}

/* One question a channel, as long as there are channels; then a few share one. A channel that has sent its share takes
 * no more until it has been idle, because only then does its port change. */
static struct mm_dns_channel *pick(struct mm_dns_channels *s)
{
	struct mm_fault ignored;
	struct mm_dns_channel *c;
	if (s->first != 0 && mm_clock_now() >= s->first_until) {
		s->first = 0;
		leave_all(s);
	}
	if (s->idle != NULL)
		return s->idle;
	if (s->count < CHANNELS && (c = channel_new(s, &ignored)) != NULL)
		return c;
	if (s->open != NULL)
		return s->open;
	if (s->count < CHANNELS_MAX && (c = channel_new(s, &ignored)) != NULL)
		return c;
	return s->full;
}

/* A question has its response: did the first server leave it to another, or say nothing of use? */
static void judge_first(struct mm_dns_channels *s, bool was_silent)
{
	s->silent = was_silent ? s->silent + 1 : 0;
	if (s->silent < SILENT_MAX)
		return;
	s->silent = 0;
	s->first = (s->first + 1) % s->server_count;
	s->first_until = mm_clock_now() + SECOND_CHOICE;
	leave_all(s);
}

static enum mm_dns_code code_of_status(int status, bool has_choice)
{
	switch (status) {
	case ARES_ENOTFOUND:    return MM_DNS_nxdomain;
	case ARES_EREFUSED:     return MM_DNS_refused;
	case ARES_EFORMERR:
	case ARES_ENOTIMP:
	case ARES_EBADRESP:     return MM_DNS_badanswer;
	case ARES_EBADNAME:
	case ARES_EBADQUERY:    return MM_DNS_badname;
	/* also "each said SERVFAIL" */
	case ARES_ECONNREFUSED: return has_choice ? MM_DNS_servfail : MM_DNS_unreachable;
	case ARES_ETIMEOUT:     return MM_DNS_timeout;
	case ARES_ENOMEM:       return MM_DNS_memory;
	default:                return MM_DNS_servfail;
	}
}

static void on_response(struct mm_ares_query *query, int status, unsigned timeouts, const uint8_t *bytes, size_t size)
{
	struct mm_dns_sending *sending = MM_OWNER_OF(query, struct mm_dns_sending, query);
	struct mm_dns_channel *c = sending->channel;
	struct mm_dns_channels *s = c->set;
	c->in_flight--;
	s->in_flight--;
	bool is_of_use = sending->done(sending, code_of_status(status, s->server_count > 1), bytes, size);
	if (bytes != NULL && s->server_count > 1 && c->list != &s->leaving)
		judge_first(s, timeouts > 0 || !is_of_use);
}

bool mm_dns_sending_has_choice(const struct mm_dns_sending *sending)
{
	return sending->channel->set->server_count > 1;
}

bool mm_dns_channels_send(struct mm_dns_channels *s, struct mm_dns_sending *sending, const char *name, uint16_t type)
{
	struct mm_dns_channel *c = pick(s);
	if (c == NULL)
		return false;
	sending->channel = c;
	sending->query.done = on_response;
	c->used++;
	c->in_flight++;
	s->in_flight++;
	move(c, c->used < SHARE_MAX ? &s->open : &s->full);
	mm_ares_send(c->ares, &sending->query, name, type);
	settle(c);
	return true;
}

/* ---- life ---- */

static bool copy(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

struct mm_dns_channels *mm_dns_channels_new(struct mm_clock *clock, struct mm_dns_channels **list, const char *servers,
	const char *resolv_conf, double timeout, struct mm_fault *why)
{
	struct mm_dns_channels *s = calloc(1, sizeof *s);
	if (s == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
		return NULL;
	}
	s->clock = clock;
	s->timeout = timeout;
	s->list = list;
	MM_LIST_PUSH(*list, s);
	if (!copy(&s->servers, servers) || !copy(&s->resolv_conf, resolv_conf))
		mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
	else if (channel_new(s, why) != NULL)
		return s;
	set_free(s);
	return NULL;
}

void mm_dns_channels_retire(struct mm_dns_channels *s)
{
	s->is_retired = true;
	leave_all(s);
	if (s->in_flight == 0)
		set_free(s);
}

void mm_dns_channels_free(struct mm_dns_channels *s)
{
	leave_all(s);
	while (s->leaving != NULL)
		channel_free(s->leaving);
	set_free(s);
}
