#include "async/dns.h"

#include "base/bounds.h"
#include "base/list.h"
#include "base/watch.h"

#include <ares.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#define BUCKETS         4096u   /* of the table of questions; a power of two */
#define TRIES           3       /* c-ares doubles the time of each round: 1 + 2 + 4 */
#define ROUNDS          7.0
#define EDNS_SIZE       1232    /* fits the smallest IPv6 packet (DNS flag day 2020); more comes over TCP */
#define LOOK_EVERY      1.0     /* seconds between looks at resolv.conf, when something is asked */
#define RESOLV_CONF     "/etc/resolv.conf"

/* One ares channel: one set of servers. */
struct channel {
	struct mm_dns   *dns;           /* borrowed */
	ares_channel     ares;          /* owned */
	struct mm_timer  timer;
	struct socket   *sockets;       /* owned list */
	unsigned         in_flight;
	bool             has_choice;    /* several servers: c-ares asks the next one when one has no answer */
	bool             is_retired;    /* only answers its open questions */
	struct channel  *next;          /* older ones */
};

struct socket {
	struct mm_watch  watch;
	struct channel  *channel;       /* borrowed */
	int              fd;            /* c-ares owns it */
	struct socket   *next;
};

/* A question in flight, or its answer. */
struct mm_dns_question {
	struct mm_dns           *dns;                   /* borrowed */
	struct mm_dns_question  *next;                  /* of its bucket */
	struct mm_dns_question  *newer, *older;         /* answers by use; NULL while in flight */
	struct channel          *channel;               /* borrowed; NULL: answered */
	struct mm_dns_query     *waiters;               /* last first */
	struct mm_dns_answer     answer;
	double                   expires_at;            /* mm_clock_now() */
	size_t                   declared;              /* for the account, while it is among the answers */
	bool                     is_starting;           /* c-ares may answer from inside ares_query() */
	uint16_t                 type;
	char                     name[];                /* lower case, no last dot */
};

struct mm_dns {
	struct mm_clock         *clock;                 /* borrowed */
	char                    *servers;               /* owned: comma-separated; NULL: resolv.conf */
	char                    *resolv_conf;           /* owned */
	double                   timeout;
	unsigned                 cache_max;
	struct channel          *channels;              /* owned: the first takes questions, unless it is retired */
	struct stat              resolv_conf_was;
	double                   looked_at;
	struct mm_dns_question  *buckets[BUCKETS];      /* owned */
	struct mm_dns_question  *newest, *oldest;       /* answers */
	struct mm_account        account;               /* of the answers */
	struct mm_dns_answer     last;                  /* one that is not kept, for mm_dns_ask() to return */
	uint32_t                 seed;
	bool                     is_closing;
	struct mm_dns_counts     counts;
};

/* ---- the table of questions ---- */

static struct mm_dns_question **bucket_of(struct mm_dns *d, const char *name, uint16_t type)
{
	uint32_t hash = 2166136261u ^ d->seed;          /* FNV-1a; the seed keeps strangers from choosing collisions */
	for (; *name != '\0'; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619u;
	hash = (hash ^ type) * 16777619u;
	return &d->buckets[(hash ^ hash >> 16) & (BUCKETS - 1)];
}

/* Will its answer come from servers that are no longer asked? */
static bool is_outdated(const struct mm_dns_question *q)
{
	return q->channel != NULL && q->channel->is_retired;
}

static struct mm_dns_question *find(struct mm_dns *d, const char *name, uint16_t type)
{
	struct mm_dns_question *q = *bucket_of(d, name, type);
	while (q != NULL && (q->type != type || strcmp(q->name, name) != 0 || is_outdated(q)))
		q = q->next;
	return q;
}

static size_t size_of(const struct mm_dns_question *q)
{
	return sizeof *q + strlen(q->name) + 1 + q->answer.text.capacity
		+ q->answer.count * sizeof *q->answer.records;
}

void mm_dns_charge(struct mm_dns *d, struct mm_account_sum *sum)
{
	d->account.sum = sum;
}

static void unlink_answer(struct mm_dns_question *q)
{
	struct mm_dns *d = q->dns;
	if (q->newer != NULL)
		q->newer->older = q->older;
	else
		d->newest = q->older;
	if (q->older != NULL)
		q->older->newer = q->newer;
	else
		d->oldest = q->newer;
	q->newer = q->older = NULL;
	d->counts.cached--;
	mm_account_declare(&d->account, &q->declared, 0);
}

static void link_answer(struct mm_dns_question *q)
{
	struct mm_dns *d = q->dns;
	q->older = d->newest;
	q->newer = NULL;
	if (d->newest != NULL)
		d->newest->newer = q;
	else
		d->oldest = q;
	d->newest = q;
	d->counts.cached++;
	mm_account_declare(&d->account, &q->declared, size_of(q));
}

/* Frees a question that is neither in flight nor among the answers. */
static void drop(struct mm_dns_question *q)
{
	struct mm_dns_question **at = bucket_of(q->dns, q->name, q->type);
	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	mm_dns_answer_free(&q->answer);
	free(q);
}

static void forget(struct mm_dns_question *q)
{
	unlink_answer(q);
	drop(q);
}

static void forget_all(struct mm_dns *d)
{
	while (d->oldest != NULL)
		forget(d->oldest);
}

/* ---- answers ---- */

static void unlink_query(struct mm_dns_query *query)
{
	MM_LIST_REMOVE(query->question->waiters, query);
	query->question = NULL;
	mm_timer_stop(&query->timer);
}

void mm_dns_cancel(struct mm_dns_query *query)
{
	if (query->question != NULL)
		unlink_query(query);
}

static void query_timed_out(struct mm_timer *timer)
{
	static const struct mm_dns_answer late = { .code = MM_DNS_timeout };
	struct mm_dns_query *query = MM_OWNER_OF(timer, struct mm_dns_query, timer);
	unlink_query(query);
	query->done(query, &late);
}

/* A zone's owner chooses the size of its answers, and the cache counts only answers. */
static bool is_small(const struct mm_dns_answer *a)
{
	return a->text.size + a->count * sizeof *a->records <= MM_DNS_KEPT_SIZE_MAX;
}

static void keep_answer(struct mm_dns_question *q)
{
	struct mm_dns *d = q->dns;
	if (q->answer.ttl == 0 || d->cache_max == 0 || !is_small(&q->answer)
	    || !mm_account_allows(&d->account, size_of(q))) {
		drop(q);
		return;
	}
	q->expires_at = mm_clock_now() + q->answer.ttl;
	link_answer(q);
	while (d->counts.cached > d->cache_max)
		forget(d->oldest);
}

static void deliver(struct mm_dns_question *q)
{
	while (q->waiters != NULL) {
		struct mm_dns_query *query = q->waiters;
		unlink_query(query);
		query->done(query, &q->answer);
	}
	keep_answer(q);
}

static enum mm_dns_code code_of_status(int status, bool has_choice)
{
	switch (status) {
	case ARES_ENODATA:      return MM_DNS_nodata;
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

static void on_answer(void *arg, int status, int timeouts, unsigned char *bytes, int size)
{
	struct mm_dns_question *q = arg;
	struct mm_dns *d = q->dns;
	(void)timeouts;
	bool was_outdated = is_outdated(q), has_choice = q->channel->has_choice;
	q->channel->in_flight--;
	q->channel = NULL;
	d->counts.in_flight--;
	bool is_response = status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND;
	if (is_response && bytes != NULL && size > 0)
		mm_dns_answer_read(&q->answer, bytes, (size_t)size, q->type);
	else
		q->answer = (struct mm_dns_answer){ .code = code_of_status(status, has_choice), .type = q->type };
	if (q->is_starting)
		return;
	if (was_outdated)
		q->answer.ttl = 0;
	if (d->is_closing)
		drop(q);
	else
		deliver(q);
}

/* ---- channels ---- */

static void channel_free(struct channel *c)
{
	struct channel **at = &c->dns->channels;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	ares_destroy(c->ares);          /* closes its sockets: on_socket */
	mm_timer_stop(&c->timer);
	free(c);
}

/* Called after every call into c-ares. The channel may be freed afterwards. */
static void settle(struct channel *c)
{
	struct timeval wait;
	if (c->is_retired && c->in_flight == 0) {
		channel_free(c);
		return;
	}
	if (ares_timeout(c->ares, NULL, &wait) != NULL)
		mm_timer_start(&c->timer, (double)wait.tv_sec + (double)wait.tv_usec / 1e6);
	else
		mm_timer_stop(&c->timer);
}

static void channel_timer(struct mm_timer *timer)
{
	struct channel *c = MM_OWNER_OF(timer, struct channel, timer);
	ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	settle(c);
}

static void socket_ready(struct mm_watch *watch, int ready)
{
	struct socket *s = MM_OWNER_OF(watch, struct socket, watch);
	struct channel *c = s->channel;
	int fd = s->fd;                 /* c-ares may close it: then s is gone */
	ares_process_fd(c->ares, ready & MM_READABLE ? fd : ARES_SOCKET_BAD, ready & MM_WRITABLE
		? fd : ARES_SOCKET_BAD);
	settle(c);
}

static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
	struct channel *c = data;
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
		mm_watch_init(&s->watch, c->dns->clock, socket_ready);
		s->next = c->sockets;
		c->sockets = s;
	}
	mm_watch_start(&s->watch, fd, (readable ? MM_READABLE : 0) | (writable ? MM_WRITABLE : 0));
}

static bool open_ares(struct channel *c, const struct mm_dns *d, int flags, struct mm_fault *why)
{
	struct ares_options o = {
		.flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | flags, .timeout = (int)(d->timeout * 1000 / ROUNDS) + 1,
			.tries = TRIES,
		.ednspsz = EDNS_SIZE, .sock_state_cb = on_socket, .sock_state_cb_data = c,
		.resolvconf_path = d->resolv_conf,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB
		| ARES_OPT_DOMAINS;
	if (d->resolv_conf != NULL)
		mask |= ARES_OPT_RESOLVCONF;
	int status = ares_init_options(&c->ares, &o, mask);
	if (status != ARES_SUCCESS) {
		c->ares = NULL;
		return mm_fault_set(why, MM_FAULT_RESOURCE, "dns: the resolver cannot be started: %s",
			ares_strerror(status));
	}
	if (d->servers == NULL)
		return true;
	status = ares_set_servers_ports_csv(c->ares, d->servers);
	if (status == ARES_SUCCESS)
		return true;
	return mm_fault_set(why, MM_FAULT_CONFIG, "dns: servers \"%s\": %s; write addresses with or without a port: "
		"\"192.0.2.53\", \"192.0.2.53:5353\", \"[2001:db8::53]:53\"", d->servers, ares_strerror(status));
}

static unsigned server_count(const struct channel *c)
{
	struct ares_addr_port_node *list = NULL;
	unsigned count = 0;
	if (ares_get_servers_ports(c->ares, &list) == ARES_SUCCESS)
		for (const struct ares_addr_port_node *node = list; node != NULL; node = node->next)
			count++;
	ares_free_data(list);
	return count;
}

/* c-ares skips a server that answers SERVFAIL or REFUSED, and in the end reports "connection refused". That is right
 * with several servers; with only one we want its real answer. */
static bool open_channel(struct channel *c, const struct mm_dns *d, struct mm_fault *why)
{
	if (!open_ares(c, d, 0, why))
		return false;
	c->has_choice = server_count(c) > 1;
	if (c->has_choice)
		return true;
	ares_destroy(c->ares);
	return open_ares(c, d, ARES_FLAG_NOCHECKRESP, why);
}

static struct channel *channel_new(struct mm_dns *d, struct mm_fault *why)
{
	struct channel *c = calloc(1, sizeof *c);
	if (c == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
		return NULL;
	}
	c->dns = d;
	mm_timer_init(&c->timer, d->clock, channel_timer);
	if (open_channel(c, d, why))
		return c;
	if (c->ares != NULL)
		ares_destroy(c->ares);
	free(c);
	return NULL;
}

/* Retires the channel that takes questions: it is freed when it has answered its open questions. */
static void retire(struct mm_dns *d)
{
	if (d->channels == NULL || d->channels->is_retired)
		return;
	d->channels->is_retired = true;
	settle(d->channels);
}

static void look_at_resolv_conf(struct mm_dns *d)
{
	struct stat now;
	double time = mm_clock_now();
	if (d->servers != NULL || time - d->looked_at < LOOK_EVERY)
		return;
	d->looked_at = time;
	if (stat(d->resolv_conf != NULL ? d->resolv_conf : RESOLV_CONF, &now) != 0)
		return;
	const struct stat *was = &d->resolv_conf_was;
	bool is_same = now.st_mtim.tv_sec == was->st_mtim.tv_sec && now.st_mtim.tv_nsec == was->st_mtim.tv_nsec
		&& now.st_ino == was->st_ino && now.st_size == was->st_size;
	d->resolv_conf_was = now;
	if (is_same || d->channels == NULL)
		return;
	forget_all(d);
	retire(d);
}

static struct channel *channel_now(struct mm_dns *d)
{
	struct mm_fault ignored;
	look_at_resolv_conf(d);
	if (d->channels != NULL && !d->channels->is_retired)
		return d->channels;
	struct channel *c = channel_new(d, &ignored);
	if (c == NULL)
		return NULL;
	c->next = d->channels;
	d->channels = c;
	return c;
}

/* ---- asking ---- */

static const struct mm_dns_answer *failure(struct mm_dns *d, enum mm_dns_code code)
{
	mm_dns_answer_free(&d->last);
	d->last.code = code;
	return &d->last;
}

static struct mm_dns_question *question_new(struct mm_dns *d, const char *name, uint16_t type)
{
	size_t size = strlen(name) + 1;
	struct mm_dns_question *q = calloc(1, sizeof *q + size);
	if (q == NULL)
		return NULL;
	q->dns = d;
	q->type = type;
	memcpy(q->name, name, size);
	struct mm_dns_question **bucket = bucket_of(d, name, type);
	q->next = *bucket;
	*bucket = q;
	return q;
}

/* Gives the question to c-ares, which may answer at once: then the answer is returned. */
static const struct mm_dns_answer *send_question(struct mm_dns *d, struct mm_dns_question *q, struct channel *c)
{
	q->channel = c;
	c->in_flight++;
	d->counts.in_flight++;
	d->counts.sent++;
	q->is_starting = true;
	ares_query(c->ares, q->name[0] != '\0' ? q->name : ".", 1, q->type, on_answer, q);
	q->is_starting = false;
	settle(c);
	if (q->channel != NULL)
		return NULL;
	mm_dns_answer_free(&d->last);
	d->last = q->answer;
	q->answer = (struct mm_dns_answer){ .code = MM_DNS_ok };
	drop(q);
	return &d->last;
}

static const struct mm_dns_answer *known(struct mm_dns_question *q)
{
	double left = q->expires_at - mm_clock_now();
	if (left <= 0)
		return NULL;
	q->answer.ttl = (uint32_t)left + 1;
	unlink_answer(q);
	link_answer(q);
	return &q->answer;
}

static bool normalize(const char *name, char to[256])
{
	size_t size = strlen(name);
	if (size > 0 && name[size - 1] == '.')
		size--;
	if (size > 253 || name[0] == '\0')              /* RFC 1035 2.3.4 */
		return false;
	for (size_t i = 0; i < size; i++)
		to[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
	to[size] = '\0';
	return true;
}

const struct mm_dns_answer *mm_dns_ask(struct mm_dns *d, struct mm_dns_query *query, const char *name, uint16_t type,
	double timeout, void (*done)(struct mm_dns_query *, const struct mm_dns_answer *))
{
	char normal[256];
	*query = (struct mm_dns_query){ .done = done };
	d->counts.asked++;
	if (!normalize(name, normal))
		return failure(d, MM_DNS_badname);
	struct channel *c = channel_now(d);
	if (c == NULL)
		return failure(d, MM_DNS_memory);
	struct mm_dns_question *q = find(d, normal, type);
	if (q != NULL && q->channel == NULL) {
		const struct mm_dns_answer *answer = known(q);
		if (answer != NULL)
			return answer;
		forget(q);
		q = NULL;
	}
	if (q == NULL) {
		if (d->counts.in_flight >= MM_DNS_IN_FLIGHT_MAX)
			return failure(d, MM_DNS_busy);
		q = question_new(d, normal, type);
		if (q == NULL)
			return failure(d, MM_DNS_memory);
		const struct mm_dns_answer *answer = send_question(d, q, c);
		if (answer != NULL)
			return answer;
	}
	query->question = q;
	MM_LIST_PUSH(q->waiters, query);
	mm_timer_init(&query->timer, d->clock, query_timed_out);
	mm_timer_start(&query->timer, timeout > 0 ? timeout : d->timeout);
	return NULL;
}

struct mm_dns_counts mm_dns_count(const struct mm_dns *d)
{
	return d->counts;
}

/* ---- life ---- */

/* GIVES "a,b,c", or NULL for an empty list. */
static bool join_servers(const char *const *list, char **out)
{
	size_t size = 1;
	*out = NULL;
	if (list == NULL || list[0] == NULL)
		return true;
	for (size_t i = 0; list[i] != NULL; i++)
		size += strlen(list[i]) + 1;
	char *to = *out = malloc(size);
	for (size_t i = 0; to != NULL && list[i] != NULL; i++) {
		size_t length = strlen(list[i]);
		/* c-ares accepts brackets only with a port after them */
		bool is_bracketed = list[i][0] == '[' && list[i][length - 1] == ']';
		if (i > 0)
			*to++ = ',';
		to = stpcpy(to, list[i] + is_bracketed) - is_bracketed;
		*to = '\0';
	}
	return *out != NULL;
}

bool mm_dns_configure(struct mm_dns *d, const struct mm_dns_settings *settings, struct mm_fault *why)
{
	struct mm_dns trial = { .clock = d->clock, .timeout = settings->timeout };
	bool has_room = join_servers(settings->servers, &trial.servers);
	if (settings->resolv_conf != NULL)
		has_room = (trial.resolv_conf = strdup(settings->resolv_conf)) != NULL && has_room;
	struct channel *probe = has_room ? channel_new(&trial, why) : NULL;
	if (probe == NULL) {
		free(trial.servers);
		free(trial.resolv_conf);
		return has_room ? false : mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
	}
	ares_destroy(probe->ares);
	free(probe);
	free(d->servers);
	free(d->resolv_conf);
	d->servers = trial.servers;
	d->resolv_conf = trial.resolv_conf;
	d->timeout = settings->timeout;
	d->cache_max = settings->cache_max;
	d->looked_at = 0;
	d->resolv_conf_was = (struct stat){ 0 };
	forget_all(d);
	retire(d);
	return true;
}

struct mm_dns *mm_dns_new(struct mm_clock *clock, const struct mm_dns_settings *settings, struct mm_fault *why)
{
	struct mm_dns *d = calloc(1, sizeof *d);
	if (d == NULL || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(d);
		mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
		return NULL;
	}
	d->clock = clock;
	if (getrandom(&d->seed, sizeof d->seed, GRND_NONBLOCK) != (ssize_t)sizeof d->seed)
		d->seed = (uint32_t)(mm_clock_wall() * 1e6);
	if (mm_dns_configure(d, settings, why))
		return d;
	mm_dns_free(d);
	return NULL;
}

void mm_dns_free(struct mm_dns *d)
{
	if (d == NULL)
		return;
	d->is_closing = true;
	while (d->channels != NULL)
		channel_free(d->channels);
	forget_all(d);
	mm_dns_answer_free(&d->last);
	free(d->servers);
	free(d->resolv_conf);
	free(d);
	ares_library_cleanup();
}
