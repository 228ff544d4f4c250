#include "state/stores.h"

#include "base/array.h"
#include "state/bucket.h"
#include "state/mirror.h"
#include "state/tally.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define IN_MEMORY     "/dev/shm"
#define PRIVATE       IN_MEMORY "/moonmilter-private-XXXXXX"
#define TMPFS_MAGIC   0x01021994
#define NEWS_EVERY    1.0               /* seconds */
#define STORES_MAX    1000u             /* of a process: each has a few descriptors */

struct open_store {
	char             *file;         /* owned: MILTER+NAME */
	struct mm_store  *store;        /* owned */
	struct mm_mirror *mirror;       /* owned; NULL: not durable */
};

struct open_buckets {
	char              *milter;      /* owned */
	struct mm_buckets *buckets;     /* owned */
};

struct open_tally {
	char            *file;          /* owned: MILTER+HASH of the server's name */
	struct mm_tally *tally;         /* owned */
};

struct mm_stores {
	struct mm_stores_settings settings;
	char                     *state_dir;    /* owned; NULL: none */
	char                      memory[128];  /* directory in memory; "": nothing is shared */
	struct open_store        *open;         /* owned array */
	uint32_t                  count, capacity;
	struct open_buckets      *limits;       /* owned array: a row for each milter that has limits */
	uint32_t                  limit_count, limit_capacity;
	struct open_tally        *tallies;      /* owned array */
	uint32_t                  tally_count, tally_capacity;
	struct mm_buffer          scratch;      /* owned */
	struct mm_timer           timer;        /* runs while a store has a mirror */
};

/* ---- directories ---- */

static void memory_of(const char *identity, char *to, size_t size)
{
	snprintf(to, size, IN_MEMORY "/moonmilter-%u-%016llx", (unsigned)geteuid(),
		(unsigned long long)mm_text_hash(mm_text_of(identity)));
}

struct mm_store *mm_stores_open_made(const char *identity, const char *file, struct mm_fault *why)
{
	static const struct mm_store_options any = { .size_max = 1u << 30, .is_view = true };
	char directory[128], path[sizeof directory + 2 * MM_STORE_NAME_MAX + 8];
	memory_of(identity, directory, sizeof directory);
	snprintf(path, sizeof path, "%s/%s.mdb", directory, file);
	if (strchr(file, '/') != NULL || access(path, F_OK) != 0) {
		mm_fault_set(why, MM_FAULT_CONFIG, "no script has opened a store of this name in memory; "
			"one with engine = \"redis\" is on its server");
		return NULL;
	}
	return mm_store_open(directory, file, &any, why);
}

static int is_table(const struct dirent *entry)
{
	const char *end = strrchr(entry->d_name, '.');
	return end != NULL && (strcmp(end, ".mdb") == 0 || strcmp(end, ".buckets") == 0);
}

/* Calls each for the names of the tables in memory that end so, in order and without that end. */
static void each_made(const char *identity, const char *suffix, void (*each)(void *self, const char *name), void *self)
{
	char directory[128];
	struct dirent **list;
	memory_of(identity, directory, sizeof directory);
	int count = scandir(directory, &list, is_table, alphasort);
	for (int i = 0; i < count; i++) {
		char *end = strrchr(list[i]->d_name, '.');
		if (strcmp(end, suffix) == 0) {
			*end = '\0';
			each(self, list[i]->d_name);
		}
		free(list[i]);
	}
	if (count >= 0)
		free(list);
}

void mm_stores_each_made(const char *identity, void (*each)(void *self, const char *file), void *self)
{
	each_made(identity, ".mdb", each, self);
}

void mm_stores_each_made_buckets(const char *identity, void (*each)(void *self, const char *milter), void *self)
{
	each_made(identity, ".buckets", each, self);
}

static void remove_directory(const char *path)
{
	int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *list = directory >= 0 ? fdopendir(directory) : NULL;
	if (list == NULL) {
		if (directory >= 0)
			close(directory);
		return;
	}
	for (struct dirent *entry; (entry = readdir(list)) != NULL;)
		unlinkat(directory, entry->d_name, 0);  /* "." and ".." are refused */
	closedir(list);
	rmdir(path);
}

void mm_stores_remove(const char *identity)
{
	char path[128];
	memory_of(identity, path, sizeof path);
	remove_directory(path);
}

/* Makes a directory that is only ours, or finds it so. */
static bool own_directory(const char *path, const char *remedy, struct mm_fault *why)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: cannot be made: %s; %s", path, strerror(errno), remedy);
	struct stat is;
	if (lstat(path, &is) != 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(is.st_mode) || is.st_uid != geteuid() || (is.st_mode & 022) != 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: must be a directory of user %u that nobody else may "
			"write to; %s", path, (unsigned)geteuid(), remedy);
	return true;
}

static bool check_memory(struct mm_fault *why)
{
	struct statfs fs;
	if (statfs(IN_MEMORY, &fs) != 0 || (unsigned long)fs.f_type != TMPFS_MAGIC)
		return mm_fault_set(why, MM_FAULT_CONFIG, "stores and maps need a file system in memory: mount a "
			"tmpfs on "
			IN_MEMORY);
	return true;
}

const char *mm_stores_directory(const struct mm_stores *all, struct mm_fault *why)
{
	if (all->memory[0] == '\0')
		return "";
	return check_memory(why) && own_directory(all->memory, "remove it", why) ? all->memory : NULL;
}

/* ---- new and free ---- */

static void look_for_news(struct mm_timer *timer)
{
	struct mm_stores *all = MM_OWNER_OF(timer, struct mm_stores, timer);
	char text[256];
	for (unsigned i = 0; i < all->count; i++) {
		struct open_store *o = &all->open[i];
		if (o->mirror == NULL || !mm_mirror_has_news(o->mirror, text, sizeof text))
			continue;
		if (text[0] != '\0')
			mm_log_say(all->settings.log, MM_LEVEL_ERROR, "store", "store %s: cannot be copied to %s: %s; "
				"what changes now would not survive a restart of the system", o->file,
				all->state_dir, text);
		else
			mm_log_say(all->settings.log, MM_LEVEL_INFO, "store", "store %s: copied to %s again", o->file,
				all->state_dir);
	}
	mm_timer_start(timer, NEWS_EVERY);
}

struct mm_stores *mm_stores_new(const struct mm_stores_settings *s)
{
	struct mm_stores *all = calloc(1, sizeof *all);
	if (all == NULL)
		return NULL;
	all->settings = *s;
	all->settings.identity = all->settings.state_dir = NULL;
	mm_timer_init(&all->timer, s->clock, look_for_news);
	if (s->identity != NULL)
		memory_of(s->identity, all->memory, sizeof all->memory);
	all->state_dir = s->state_dir != NULL ? strdup(s->state_dir) : NULL;
	if (s->state_dir == NULL || all->state_dir != NULL)
		return all;
	free(all);
	return NULL;
}

void mm_stores_free(struct mm_stores *all)
{
	if (all == NULL)
		return;
	mm_timer_stop(&all->timer);
	for (unsigned i = 0; i < all->count; i++) {
		mm_mirror_stop(all->open[i].mirror);
		mm_store_close(all->open[i].store);
		free(all->open[i].file);
	}
	for (unsigned i = 0; i < all->limit_count; i++) {
		mm_buckets_close(all->limits[i].buckets);
		free(all->limits[i].milter);
	}
	for (unsigned i = 0; i < all->tally_count; i++) {
		mm_tally_close(all->tallies[i].tally);
		free(all->tallies[i].file);
	}
	free(all->tallies);
	free(all->limits);
	free(all->open);
	mm_buffer_free(&all->scratch);
	free(all->state_dir);
	free(all);
}

/* ---- open ---- */

/* For a process that shares nothing: a directory that is removed as soon as its files are open. */
static bool private_directory(char *directory, struct mm_fault *why)
{
	return mkdtemp(directory) != NULL
		|| mm_fault_set(why, MM_FAULT_RESOURCE, "%s: %s", directory, strerror(errno));
}

static struct mm_store *open_private(const char *file, const struct mm_store_options *o, struct mm_fault *why)
{
	char directory[] = PRIVATE;
	if (!private_directory(directory, why))
		return NULL;
	struct mm_store_options here = *o;
	here.is_mirrored = false;
	struct mm_store *s = mm_store_open(directory, file, &here, why);
	remove_directory(directory);
	return s;
}

static bool start_mirror(struct mm_stores *all, struct open_store *to, const struct mm_store_options *o,
	struct mm_fault *why)
{
	to->mirror = mm_mirror_start(all->state_dir, all->memory, to->file, o, why);
	if (to->mirror != NULL && !mm_timer_is_running(&all->timer))
		mm_timer_start(&all->timer, NEWS_EVERY);
	return to->mirror != NULL;
}

/* The copy of a store on the disk. */
static char *copy_of(const struct mm_stores *all, const char *file)
{
	char path[4096];
	return snprintf(path, sizeof path, "%s/%s.mdb", all->state_dir, file) < (int)sizeof path ? strdup(path) : NULL;
}

static bool check_disk(const struct mm_stores *all, struct mm_fault *why)
{
	if (all->state_dir == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "a durable store needs a directory: set state_dir");
	return own_directory(all->state_dir, "make it and give it to the user that serves", why);
}

const char *mm_stores_disk(const struct mm_stores *all, struct mm_fault *why)
{
	why->text[0] = '\0';
	return all->state_dir != NULL && check_disk(all, why) ? all->state_dir : NULL;
}

static bool open_shared(struct mm_stores *all, struct open_store *to, const struct mm_store_options *o,
	struct mm_fault *why)
{
	struct mm_store_options with_copy = *o;
	if (!own_directory(all->memory, "remove it", why) || (o->is_mirrored && !check_disk(all, why)))
		return false;
	char *copy = o->is_mirrored ? copy_of(all, to->file) : NULL;
	with_copy.copy = copy;
	to->store = mm_store_open(all->memory, to->file, &with_copy, why);
	free(copy);
	return to->store != NULL && (!o->is_mirrored || start_mirror(all, to, o, why));
}

/* After a reload a script may ask for a durable store that was open before. */
static bool open_again(struct mm_stores *all, struct open_store *to, const struct mm_store_options *o,
	struct mm_fault *why)
{
	if (!o->is_mirrored || to->mirror != NULL || all->memory[0] == '\0')
		return true;
	char *copy = check_disk(all, why) ? copy_of(all, to->file) : NULL;
	bool good = copy != NULL && mm_store_set_copy(to->store, copy) && start_mirror(all, to, o, why);
	free(copy);
	return good;
}

static void tell_news(struct mm_stores *all, const struct open_store *o)
{
	char text[640];
	if (mm_store_has_news(o->store, text, sizeof text))
		mm_log_say(all->settings.log, MM_LEVEL_ERROR, "store", "store %s: %s", o->file, text);
}

static unsigned find(const struct mm_stores *all, const char *file)
{
	for (unsigned i = 0; i < all->count; i++)
		if (strcmp(all->open[i].file, file) == 0)
			return i + 1;
	return 0;
}

unsigned mm_stores_open(struct mm_stores *all, const char *milter, const char *name, const struct mm_store_options *o,
	struct mm_fault *why)
{
	char file[2 * MM_STORE_NAME_MAX + 2];
	if (!mm_store_is_name(name) || !mm_store_is_name(milter)) {
		mm_fault_set(why, MM_FAULT_CONFIG, "a name has up to %u letters, digits, \"_\", \"-\" and \".\", and "
			"does not begin with \".\"", MM_STORE_NAME_MAX);
		return 0;
	}
	snprintf(file, sizeof file, "%s+%s", milter, name);
	unsigned number = find(all, file);
	if (number != 0)
		return open_again(all, &all->open[number - 1], o, why) ? number : 0;
	if (all->count == STORES_MAX || !mm_array_grow(&all->open, all->count, &all->capacity, sizeof *all->open)) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory, or more than %u stores", STORES_MAX);
		return 0;
	}
	struct open_store new = { .file = strdup(file) };
	bool good = new.file != NULL && check_memory(why);
	if (good && all->memory[0] == '\0')
		good = (new.store = open_private(file, o, why)) != NULL;
	else if (good)
		good = open_shared(all, &new, o, why);
	if (good) {
		all->open[all->count++] = new;
		tell_news(all, &new);
		return all->count;
	}
	mm_store_close(new.store);
	free(new.file);
	return 0;
}

struct mm_store *mm_stores_get(struct mm_stores *all, double number)
{
	if (all == NULL || !(number >= 1 && number <= all->count))
		return NULL;
	const struct open_store *o = &all->open[(unsigned)number - 1];
	tell_news(all, o);
	return o->store;
}

int mm_stores_open_place(const struct mm_stores *all, double number, struct mm_fault *why)
{
	char path[sizeof all->memory + 2 * MM_STORE_NAME_MAX + 16];
	if (all->memory[0] == '\0' || !(number >= 1 && number <= all->count)) {
		mm_fault_set(why, MM_FAULT_BUG, "there is no shared store of this number");
		return -1;
	}
	snprintf(path, sizeof path, "%s/%s.place", all->memory, all->open[(unsigned)number - 1].file);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		mm_fault_set(why, MM_FAULT_RESOURCE, "%s: %s", path, strerror(errno));
	return fd;
}

struct mm_buffer *mm_stores_scratch(struct mm_stores *all)
{
	if (all->scratch.failed)
		mm_buffer_free(&all->scratch);
	mm_buffer_clear(&all->scratch);
	return &all->scratch;
}

void mm_stores_complain(struct mm_stores *all, const struct mm_store *store, const char *text)
{
	for (unsigned i = 0; i < all->count; i++)
		if (all->open[i].store == store)
			mm_log_say(all->settings.log, MM_LEVEL_ERROR, "store", "store %s: %s", all->open[i].file, text);
}

/* ---- buckets ---- */

static struct mm_buckets *open_buckets(struct mm_stores *all, const char *milter, struct mm_fault *why)
{
	char directory[] = PRIVATE;
	if (!check_memory(why))
		return NULL;
	if (all->memory[0] != '\0')
		return own_directory(all->memory, "remove it", why) ? mm_buckets_open(all->memory, milter, why) : NULL;
	if (!private_directory(directory, why))
		return NULL;
	struct mm_buckets *b = mm_buckets_open(directory, milter, why);
	remove_directory(directory);
	return b;
}

struct mm_buckets *mm_stores_buckets(struct mm_stores *all, const char *milter, struct mm_fault *why)
{
	for (unsigned i = 0; i < all->limit_count; i++)
		if (strcmp(all->limits[i].milter, milter) == 0)
			return all->limits[i].buckets;
	char *name = strdup(milter);
	if (name == NULL || !mm_array_grow(&all->limits, all->limit_count, &all->limit_capacity, sizeof *all->limits)) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for limits");
		free(name);
		return NULL;
	}
	struct mm_buckets *b = open_buckets(all, milter, why);
	if (b != NULL)
		all->limits[all->limit_count++] = (struct open_buckets){ name, b };
	else
		free(name);
	return b;
}

/* ---- tallies ---- */

static struct mm_tally *open_tally(struct mm_stores *all, const char *file, struct mm_fault *why)
{
	char directory[] = PRIVATE;
	if (!check_memory(why))
		return NULL;
	if (all->memory[0] != '\0')
		return own_directory(all->memory, "remove it", why) ? mm_tally_open(all->memory, file, why) : NULL;
	if (!private_directory(directory, why))
		return NULL;
	struct mm_tally *t = mm_tally_open(directory, file, why);
	remove_directory(directory);
	return t;
}

static unsigned add_tally(struct mm_stores *all, const char *file, struct mm_fault *why)
{
	char *name = strdup(file);
	if (name == NULL || !mm_array_grow(&all->tallies, all->tally_count, &all->tally_capacity,
	    sizeof *all->tallies)) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for limits");
		free(name);
		return 0;
	}
	struct mm_tally *t = open_tally(all, name, why);
	if (t == NULL) {
		free(name);
		return 0;
	}
	all->tallies[all->tally_count++] = (struct open_tally){ name, t };
	return all->tally_count;
}

unsigned mm_stores_open_tally(struct mm_stores *all, const char *milter, struct mm_text server, struct mm_fault *why)
{
	char file[MM_STORE_NAME_MAX + 32];
	snprintf(file, sizeof file, "%s+%016llx", milter, (unsigned long long)mm_text_hash(server));
	for (unsigned i = 0; i < all->tally_count; i++)
		if (strcmp(all->tallies[i].file, file) == 0)
			return i + 1;
	return add_tally(all, file, why);
}

struct mm_tally *mm_stores_tally(const struct mm_stores *all, double number)
{
	return all != NULL && number >= 1 && number <= all->tally_count
		? all->tallies[(unsigned)number - 1].tally : NULL;
}

struct mm_buckets *mm_stores_open_made_buckets(const char *identity, const char *milter, struct mm_fault *why)
{
	char directory[128], path[sizeof directory + MM_STORE_NAME_MAX + 16];
	memory_of(identity, directory, sizeof directory);
	snprintf(path, sizeof path, "%s/%s.buckets", directory, milter);
	if (!mm_store_is_name(milter) || access(path, F_OK) != 0) {
		mm_fault_set(why, MM_FAULT_CONFIG, "no script has made a limit");
		return NULL;
	}
	return mm_buckets_open(directory, milter, why);
}
