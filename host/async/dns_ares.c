#include "async/dns_ares.h"

#define TRIES       3           /* the time of each round doubles: 1 + 2 + 4 */
#define ROUNDS      7.0

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
	(void)timeouts;
	if (record != NULL && ares_dns_write(record, &bytes, &size) != ARES_SUCCESS)
		bytes = NULL;
	query->done(query, record != NULL && bytes == NULL ? ARES_EBADRESP : (int)status, bytes, size);
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
	(void)timeouts;
	query->done(query, status, size > 0 ? bytes : NULL, size > 0 ? (size_t)size : 0);
}

void mm_ares_send(ares_channel channel, struct mm_ares_query *query, const char *name, uint16_t type)
{
	ares_query(channel, name, CLASS_IN, type, on_bytes, query);
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

#endif

int mm_ares_options(struct ares_options *o, int mask, double timeout)
{
	o->timeout = (int)(timeout * 1000 / ROUNDS) + 1;
	o->tries = tries_for(timeout);
	mask |= ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
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
