#include "process/stored.h"

#include "base/clock.h"
#include "state/bucket.h"
#include "state/describe.h"
#include "state/event_queue.h"
#include "state/key.h"
#include "state/stores.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define ROWS_MAX    1000u       /* of one answer; the client may ask for the rest */
#define TOP_ROWS    20u
#define STORES_MAX  100u        /* of a list */
#define LIMITS_MAX  100u        /* of a list, for each milter */
#define REMOVE_EACH 1000u       /* records that are removed with the lock held */
#define WORDS_MAX   4

struct request {
	const struct mm_host     *host;         /* borrowed */
	struct mm_control_client *client;       /* borrowed */
	struct mm_store          *store;        /* owned; NULL: the request is about limits, or about all stores */
	struct mm_buckets        *buckets;      /* owned; NULL: about stores */
	char                     *words[WORDS_MAX];     /* [0]: the verb; NULL: not given */
	double                    now;
};

struct verb {
	const char *name, *words;       /* words: of the arguments, for errors */
	int         least, most;        /* arguments */
	void      (*answer)(struct request *);
};

/* ---- ends ---- */

static void end(struct request *r, int status, const char *text)
{
	mm_store_close(r->store);
	mm_buckets_close(r->buckets);
	mm_control_client_end(r->client, status, text);
}

static void end_with(struct request *r, enum mm_store_result result)
{
	static const int statuses[] = {
		[MM_STORE_DONE] = EX_OK, [MM_STORE_NONE] = EX_UNAVAILABLE, [MM_STORE_BUSY] = EX_TEMPFAIL,
		[MM_STORE_FULL] = EX_TEMPFAIL, [MM_STORE_KEY] = EX_USAGE, [MM_STORE_BROKEN] = EX_IOERR,
	};
	end(r, statuses[result], result == MM_STORE_DONE ? NULL : mm_store_result_text(r->store, result));
}

/* ---- rows ---- */

static const char *life_of(const struct request *r, const struct mm_record *record, char *to, size_t size)
{
	if (record->ends_at == 0)
		return "never";
	snprintf(to, size, "%.0f", ceil(record->ends_at - r->now));
	return to;
}

static void say_record(struct request *r, struct mm_text key, const struct mm_record *record)
{
	char name[640], value[300], life[32];
	mm_control_client_say(r->client, "key=%s ttl=%s value=%s", mm_describe_text(key, name, sizeof name),
		life_of(r, record, life, sizeof life), mm_describe_value(record->bytes, value, sizeof value));
}

/* Calls each() for the first `most` records with a prefix. */
static enum mm_store_result each_record(struct request *r, struct mm_text prefix, unsigned most,
	void (*each)(struct request *, struct mm_text key, const struct mm_record *, void *self), void *self)
{
	char after[MM_STORE_KEY_MAX];
	struct mm_text key = { after, 0 };
	struct mm_record record;
	for (unsigned i = 0; ; i++) {
		enum mm_store_result result = mm_store_next(r->store, key, prefix, r->now, &key, &record);
		if (result != MM_STORE_DONE)
			return result == MM_STORE_NONE ? MM_STORE_DONE : result;
		if (i == most) {
			mm_control_client_say(r->client, "more keys follow; give a prefix");
			return MM_STORE_DONE;
		}
		each(r, key, &record, self);
		memcpy(after, key.bytes, key.size);
		key.bytes = after;
	}
}

/* ---- ctl store ---- */

/* name: "store=known ", or "". */
static enum mm_store_result say_figures(struct request *r, struct mm_store *store, const char *name)
{
	struct mm_store_figures f;
	enum mm_store_result result = mm_store_measure(store, &f);
	if (result == MM_STORE_DONE)
		mm_control_client_say(r->client, "%skeys=%llu bytes=%llu changes=%llu refused=%llu evicted=%llu "
			"ended=%llu", name,
			(unsigned long long)f.count, (unsigned long long)f.size, (unsigned long long)f.changes,
			(unsigned long long)f.refused, (unsigned long long)f.evicted, (unsigned long long)f.ended);
	return result;
}

static void store_stat(struct request *r)
{
	end_with(r, say_figures(r, r->store, ""));
}

/* How `ctl` calls what a milter has: MILTER+NAME, without the first milter's name. */
static const char *shown_name(const struct request *r, const char *file)
{
	const char *first = mm_host_milter_name(r->host);
	size_t size = strlen(first);
	return strncmp(file, first, size) == 0 && file[size] == '+' ? file + size + 1 : file;
}

struct listing {
	struct request *request;        /* borrowed */
	unsigned        count;
};

/* file: MILTER+STORE. Sinks of events are stores, too; `ctl events` shows them. */
static void list_store(void *self, const char *file)
{
	struct listing *l = self;
	struct mm_fault why;
	char name[2 * MM_STORE_NAME_MAX + 16];
	const char *plus = strchr(file, '+');
	if (plus == NULL || strncmp(plus + 1, MM_EVENT_STORE, strlen(MM_EVENT_STORE)) == 0
	    || l->count++ >= STORES_MAX)
		return;
	snprintf(name, sizeof name, "store=%s ", shown_name(l->request, file));
	struct mm_store *store = mm_host_open_store(l->request->host, file, &why);
	enum mm_store_result result = store != NULL ? say_figures(l->request, store, name) : MM_STORE_BROKEN;
	if (result != MM_STORE_DONE)
		mm_control_client_say(l->request->client, "%serror=\"%s\"", name, store != NULL
			? mm_store_result_text(store, result) : why.text);
	mm_store_close(store);
}

static void store_list(struct request *r)
{
	struct listing l = { r, 0 };
	mm_host_each_store(r->host, list_store, &l);
	if (l.count > STORES_MAX)
		mm_control_client_say(r->client, "%u stores more are not listed", l.count - STORES_MAX);
	end(r, EX_OK, NULL);
}

static void store_get(struct request *r)
{
	char to[MM_STORE_KEY_MAX];
	struct mm_text key = mm_key_shorten(mm_text_of(r->words[2]), sizeof to, to);
	struct mm_record record;
	enum mm_store_result result = mm_store_get(r->store, key, r->now, &record);
	if (result == MM_STORE_DONE)
		say_record(r, key, &record);
	end_with(r, result);
}

static void say_row(struct request *r, struct mm_text key, const struct mm_record *record, void *self)
{
	(void)self;
	say_record(r, key, record);
}

static void store_dump(struct request *r)
{
	end_with(r, each_record(r, mm_text_of(r->words[2]), ROWS_MAX, say_row, NULL));
}

static void store_delete(struct request *r)
{
	char to[MM_STORE_KEY_MAX];
	end_with(r, mm_store_delete(r->store, mm_key_shorten(mm_text_of(r->words[2]), sizeof to, to), r->now));
}

static void store_clear(struct request *r)
{
	bool left = true;
	enum mm_store_result result = MM_STORE_DONE;
	while (left && result == MM_STORE_DONE)
		result = mm_store_remove_some(r->store, mm_text_of(r->words[2]), REMOVE_EACH, &left);
	end_with(r, result);
}

/* ---- ctl limit: keys are LIMIT:KEY ---- */

struct row {
	double full_at;
	bool   crossed;
	char   key[MM_BUCKET_KEY_MAX];
	size_t key_size;
};

/* The buckets that will be full last, which are the emptiest, in this order. */
struct rows {
	struct row *items;              /* owned: most + 1 */
	unsigned    count, most;
	bool        has_more;
};

static void note_row(void *self, struct mm_text key, double full_at, bool crossed)
{
	struct rows *r = self;
	struct row row = { .full_at = full_at, .crossed = crossed, .key_size = key.size };
	memcpy(row.key, key.bytes, key.size);
	unsigned at = r->count;
	for (; at > 0 && r->items[at - 1].full_at < full_at; at--)
		r->items[at] = r->items[at - 1];
	r->items[at] = row;
	r->has_more = r->has_more || r->count == r->most;
	r->count += r->count < r->most;
}

/* "account" and "ann" -> "account:ann" */
static struct mm_text bucket_key(const struct request *r, char *to, size_t size)
{
	snprintf(to, size, "%s:%s", r->words[1], r->words[2] != NULL ? r->words[2] : "");
	return mm_text_of(to);
}

static void say_rows(struct request *r, const struct rows *rows)
{
	char name[4 * MM_BUCKET_KEY_MAX + 8];
	for (unsigned i = 0; i < rows->count; i++) {
		const struct row *row = &rows->items[i];
		mm_control_client_say(r->client, "key=%s full_in=%.0f crossed=%s",
			mm_describe_text((struct mm_text){ row->key, row->key_size }, name, sizeof name),
			ceil(row->full_at - r->now), row->crossed ? "yes" : "no");
	}
}

/* Of a limit of several hosts, "account/own:ann" is what this host has let pass (moonmilter/state/share.lua). */
static struct mm_text own_key(const struct request *r, char *to, size_t size)
{
	snprintf(to, size, "%s/own:%s", r->words[1], r->words[2] != NULL ? r->words[2] : "");
	return mm_text_of(to);
}

static void list_buckets(struct request *r, unsigned most, bool says_more)
{
	char prefix[1024], own[1024];
	struct rows rows = { .items = calloc(most + 1, sizeof *rows.items), .most = most };
	bool good = rows.items != NULL
		&& mm_buckets_each(r->buckets, bucket_key(r, prefix, sizeof prefix), r->now, note_row, &rows);
	unsigned of_host = rows.count;
	good = good && mm_buckets_each(r->buckets, own_key(r, own, sizeof own), r->now, note_row, &rows);
	if (good)
		say_rows(r, &rows);
	if (good && rows.count > of_host)
		mm_control_client_say(r->client, "%s/own is what this host has let pass; all hosts share the limit on "
			"their Redis server, in keys moonmilter:limit:%s:KEY", r->words[1], r->words[1]);
	if (good && says_more && rows.has_more)
		mm_control_client_say(r->client, "there are more; give a longer prefix");
	free(rows.items);
	end_with(r, good ? MM_STORE_DONE : MM_STORE_BUSY);
}

static void limit_show(struct request *r)
{
	list_buckets(r, ROWS_MAX, true);
}

static void limit_top(struct request *r)
{
	list_buckets(r, TOP_ROWS, false);
}

/* What `ctl limit list` says of one limit: its buckets that are not full, of which those crossed have refused. */
struct listed_limit {
	char          name[MM_BUCKET_KEY_MAX + 1];
	unsigned long keys, crossed;
	bool          is_of_hosts;      /* they are what this host has let pass */
};

struct limits {
	struct listed_limit *items;     /* owned: LIMITS_MAX */
	unsigned             count;
	bool                 has_more;
};

static struct listed_limit *limit_named(struct limits *l, struct mm_text name)
{
	for (unsigned i = 0; i < l->count; i++)
		if (strlen(l->items[i].name) == name.size && memcmp(l->items[i].name, name.bytes, name.size) == 0)
			return &l->items[i];
	l->has_more = l->has_more || l->count == LIMITS_MAX;
	if (l->count == LIMITS_MAX)
		return NULL;
	struct listed_limit *found = &l->items[l->count++];
	*found = (struct listed_limit){ .keys = 0 };
	memcpy(found->name, name.bytes, name.size);
	return found;
}

/* key: LIMIT:KEY, or LIMIT/own:KEY of several hosts */
static void note_limit(void *self, struct mm_text key, double full_at, bool crossed)
{
	(void)full_at;
	const char *colon = memchr(key.bytes, ':', key.size);
	struct mm_text name = { key.bytes, colon != NULL ? (size_t)(colon - key.bytes) : key.size };
	const char *slash = memchr(name.bytes, '/', name.size);
	name.size = slash != NULL ? (size_t)(slash - name.bytes) : name.size;
	struct listed_limit *limit = limit_named(self, name);
	if (limit == NULL)
		return;
	limit->keys++;
	limit->crossed += crossed;
	limit->is_of_hosts = limit->is_of_hosts || slash != NULL;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listed_limit *)a)->name, ((const struct listed_limit *)b)->name);
}

static void say_limits(struct request *r, const char *milter, struct limits *l)
{
	char file[MM_STORE_NAME_MAX + MM_BUCKET_KEY_MAX + 2];
	qsort(l->items, l->count, sizeof *l->items, by_name);
	for (unsigned i = 0; i < l->count; i++) {
		const struct listed_limit *limit = &l->items[i];
		snprintf(file, sizeof file, "%s+%s", milter, limit->name);
		mm_control_client_say(r->client, "limit=%s shared=%s keys=%lu crossed=%lu", shown_name(r, file),
			limit->is_of_hosts ? "hosts" : "host", limit->keys, limit->crossed);
	}
	if (l->has_more)
		mm_control_client_say(r->client, "more than %u limits of milter %s: the others are not listed",
			LIMITS_MAX, milter);
}

static void list_limits(void *self, const char *milter)
{
	struct request *r = self;
	struct mm_fault why = { .text = "out of memory" };
	struct limits l = { .items = calloc(LIMITS_MAX, sizeof *l.items) };
	struct mm_buckets *buckets = l.items != NULL ? mm_host_open_buckets(r->host, milter, &why) : NULL;
	if (buckets == NULL)
		mm_control_client_say(r->client, "the limits of milter %s: %s", milter, why.text);
	else if (!mm_buckets_each(buckets, (struct mm_text){ "", 0 }, r->now, note_limit, &l))
		mm_control_client_say(r->client, "the limits of milter %s: another process holds them and does not run",
			milter);
	else
		say_limits(r, milter, &l);
	mm_buckets_close(buckets);
	free(l.items);
}

static void limit_list(struct request *r)
{
	mm_host_each_buckets(r->host, list_limits, r);
	end(r, EX_OK, NULL);
}

static void note_any(void *self, struct mm_text key, double full_at, bool crossed)
{
	(void)key, (void)full_at, (void)crossed;
	*(bool *)self = true;
}

/* This host has let units of the key pass that it shares with others. */
static bool is_shared(const struct request *r)
{
	char own[1024];
	bool is = false;
	mm_buckets_each(r->buckets, own_key(r, own, sizeof own), r->now, note_any, &is);
	return is;
}

static void limit_reset(struct request *r)
{
	char words[1024], to[MM_BUCKET_KEY_MAX];
	struct mm_text key = mm_key_shorten(bucket_key(r, words, sizeof words), sizeof to, to);
	bool was_there = false, good = mm_buckets_fill(r->buckets, key, r->now, &was_there);
	if (good && !was_there && is_shared(r)) {
		end(r, EX_UNAVAILABLE, "all hosts share this limit: delete moonmilter:limit:LIMIT:KEY on their Redis "
			"server, or call reset() in a script");
		return;
	}
	end_with(r, !good ? MM_STORE_BUSY : was_there ? MM_STORE_DONE : MM_STORE_NONE);
}

/* ---- requests ---- */

static const struct verb store_verbs[] = {
	{ "list",   "",               0, 0, store_list },
	{ "stat",   "STORE",          1, 1, store_stat },
	{ "get",    "STORE KEY",      2, 2, store_get },
	{ "delete", "STORE KEY",      2, 2, store_delete },
	{ "dump",   "STORE [PREFIX]", 1, 2, store_dump },
	{ "clear",  "STORE [PREFIX]", 1, 2, store_clear },
	{ NULL,     NULL,             0, 0, NULL },
};

static const struct verb limit_verbs[] = {
	{ "list",   "",               0, 0, limit_list },
	{ "show",   "LIMIT [PREFIX]", 1, 2, limit_show },
	{ "top",    "LIMIT",          1, 1, limit_top },
	{ "reset",  "LIMIT KEY",      2, 2, limit_reset },
	{ NULL,     NULL,             0, 0, NULL },
};

static int split(char *text, char **words)
{
	int count = 0;
	for (char *save, *word = strtok_r(text, "\t", &save); word != NULL; word = strtok_r(NULL, "\t", &save)) {
		if (count == WORDS_MAX)
			return WORDS_MAX + 1;
		words[count++] = word;
	}
	return count;
}

static void complain(struct request *r, const char *what, const struct verb *verbs)
{
	char text[256];
	size_t used = (size_t)snprintf(text, sizeof text, "write ctl %s", what);
	for (const struct verb *v = verbs; v->name != NULL && used < sizeof text; v++)
		used += (size_t)snprintf(text + used, sizeof text - used, "%s %s%s%s", v == verbs ? "" : ",", v->name,
			v->words[0] != '\0' ? " " : "", v->words);
	end(r, EX_USAGE, text);
}

/* "known" is the store of the first milter, "outbound+known" of another. */
static bool open_store(struct request *r)
{
	struct mm_fault why;
	char file[2 * MM_STORE_NAME_MAX + 2];
	if (strchr(r->words[1], '+') != NULL)
		snprintf(file, sizeof file, "%s", r->words[1]);
	else
		snprintf(file, sizeof file, "%s+%s", mm_host_milter_name(r->host), r->words[1]);
	r->store = mm_host_open_store(r->host, file, &why);
	if (r->store == NULL)
		end(r, EX_UNAVAILABLE, why.text);
	return r->store != NULL;
}

/* "account" is a limit of the first milter, "outbound+account" of another. */
static bool open_buckets(struct request *r)
{
	struct mm_fault why;
	char *plus = strchr(r->words[1], '+');
	const char *milter = mm_host_milter_name(r->host);
	if (plus != NULL) {
		*plus = '\0';
		milter = r->words[1];
		r->words[1] = plus + 1;
	}
	r->buckets = mm_host_open_buckets(r->host, milter, &why);
	if (r->buckets == NULL)
		end(r, EX_UNAVAILABLE, why.text);
	return r->buckets != NULL;
}

static void answer(const struct mm_host *host, struct mm_control_client *client, const char *words, const char *what,
	const struct verb *verbs, bool (*open)(struct request *))
{
	char text[1024];
	struct request r = { .host = host, .client = client, .now = mm_clock_wall() };
	snprintf(text, sizeof text, "%s", words);
	int count = split(text, r.words);
	const struct verb *v = verbs;
	while (v->name != NULL && (count == 0 || strcmp(v->name, r.words[0]) != 0))
		v++;
	if (v->name == NULL || count - 1 < v->least || count - 1 > v->most)
		complain(&r, what, verbs);
	else if (r.words[1] == NULL || open(&r))        /* without a name it is about all of them */
		v->answer(&r);
}

void mm_stored_answer_store(const struct mm_host *host, struct mm_control_client *client, const char *words)
{
	answer(host, client, words, "store", store_verbs, open_store);
}

void mm_stored_answer_limit(const struct mm_host *host, struct mm_control_client *client, const char *words)
{
	answer(host, client, words, "limit", limit_verbs, open_buckets);
}
