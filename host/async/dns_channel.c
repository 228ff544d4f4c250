#include "async/dns_channel.h"

#include "base/list.h"
#include "base/watch.h"

#include <stdlib.h>
#include <string.h>

/* c-ares keeps a socket while a question is in flight, so each question goes through an idle channel, as long as there
 * are few. Not a socket for each question: thousands in flight would take all descriptors. */
#define CHANNELS        32u     /* kept; each takes 75 KB with c-ares 1.18 */
#define CHANNELS_MAX    256u    /* at the busiest time */
#define SHARE_MAX       16u     /* questions of a channel before it must be idle once, which changes its port */

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
	struct mm_clock        *clock;          /* borrowed */
	double                  timeout;
	/* owned lists; leaving: only wait for answers, then go */
	struct mm_dns_channel  *idle, *open, *full, *leaving;
	unsigned                count;          /* of channels that are not leaving */
	bool                    is_retired;
	char                    server[];
};

struct socket {
	struct mm_watch        watch;
	struct mm_dns_channel *channel;         /* borrowed */
	int                    fd;              /* c-ares owns it */
	struct socket         *next;
};

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
	if (s->is_retired && s->leaving == NULL)
		free(s);
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

/* With NOCHECKRESP c-ares gives us SERVFAIL and REFUSED as they are. */
static bool open_ares(struct mm_dns_channel *c)
{
	static char nothing[] = "/dev/null";    /* its options are not for us */
	const struct mm_dns_channels *s = c->set;
	struct ares_options o = {
		.flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOCHECKRESP,
		.sock_state_cb = on_socket, .sock_state_cb_data = c,
		.resolvconf_path = nothing,
	};
	int mask = mm_ares_options(&o, ARES_OPT_FLAGS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_DOMAINS
		| ARES_OPT_RESOLVCONF, s->timeout);
	if (ares_init_options(&c->ares, &o, mask) == ARES_SUCCESS)
		return ares_set_servers_ports_csv(c->ares, s->server) == ARES_SUCCESS;
	c->ares = NULL;
	return false;
}

/* NULL: no memory. */
static struct mm_dns_channel *channel_new(struct mm_dns_channels *s)
{
	struct mm_dns_channel *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->set = s;
	mm_timer_init(&c->timer, s->clock, channel_timer);
	if (open_ares(c)) {
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
	struct mm_dns_channel *c;
	if (s->idle != NULL)
		return s->idle;
	if (s->count < CHANNELS && (c = channel_new(s)) != NULL)
		return c;
	if (s->open != NULL)
		return s->open;
	if (s->count < CHANNELS_MAX && (c = channel_new(s)) != NULL)
		return c;
	return s->full;
}

static enum mm_dns_code code_of_status(int status)
{
	switch (status) {
	case ARES_ENOTFOUND:    return MM_DNS_nxdomain;
	case ARES_EREFUSED:     return MM_DNS_refused;
	case ARES_EFORMERR:
	case ARES_ENOTIMP:
	case ARES_EBADRESP:     return MM_DNS_badanswer;
	case ARES_EBADNAME:
	case ARES_EBADQUERY:    return MM_DNS_badname;
	case ARES_ECONNREFUSED: return MM_DNS_unreachable;
	case ARES_ETIMEOUT:     return MM_DNS_timeout;
	case ARES_ENOMEM:       return MM_DNS_memory;
	default:                return MM_DNS_servfail;
	}
}

static void on_response(struct mm_ares_query *query, int status, const uint8_t *bytes, size_t size)
{
	struct mm_dns_sending *sending = MM_OWNER_OF(query, struct mm_dns_sending, query);
	sending->channel->in_flight--;
	sending->done(sending, code_of_status(status), bytes, size);
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
	move(c, c->used < SHARE_MAX ? &s->open : &s->full);
	mm_ares_send(c->ares, &sending->query, name, type);
	settle(c);
	return true;
}

/* ---- life ---- */

struct mm_dns_channels *mm_dns_channels_new(struct mm_clock *clock, const char *server, double timeout)
{
	size_t size = strlen(server) + 1;
	struct mm_dns_channels *s = calloc(1, sizeof *s + size);
	if (s == NULL)
		return NULL;
	s->clock = clock;
	s->timeout = timeout;
	memcpy(s->server, server, size);
	return s;
}

void mm_dns_channels_retire(struct mm_dns_channels *s)
{
	s->is_retired = true;
	leave_all(s);
	if (s->leaving == NULL)
		free(s);
}

void mm_dns_channels_free(struct mm_dns_channels *s)
{
	leave_all(s);
	while (s->leaving != NULL)
		channel_free(s->leaving);
	free(s);
}
