#include "io/recorder.h"

#include "base/bounds.h"
#include "base/remedy.h"
#include "base/safe_path.h"
#include "milter/reply.h"
#include "milter/stage.h"

#include <dirent.h>
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

#define SUFFIX ".record"

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

	/* of the thread: since it last listed the directory */
	bool            has_listed;
	uint64_t        files_since, size_since;

	pthread_mutex_t lock;                   /* guards all fields below */
	pthread_cond_t  changed;
	pthread_t       thread;
	bool            has_thread, is_stopping;
	struct mm_record *first, **last;        /* owned: waiting for the disk */
	size_t          queued;                 /* their bytes */
	/* set by the writer or the loop, logged by the loop */
	unsigned long   lost, removed;
	int             error;
	bool            has_told_removal;
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
static bool write_bytes(int fd, const struct mm_buffer *bytes)
{
	for (size_t at = 0; at < bytes->size;) {
		ssize_t n = write(fd, bytes->bytes + at, bytes->size - at);
		if (n < 0 && errno != EINTR)
			return false;
		at += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* ---- room in the directory ----
 * The workers of a host write to one directory and do not know of each other, so each lists it anew after it has
 * written a small part of what is allowed. In between the bounds can be exceeded by that part for each worker. */

#define PART_OF_ROOM 256

struct shelf_file {
	char            name[NAME_MAX + 1];
	struct timespec written;
	uint64_t        size;
};

struct shelf {
	struct shelf_file *files;               /* owned */
	size_t             count, capacity;
	uint64_t           size;
};

static bool add_file(struct shelf *s, const char *name, const struct stat *status)
{
	if (s->count == s->capacity) {
		size_t wanted = s->capacity > 0 ? s->capacity * 2 : 64;
		struct shelf_file *grown = reallocarray(s->files, wanted, sizeof *grown);
		if (grown == NULL)
			return false;
		s->files = grown;
		s->capacity = wanted;
	}
	struct shelf_file *f = &s->files[s->count++];
	snprintf(f->name, sizeof f->name, "%s", name);
	f->written = status->st_mtim;
	f->size = (uint64_t)status->st_size;
	s->size += f->size;
	return true;
}

/* Our own names only: other files in the directory are none of our business. */
static bool is_record(const char *name)
{
	size_t size = strlen(name), end = sizeof SUFFIX - 1;
	return name[0] != '.' && size > end && strcmp(name + size - end, SUFFIX) == 0;
}

/* What cannot be read counts as empty. */
static void list_records(int directory, struct shelf *s)
{
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (d == NULL && fd >= 0)
		close(fd);
	if (d == NULL)
		return;
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		struct stat status;
		if (is_record(e->d_name) && fstatat(directory, e->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0
		    && S_ISREG(status.st_mode) && !add_file(s, e->d_name, &status))
			break;
	}
	closedir(d);
}

static int by_age(const void *a, const void *b)
{
	const struct shelf_file *x = a, *y = b;
	if (x->written.tv_sec != y->written.tv_sec)
		return x->written.tv_sec < y->written.tv_sec ? -1 : 1;
	return (x->written.tv_nsec > y->written.tv_nsec) - (x->written.tv_nsec < y->written.tv_nsec);
}

/* Removes the oldest until a record of `size` bytes fits. */
static void make_room(struct mm_recorder *r, int directory, uint64_t size)
{
	struct shelf s = { .files = NULL };
	unsigned long removed = 0;
	uint64_t files_part = r->options.files_max / PART_OF_ROOM, size_part = r->options.total_max / PART_OF_ROOM;
	if (r->has_listed && r->files_since <= files_part && r->size_since + size <= size_part)
		return;
	list_records(directory, &s);
	uint64_t count = s.count;
	if (count >= r->options.files_max || s.size + size > r->options.total_max)
		qsort(s.files, s.count, sizeof *s.files, by_age);
	for (size_t i = 0; i < s.count; i++) {
		if (count < r->options.files_max && s.size + size <= r->options.total_max)
			break;
		if (unlinkat(directory, s.files[i].name, 0) != 0)
			continue;
		count--;
		s.size -= s.files[i].size;
		removed++;
	}
	free(s.files);
	r->has_listed = true;
	r->files_since = r->size_since = 0;
	pthread_mutex_lock(&r->lock);
	r->removed += removed;
	pthread_mutex_unlock(&r->lock);
}

/* Writes to `temporary`, then gives the file its name. False: errno says why. */
static bool write_in(int directory, const char *temporary, const char *name, const struct mm_record *record)
{
	int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return false;
	bool ok = write_bytes(fd, &record->bytes);
	ok = close(fd) == 0 && ok;
	if (ok && renameat(directory, temporary, directory, name) == 0)
		return true;
	int error = errno;
	unlinkat(directory, temporary, 0);
	errno = error;
	return false;
}

/* Walks anew for each record: the directory may have been moved away. False: errno says why. */
static bool write_file(struct mm_recorder *r, const struct mm_record *record)
{
	char path[PATH_MAX], temporary[NAME_MAX + 1];
	struct mm_safe_path at;
	if (snprintf(path, sizeof path, "%s/%s" SUFFIX, r->directory, record->name) >= (int)sizeof path) {
		errno = ENAMETOOLONG;
		return false;
	}
	snprintf(temporary, sizeof temporary, ".%s", record->name);
	if (!mm_safe_path_open(&at, path, NULL)) {
		errno = at.error;
		return false;
	}
	make_room(r, at.directory, record->bytes.size);
	bool ok = write_in(at.directory, temporary, at.name, record);
	int error = errno;
	r->files_since += ok;
	r->size_since += ok ? record->bytes.size : 0;
	mm_safe_path_close(&at);
	errno = error;
	return ok;
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

static bool check_directory(const char *directory, struct mm_fault *why)
{
	char entry[PATH_MAX];
	struct mm_safe_path at;
	struct mm_fault problem;
	snprintf(entry, sizeof entry, "%s/record", directory);
	bool ok = mm_safe_path_open(&at, entry, &problem);
	int error = at.error;
	if (ok && faccessat(at.directory, ".", W_OK | X_OK, AT_EACCESS) != 0)
		ok = mm_fault_set(&problem, MM_FAULT_CONFIG, "%s", strerror(error = errno));
	mm_safe_path_close(&at);
	return ok || mm_fault_set(why, MM_FAULT_CONFIG, "record: %.200s: not a directory that user %u can write to: "
		"%s%s", directory, (unsigned)geteuid(), problem.text, mm_remedy_of_writing(error));
}

struct mm_recorder *mm_recorder_new(const struct mm_recorder_options *o, struct mm_log *log, struct mm_fault *why)
{
	if (o->directory[0] != '/') {
		mm_fault_set(why, MM_FAULT_CONFIG, "record: \"%.200s\" is not an absolute path", o->directory);
		return NULL;
	}
	if (!check_directory(o->directory, why))
		return NULL;
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
	bool tells_removal = r->removed > 0 && !r->has_told_removal;
	r->has_told_removal |= tells_removal;
	r->lost = 0;
	r->error = 0;
	pthread_mutex_unlock(&r->lock);
	if (tells_removal)
		mm_log_say(r->log, MM_LEVEL_WARN, "record", "the records have reached record_total or record_files: "
			"from now on the oldest are removed");
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
