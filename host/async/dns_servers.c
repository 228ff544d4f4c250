#include "async/dns_servers.h"

#include "base/bounds.h"
#include "base/list.h"
#include "async/dns_channel.h"

#include <stdlib.h>
#include <string.h>

#define SILENCE         7.0     /* this part of the timeout makes a server silent: the next is asked, too */
#define SILENT_MAX      3       /* questions in a row that the first server left to another */
#define SECOND_CHOICE   300.0   /* seconds until such a server is the first again */
/* A server that is asked because another is silent leaves an attempt behind at that one, which c-ares cannot cancel. */
#define ATTEMPTS_MAX    (2 * MM_DNS_IN_FLIGHT_MAX)

struct mm_dns_attempt {
	struct mm_dns_sending  sending;
	struct mm_dns_servers *servers;         /* borrowed */
	struct mm_dns_asking  *asking;          /* borrowed; NULL: another server has answered */
	unsigned               server;          /* its index */
	struct mm_dns_attempt *next, *previous; /* of the asking */
};

struct mm_dns_servers {
	struct mm_dns_servers  *next, *previous, **list;
	struct mm_clock        *clock;          /* borrowed */
	double                  timeout;
	unsigned                first;          /* index of the server that is asked first */
	unsigned                silent;         /* questions in a row that it left to another */
	double                  first_until;
	unsigned                attempts;       /* in flight */
	bool                    is_retired, is_closing;
	unsigned                count;
	struct mm_dns_channels *channels[];     /* owned: one for each server */
};

static void ask_next(struct mm_dns_asking *);

/* Its channels wait for the answers that are still to come. */
static void leave(struct mm_dns_servers *s)
{
	for (unsigned i = 0; i < s->count; i++)
		mm_dns_channels_retire(s->channels[i]);
	MM_LIST_REMOVE(*s->list, s);
	free(s);
}

/* ---- answers ---- */

static void finish(struct mm_dns_asking *a, const uint8_t *bytes, size_t size)
{
	mm_timer_stop(&a->silence);
	while (a->attempts != NULL) {
		struct mm_dns_attempt *attempt = a->attempts;
		MM_LIST_REMOVE(a->attempts, attempt);
		attempt->asking = NULL;
	}
	a->done(a, bytes, size);
}

static void finish_without(struct mm_dns_asking *a, enum mm_dns_code code)
{
	*a->answer = (struct mm_dns_answer){ .code = code, .type = a->type };
	finish(a, NULL, 0);
}

/* Another server has answered: did the first one let it wait? */
static void judge_first(struct mm_dns_servers *s, const struct mm_dns_asking *a)
{
	const struct mm_dns_attempt *attempt = a->attempts;
	while (attempt != NULL && attempt->server != s->first)
		attempt = attempt->next;
	s->silent = attempt != NULL ? s->silent + 1 : 0;
	if (s->silent < SILENT_MAX)
		return;
	s->silent = 0;
	s->first = (s->first + 1) % s->count;
	s->first_until = mm_clock_now() + SECOND_CHOICE;
}

/* Whatever else a server says, another may know better. */
static bool is_answer(enum mm_dns_code code)
{
	return code == MM_DNS_ok || code == MM_DNS_nxdomain || code == MM_DNS_nodata;
}

/* The fault lies with the question or with us: no other server can help. */
static bool is_final(enum mm_dns_code code)
{
	return code == MM_DNS_badname || code == MM_DNS_memory;
}

static void attempt_failed(struct mm_dns_asking *a, enum mm_dns_code code)
{
	a->failure = a->failure == MM_DNS_ok || a->failure == code ? code : MM_DNS_servfail;
	if (a->asked < a->servers->count && !a->servers->is_closing)
		ask_next(a);
	else if (a->attempts == NULL)
		finish_without(a, a->failure);
}

static void on_response(struct mm_dns_sending *sending, enum mm_dns_code code, const uint8_t *bytes, size_t size)
{
	struct mm_dns_attempt *attempt = MM_OWNER_OF(sending, struct mm_dns_attempt, sending);
	struct mm_dns_servers *s = attempt->servers;
	struct mm_dns_asking *a = attempt->asking;
	if (a != NULL) {
		MM_LIST_REMOVE(a->attempts, attempt);
		if (bytes != NULL)
			mm_dns_answer_read(a->answer, bytes, size, a->type);
		else
			*a->answer = (struct mm_dns_answer){ .code = code, .type = a->type };
		code = a->answer->code;
		if (bytes != NULL && is_answer(code) && s->count > 1)
			judge_first(s, a);
		if (is_final(code) || is_answer(code) || s->count == 1)
			finish(a, bytes, size);
		else
			attempt_failed(a, code);
	}
	free(attempt);
	s->attempts--;
	if (s->is_retired && s->attempts == 0)
		leave(s);
}

/* ---- asking ---- */

/* False: no memory. True: the asking may be done and gone. */
static bool try_next(struct mm_dns_asking *a)
{
	struct mm_dns_servers *s = a->servers;
	struct mm_dns_attempt *attempt = malloc(sizeof *attempt);
	if (attempt == NULL)
		return false;
	unsigned server = (a->first + a->asked) % s->count;
	*attempt = (struct mm_dns_attempt){ .sending.done = on_response, .servers = s, .asking = a, .server = server };
	MM_LIST_PUSH(a->attempts, attempt);
	s->attempts++;
	a->asked++;
	mm_timer_stop(&a->silence);
	if (a->asked < s->count)
		mm_timer_start(&a->silence, s->timeout / SILENCE);
	if (mm_dns_channels_send(s->channels[server], &attempt->sending, a->name, a->type))
		return true;
	MM_LIST_REMOVE(a->attempts, attempt);
	s->attempts--;
	free(attempt);
	return false;
}

static void ask_next(struct mm_dns_asking *a)
{
	if (!try_next(a) && a->attempts == NULL)
		finish_without(a, MM_DNS_memory);
}

static void server_is_silent(struct mm_timer *timer)
{
	struct mm_dns_asking *a = MM_OWNER_OF(timer, struct mm_dns_asking, silence);
	if (a->servers->attempts < ATTEMPTS_MAX)
		ask_next(a);
	else
		mm_timer_start(&a->silence, a->servers->timeout / SILENCE);
}

bool mm_dns_servers_ask(struct mm_dns_servers *s, struct mm_dns_asking *a, const char *name, uint16_t type)
{
	if (s->first != 0 && mm_clock_now() >= s->first_until)
		s->first = 0;
	a->servers = s;
	a->attempts = NULL;
	a->name = name;
	a->type = type;
	a->first = s->first;
	a->asked = 0;
	a->failure = MM_DNS_ok;
	mm_timer_init(&a->silence, s->clock, server_is_silent);
	if (try_next(a))
		return true;
	mm_timer_stop(&a->silence);
	return false;
}

/* ---- life ---- */

/* The list is taken apart. */
static bool add_channels(struct mm_dns_servers *s, char *list)
{
	char *rest = NULL;
	for (char *server = strtok_r(list, ",", &rest); server != NULL; server = strtok_r(NULL, ",", &rest)) {
		s->channels[s->count] = mm_dns_channels_new(s->clock, server, s->timeout);
		if (s->channels[s->count] == NULL)
			return false;
		s->count++;
	}
	return true;
}

struct mm_dns_servers *mm_dns_servers_new(struct mm_clock *clock, struct mm_dns_servers **list, const char *servers,
	const char *resolv_conf, double timeout, struct mm_fault *why)
{
	unsigned count = 1;
	char *all = mm_ares_servers(servers, resolv_conf, why);
	if (all == NULL)
		return NULL;
	for (const char *at = all; *at != '\0'; at++)
		count += *at == ',';
	struct mm_dns_servers *s = calloc(1, sizeof *s + count * sizeof s->channels[0]);
	if (s != NULL) {
		s->clock = clock;
		s->timeout = timeout;
		s->list = list;
		MM_LIST_PUSH(*list, s);
	}
	bool ok = s != NULL && add_channels(s, all);
	free(all);
	if (ok)
		return s;
	mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
	if (s != NULL)
		mm_dns_servers_free(s);
	return NULL;
}

void mm_dns_servers_retire(struct mm_dns_servers *s)
{
	s->is_retired = true;
	if (s->attempts == 0)
		leave(s);
}

void mm_dns_servers_free(struct mm_dns_servers *s)
{
	s->is_closing = true;
	s->is_retired = false;
	for (unsigned i = 0; i < s->count; i++)
		mm_dns_channels_free(s->channels[i]);
	MM_LIST_REMOVE(*s->list, s);
	free(s);
}
