#include "async/dns_ares.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define TRIES       3           /* the time of each round doubles: 1 + 2 + 4 */
#define ROUNDS      7.0
#define EDNS_SIZE   1232        /* bytes: fits the smallest IPv6 packet (DNS flag day 2020); more comes over TCP */

#if ARES_VERSION >= 0x011c00    /* 1.28: responses come parsed, the calls for bytes are deprecated */

#define TRIES_MAX   8
#define TRY_MIN     0.18        /* seconds: the least that c-ares waits for a server that has been quick, minus its
                                 * random part */

/* c-ares waits less for a server that has been quick, but each question of a quick resolver may be the slow one: more
 * tries fill the time. A late answer to an early try still counts. */
static int tries_for(double timeout)
{
	int tries = TRIES;
	while (tries < TRIES_MAX && TRY_MIN * ((1 << tries) - 1) < timeout)
		tries++;
	return tries;
}

static void on_record(void *arg, ares_status_t status, size_t timeouts, const ares_dns_record_t *record)
{
	struct mm_ares_query *query = arg;
	unsigned char *bytes = NULL;
	size_t size = 0;
	if (record != NULL && ares_dns_write(record, &bytes, &size) != ARES_SUCCESS)
		bytes = NULL;
	query->done(query, record != NULL && bytes == NULL ? ARES_EBADRESP : (int)status, (unsigned)timeouts, bytes,
		size);
	ares_free_string(bytes);
}

void mm_ares_send(ares_channel channel, struct mm_ares_query *query, const char *name, uint16_t type)
{
	ares_query_dnsrec(channel, name, ARES_CLASS_IN, (ares_dns_rec_type_t)type, on_record, query, NULL);
}

unsigned mm_ares_server_count(ares_channel channel)
{
	char *list = ares_get_servers_csv(channel);
	unsigned count = list != NULL && *list != '\0';
	for (const char *at = list; at != NULL && *at != '\0'; at++)
		count += *at == ',';
	ares_free_string(list);
	return count;
}

bool mm_ares_put_first(ares_channel channel, unsigned index)
{
	char *list = ares_get_servers_csv(channel), *at = list, *turned = NULL;
	for (; at != NULL && index > 0; index--) {
		at = strchr(at, ',');
		at = at != NULL ? at + 1 : NULL;
	}
	bool ok = at != NULL;
	if (ok && at > list) {
		ok = asprintf(&turned, "%s,%.*s", at, (int)(at - list - 1), list) > 0
			&& ares_set_servers_ports_csv(channel, turned) == ARES_SUCCESS;
		free(turned);
	}
	ares_free_string(list);
	return ok;
}

#else

#define CLASS_IN    1

static int tries_for(double timeout)
{
	(void)timeout;
	return TRIES;
}

static void on_bytes(void *arg, int status, int timeouts, unsigned char *bytes, int size)
{
	struct mm_ares_query *query = arg;
	query->done(query, status, (unsigned)timeouts, size > 0 ? bytes : NULL, size > 0 ? (size_t)size : 0);
}

/* Not ares_query(): where it cannot open /dev/urandom, it numbers questions by rand(). */
void mm_ares_send(ares_channel channel, struct mm_ares_query *query, const char *name, uint16_t type)
{
	uint16_t id;
	unsigned char *bytes = NULL;
	int size = 0, status = ARES_ENOMEM;
	if (getrandom(&id, sizeof id, 0) == (ssize_t)sizeof id)
		status = ares_create_query(name, CLASS_IN, type, id, 1, &bytes, &size, EDNS_SIZE);
	if (status == ARES_SUCCESS)
		ares_send(channel, bytes, size, on_bytes, query);
	else
		query->done(query, status, 0, NULL, 0);
	ares_free_string(bytes);
}

unsigned mm_ares_server_count(ares_channel channel)
{
	struct ares_addr_port_node *list = NULL;
	unsigned count = 0;
	if (ares_get_servers_ports(channel, &list) == ARES_SUCCESS)
		for (const struct ares_addr_port_node *node = list; node != NULL; node = node->next)
			count++;
	ares_free_data(list);
	return count;
}

bool mm_ares_put_first(ares_channel channel, unsigned index)
{
	struct ares_addr_port_node *list = NULL, *last, *before = NULL;
	if (ares_get_servers_ports(channel, &list) != ARES_SUCCESS)
		return false;
	struct ares_addr_port_node *first = list;
	for (; index > 0 && first->next != NULL; index--) {
		before = first;
		first = first->next;
	}
	for (last = first; before != NULL && last->next != NULL;)
		last = last->next;
	if (before != NULL) {
		before->next = NULL;
		last->next = list;
	}
	bool ok = ares_set_servers_ports(channel, first) == ARES_SUCCESS;
	ares_free_data(first);
	return ok;
}

#endif

int mm_ares_options(struct ares_options *o, int mask, double timeout)
{
	o->timeout = (int)(timeout * 1000 / ROUNDS) + 1;
	o->tries = tries_for(timeout);
	o->ednspsz = EDNS_SIZE;
	mask |= ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ;
#ifdef ARES_OPT_QUERY_CACHE
	o->qcache_max_ttl = 0;
	mask |= ARES_OPT_QUERY_CACHE;
#endif
#ifdef ARES_OPT_SERVER_FAILOVER
	o->server_failover_opts = (struct ares_server_failover_options){ 0 };
	mask |= ARES_OPT_SERVER_FAILOVER;
#endif
	return mask;
}
