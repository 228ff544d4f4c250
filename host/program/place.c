#include "program/place.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool mm_place_of_program(char *out, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", out, size - 1);
	if (n <= 0)
		return false;
	out[n] = '\0';
	char *slash = strrchr(out, '/');
	if (slash != NULL)
		*slash = '\0';
	return slash != NULL;
}

bool mm_place_of_stubs(char *out, size_t size)
{
	/* PREFIX/bin, build/ of the source tree, build/asan/ */
	static const char *const places[] = { "../share/moonmilter/meta", "../lua/meta", "../../lua/meta", NULL };
	char own[MM_PLACE_SIZE], path[MM_PLACE_SIZE + 64], whole[PATH_MAX];
	if (!mm_place_of_program(own, sizeof own))
		return false;
	for (int i = 0; places[i] != NULL; i++) {
		snprintf(path, sizeof path, "%s/%s", own, places[i]);
		if (realpath(path, whole) == NULL || strlen(whole) >= size)
			continue;
		memcpy(out, whole, strlen(whole) + 1);
		return true;
	}
	return false;
}
