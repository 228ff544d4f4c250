#include "async/dns_ares.h"

#include <arpa/inet.h>
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
	(void)timeouts;
	struct mm_ares_query *query = arg;
	unsigned char *bytes = NULL;
	size_t size = 0;
	if (record != NULL && ares_dns_write(record, &bytes, &size) != ARES_SUCCESS)
		bytes = NULL;
	query->done(query, record != NULL && bytes == NULL ? ARES_EBADRESP : (int)status, bytes, size);
	ares_free_string(bytes);
}

void mm_ares_send(ares_channel channel, struct mm_ares_query *query, const char *name, uint16_t type)
{
	ares_query_dnsrec(channel, name, ARES_CLASS_IN, (ares_dns_rec_type_t)type, on_record, query, NULL);
}

static char *servers_of(ares_channel channel)
{
	char *list = ares_get_servers_csv(channel), *copy = list != NULL ? strdup(list) : NULL;
	ares_free_string(list);
	return copy;
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
		query->done(query, status, NULL, 0);
	ares_free_string(bytes);
}

/* The brackets are for a port only: c-ares takes none without. */
static char *servers_of(ares_channel channel)
{
	struct ares_addr_port_node *list = NULL;
	char *all = NULL, address[INET6_ADDRSTRLEN];
	size_t size = 0;
	FILE *to = open_memstream(&all, &size);
	bool ok = to != NULL && ares_get_servers_ports(channel, &list) == ARES_SUCCESS;
	for (const struct ares_addr_port_node *node = list; ok && node != NULL; node = node->next) {
		ok = inet_ntop(node->family, &node->addr, address, sizeof address) != NULL;
		const char *form = node->udp_port == 0 ? "%s%s" : node->family == AF_INET6 ? "%s[%s]:%d" : "%s%s:%d";
		fprintf(to, form, node == list ? "" : ",", address, node->udp_port);
	}
	ares_free_data(list);
	ok = to != NULL && fclose(to) == 0 && ok;
	if (ok)
		return all;
	free(all);
	return NULL;
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

char *mm_ares_servers(const char *servers, const char *resolv_conf, struct mm_fault *why)
{
	char *path = resolv_conf != NULL ? strdup(resolv_conf) : NULL, *all = NULL;
	struct ares_options o = { .resolvconf_path = path };
	ares_channel channel = NULL;
	int status = resolv_conf != NULL && path == NULL ? ARES_ENOMEM
		: ares_init_options(&channel, &o, path != NULL ? ARES_OPT_RESOLVCONF : 0);
	free(path);
	if (status != ARES_SUCCESS) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "dns: the resolver cannot be started: %s", ares_strerror(status));
		return NULL;
	}
	if (servers != NULL)
		status = ares_set_servers_ports_csv(channel, servers);
	if (status != ARES_SUCCESS)
		mm_fault_set(why, MM_FAULT_CONFIG, "dns: servers \"%s\": %s; write addresses with or without a port: "
			"\"192.0.2.53\", \"192.0.2.53:5353\", \"[2001:db8::53]:53\"", servers, ares_strerror(status));
	else if ((all = servers_of(channel)) == NULL)
		mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
	ares_destroy(channel);
	return all;
}
