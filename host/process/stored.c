#include "process/stored.h"

#include "base/clock.h"
#include "state/bucket.h"
#include "state/describe.h"
#include "state/stores.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define ROWS_MAX    1000u       /* of one answer; the client may ask for the rest */
#define TOP_ROWS    20u
#define TOP_LOOKS   100000u     /* buckets that are looked at for them: some 0.1 s */
#define REMOVE_EACH 1000u       /* records that are removed with the lock held */
#define WORDS_MAX   4
#define LIMITS      "limits"    /* the store of the buckets: lua/moonmilter/limit.lua */

struct request {
	const struct mm_host     *host;         /* borrowed */
	struct mm_control_client *client;       /* borrowed */
	struct mm_store          *store;        /* owned */
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
	mm_control_client_end(r->client, status, text);
}

static void end_with(struct request *r, enum mm_store_result result)
{
	static const struct { int status; const char *text; } ends[] = {
		[MM_STORE_DONE] = { EX_OK, NULL }, [MM_STORE_NONE] = { EX_UNAVAILABLE, "there is no such key" },
		[MM_STORE_BUSY] = { EX_TEMPFAIL, "a worker holds the store and does not run" },
		[MM_STORE_FULL] = { EX_TEMPFAIL, "the store is full" },
		[MM_STORE_KEY] = { EX_USAGE, "a key has 1 to 511 bytes" },
	};
	if (result == MM_STORE_BROKEN)
		end(r, EX_IOERR, mm_store_why(r->store));
	else
		end(r, ends[result].status, ends[result].text);
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

static void store_stat(struct request *r)
{
	struct mm_store_figures f;
	enum mm_store_result result = mm_store_measure(r->store, &f);
	if (result == MM_STORE_DONE)
		mm_control_client_say(r->client, "keys=%llu bytes=%llu changes=%llu refused=%llu evicted=%llu "
			"ended=%llu",
			(unsigned long long)f.count, (unsigned long long)f.size, (unsigned long long)f.changes,
			(unsigned long long)f.refused, (unsigned long long)f.evicted, (unsigned long long)f.ended);
	end_with(r, result);
}

static void store_get(struct request *r)
{
	struct mm_record record;
	enum mm_store_result result = mm_store_get(r->store, mm_text_of(r->words[2]), r->now, &record);
	if (result == MM_STORE_DONE)
		say_record(r, mm_text_of(r->words[2]), &record);
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

static enum mm_change decide_delete(void *self, const struct mm_record *old, struct mm_record *next)
{
	(void)next;
	*(bool *)self = old != NULL;
	return MM_CHANGE_DELETE;
}

static enum mm_store_result delete_key(struct request *r, struct mm_text key)
{
	bool was_there = false;
	enum mm_store_result result = mm_store_change(r->store, key, r->now, decide_delete, &was_there);
	return result == MM_STORE_DONE && !was_there ? MM_STORE_NONE : result;
}

static void store_delete(struct request *r)
{
	end_with(r, delete_key(r, mm_text_of(r->words[2])));
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

static void say_bucket(struct request *r, struct mm_text key, const struct mm_record *record, void *self)
{
	(void)self;
	char name[640];
	double full_at;
	bool crossed;
	if (mm_bucket_read(record->bytes, &full_at, &crossed))
		mm_control_client_say(r->client, "key=%s full_in=%.0f crossed=%s",
			mm_describe_text(key, name, sizeof name), ceil(full_at - r->now), crossed ? "yes" : "no");
}

/* "account" and "ann" -> "account:ann" */
static struct mm_text bucket_key(const struct request *r, char *to, size_t size)
{
	snprintf(to, size, "%s:%s", r->words[1], r->words[2] != NULL ? r->words[2] : "");
	return mm_text_of(to);
}

static void limit_show(struct request *r)
{
	char prefix[MM_STORE_KEY_MAX + 1];
	end_with(r, each_record(r, bucket_key(r, prefix, sizeof prefix), ROWS_MAX, say_bucket, NULL));
}

static void limit_reset(struct request *r)
{
	char key[MM_STORE_KEY_MAX + 1];
	end_with(r, delete_key(r, bucket_key(r, key, sizeof key)));
}

/* ---- ctl limit top: the emptiest buckets, which are full last ---- */

struct top_row {
	double full_at;
	char   key[MM_STORE_KEY_MAX], record[16];
	size_t key_size, record_size;
};

struct top {
	struct top_row rows[TOP_ROWS + 1];
	unsigned       count;
};

static void note_top(struct request *r, struct mm_text key, const struct mm_record *record, void *self)
{
	(void)r;
	struct top *t = self;
	struct top_row row = { .key_size = key.size, .record_size = record->bytes.size };
	bool crossed;
	if (!mm_bucket_read(record->bytes, &row.full_at, &crossed))
		return;
	memcpy(row.key, key.bytes, key.size);
	memcpy(row.record, record->bytes.bytes, record->bytes.size);
	unsigned at = t->count;
	for (; at > 0 && t->rows[at - 1].full_at < row.full_at; at--)
		t->rows[at] = t->rows[at - 1];
	t->rows[at] = row;
	t->count += t->count < TOP_ROWS;
}

static void limit_top(struct request *r)
{
	char prefix[MM_STORE_KEY_MAX + 1];
	struct top *t = calloc(1, sizeof *t);
	if (t == NULL) {
		end(r, EX_OSERR, "out of memory");
		return;
	}
	enum mm_store_result result = each_record(r, bucket_key(r, prefix, sizeof prefix), TOP_LOOKS, note_top, t);
	for (unsigned i = 0; i < t->count; i++) {
		struct mm_record record = { { t->rows[i].record, t->rows[i].record_size }, 0 };
		say_bucket(r, (struct mm_text){ t->rows[i].key, t->rows[i].key_size }, &record, NULL);
	}
	free(t);
	end_with(r, result);
}

/* ---- requests ---- */

static const struct verb store_verbs[] = {
	{ "stat",   "STORE",          1, 1, store_stat },
	{ "get",    "STORE KEY",      2, 2, store_get },
	{ "delete", "STORE KEY",      2, 2, store_delete },
	{ "dump",   "STORE [PREFIX]", 1, 2, store_dump },
	{ "clear",  "STORE [PREFIX]", 1, 2, store_clear },
	{ NULL,     NULL,             0, 0, NULL },
};

static const struct verb limit_verbs[] = {
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
		used += (size_t)snprintf(text + used, sizeof text - used, "%s %s %s", v == verbs ? "" : ",", v->name,
			v->words);
	end(r, EX_USAGE, text);
}

/* "known" is the store of the first milter, "outbound+known" of another. */
static bool open_store(struct request *r, const char *name)
{
	struct mm_fault why;
	char file[2 * MM_STORE_NAME_MAX + 2];
	if (strchr(name, '+') != NULL)
		snprintf(file, sizeof file, "%s", name);
	else
		snprintf(file, sizeof file, "%s+%s", mm_host_milter_name(r->host), name);
	r->store = mm_host_open_store(r->host, file, &why);
	if (r->store == NULL)
		end(r, EX_UNAVAILABLE, why.text);
	return r->store != NULL;
}

static void answer(const struct mm_host *host, struct mm_control_client *client, const char *words, const char *what,
	const struct verb *verbs, const char *store)
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
	else if (open_store(&r, store != NULL ? store : r.words[1]))
		v->answer(&r);
}

void mm_stored_answer_store(const struct mm_host *host, struct mm_control_client *client, const char *words)
{
	answer(host, client, words, "store", store_verbs, NULL);
}

void mm_stored_answer_limit(const struct mm_host *host, struct mm_control_client *client, const char *words)
{
	answer(host, client, words, "limit", limit_verbs, LIMITS);
}
