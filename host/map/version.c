#include "map/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 512
#define STEP      (1u << 20)            /* bytes written at a time */

static const char *path_of(const struct mm_version_order *o, const char *ending, char *to)
{
	snprintf(to, PATH_SIZE, "%s/%s.%s", o->directory, o->name, ending);
	return to;
}

static int open_file(const struct mm_version_order *o, const char *ending, int flags)
{
	char path[PATH_SIZE];
	return open(path_of(o, ending, path), flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static bool is_shared(const struct mm_version_order *o)
{
	return o->directory[0] != '\0';
}

/* ---- what is demanded ---- */

static bool check_count(const struct mm_version_order *o, uint64_t count, const struct mm_version_had *had,
	struct mm_fault *why)
{
	if (count == UINT64_MAX)
		return true;
	if (count == 0 && !o->may_be_empty)
		return mm_fault_set(why, MM_FAULT_CONFIG, "has no entries; if that is meant, allow it with "
			"empty = true");
	if (had->entries != UINT64_MAX && (double)count < (double)had->entries * (1 - o->shrink))
		return mm_fault_set(why, MM_FAULT_CONFIG, "has %llu entries, before there were %llu: a smaller share "
			"than shrink = %g allows; if that is meant, restart, or set shrink = 1",
			(unsigned long long)count, (unsigned long long)had->entries, o->shrink);
	return true;
}

/* A text that was cut off inside its last line would have as many entries as before, and a wrong one. */
static bool check_end(const struct mm_block *text, const struct mm_version_had *had, struct mm_image_writer *w,
	struct mm_fault *why)
{
	bool is_ended = text->size > 0 && text->bytes[text->size - 1] == '\n';
	if (is_ended)
		mm_image_set_ended(w);
	return is_ended || !had->is_ended || mm_fault_set(why, MM_FAULT_CONFIG, "has no newline at its end, as it had "
		"before: it may be cut off; if it is whole, end it with a newline");
}

/* ---- images ---- */

static struct mm_table *map_image(const struct mm_version_order *o)
{
	int fd = open_file(o, "image", O_RDONLY);
	struct mm_table *t = fd >= 0 ? mm_image_map(fd, NULL) : NULL;
	if (fd >= 0)
		close(fd);
	return t;
}

static struct mm_table *find_image(const struct mm_version_order *o, const struct mm_image_source *source)
{
	struct mm_table *t = is_shared(o) ? map_image(o) : NULL;
	if (t == NULL || mm_source_is_same(mm_image_source(t), source))
		return t;
	t->format->close(t);
	return NULL;
}

struct mm_table *mm_version_last(const struct mm_version_order *o)
{
	return is_shared(o) && o->format->compile != NULL ? map_image(o) : NULL;
}

/* Memory is taken first, so that none is missing later. */
static bool write_bytes(int fd, const struct mm_block *bytes)
{
	int error = posix_fallocate(fd, 0, (off_t)bytes->size);
	for (size_t at = 0; error == 0 && at < bytes->size;) {
		size_t left = bytes->size - at;
		ssize_t n = write(fd, bytes->bytes + at, left < STEP ? left : STEP);
		if (n > 0)
			at += (size_t)n;
		else if (n == 0 || errno != EINTR)
			error = n == 0 ? ENOSPC : errno;
	}
	errno = error;
	return error == 0;
}

/* Under the lock. */
static bool write_image(const struct mm_version_order *o, const struct mm_block *bytes, struct mm_fault *why)
{
	char aside[PATH_SIZE], name[PATH_SIZE];
	path_of(o, "aside", aside);
	unlink(aside);                  /* of a process that was killed */
	int fd = open_file(o, "aside", O_WRONLY | O_CREAT | O_EXCL);
	bool good = fd >= 0 && write_bytes(fd, bytes) && rename(aside, path_of(o, "image", name)) == 0;
	if (!good)
		mm_fault_set(why, MM_FAULT_RESOURCE, "cannot write its image of %zu bytes to %s: %s", bytes->size,
			o->directory, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (!good)
		unlink(aside);
	return good;
}

/* ---- making ---- */

static void note_ignored(const struct mm_image_writer *w, char *note, size_t size)
{
	const char *first;
	unsigned count = mm_image_ignored(w, &first);
	if (count > 0)
		snprintf(note, size, "%u line%s left out, the first: %s", count, count == 1 ? " is" : "s are", first);
}

static bool finish(const struct mm_version_order *o, const struct mm_image_source *source, struct mm_image_writer *w,
	struct mm_table **table, struct mm_fault *why)
{
	if (!is_shared(o))
		return (*table = mm_image_keep(w, source, why)) != NULL;
	const struct mm_block *bytes = mm_image_finish(w, source, why);
	if (bytes == NULL || !write_image(o, bytes, why))
		return false;
	*table = map_image(o);
	return *table != NULL || mm_fault_set(why, MM_FAULT_RESOURCE, "its image cannot be mapped");
}

static bool compile_text(const struct mm_version_order *o, const struct mm_image_source *source,
	const struct mm_block *text, const struct mm_version_had *had, struct mm_version *made, struct mm_fault *why)
{
	struct mm_image_writer *w = mm_image_writer_new();
	if (w == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the table");
	struct mm_text t = { text->size > 0 ? (const char *)text->bytes : "", text->size };
	bool good = o->format->compile(t, o->options, w, why);
	note_ignored(w, made->note, sizeof made->note);
	good = good && check_end(text, had, w, why) && check_count(o, mm_image_writer_count(w), had, why)
		&& finish(o, source, w, &made->table, why);
	mm_image_writer_free(w);
	return good;
}

static enum mm_version_result compile(const struct mm_version_order *o, const struct mm_image_source *source,
	const struct mm_version_had *had, struct mm_version *made, struct mm_fault *why)
{
	struct mm_block text = { 0 };
	double max = o->options->text_max > 0 ? o->options->text_max : MM_TABLE_TEXT_MAX;
	enum mm_source_result r = mm_source_read(o->path, source, max, &text, why);
	bool good = r == MM_SOURCE_READ && compile_text(o, source, &text, had, made, why);
	mm_block_free(&text);
	return r == MM_SOURCE_CHANGED ? MM_VERSION_CHANGED : good ? MM_VERSION_MADE : MM_VERSION_REFUSED;
}

/* Another process may have made it while we waited for the lock. */
static enum mm_version_result compile_once(const struct mm_version_order *o, const struct mm_image_source *source,
	const struct mm_version_had *had, struct mm_version *made, struct mm_fault *why)
{
	if (!is_shared(o))
		return compile(o, source, had, made, why);
	int lock = open_file(o, "lock", O_RDWR | O_CREAT);
	if (lock < 0) {
		mm_fault_set(why, MM_FAULT_RESOURCE, "%s: %s", o->directory, strerror(errno));
		return MM_VERSION_REFUSED;
	}
	enum mm_version_result r = MM_VERSION_BUSY;
	if (flock(lock, LOCK_EX | LOCK_NB) == 0)
		r = (made->table = find_image(o, source)) != NULL ? MM_VERSION_MADE
			: compile(o, source, had, made, why);
	close(lock);
	return r;
}

/* Each process opens a database itself. */
static enum mm_version_result open_database(const struct mm_version_order *o, const struct mm_image_source *source,
	const struct mm_version_had *had, struct mm_version *made, struct mm_fault *why)
{
	struct mm_image_source now = { 0 };
	struct mm_table *t = o->format->open(o->path, o->options, why);
	if (t == NULL)
		return MM_VERSION_REFUSED;
	bool is_same = mm_source_look(o->path, &now, NULL);
	now.options = source->options;
	is_same = is_same && mm_source_is_same(&now, source);
	if (is_same && check_count(o, t->format->count(t), had, why)) {
		made->table = t;
		return MM_VERSION_MADE;
	}
	t->format->close(t);
	return is_same ? MM_VERSION_REFUSED : MM_VERSION_CHANGED;
}

enum mm_version_result mm_version_make(const struct mm_version_order *o, const struct mm_image_source *source,
	const struct mm_version_had *had, struct mm_version *made, struct mm_fault *why)
{
	*made = (struct mm_version){ .table = NULL };
	if (o->format->compile == NULL)
		return open_database(o, source, had, made, why);
	made->table = find_image(o, source);
	return made->table != NULL ? MM_VERSION_MADE : compile_once(o, source, had, made, why);
}

/* ---- who uses it ---- */

int mm_version_join(const struct mm_version_order *o, bool *is_alone)
{
	*is_alone = true;
	int fd = is_shared(o) && o->format->compile != NULL ? open_file(o, "users", O_RDWR | O_CREAT) : -1;
	if (fd < 0)
		return -1;
	*is_alone = flock(fd, LOCK_EX | LOCK_NB) == 0;
	flock(fd, LOCK_SH);             /* it is held exclusively for a moment only */
	return fd;
}

void mm_version_leave(const struct mm_version_order *o, int descriptor, bool removes)
{
	char path[PATH_SIZE];
	if (descriptor < 0)
		return;
	/* The empty files of both locks stay: two processes could otherwise hold a lock each. */
	if (removes && flock(descriptor, LOCK_EX | LOCK_NB) == 0)
		unlink(path_of(o, "image", path));
	close(descriptor);
}
