#include "map/tables.h"

#include "base/watch.h"
#include "map/version.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <unistd.h>

#define NICE          10        /* of the thread: messages come first */
#define BUSY_WAIT     0.02      /* seconds until a lock is tried again */
#define EVENT_WAIT    0.01      /* seconds after a word of the kernel, so that several are one */
#define WRITER_FACTOR 20        /* a file that somebody still writes to must be quiet for so many times `settle` */
#define EVENTS        (IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO \
	| IN_DELETE_SELF | IN_MOVE_SELF)
#define NEWS_SIZE     512

enum place { NAMED, TARGET, PLACES };   /* the path as it is given, and where its links lead */

struct mm_map {
	/* from mm_tables_open() on */
	struct mm_tables       *all;            /* borrowed */
	struct mm_map          *next;           /* of all->first; guarded by the mutex */
	struct mm_version_order order;          /* path and strings are owned */
	struct mm_map_options   options;        /* strings are owned */
	char                   *key;            /* owned: format, path and options as text */
	char                    name[MM_VERSION_NAME_SIZE];
	uint64_t                options_hash;

	/* of the loop */
	unsigned                references;
	struct mm_table        *table;          /* owned; NULL: none yet */
	struct mm_map_wait     *waits;          /* borrowed list */
	struct mm_map_follower *followers;      /* borrowed list */
	uint64_t                versions;
	double                  taken_at, modified_at;
	char                    failure[NEWS_SIZE];     /* "": none */
	bool                    is_settled;

	/* of the thread */
	int                     users;          /* owned descriptor: mm_version_join() */
	bool                    is_joined;
	struct mm_image_source  seen, used, refused;    /* versions: last seen, in force, known to be bad */
	struct mm_version_had   had;
	bool                    has_used;
	double                  seen_at;        /* when `seen` was seen first */
	double                  missing_at;     /* since when there is no file; 0: there is one */
	double                  due_at;         /* when to look again */
	int                     directories[PLACES];    /* watches of inotify; -1: none */
	char                    files[PLACES][NAME_MAX + 1];
	double                  written_at;     /* when somebody last wrote to it */
	bool                    is_open;        /* somebody has written to it and not closed it since */
	bool                    has_failed;

	/* guarded by the mutex */
	struct mm_table        *fresh;          /* owned: for the loop; NULL: nothing new */
	struct mm_table        *retired;        /* owned: for the thread to close */
	double                  fresh_modified_at;
	bool                    is_closed;      /* nobody uses it: the thread frees it */
	bool                    has_news;
	bool                    news_is_first;  /* the first look is over */
	char                    news[NEWS_SIZE];        /* why it failed; "": it is well again, or notes follow */
	char                    note[NEWS_SIZE];
};

struct mm_tables {
	struct mm_tables_settings settings;
	struct mm_watch           watch;        /* of told */
	int                       told, wake;   /* owned: eventfds, from the thread to the loop and back */
	int                       inotify;      /* owned; -1: none, so we look every few seconds */
	bool                      has_thread;
	pthread_t                 thread;

	pthread_mutex_t           mutex;
	struct mm_map            *first;        /* list: the loop adds, the thread removes */
	bool                      ends;
};

/* ---- what the thread tells the loop ---- */

static void ring(int descriptor)
{
	uint64_t one = 1;
	while (write(descriptor, &one, sizeof one) < 0 && errno == EINTR) {}
}

static void silence(int descriptor)
{
	uint64_t count;
	while (read(descriptor, &count, sizeof count) < 0 && errno == EINTR) {}
}

/* news NULL: no news about failure. */
static void tell(struct mm_map *m, struct mm_table *fresh, const char *news, const char *note)
{
	struct mm_table *unused = NULL;
	pthread_mutex_lock(&m->all->mutex);
	if (fresh != NULL) {
		unused = m->fresh;              /* the loop was too slow for it */
		m->fresh = fresh;
		m->fresh_modified_at = (double)m->used.modified / 1e9;
	}
	if (news != NULL) {
		m->has_news = true;
		snprintf(m->news, sizeof m->news, "%s", news);
	}
	if (note[0] != '\0')
		snprintf(m->note, sizeof m->note, "%s", note);
	m->news_is_first = true;
	pthread_mutex_unlock(&m->all->mutex);
	if (unused != NULL)
		unused->format->close(unused);
	ring(m->all->told);
}

static void note_had(struct mm_map *m, const struct mm_table *t)
{
	m->had.entries = t->format->count(t);
	m->had.is_ended = m->order.format->compile != NULL && mm_image_is_ended(t);
}

static void fail(struct mm_map *m, const char *why)
{
	m->has_failed = true;
	tell(m, NULL, why, "");
}

static void succeed(struct mm_map *m, struct mm_table *t, const char *note)
{
	tell(m, t, m->has_failed ? "" : NULL, note);
	m->has_failed = false;
}

/* ---- words of the kernel ---- */

static bool is_watched_by_another(const struct mm_map *m, int directory)
{
	bool found = false;
	for (const struct mm_map *other = m->all->first; other != NULL; other = other->next)
		for (int p = 0; p < PLACES; p++)
			found = found || (other != m && other->directories[p] == directory);
	return found || m->directories[NAMED] == directory || m->directories[TARGET] == directory;
}

/* Only the thread removes maps, and watches change on it alone; the mutex is for the list. */
static void unwatch(struct mm_map *m, enum place place)
{
	int directory = m->directories[place];
	m->directories[place] = -1;
	if (directory < 0)
		return;
	pthread_mutex_lock(&m->all->mutex);
	bool is_used = is_watched_by_another(m, directory);
	pthread_mutex_unlock(&m->all->mutex);
	if (!is_used)
		inotify_rm_watch(m->all->inotify, directory);
}

static void watch_place(struct mm_map *m, enum place place, const char *path)
{
	char copy[PATH_MAX];
	if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
		return;
	char *slash = strrchr(copy, '/');
	snprintf(m->files[place], sizeof m->files[place], "%.*s", NAME_MAX, slash != NULL ? slash + 1 : copy);
	if (slash != NULL)
		slash[slash == copy] = '\0';
	int directory = inotify_add_watch(m->all->inotify, copy, EVENTS | IN_ONLYDIR);
	if (directory != m->directories[place]) {
		unwatch(m, place);
		m->directories[place] = directory;
	}
}

/* Again with each look: a directory may be another one by now. */
static void watch_file(struct mm_map *m)
{
	char target[PATH_MAX];
	if (m->all->inotify < 0)
		return;
	watch_place(m, NAMED, m->order.path);
	if (realpath(m->order.path, target) != NULL && strcmp(target, m->order.path) != 0)
		watch_place(m, TARGET, target);
	else
		unwatch(m, TARGET);
}

static void note_event(struct mm_map *m, const struct inotify_event *e, double now)
{
	for (int p = 0; p < PLACES; p++) {
		if (m->directories[p] != e->wd)
			continue;
		if (m->due_at > now + EVENT_WAIT)
			m->due_at = now + EVENT_WAIT;
		if (e->len == 0 || strcmp(e->name, m->files[p]) != 0)
			continue;
		if (e->mask & IN_MODIFY) {
			m->is_open = true;
			m->written_at = now;
		} else if (e->mask & (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE)) {
			m->is_open = false;
		}
	}
}

static void read_events(struct mm_tables *all)
{
	union {
		struct inotify_event event;
		char                 bytes[16384];
	} buffer;
	ssize_t size;
	while ((size = read(all->inotify, buffer.bytes, sizeof buffer.bytes)) > 0) {
		double now = mm_clock_real();
		pthread_mutex_lock(&all->mutex);
		for (ssize_t at = 0; at < size;) {
			const struct inotify_event *e = (const void *)(buffer.bytes + at);
			for (struct mm_map *m = all->first; m != NULL; m = m->next) {
				if (e->mask & IN_Q_OVERFLOW)
					m->due_at = 0;
				note_event(m, e, now);
			}
			at += (ssize_t)(sizeof *e + e->len);
		}
		pthread_mutex_unlock(&all->mutex);
	}
}

/* ---- a look at a file ---- */

/* How many seconds it must still stay as it is. */
static double unrest(const struct mm_map *m, double now)
{
	double needed = m->options.settle, since = m->seen_at;
	if (m->is_open) {
		needed *= WRITER_FACTOR;
		since = m->written_at > since ? m->written_at : since;
	} else if (mm_source_age(&m->seen) >= needed) {
		return 0;
	}
	return since + needed - now;
}

/* What a change leaves for a moment, an editor's rename or a link that is made again, is no failure. */
static void note_missing(struct mm_map *m, struct mm_fault *why, double now)
{
	const char *suffix = m->order.format->suffix;
	if (why->reason == MM_REASON_IS_NOT_FOUND && suffix != NULL && suffix[0] != '\0')
		mm_fault_because(why, MM_REASON_IS_NOT_FOUND, "%s; \"postmap %s:%.*s\" makes it of a text",
			strerror(ENOENT), m->order.format->name,
			(int)(strlen(m->order.path) - strlen(suffix)), m->order.path);
	if (m->missing_at == 0)
		m->missing_at = now;
	if (m->has_used && now - m->missing_at < m->options.settle) {
		m->due_at = m->missing_at + m->options.settle;
		return;
	}
	m->seen = (struct mm_image_source){ 0 };
	if (!m->has_failed)
		fail(m, why->text);
}

static void try_version(struct mm_map *m, double now)
{
	struct mm_version made;
	struct mm_fault why = { 0 };
	switch (mm_version_make(&m->order, &m->seen, &m->had, &made, &why)) {
	case MM_VERSION_BUSY:
		m->due_at = now + BUSY_WAIT;
		return;
	case MM_VERSION_CHANGED:
		m->seen = (struct mm_image_source){ 0 };
		m->due_at = now + m->options.settle / 4;
		return;
	case MM_VERSION_REFUSED:
		m->refused = m->seen;
		fail(m, why.text);
		return;
	case MM_VERSION_MADE:
		m->used = m->seen;
		m->has_used = true;
		note_had(m, made.table);
		succeed(m, made.table, made.note);
		return;
	}
}

/* Another process of the host may use the map already: then what is in force there is in force here, too, and what is
 * in the file now must be a good successor of it. */
static void join(struct mm_map *m)
{
	bool is_alone;
	m->is_joined = true;
	m->users = mm_version_join(&m->order, &is_alone);
	struct mm_table *t = is_alone ? NULL : mm_version_last(&m->order);
	if (t == NULL)
		return;
	if (mm_image_source(t)->options != m->options_hash) {
		t->format->close(t);
		return;
	}
	m->used = *mm_image_source(t);
	m->has_used = true;
	note_had(m, t);
	succeed(m, t, "");
}

static void look(struct mm_map *m, double now)
{
	struct mm_image_source is;
	struct mm_fault why;
	if (!m->is_joined)
		join(m);
	watch_file(m);
	m->due_at = now + m->options.every;
	if (!mm_source_look(m->order.path, &is, &why)) {
		note_missing(m, &why, now);
		return;
	}
	is.options = m->options_hash;
	m->missing_at = 0;
	if (!mm_source_is_same(&is, &m->seen)) {
		m->seen = is;
		m->seen_at = now;
	}
	if (m->has_used && mm_source_is_same(&is, &m->used)) {
		if (m->has_failed)
			succeed(m, NULL, "");
		return;
	}
	double left = unrest(m, now);
	if (left > 0)
		m->due_at = now + left;
	else if (!mm_source_is_same(&is, &m->refused) || !m->has_failed)
		try_version(m, now);
}

/* ---- the thread ---- */

static void free_map(struct mm_map *m)
{
	struct mm_table *const tables[] = { m->table, m->fresh, m->retired };
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		if (tables[i] != NULL)
			tables[i]->format->close(tables[i]);
	free((char *)(uintptr_t)m->order.path);
	free((char *)(uintptr_t)m->order.directory);
	free((char *)(uintptr_t)m->options.table.key);
	free((char *)(uintptr_t)m->options.table.value);
	free((char *)(uintptr_t)m->options.table.separator);
	free((char *)(uintptr_t)m->options.table.query);
	free(m->key);
	free(m);
}

static void drop_map(struct mm_map *m, bool removes)
{
	unwatch(m, NAMED);
	unwatch(m, TARGET);
	mm_version_leave(&m->order, m->users, removes);
	free_map(m);
}

/* Takes what the loop has given back, with the mutex held; gives it up meanwhile. */
static void tidy(struct mm_tables *all)
{
	for (struct mm_map **link = &all->first; *link != NULL;) {
		struct mm_map *m = *link;
		struct mm_table *old = m->retired;
		m->retired = NULL;
		if (m->is_closed)
			*link = m->next;
		else
			link = &m->next;
		if (old == NULL && !m->is_closed)
			continue;
		pthread_mutex_unlock(&all->mutex);
		if (old != NULL)
			old->format->close(old);
		if (m->is_closed)
			drop_map(m, true);
		pthread_mutex_lock(&all->mutex);
		link = &all->first;             /* the loop may have added one */
	}
}

/* Returns the seconds until the next look; negative: never. */
static double look_at_all(struct mm_tables *all)
{
	double wait = -1;
	pthread_mutex_lock(&all->mutex);
	tidy(all);
	for (struct mm_map *m = all->first; m != NULL; m = m->next) {
		double now = mm_clock_real();
		if (m->due_at <= now) {
			pthread_mutex_unlock(&all->mutex);
			look(m, now);
			pthread_mutex_lock(&all->mutex);
		}
		double left = m->due_at - mm_clock_real();
		if (wait < 0 || left < wait)
			wait = left > 0 ? left : 0;
	}
	if (all->ends)
		wait = 0;
	pthread_mutex_unlock(&all->mutex);
	return wait;
}

static bool is_ending(struct mm_tables *all)
{
	pthread_mutex_lock(&all->mutex);
	bool ends = all->ends;
	pthread_mutex_unlock(&all->mutex);
	return ends;
}

static void *run(void *self)
{
	struct mm_tables *all = self;
	id_t me = (id_t)gettid();       /* Linux has a priority for each thread */
	setpriority(PRIO_PROCESS, me, getpriority(PRIO_PROCESS, me) + NICE);
	while (!is_ending(all)) {
		struct pollfd ready[] = { { .fd = all->wake, .events = POLLIN },
			{ .fd = all->inotify, .events = POLLIN } };
		double wait = look_at_all(all);
		poll(ready, 2, wait < 0 ? -1 : wait > 1000 ? 1000000 : (int)(wait * 1000) + (wait > 0));
		if (ready[0].revents != 0)
			silence(all->wake);
		if (ready[1].revents != 0)
			read_events(all);
	}
	return NULL;
}

/* ---- the loop ---- */

static void say(struct mm_map *m, const char *news, const char *note)
{
	struct mm_log *log = m->all->settings.log;
	bool tells = news != NULL && m->table != NULL && m->all->settings.tells_failures;
	if (tells && news[0] != '\0')          /* of a first version: who opens the map is told */
		mm_log_say(log, MM_LEVEL_ERROR, "map", "%s:%s: %s; the last good version stays in force",
			m->order.format->name, m->order.path, news);
	else if (tells)
		mm_log_say(log, MM_LEVEL_INFO, "map", "%s:%s: is well again", m->order.format->name, m->order.path);
	if (note[0] != '\0')
		mm_log_say(log, MM_LEVEL_WARN, "map", "%s:%s: %s", m->order.format->name, m->order.path, note);
}

static void fire_waits(struct mm_map *m)
{
	struct mm_map_wait *w;
	while ((w = m->waits) != NULL) {
		m->waits = w->next;
		w->next = NULL;
		w->fire(w);             /* may release the map, but whoever else waits holds it */
	}
}

/* Takes what the thread has for a map. */
static void collect(struct mm_map *m)
{
	char news[NEWS_SIZE], note[NEWS_SIZE];
	pthread_mutex_lock(&m->all->mutex);
	struct mm_table *fresh = m->fresh;
	bool has_news = m->has_news, was_settled = m->is_settled;
	m->is_settled = m->news_is_first;
	m->fresh = NULL;
	m->has_news = false;
	memcpy(news, m->news, sizeof news);
	memcpy(note, m->note, sizeof note);
	m->note[0] = '\0';
	struct mm_table *old = fresh != NULL ? m->table : NULL, *closed = NULL;
	if (old != NULL) {
		closed = m->retired;    /* usually NULL: the thread has closed it long ago */
		m->retired = old;
	}
	if (fresh != NULL)
		m->modified_at = m->fresh_modified_at;
	pthread_mutex_unlock(&m->all->mutex);
	if (fresh != NULL) {
		m->table = fresh;
		m->versions++;
		m->taken_at = mm_clock_wall();
	}
	if (closed != NULL)
		closed->format->close(closed);
	if (has_news)
		memcpy(m->failure, news, sizeof m->failure);
	say(m, has_news ? news : NULL, note);
	for (struct mm_map_follower *f = fresh != NULL ? m->followers : NULL; f != NULL; f = f->next)
		f->fire(f);
	if (!was_settled && m->is_settled)
		fire_waits(m);
}

/* The next map that is in use, held; NULL: there is none. Only the loop closes maps, so a held one stays listed. */
static struct mm_map *hold_next(struct mm_tables *all, struct mm_map *after)
{
	pthread_mutex_lock(&all->mutex);
	struct mm_map *m = after != NULL ? after->next : all->first;
	while (m != NULL && m->is_closed)
		m = m->next;
	if (m != NULL)
		m->references++;
	pthread_mutex_unlock(&all->mutex);
	return m;
}

static void on_told(struct mm_watch *watch, int ready)
{
	struct mm_tables *all = MM_OWNER_OF(watch, struct mm_tables, watch);
	(void)ready;
	silence(all->told);
	for (struct mm_map *m = hold_next(all, NULL), *next; m != NULL; m = next) {
		collect(m);
		next = hold_next(all, m);
		mm_map_release(m);
	}
	ring(all->wake);                /* there may be tables to close */
}

/* ---- open ---- */

static bool start_thread(struct mm_tables *all, struct mm_fault *why)
{
	sigset_t signals, before;
	if (all->has_thread)
		return true;
	sigfillset(&signals);           /* they are the loop's */
	pthread_sigmask(SIG_SETMASK, &signals, &before);
	all->has_thread = pthread_create(&all->thread, NULL, run, all) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return all->has_thread || mm_fault_set(why, MM_FAULT_RESOURCE, "no thread for maps");
}

static char *copy_of(const char *text, bool *good)
{
	char *copy = text != NULL ? strdup(text) : NULL;
	*good = *good && (text == NULL || copy != NULL);
	return copy;
}

static void append_option(struct mm_buffer *to, const char *name, const char *text)
{
	if (text == NULL)
		return;
	mm_buffer_append(to, name, strlen(name));
	mm_buffer_append_text(to, text, strlen(text));
}

/* What makes a map another one than the next. ORDER MAP_OPTIONS: struct mm_table_options */
static char *key_of(const struct mm_table_format *format, const char *path, const struct mm_map_options *o)
{
	struct mm_buffer key = { 0 };
	char numbers[160];
	const struct mm_table_options *t = &o->table;
	snprintf(numbers, sizeof numbers, "%.17g %d %d %.17g %.17g %.17g %.17g %d", t->text_max, t->keeps_case,
		t->has_header, t->steps, o->shrink, o->every, o->settle, o->may_be_empty);
	append_option(&key, "", format->name);
	append_option(&key, "", path);
	append_option(&key, "", numbers);
	append_option(&key, "key ", t->key);
	append_option(&key, "value ", t->value);
	append_option(&key, "separator ", t->separator);
	append_option(&key, "query ", t->query);
	for (size_t i = 0; i < key.size; i++)
		if (key.bytes[i] == '\0')
			key.bytes[i] = '\n';
	mm_buffer_append_u8(&key, '\0');
	if (!key.failed)
		return (char *)key.bytes;
	mm_buffer_free(&key);
	return NULL;
}

static void fill_order(struct mm_map *m, const struct mm_table_format *format)
{
	struct mm_text key = mm_text_of(m->key);
	m->order.format = format;
	m->order.options = &m->options.table;
	m->order.name = m->name;
	m->order.shrink = m->options.shrink;
	m->order.may_be_empty = m->options.may_be_empty;
	m->options_hash = mm_text_hash_mixed(key);
	snprintf(m->name, sizeof m->name, "map-%016llx", (unsigned long long)mm_text_hash(key));
}

/* TAKES the key. */
static struct mm_map *new_map(struct mm_tables *all, const struct mm_table_format *format, const char *path,
	const char *directory, const struct mm_map_options *o, char *key)
{
	struct mm_map *m = calloc(1, sizeof *m);
	bool good = m != NULL;
	char *with_suffix = NULL;
	if (!good || asprintf(&with_suffix, "%s%s", path, format->suffix != NULL ? format->suffix : "") < 0) {
		free(m);
		free(key);
		return NULL;
	}
	m->all = all;
	m->key = key;
	m->options = *o;
	m->options.table.key = copy_of(o->table.key, &good);
	m->options.table.value = copy_of(o->table.value, &good);
	m->options.table.separator = copy_of(o->table.separator, &good);
	m->options.table.query = copy_of(o->table.query, &good);
	m->order.path = with_suffix;
	m->order.directory = copy_of(directory, &good);
	m->users = m->directories[NAMED] = m->directories[TARGET] = -1;
	m->had.entries = UINT64_MAX;
	fill_order(m, format);
	if (good)
		return m;
	free_map(m);
	return NULL;
}

/* An inline table has no file, and is small. */
static bool compile_inline(struct mm_map *m, struct mm_fault *why)
{
	static const struct mm_image_source none;
	struct mm_image_writer *w = mm_image_writer_new();
	bool good = w != NULL && m->order.format->compile(mm_text_of(m->order.path), m->order.options, w, why);
	m->table = good ? mm_image_keep(w, &none, why) : NULL;
	if (w == NULL)
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the table");
	mm_image_writer_free(w);
	m->is_settled = m->news_is_first = true;
	m->versions = 1;
	m->taken_at = mm_clock_wall();
	m->due_at = 1e18;
	return m->table != NULL;
}

static struct mm_map *find(struct mm_tables *all, const char *key)
{
	struct mm_map *m = all->first;
	while (m != NULL && (m->is_closed || strcmp(m->key, key) != 0))
		m = m->next;
	return m;
}

struct mm_map *mm_tables_open(struct mm_tables *all, const struct mm_table_format *format, const char *path,
	const char *directory, const struct mm_map_options *o, struct mm_fault *why)
{
	char *key = key_of(format, path, o);
	pthread_mutex_lock(&all->mutex);
	struct mm_map *m = key != NULL ? find(all, key) : NULL;
	pthread_mutex_unlock(&all->mutex);
	if (m != NULL) {
		free(key);
		m->references++;
		return m;
	}
	m = key != NULL ? new_map(all, format, path, directory, o, key) : NULL;
	if (m == NULL) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a map");
		return NULL;
	}
	bool is_inline = strcmp(format->name, "inline") == 0;
	if (!start_thread(all, why) || (is_inline && !compile_inline(m, why))) {
		free_map(m);
		return NULL;
	}
	m->references = 1;
	pthread_mutex_lock(&all->mutex);
	m->next = all->first;
	all->first = m;
	pthread_mutex_unlock(&all->mutex);
	ring(all->wake);
	return m;
}

void mm_map_release(struct mm_map *m)
{
	struct mm_tables *all = m->all;
	if (--m->references > 0)
		return;
	pthread_mutex_lock(&all->mutex);
	m->is_closed = true;
	pthread_mutex_unlock(&all->mutex);
	ring(all->wake);
}

/* ---- use ---- */

bool mm_map_is_settled(const struct mm_map *m)
{
	return m->is_settled;
}

void mm_map_wait(struct mm_map *m, struct mm_map_wait *w)
{
	w->next = m->waits;
	m->waits = w;
}

void mm_map_unwait(struct mm_map *m, struct mm_map_wait *w)
{
	for (struct mm_map_wait **link = &m->waits; *link != NULL; link = &(*link)->next) {
		if (*link == w) {
			*link = w->next;
			return;
		}
	}
}

void mm_map_follow(struct mm_map *m, struct mm_map_follower *f)
{
	f->next = m->followers;
	m->followers = f;
}

void mm_map_unfollow(struct mm_map *m, struct mm_map_follower *f)
{
	struct mm_map_follower **link = &m->followers;
	while (*link != f)
		link = &(*link)->next;
	*link = f->next;
}

const char *mm_map_failure(const struct mm_map *m)
{
	return m->failure[0] != '\0' ? m->failure : NULL;
}

struct mm_table *mm_map_table(const struct mm_map *m)
{
	return m->table;
}

void mm_map_describe(const struct mm_map *m, struct mm_map_info *info)
{
	*info = (struct mm_map_info){ .format = m->order.format->name, .path = m->order.path,
		.entries = m->table != NULL ? m->table->format->count(m->table) : 0, .versions = m->versions,
		.taken_at = m->taken_at, .modified_at = m->modified_at };
}

static void list_map(const struct mm_map *m, struct mm_say say)
{
	struct mm_map_info i;
	double now = mm_clock_wall();
	char path[PATH_MAX], line[PATH_MAX + 256];
	mm_map_describe(m, &i);
	snprintf(path, sizeof path, "%s", i.path);
	mm_text_make_plain(path, '!');
	int at = snprintf(line, sizeof line, "kind=%s path=%s", i.format, path);
	if (i.versions > 0 && i.entries != UINT64_MAX)
		at += snprintf(line + at, sizeof line - (size_t)at, " entries=%llu", (unsigned long long)i.entries);
	if (i.modified_at > 0)
		at += snprintf(line + at, sizeof line - (size_t)at, " age=%.0f", now - i.modified_at);
	at += snprintf(line + at, sizeof line - (size_t)at, " versions=%llu", (unsigned long long)i.versions);
	if (i.versions > 0)
		snprintf(line + at, sizeof line - (size_t)at, " taken=%.0f", now - i.taken_at);
	say.line(say.self, line);
	if (mm_map_failure(m) == NULL)
		return;
	snprintf(line, sizeof line, "    error: %s", mm_map_failure(m));
	mm_text_make_plain(line, ' ');
	say.line(say.self, line);
}

void mm_tables_list(struct mm_tables *all, struct mm_say say)
{
	for (struct mm_map *m = hold_next(all, NULL), *next; m != NULL; m = next) {
		list_map(m, say);
		next = hold_next(all, m);
		mm_map_release(m);
	}
}

/* ---- new and free ---- */

struct mm_tables *mm_tables_new(const struct mm_tables_settings *s)
{
	struct mm_tables *all = calloc(1, sizeof *all);
	if (all == NULL)
		return NULL;
	all->settings = *s;
	pthread_mutex_init(&all->mutex, NULL);
	all->told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	all->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	all->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	mm_watch_init(&all->watch, s->clock, on_told);
	if (all->told >= 0 && all->wake >= 0) {
		mm_watch_start(&all->watch, all->told, MM_READABLE);
		return all;
	}
	mm_tables_free(all);
	return NULL;
}

void mm_tables_close_copies(struct mm_tables *all)
{
	const int descriptors[] = { all->told, all->wake, all->inotify };
	for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++)
		if (descriptors[i] >= 0)
			close(descriptors[i]);
}

void mm_tables_free(struct mm_tables *all)
{
	if (all == NULL)
		return;
	pthread_mutex_lock(&all->mutex);
	all->ends = true;
	pthread_mutex_unlock(&all->mutex);
	if (all->has_thread) {
		ring(all->wake);
		pthread_join(all->thread, NULL);
	}
	for (struct mm_map *m; (m = all->first) != NULL;) {
		all->first = m->next;
		drop_map(m, false);     /* the image stays for the next process of this host */
	}
	mm_watch_stop(&all->watch);
	mm_tables_close_copies(all);
	pthread_mutex_destroy(&all->mutex);
	free(all);
}
