#include "script/files.h"

#include "base/bounds.h"
#include "base/users.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const mm_script_module_directories[] = {
	"/usr/local/share/lua/5.1", "/usr/share/lua/5.1",
	"/usr/local/lib/lua/5.1", MM_LUA_MULTIARCH "/usr/lib/lua/5.1", NULL
};

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), s = strlen(suffix);
	return n > s && strcmp(name + n - s, suffix) == 0;
}

/* TAKES path, which is NULL when memory is out. */
static bool add(struct mm_script_files *list, char *path)
{
	if (path != NULL && list->count == list->capacity) {
		size_t wanted = list->capacity ? list->capacity * 2 : 16;
		char **grown = reallocarray(list->items, wanted, sizeof *grown);
		if (grown == NULL) {
			free(path);
			return false;
		}
		list->items = grown;
		list->capacity = wanted;
	}
	if (path != NULL)
		list->items[list->count++] = path;
	return path != NULL;
}

void mm_script_files_free(struct mm_script_files *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct mm_script_files){ 0 };
}

/* ---- files that we may not read ---- */

/* We read scripts as the user that we have become. People forget that, so the text names the user. */
static void who(char *to, size_t size)
{
	char name[48];
	snprintf(to, size, "user %s", mm_users_name(geteuid(), name, sizeof name, NULL));
}

/* Finds the topmost directory on the way to path that we may not enter; false: there is none. */
static bool barrier(const char *path, char *out, size_t size)
{
	for (const char *slash = path; (slash = strchr(slash + 1, '/')) != NULL;) {
		snprintf(out, size, "%.*s", (int)(slash - path), path);
		if (access(out, X_OK) != 0)
			return errno == EACCES;
	}
	return false;
}

static bool refuse(const char *path, int error, struct mm_fault *why)
{
	char directory[PATH_MAX], user[64];
	who(user, sizeof user);
	if (error == EACCES && barrier(path, directory, sizeof directory))
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s may not enter %s; scripts are read by the user that "
			"serves mail: put them where that user may read, or let it in (chmod o+x %s)", path, user,
			directory, directory);
	if (error == EACCES)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s may not read it; scripts are read by the user "
			"that serves mail (chmod o+rX %s)", path, user, path);
	return mm_fault_set(why, MM_FAULT_CONFIG, "%s: %s", path, error == ENOENT
		? "no such script or directory; check the name" : strerror(error));
}

const char *mm_script_files_reach(const char *path)
{
	char here[PATH_MAX];
	if (access(path, F_OK) == 0 || errno != EACCES)
		return path;
	size_t size = getcwd(here, sizeof here) != NULL ? strlen(here) : 0;
	if (size > 1 && strncmp(path, here, size) == 0 && path[size] == '/' && path[size + 1] != '\0')
		return path + size + 1;
	return path;
}

/* ---- the list ---- */

static bool is_directory(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool add_directory(struct mm_script_files *list, const char *directory, struct mm_fault *why)
{
	DIR *d = opendir(directory);
	if (d == NULL)
		return refuse(directory, errno, why);
	size_t first = list->count, length = strlen(directory);
	const char *between = directory[length - 1] == '/' ? "" : "/";
	bool ok = true;
	for (struct dirent *entry; ok && (entry = readdir(d)) != NULL;) {
		char *path;
		if (entry->d_name[0] == '.' || !has_suffix(entry->d_name, ".lua"))
			continue;
		if (asprintf(&path, "%s%s%s", directory, between, entry->d_name) < 0)
			path = NULL;
		if (path != NULL && is_directory(path))
			free(path);
		else
			ok = add(list, path);
	}
	closedir(d);
	if (!ok)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the scripts in %s", directory);
	if (list->count > first)
		qsort(list->items + first, list->count - first, sizeof *list->items, by_name);
	return true;
}

static bool add_path(struct mm_script_files *list, const char *path, struct mm_fault *why)
{
	struct stat status;
	path = mm_script_files_reach(path);
	if (stat(path, &status) != 0)
		return refuse(path, errno, why);
	if (S_ISDIR(status.st_mode))
		return add_directory(list, path, why);
	if (!S_ISREG(status.st_mode))
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s: is neither a file nor a directory", path);
	return add(list, strdup(path)) || mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the list of scripts");
}

bool mm_script_files_find(struct mm_script_files *list, const char *const *paths, struct mm_fault *why)
{
	*list = (struct mm_script_files){ 0 };
	for (; *paths != NULL; paths++)
		if (!add_path(list, *paths, why))
			return false;
	if (list->count > MM_SCRIPTS_MAX)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%zu scripts; a milter runs at most %d, spread them over "
			"several milters", list->count, MM_SCRIPTS_MAX);
	return true;
}
