#include "async/dns.h"

#include "base/bounds.h"
#include "base/list.h"
#include "base/watch.h"
#include "async/dns_ares.h"
#include "async/dns_servers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define BUCKETS         4096u   /* of the table of questions; a power of two */
#define LOOK_EVERY      1.0     /* seconds between looks at resolv.conf, when something is asked */
#define RESOLV_CONF     "/etc/resolv.conf"
#define MISFITS_MAX     3       /* responses in a row that do not fit the question before we draw conclusions */
#define PLAIN_TIME      3600.0  /* seconds without mixed letters after a server has not echoed them */

/* A question in flight, or its answer. */
struct mm_dns_question {
	struct mm_dns_asking     asking;
	struct mm_timer          again;
	struct mm_dns           *dns;                   /* borrowed */
	struct mm_dns_question  *next;                  /* of its bucket */
	struct mm_dns_question  *newer, *older;         /* answers by use; NULL while in flight */
	struct mm_dns_query     *waiters;               /* last first */
	struct mm_dns_answer     answer;
	double                   expires_at;            /* mm_clock_now() */
	size_t                   declared;              /* for the account, while it is among the answers */
	bool                     is_answered;
	bool                     is_starting;           /* c-ares may answer from inside the send */
	uint8_t                  misfits, other_case;   /* responses to something else; of these: to other letters */
	uint16_t                 type;
	unsigned                 epoch;
	char                    *sent;                  /* the name as sent, behind name[] */
	char                     name[];                /* lower case, no last dot */
};

struct mm_dns {
	struct mm_clock         *clock;                 /* borrowed */
	char                    *servers;               /* owned: comma-separated; NULL: resolv.conf */
	char                    *resolv_conf;           /* owned */
	double                   timeout;
	unsigned                 cache_max;
	struct mm_dns_servers   *sets;                  /* owned list */
	struct mm_dns_servers   *set;                   /* one of them, which takes questions; NULL: none yet */
	unsigned                 epoch;                 /* of the servers; older answers are not kept */
	double                   plain_until;           /* no mixed letters before */
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
	return !q->is_answered && q->epoch != q->dns->epoch;
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
	mm_timer_stop(&q->again);
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

static bool sends_plain(const struct mm_dns *d)
{
	return mm_clock_now() < d->plain_until;
}

/* Whoever cannot see our questions must guess id, port and the case of the letters (draft-vixie-dnsext-dns0x20): a
 * response that misses is not an answer, and we ask again with all three new. Some servers do not echo the letters:
 * when no response in a row does, ours is one of those. */
static bool is_misfit(struct mm_dns_question *q, const uint8_t *bytes, size_t size)
{
	struct mm_dns *d = q->dns;
	enum mm_dns_fit fit = mm_dns_answer_fit(bytes, size, q->sent, q->type);
	if (fit == MM_DNS_FITS || (fit == MM_DNS_OTHER_CASE && sends_plain(d)))
		return false;
	d->counts.misfits++;
	q->misfits++;
	q->other_case += fit == MM_DNS_OTHER_CASE;
	if (q->other_case < MISFITS_MAX)
		return true;
	d->plain_until = mm_clock_now() + PLAIN_TIME;
	return false;
}

static void finish(struct mm_dns_question *q)
{
	bool was_outdated = is_outdated(q);
	q->is_answered = true;
	q->dns->counts.in_flight--;
	if (q->is_starting)
		return;
	if (was_outdated)
		q->answer.ttl = 0;
	deliver(q);
}

static void on_response(struct mm_dns_asking *asking, const uint8_t *bytes, size_t size)
{
	struct mm_dns_question *q = MM_OWNER_OF(asking, struct mm_dns_question, asking);
	if (q->dns->is_closing) {
		drop(q);
		return;
	}
	if (bytes != NULL && is_misfit(q, bytes, size)) {
		mm_dns_answer_free(&q->answer);
		if (q->misfits < MISFITS_MAX) {
			mm_timer_soon(&q->again);
			return;
		}
		q->answer = (struct mm_dns_answer){ .code = MM_DNS_badanswer, .type = q->type };
	}
	finish(q);
}

/* ---- servers ---- */

/* What is in flight is still answered, but joined no more. */
static void retire(struct mm_dns *d)
{
	if (d->set == NULL)
		return;
	mm_dns_servers_retire(d->set);
	d->set = NULL;
	d->epoch++;
	d->plain_until = 0;
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
	if (is_same || d->set == NULL)
		return;
	forget_all(d);
	retire(d);
}

/* NULL: no memory. */
static struct mm_dns_servers *servers_now(struct mm_dns *d)
{
	struct mm_fault ignored;
	if (d->set == NULL)
		d->set = mm_dns_servers_new(d->clock, &d->sets, d->servers, d->resolv_conf, d->timeout, &ignored);
	return d->set;
}

/* ---- asking ---- */

static const struct mm_dns_answer *failure(struct mm_dns *d, enum mm_dns_code code)
{
	mm_dns_answer_free(&d->last);
	d->last.code = code;
	return &d->last;
}

static void ask_again(struct mm_timer *);

static struct mm_dns_question *question_new(struct mm_dns *d, const char *name, uint16_t type)
{
	size_t size = strlen(name) + 1;
	struct mm_dns_question *q = calloc(1, sizeof *q + 2 * size);
	if (q == NULL)
		return NULL;
	q->asking.answer = &q->answer;
	q->asking.done = on_response;
	q->dns = d;
	q->type = type;
	q->epoch = d->epoch;
	q->sent = q->name + size;
	memcpy(q->name, name, size);
	mm_timer_init(&q->again, d->clock, ask_again);
	struct mm_dns_question **bucket = bucket_of(d, name, type);
	q->next = *bucket;
	*bucket = q;
	return q;
}

/* Writes the name as it is sent: each letter large or small at random. A name with escapes stays as it is. */
static void mix_letters(struct mm_dns_question *q)
{
	uint8_t random[32];             /* a bit for each byte of a name */
	strcpy(q->sent, q->name);
	if (sends_plain(q->dns) || strchr(q->name, '\\') != NULL
	    || getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		return;
	for (size_t i = 0; q->sent[i] != '\0'; i++)
		if (q->sent[i] >= 'a' && q->sent[i] <= 'z' && random[i / 8] >> (i & 7) & 1)
			q->sent[i] = (char)(q->sent[i] & ~0x20);
}

static bool send_question(struct mm_dns_question *q)
{
	struct mm_dns_servers *servers = servers_now(q->dns);
	if (servers == NULL)
		return false;
	mix_letters(q);
	q->dns->counts.sent++;
	return mm_dns_servers_ask(servers, &q->asking, q->sent[0] != '\0' ? q->sent : ".", q->type);
}

static void ask_again(struct mm_timer *timer)
{
	struct mm_dns_question *q = MM_OWNER_OF(timer, struct mm_dns_question, again);
	if (send_question(q))
		return;
	q->answer.code = MM_DNS_memory;
	finish(q);
}

/* c-ares may answer at once: then the answer is returned, and the question is gone. */
static const struct mm_dns_answer *start_question(struct mm_dns *d, struct mm_dns_question *q)
{
	d->counts.in_flight++;
	q->is_starting = true;
	if (!send_question(q)) {
		d->counts.in_flight--;
		drop(q);
		return failure(d, MM_DNS_memory);
	}
	q->is_starting = false;
	if (!q->is_answered)
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
	look_at_resolv_conf(d);
	struct mm_dns_question *q = find(d, normal, type);
	if (q != NULL && q->is_answered) {
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
		const struct mm_dns_answer *answer = start_question(d, q);
		if (answer != NULL)
			return answer;
	}
	query->question = q;
	MM_LIST_PUSH(q->waiters, query);
	mm_timer_init(&query->timer, d->clock, query_timed_out);
	mm_timer_start(&query->timer, timeout > 0 ? timeout : d->timeout);
	return NULL;
}

double mm_dns_timeout(const struct mm_dns *d) { return d->timeout; }

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
	char *servers, *resolv_conf = NULL;
	struct mm_dns_servers *set = NULL;
	if (!join_servers(settings->servers, &servers)
	    || (settings->resolv_conf != NULL && (resolv_conf = strdup(settings->resolv_conf)) == NULL))
		mm_fault_set(why, MM_FAULT_RESOURCE, "dns: out of memory");
	else
		set = mm_dns_servers_new(d->clock, &d->sets, servers, resolv_conf, settings->timeout, why);
	if (set == NULL) {
		free(servers);
		free(resolv_conf);
		return false;
	}
	retire(d);
	forget_all(d);
	d->set = set;
	free(d->servers);
	free(d->resolv_conf);
	d->servers = servers;
	d->resolv_conf = resolv_conf;
	d->timeout = settings->timeout;
	d->cache_max = settings->cache_max;
	d->looked_at = 0;
	d->resolv_conf_was = (struct stat){ 0 };
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
	while (d->sets != NULL)
		mm_dns_servers_free(d->sets);
	forget_all(d);
	for (size_t i = 0; i < BUCKETS; i++)
		while (d->buckets[i] != NULL)           /* were to be asked again */
			drop(d->buckets[i]);
	mm_dns_answer_free(&d->last);
	free(d->servers);
	free(d->resolv_conf);
	free(d);
	ares_library_cleanup();
}
