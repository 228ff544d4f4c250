#include "trial/mailbox.h"

#include "base/array.h"
#include "base/remedy.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void mm_mailbox_free(struct mm_mailbox *m)
{
	for (uint32_t i = 0; i < m->file_count; i++) {
		free(m->files[i].path);
		mm_buffer_free(&m->files[i].bytes);
	}
	free(m->files);
	free(m->items);
	*m = (struct mm_mailbox){ .count = 0 };
}

static bool no_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the list of messages");
}

/* ---- reading ---- */

static bool read_all(const char *path, struct mm_buffer *out, struct mm_fault *why)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
	if (f == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s%s", path,
			strerror(errno), mm_remedy_of_reading(errno));
	bool ok = mm_buffer_read(out, f);
	if (!ok)
		mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", path, out->failed ? "out of memory" : strerror(errno));
	if (f != stdin)
		fclose(f);
	return ok;
}

static bool load(struct mm_mailbox *m, uint32_t file, struct mm_fault *why)
{
	struct mm_mailbox_file *f = &m->files[file], *before = &m->files[m->loaded];
	if (f->is_stream || f->bytes.size > 0)
		return true;
	if (!before->is_stream)
		mm_buffer_free(&before->bytes);
	m->loaded = file;
	return read_all(f->path, &f->bytes, why);
}

bool mm_mailbox_read(struct mm_mailbox *m, uint32_t at, struct mm_text *out, struct mm_fault *why)
{
	const struct mm_mailbox_item *item = &m->items[at];
	if (!load(m, item->file, why))
		return false;
	const struct mm_buffer *bytes = &m->files[item->file].bytes;
	if (item->nth == 0)
		*out = (struct mm_text){ (const char *)bytes->bytes, bytes->size };
	else if (item->at + item->size <= bytes->size)
		*out = (struct mm_text){ (const char *)bytes->bytes + item->at, item->size };
	else
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: another program changed it meanwhile",
			m->files[item->file].path);
	return true;
}

const char *mm_mailbox_name(const struct mm_mailbox *m, uint32_t at, char *to, size_t size)
{
	const struct mm_mailbox_item *item = &m->items[at];
	const char *path = m->files[item->file].path;
	if (item->nth == 0)
		return strcmp(path, "-") == 0 ? "-" : path;
	snprintf(to, size, "%s, message %u", path, item->nth);
	return to;
}

/* ---- mbox ---- */

static bool has_digits_around(const char *colon, const char *end)
{
	return end - colon > 2 && colon[1] >= '0' && colon[1] <= '5' && colon[2] >= '0' && colon[2] <= '9';
}

/* "From ann@example.org  Sat Jan  3 01:05:34 1996": a name of a day and a time. */
static bool is_from_line(const char *at, const char *end)
{
	static const char days[] = "Mon Tue Wed Thu Fri Sat Sun ";
	const char *stop = memchr(at, '\n', (size_t)(end - at)), *from = at + 5;
	stop = stop != NULL ? stop : end;
	bool has_day = false;
	if (stop - at < 5 || memcmp(at, "From ", 5) != 0)
		return false;
	for (const char *word = from; word < stop; word++) {
		if (word[0] == ':' && has_day && has_digits_around(word, stop))
			return true;
		if (word[-1] == ' ' && stop - word > 4 && (word[3] == ' ' || word[3] == ','))
			for (const char *day = days; *day != '\0'; day += 4)
				has_day |= memcmp(day, word, 3) == 0;
	}
	return false;
}

/* Where the line after `at` begins, past an empty line before a "From " line; end: there is none. */
static const char *next_from(const char *at, const char *end)
{
	while ((at = memmem(at, (size_t)(end - at), "\nFrom ", 6)) != NULL) {
		bool is_empty = at[-1] == '\n' || (at[-1] == '\r' && at[-2] == '\n');
		at++;
		if (is_empty && is_from_line(at, end))
			return at;
	}
	return end;
}

static bool add_item(struct mm_mailbox *m, uint32_t nth, size_t at, size_t size)
{
	if (!mm_array_grow(&m->items, m->count, &m->capacity, sizeof *m->items))
		return false;
	m->items[m->count++] = (struct mm_mailbox_item){ m->file_count - 1, nth, at, size };
	return true;
}

/* The messages of an mbox; the empty line before the next "From " is not part of one. */
static bool add_mbox(struct mm_mailbox *m, struct mm_text t, struct mm_fault *why)
{
	const char *end = t.bytes + t.size, *next;
	uint32_t nth = 0;
	for (const char *at = t.bytes; at < end; at = next) {
		next = next_from(at + 5, end);
		const char *stop = next;
		if (next < end)
			stop -= next[-2] == '\r' ? 2 : 1;
		if (!add_item(m, ++nth, (size_t)(at - t.bytes), (size_t)(stop - at)))
			return no_memory(why);
	}
	if (nth == 1)                           /* one message with the line of an mbox before it */
		m->items[m->count - 1].nth = 0;
	return true;
}

/* ---- files and directories ---- */

static bool has_from_line(const char *path)
{
	char line[512];
	FILE *f = fopen(path, "rbe");
	size_t n = f != NULL ? fread(line, 1, sizeof line, f) : 0;
	if (f != NULL)
		fclose(f);
	return is_from_line(line, line + n);
}

static bool add_file(struct mm_mailbox *m, const char *path, bool is_stream, struct mm_fault *why)
{
	if (!mm_array_grow(&m->files, m->file_count, &m->file_capacity, sizeof *m->files))
		return no_memory(why);
	struct mm_mailbox_file *f = &m->files[m->file_count];
	*f = (struct mm_mailbox_file){ .path = strdup(path) };
	if (f->path == NULL)
		return no_memory(why);
	m->file_count++;
	if (!is_stream && !has_from_line(path))
		return add_item(m, 0, 0, 0) || no_memory(why);
	if (!load(m, m->file_count - 1, why))
		return false;
	f->is_stream = is_stream;
	const char *bytes = (const char *)f->bytes.bytes;
	if (f->bytes.size > 0 && is_from_line(bytes, bytes + f->bytes.size))
		return add_mbox(m, (struct mm_text){ bytes, f->bytes.size }, why);
	return add_item(m, 0, 0, 0) || no_memory(why);
}

static bool has_directory(const char *path, const char *name)
{
	char part[4096];
	struct stat st;
	int size = snprintf(part, sizeof part, "%s/%s", path, name);
	return size < (int)sizeof part && stat(part, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_maildir(const char *path)
{
	return has_directory(path, "cur") && has_directory(path, "new");
}

static int is_visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static bool add_entry(struct mm_mailbox *m, const char *directory, const char *name, struct mm_fault *why)
{
	char path[4096];
	struct stat st;
	if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: its names are too long", directory);
	if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
		return true;
	return add_file(m, path, false, why);
}

/* The regular files, in the order of their names. */
static bool add_directory(struct mm_mailbox *m, const char *path, struct mm_fault *why)
{
	struct dirent **entries;
	int count = scandir(path, &entries, is_visible, alphasort);
	if (count < 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s%s", path,
			strerror(errno), mm_remedy_of_reading(errno));
	bool ok = true;
	for (int i = 0; i < count; i++) {
		ok = ok && add_entry(m, path, entries[i]->d_name, why);
		free(entries[i]);
	}
	free(entries);
	return ok;
}

static bool add_maildir(struct mm_mailbox *m, const char *path, struct mm_fault *why)
{
	static const char *const parts[] = { "new", "cur" };
	char part[4096];
	for (int i = 0; i < 2; i++) {
		snprintf(part, sizeof part, "%s/%s", path, parts[i]);
		if (!add_directory(m, part, why))
			return false;
	}
	return true;
}

bool mm_mailbox_add(struct mm_mailbox *m, const char *path, struct mm_fault *why)
{
	struct stat st;
	uint32_t before = m->count;
	if (strcmp(path, "-") == 0)
		return add_file(m, path, true, why);
	if (stat(path, &st) != 0)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s%s", path,
			strerror(errno), mm_remedy_of_reading(errno));
	if (!S_ISDIR(st.st_mode))
		return add_file(m, path, !S_ISREG(st.st_mode), why);
	if (!(is_maildir(path) ? add_maildir : add_directory)(m, path, why))
		return false;
	return m->count > before || mm_fault_set(why, MM_FAULT_CONFIG, "%s: this directory holds no message and no "
		"script (a file that ends with .lua)", path);
}

/* ---- what an operand is ---- */

static bool ends_with_lua(const char *name)
{
	size_t size = strlen(name);
	return size > 4 && strcmp(name + size - 4, ".lua") == 0;
}

static int is_script(const struct dirent *e)
{
	return e->d_name[0] != '.' && ends_with_lua(e->d_name);
}

static bool holds_scripts(const char *path)
{
	struct dirent **entries;
	int count = scandir(path, &entries, is_script, NULL);
	for (int i = 0; i < count; i++)
		free(entries[i]);
	if (count >= 0)
		free(entries);
	return count > 0;
}

/* Its first line is a field, "Name: value", or of an mbox; or it is empty, and what is wrong can be said later. */
static bool is_like_mail(const char *bytes, size_t size)
{
	if (size == 0 || (size > 5 && memcmp(bytes, "From ", 5) == 0))
		return true;
	size_t name = 0;
	while (name < size && bytes[name] > ' ' && bytes[name] < 0x7f && bytes[name] != ':')
		name++;
	return name > 0 && name < size && (bytes[name] == ':' || bytes[name] == ' ' || bytes[name] == '\t')
		&& memchr(bytes, ':', size) != NULL && bytes[name + strspn(bytes + name, " \t")] == ':';
}

static enum mm_operand of_file(const char *path, bool has_messages)
{
	char line[1024];
	FILE *f = fopen(path, "rbe");
	if (f == NULL)
		return MM_OPERAND_MESSAGES;
	size_t n = fread(line, 1, sizeof line - 1, f);
	fclose(f);
	line[n] = '\0';
	if (n > 2 && memcmp(line, "#!", 2) == 0)
		return MM_OPERAND_SCRIPTS;
	return has_messages && !is_like_mail(line, n) ? MM_OPERAND_SCRIPTS : MM_OPERAND_MESSAGES;
}

enum mm_operand mm_operand_of(const char *path, bool has_messages)
{
	struct stat st;
	if (strcmp(path, "-") == 0)
		return MM_OPERAND_MESSAGES;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return !is_maildir(path) && holds_scripts(path) ? MM_OPERAND_SCRIPTS : MM_OPERAND_MESSAGES;
	if (ends_with_lua(path))
		return MM_OPERAND_SCRIPTS;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? of_file(path, has_messages) : MM_OPERAND_MESSAGES;
}
