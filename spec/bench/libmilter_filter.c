/* libmilter_filter.c -- "count recipients, add X-Rcpt-Count", as usually written in C on libmilter.
 * usage: libmilter_filter SPEC WORK...
 *   rcpt_eom       only those two handlers
 *   every_handler  all of them, each touching its arguments
 *   quiet          with every_handler: asks for SMFIP_NR_HDR, as an expert would
 *   limit          takes from a rate limit at end of message: buckets by key in a hash, behind a mutex
 *   get, incr      reads a value, counts another at end of message, in the same hash
 *   body=BYTES     replaces the body at end of message
 *   sleep=SECONDS  sleeps at end of message when the sender is asleep@example.org */
#include <libmilter/mfapi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct session {
	unsigned recipients;
	size_t   seen;          /* bytes of names, values and body */
	bool     sleeps;
};

static unsigned char *body;
static size_t         body_size;
static unsigned       sleep_seconds;
static bool           is_quiet, is_limited, is_read, is_counted;

static struct session *session_of(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);
	if (s == NULL) {
		s = calloc(1, sizeof *s);
		smfi_setpriv(ctx, s);
	}
	return s;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3,
	unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
	(void)ctx, (void)f2, (void)f3;
	*pf0 = f0 & (SMFIF_ADDHDRS | SMFIF_CHGBODY);
	*pf1 = f1 & SMFIP_NR_HDR;
	*pf2 = *pf3 = 0;
	return SMFIS_CONTINUE;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
	(void)host, (void)address;
	return session_of(ctx) != NULL ? SMFIS_CONTINUE : SMFIS_TEMPFAIL;
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
	session_of(ctx)->seen = strlen(name);
	return SMFIS_CONTINUE;
}

static sfsistat on_mail(SMFICTX *ctx, char **arguments)
{
	struct session *s = session_of(ctx);
	s->recipients = 0;
	s->seen = 0;
	s->sleeps = sleep_seconds > 0 && strcmp(arguments[0], "<asleep@example.org>") == 0;
	return SMFIS_CONTINUE;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **arguments)
{
	(void)arguments;
	session_of(ctx)->recipients++;
	return SMFIS_CONTINUE;
}

static sfsistat on_data(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	session_of(ctx)->seen += strlen(name) + strlen(value);
	return is_quiet ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat on_eoh(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t size)
{
	(void)chunk;
	session_of(ctx)->seen += size;
	return SMFIS_CONTINUE;
}

/* ---- what all threads share: numbers by key ---- */

#define BUCKETS 4096u

struct entry {
	struct entry *next;
	double        value;
	char          key[];
};

static struct entry   *entries[BUCKETS];
static pthread_mutex_t entries_mutex = PTHREAD_MUTEX_INITIALIZER;

/* The number of a key, 0 when it is new; NULL without memory. The mutex is held. */
static double *value_of(const char *key)
{
	uint32_t h = 2166136261u;
	for (const char *c = key; *c != '\0'; c++)
		h = (h ^ (unsigned char)*c) * 16777619u;
	for (struct entry *e = entries[h % BUCKETS]; e != NULL; e = e->next)
		if (strcmp(e->key, key) == 0)
			return &e->value;
	struct entry *e = malloc(sizeof *e + strlen(key) + 1);
	if (e == NULL)
		return NULL;
	strcpy(e->key, key);
	e->value = 0;
	e->next = entries[h % BUCKETS];
	entries[h % BUCKETS] = e;
	return &e->value;
}

/* GCRA with a million units a second and a bucket of as many. */
static bool take(const char *key)
{
	const double interval = 1e-6, whole = 1;
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	double now = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	pthread_mutex_lock(&entries_mutex);
	double *full_at = value_of(key);
	double next = (full_at != NULL && *full_at > now ? *full_at : now) + interval;
	bool ok = full_at != NULL && next - now <= whole;
	if (ok)
		*full_at = next;
	pthread_mutex_unlock(&entries_mutex);
	return ok;
}

static bool is_zero(const char *key)
{
	pthread_mutex_lock(&entries_mutex);
	double *value = value_of(key);
	bool is = value != NULL && *value == 0;
	pthread_mutex_unlock(&entries_mutex);
	return is;
}

static bool count_one(const char *key)
{
	pthread_mutex_lock(&entries_mutex);
	double *sum = value_of(key);
	if (sum != NULL)
		++*sum;
	pthread_mutex_unlock(&entries_mutex);
	return sum != NULL;
}

static sfsistat on_eom(SMFICTX *ctx)
{
	struct session *s = session_of(ctx);
	char count[16];
	if ((is_limited && !take("account")) || (is_read && !is_zero("blocked")) || (is_counted && !count_one("account")))
		return SMFIS_TEMPFAIL;
	if (s->sleeps)
		sleep(sleep_seconds);
	snprintf(count, sizeof count, "%u", s->recipients);
	smfi_addheader(ctx, "X-Rcpt-Count", count);
	if (body_size > 0)
		smfi_replacebody(ctx, body, (int)body_size);
	s->recipients = 0;      /* without on_mail no other handler does it */
	return SMFIS_CONTINUE;
}

static sfsistat on_unknown(SMFICTX *ctx, const char *line)
{
	(void)ctx, (void)line;
	return SMFIS_CONTINUE;
}

static sfsistat on_abort(SMFICTX *ctx)
{
	session_of(ctx)->recipients = 0;
	return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	free(smfi_getpriv(ctx));
	smfi_setpriv(ctx, NULL);
	return SMFIS_CONTINUE;
}

static struct smfiDesc filter = {
	.xxfi_name = (char *)"bench", .xxfi_version = SMFI_VERSION, .xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGBODY,
	.xxfi_envrcpt = on_rcpt, .xxfi_eom = on_eom, .xxfi_close = on_close,
};

static void define_every_handler(void)
{
	filter.xxfi_connect = on_connect;
	filter.xxfi_helo = on_helo;
	filter.xxfi_envfrom = on_mail;
	filter.xxfi_data = on_data;
	filter.xxfi_header = on_header;
	filter.xxfi_eoh = on_eoh;
	filter.xxfi_body = on_body;
	filter.xxfi_unknown = on_unknown;
	filter.xxfi_abort = on_abort;
}

static void take_work(const char *word)
{
	if (strcmp(word, "every_handler") == 0) {
		define_every_handler();
	} else if (strcmp(word, "quiet") == 0) {
		is_quiet = true;
		filter.xxfi_negotiate = on_negotiate;
	} else if (strcmp(word, "limit") == 0) {
		is_limited = true;
	} else if (strcmp(word, "get") == 0) {
		is_read = true;
	} else if (strcmp(word, "incr") == 0) {
		is_counted = true;
	} else if (strncmp(word, "body=", 5) == 0) {
		body_size = strtoul(word + 5, NULL, 0);
		body = malloc(body_size);
		if (body != NULL)
			memset(body, 'x', body_size);
	} else if (strncmp(word, "sleep=", 6) == 0) {
		sleep_seconds = (unsigned)strtoul(word + 6, NULL, 0);
		filter.xxfi_envfrom = on_mail;
	}
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fputs("usage: libmilter_filter SPEC WORK...\n", stderr);
		return 64;
	}
	for (int i = 2; i < argc; i++)
		take_work(argv[i]);
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	smfi_setbacklog(4096);
	if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS)
		return 69;
	return smfi_main() == MI_SUCCESS ? 0 : 69;
}
