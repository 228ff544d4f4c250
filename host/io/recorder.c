#include "io/recorder.h"

#include "base/bounds.h"
#include "milter/reply.h"
#include "milter/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

struct mm_record {
	struct mm_recorder *recorder;           /* borrowed */
	struct mm_record   *next;               /* in the queue */
	char                name[64];
	struct mm_buffer    bytes;              /* owned: the file's future contents */
	struct mm_frame     frames[2];          /* of the MTA, of us */
	bool                is_cut;
};

struct mm_recorder {
	struct mm_recorder_options options;
	char           *directory;              /* owned */
	struct mm_log  *log;                    /* borrowed */
	uint64_t        chance;                 /* state of the random numbers */
	unsigned        open_records;

	pthread_mutex_t lock;                   /* guards all fields below */
	pthread_cond_t  changed;
	pthread_t       thread;
	bool            has_thread, is_stopping;
	struct mm_record *first, **last;        /* owned: waiting for the disk */
	size_t          queued;                 /* their bytes */
	/* set by the writer or the loop, logged by the loop */
	unsigned long   lost;
	int             error;
};

static const char *const names[] = { "nothing", "body", "all" };        /* ORDER REDACT */

const char *mm_redact_name(enum mm_redact r)
{
	return names[r];
}

/* ---- masking ---- */

static void mask_bytes(uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (data[i] != '\r' && data[i] != '\n')
			data[i] = 'x';
}

/* Masks letters and digits; the result keeps the shape of an address, a date or a word list. */
static void mask_words(uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t c = data[i];
		if (c >= '0' && c <= '9')
			data[i] = '0';
		else if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0x80)
			data[i] = 'x';
	}
}

/* After the first string of a payload. */
static size_t behind_text(const uint8_t *data, size_t size, size_t at)
{
	while (at < size && data[at] != '\0')
		at++;
	return at < size ? at + 1 : size;
}

/* Masks values, not names. Keeps the values that say what the MTA is. */
static void mask_macros(uint8_t *data, size_t size)
{
	static const char *const open[] = { "j", "v", "i", "{daemon_name}", "{daemon_port}",
		"{tls_version}", "{cipher}", "{cipher_bits}", "{auth_type}", "{mail_mailer}", "{rcpt_mailer}",
		"{client_resolve}", NULL };
	for (size_t at = 1; at < size;) {
		size_t value = behind_text(data, size, at), end = behind_text(data, size, value);
		bool is_open = false;
		for (const char *const *name = open; *name != NULL; name++)
			is_open |= value > at && strncmp((const char *)data + at, *name, value - at) == 0;
		if (!is_open)
			mask_words(data + value, end - value);
		at = end;
	}
}

/* ESMTP parameters after an address: keeps those that say how, and masks those that may say who (ORCPT=, AUTH=, ENVID=
 * and all unknown ones). */
static void mask_params(uint8_t *data, size_t size, size_t at)
{
	static const char *const open[] = { "SIZE=", "BODY=", "RET=", "NOTIFY=", NULL };
	for (size_t end; at < size; at = end) {
		const uint8_t *equals = memchr(data + at, '=', size - at);
		size_t value = equals != NULL ? (size_t)(equals - data) + 1 : size;
		bool is_open = false;
		end = behind_text(data, size, at);
		for (const char *const *key = open; *key != NULL; key++)
			is_open |= value - at == strlen(*key)
				&& strncasecmp((const char *)data + at, *key, value - at) == 0;
		if (!is_open && value < end)
			mask_words(data + value, end - value);
	}
}

static void mask_command(uint8_t letter, uint8_t *data, size_t size)
{
	switch (letter) {
	case SMFIC_OPTNEG: case SMFIC_DATA: case SMFIC_EOH: case SMFIC_ABORT: case SMFIC_QUIT: case SMFIC_QUIT_NC:
		break;
	case SMFIC_MACRO:
		mask_macros(data, size);
		break;
	case SMFIC_CONNECT: {                   /* host, family, port, address: the family letter
	                                         * must stay (protocol 2.3) */
		size_t family = behind_text(data, size, 0);
		mask_words(data, family);
		if (family + 3 < size)
			mask_words(data + family + 3, size - family - 3);
		break;
	}
	case SMFIC_MAIL: case SMFIC_RCPT:
		mask_params(data, size, behind_text(data, size, 0));
		mask_words(data, behind_text(data, size, 0));
		break;
	case SMFIC_HEADER: {
		size_t value = behind_text(data, size, 0);
		mask_words(data + value, size - value);
		break;
	}
	default:
		mask_words(data, size);
	}
}

static void mask_reply(uint8_t letter, uint8_t *data, size_t size)
{
	size_t from = 0;
	switch (letter) {
	case SMFIR_ADDHEADER: case SMFIR_INSHEADER: case SMFIR_CHGHEADER:      /* the name of the field stays */
		from = letter == SMFIR_ADDHEADER ? 0 : size < 4 ? size : 4;
		from = behind_text(data, size, from);
		break;
	case SMFIR_ADDRCPT: case SMFIR_ADDRCPT_PAR: case SMFIR_DELRCPT: case SMFIR_CHGFROM: case SMFIR_QUARANTINE:
		break;
	default:                                /* verdicts, and reply texts, which the filter wrote itself */
		return;
	}
	mask_words(data + from, size - from);
}

void mm_record_mask(enum mm_redact redact, char from, uint8_t letter, uint8_t *data, size_t size)
{
	bool is_body = from == MM_RECORD_FROM_MTA ? letter == SMFIC_BODY || letter == SMFIC_BODYEOB
		: letter == SMFIR_REPLBODY;
	if (redact == MM_REDACT_NOTHING)
		return;
	if (is_body)
		mask_bytes(data, size);
	else if (redact == MM_REDACT_ALL && from == MM_RECORD_FROM_MTA)
		mask_command(letter, data, size);
	else if (redact == MM_REDACT_ALL)
		mask_reply(letter, data, size);
}

/* ---- the writer ---- */

/* False: errno says why. */
static bool write_file(const struct mm_recorder *r, const struct mm_record *record)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	if (snprintf(path, sizeof path, "%s/%s.record", r->directory, record->name) >= (int)sizeof path
	    || snprintf(temporary, sizeof temporary, "%s/.%s", r->directory, record->name) >= (int)sizeof temporary) {
		errno = ENAMETOOLONG;
		return false;
	}
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t at = 0;
	while (fd >= 0 && at < record->bytes.size) {
		ssize_t n = write(fd, record->bytes.bytes + at, record->bytes.size - at);
		if (n < 0 && errno != EINTR)
			break;
		at += n > 0 ? (size_t)n : 0;
	}
	bool ok = fd >= 0 && at == record->bytes.size;
	if (fd >= 0 && close(fd) != 0)
		ok = false;
	if (ok && rename(temporary, path) == 0)
		return true;
	int error = errno;
	if (fd >= 0)
		unlink(temporary);
	errno = error;
	return false;
}

static void record_free(struct mm_record *record)
{
	mm_buffer_free(&record->bytes);
	mm_frame_free(&record->frames[0]);
	mm_frame_free(&record->frames[1]);
	free(record);
}

static void *write_records(void *self)
{
	struct mm_recorder *r = self;
	pthread_mutex_lock(&r->lock);
	for (;;) {
		while (r->first == NULL && !r->is_stopping)
			pthread_cond_wait(&r->changed, &r->lock);
		struct mm_record *record = r->first;
		if (record == NULL)
			break;
		r->first = record->next;
		if (r->first == NULL)
			r->last = &r->first;
		pthread_mutex_unlock(&r->lock);
		bool ok = write_file(r, record);
		int error = errno;
		size_t size = record->bytes.size;
		record_free(record);
		pthread_mutex_lock(&r->lock);
		r->queued -= size;
		if (!ok) {
			r->lost++;
			r->error = error;
		}
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* Signals go to the loop's thread. */
static bool start_thread(struct mm_recorder *r)
{
	sigset_t all, before;
	if (r->has_thread)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r->has_thread = pthread_create(&r->thread, NULL, write_records, r) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r->has_thread;
}

/* ---- life ---- */

struct mm_recorder *mm_recorder_new(const struct mm_recorder_options *o, struct mm_log *log, struct mm_fault *why)
{
	struct stat st;
	errno = 0;
	if (o->directory[0] != '/') {
		mm_fault_set(why, MM_FAULT_CONFIG, "record: \"%.200s\" is not an absolute path", o->directory);
		return NULL;
	}
	if (stat(o->directory, &st) != 0 || !S_ISDIR(st.st_mode) || access(o->directory, W_OK | X_OK) != 0) {
		mm_fault_set(why, MM_FAULT_CONFIG, "record: %.200s: not a directory that user %u can write to%s%s",
			o->directory, (unsigned)geteuid(), errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
		return NULL;
	}
	struct mm_recorder *r = calloc(1, sizeof *r);
	char *directory = strdup(o->directory);
	if (r == NULL || directory == NULL) {
		free(r);
		free(directory);
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a recorder");
		return NULL;
	}
	r->options = *o;
	r->options.directory = r->directory = directory;
	r->log = log;
	r->last = &r->first;
	if (getrandom(&r->chance, sizeof r->chance, 0) != sizeof r->chance || r->chance == 0)
		r->chance = 88172645463325252u;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	return r;
}

/* Logs what was lost since the last such line. */
static void tell_losses(struct mm_recorder *r)
{
	pthread_mutex_lock(&r->lock);
	unsigned long lost = r->lost;
	int error = r->error;
	r->lost = 0;
	r->error = 0;
	pthread_mutex_unlock(&r->lock);
	if (lost > 0)
		mm_log_say(r->log, MM_LEVEL_WARN, "record", "%lu records lost: %s", lost,
			error != 0 ? strerror(error) : "the disk is too slow for the mail");
}

void mm_recorder_free(struct mm_recorder *r)
{
	if (r == NULL)
		return;
	pthread_mutex_lock(&r->lock);
	r->is_stopping = true;
	pthread_cond_signal(&r->changed);
	pthread_mutex_unlock(&r->lock);
	if (r->has_thread)
		pthread_join(r->thread, NULL);
	tell_losses(r);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->changed);
	free(r->directory);
	free(r);
}

/* ---- one record ---- */

/* xorshift64*: the choice of sessions must not depend on their order, but it is not a secret. */
static uint64_t roll(struct mm_recorder *r)
{
	r->chance ^= r->chance >> 12;
	r->chance ^= r->chance << 25;
	r->chance ^= r->chance >> 27;
	return (r->chance * 2685821657736338717u) >> 32;
}

struct mm_record *mm_record_begin(struct mm_recorder *r, const char *id)
{
	char line[128];
	if (r == NULL || (r->options.sample > 1 && roll(r) % r->options.sample != 0))
		return NULL;
	tell_losses(r);
	struct mm_record *record = calloc(1, sizeof *record);
	if (record == NULL)
		return NULL;
	record->recorder = r;
	snprintf(record->name, sizeof record->name, "%s", id);
	mm_frame_init(&record->frames[0], MM_PACKET_DATA_MAX_1M);
	mm_frame_init(&record->frames[1], MM_PACKET_DATA_MAX_1M);
	int size = snprintf(line, sizeof line, MM_RECORD_MAGIC " redact=%s session=%.60s\n",
		mm_redact_name(r->options.redact), id);
	mm_buffer_append(&record->bytes, line, (size_t)size);
	return record;
}

void mm_record_cut(struct mm_record *record)
{
	if (record == NULL || record->is_cut)
		return;
	mm_buffer_append_u8(&record->bytes, MM_RECORD_CUT);
	record->is_cut = true;
}

size_t mm_record_held(const struct mm_record *record)
{
	return record->bytes.capacity + record->frames[0].held.capacity + record->frames[1].held.capacity;
}

static void put(struct mm_record *record, char from, const struct mm_packet *p)
{
	const struct mm_recorder *r = record->recorder;
	if (record->is_cut)
		return;
	if (record->bytes.size + p->size + 6 > r->options.session_max) {
		mm_record_cut(record);
		return;
	}
	mm_buffer_append_u8(&record->bytes, (uint8_t)from);
	size_t at = record->bytes.size + 5;
	mm_frame_write(&record->bytes, p->letter, p->data, p->size);
	if (!record->bytes.failed)
		mm_record_mask(r->options.redact, from, p->letter, record->bytes.bytes + at, p->size);
}

void mm_record_bytes(struct mm_record *record, char from, const void *bytes, size_t n)
{
	struct mm_packet p;
	struct mm_fault ignored;
	if (record == NULL || record->is_cut)
		return;
	struct mm_frame *f = &record->frames[from == MM_RECORD_FROM_US];
	bool ok = mm_frame_feed(f, bytes, n, &ignored);
	while (ok && mm_frame_next(f, &p, &ignored) == MM_FRAME_PACKET) {
		put(record, from, &p);
		mm_frame_done(f);
	}
	if (!ok || !mm_frame_keep(f, &ignored) || record->bytes.failed)
		record->is_cut = true;          /* no more packets, or no memory: keep what we have */
}

void mm_record_end(struct mm_record *record)
{
	if (record == NULL)
		return;
	struct mm_recorder *r = record->recorder;
	bool ok = !record->bytes.failed && start_thread(r);
	pthread_mutex_lock(&r->lock);
	if (ok && r->queued + record->bytes.size <= MM_RECORD_QUEUE_MAX) {
		r->queued += record->bytes.size;
		*r->last = record;
		r->last = &record->next;
		record = NULL;
		pthread_cond_signal(&r->changed);
	} else {
		r->lost++;
	}
	pthread_mutex_unlock(&r->lock);
	if (record != NULL)
		record_free(record);
}
