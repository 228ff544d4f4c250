#include "process/fingerprint.h"

#include "script/files.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH_MAX 4     /* directories in directories: scripts/lib/name/… */

/* FNV-1a */
static void mix(uint64_t *sum, const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		*sum = (*sum ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
}

static void mix_path(uint64_t *sum, const char *path, int depth);

static void mix_directory(uint64_t *sum, const char *path, int depth)
{
	uint64_t total = 0;             /* a sum: readdir has no order */
	DIR *d = opendir(path);
	if (d == NULL)
		return;
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char name[4096];
		uint64_t one = UINT64_C(0xcbf29ce484222325);
		const char *dot = strrchr(e->d_name, '.');
		bool is_lua = dot != NULL && strcmp(dot, ".lua") == 0;
		if (e->d_name[0] == '.' || (!is_lua && e->d_type == DT_REG))
			continue;
		snprintf(name, sizeof name, "%s/%s", path, e->d_name);
		mix_path(&one, name, depth + 1);
		total += one;
	}
	closedir(d);
	mix(sum, &total, sizeof total);
}

static void mix_path(uint64_t *sum, const char *path, int depth)
{
	struct stat s;
	if (stat(path, &s) != 0)
		return;
	if (S_ISDIR(s.st_mode)) {
		if (depth < DEPTH_MAX)
			mix_directory(sum, path, depth);
		return;
	}
	mix(sum, path, strlen(path));
	mix(sum, &s.st_mtim, sizeof s.st_mtim);
	mix(sum, &s.st_size, sizeof s.st_size);
	mix(sum, &s.st_ino, sizeof s.st_ino);
}

/* A script given as a single file has its lib/ beside it. */
static void mix_script(uint64_t *sum, const char *path)
{
	char lib[4096];
	path = mm_script_files_reach(path);
	const char *slash = strrchr(path, '/');
	mix_path(sum, path, 0);
	snprintf(lib, sizeof lib, "%.*s/lib", slash != NULL ? (int)(slash - path) : 1, slash != NULL ? path : ".");
	mix_path(sum, lib, 1);
}

uint64_t mm_fingerprint(const struct mm_config *c, const char *file)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);
	if (file != NULL)
		mix_path(&sum, file, 0);
	for (size_t i = 0; i < c->milter_count; i++)
		for (size_t j = 0; j < c->milters[i].scripts.count; j++)
			mix_script(&sum, c->milters[i].scripts.items[j]);
	return sum;
}
