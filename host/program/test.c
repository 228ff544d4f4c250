#include "program/test.h"

#include "base/remedy.h"
#include "program/place.h"

#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define PATH_SIZE MM_PLACE_SIZE

static int fail(int code, const char *text)
{
	fprintf(stderr, "moonmilter test: %s\n", text);
	return code;
}

static int help(void)
{
	printf("Usage: moonmilter test [FILE|DIR]... [-- BUSTED-OPTION...]\n\n"
		"Runs specs for filters: files named ..._spec.lua or ..._test.lua, which require "
		"\"moonmilter.testing\" and need no\nMTA, no network and no set-up. Default: the directory spec if it "
		"exists, otherwise the current one. busted runs\nthe specs (https://lunarmodules.github.io/busted/) "
		"and gets the options after --, as in\n\n"
		"  moonmilter test spec -- --output=TAP --filter=\"no bobs\"\n\n"
		"The tutorial is TESTING.md. Exit status: 0 when all passed, 1 when not (busted's own), 64 for a "
		"usage error, 66 when\nthere is no such file or no spec, 69 when busted or LuaJIT is missing.\n");
	return 0;
}

/* The program in $PATH. */
static bool find_program(const char *name, char *out, size_t size)
{
	const char *path = getenv("PATH");
	for (path = path != NULL ? path : "/usr/local/bin:/usr/bin:/bin"; *path != '\0';) {
		size_t n = strcspn(path, ":");
		int length = snprintf(out, size, "%.*s/%s", (int)n, path, name);
		if (n > 0 && length > 0 && (size_t)length < size && access(out, X_OK) == 0)
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

/* Finds moonmilter.testing and the library: in the source tree (build/moonmilter) or installed (PREFIX/bin). */
static const struct {
	const char *lua, *library;
} places[] = {
	{ "../lua", "libmoonmilter.so" },
	{ "../../lua", "libmoonmilter.so" },                            /* build/asan/moonmilter */
	{ "../share/lua/5.1", "../lib/libmoonmilter.so.0" },
};

/* Puts places before those of a variable; ";;" at the end stands for LuaJIT's own. */
static void set_first(const char *variable, const char *first)
{
	char value[5 * PATH_SIZE + 2];
	const char *before = getenv(variable);
	snprintf(value, sizeof value, "%.*s;%.4096s", 4 * PATH_SIZE, first, before != NULL ? before : ";");
	setenv(variable, value, 1);
}

static bool set_paths(void)
{
	char own[PATH_SIZE], lua[4 * PATH_SIZE], file[2 * PATH_SIZE];
	if (!mm_place_of_program(own, sizeof own))
		return false;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		snprintf(file, sizeof file, "%s/%s/moonmilter/testing/init.lua", own, places[i].lua);
		if (access(file, R_OK) != 0)
			continue;
		snprintf(lua, sizeof lua, "%s/%s/?.lua;%s/%s/?/init.lua;./?.lua;./?/init.lua", own, places[i].lua, own,
			places[i].lua);
		set_first("LUA_PATH", lua);
		snprintf(file, sizeof file, "%s/lua/?.so", own);        /* codec.so and seal.so of the source tree */
		set_first("LUA_CPATH", file);
		snprintf(file, sizeof file, "%s/%s", own, places[i].library);
		if (access(file, R_OK) == 0)
			setenv("MOONMILTER_LIBRARY", file, 0);
		return true;
	}
	return false;
}

/* ---- are there specs to run? ---- */

#define DESCRIPTORS 16          /* that nftw may use */

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n >= m && strcmp(text + n - m, end) == 0;
}

static int is_spec(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)where;
	return type == FTW_F && (ends_with(path, "_spec.lua") || ends_with(path, "_test.lua"));
}

/* A file given by name is a spec, whatever its name. */
static bool has_specs(const char *path)
{
	struct stat status;
	if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode))
		return true;
	return nftw(path, is_spec, DESCRIPTORS, FTW_PHYS) != 0;
}

/* Then busted's own --pattern option decides which files are specs. */
static bool names_pattern(int count, char **operands)
{
	for (int i = 0; i < count; i++)
		if (strncmp(operands[i], "--pattern", 9) == 0 || strncmp(operands[i], "-p", 2) == 0)
			return true;
	return false;
}

static int fail_without_specs(const char *path)
{
	fprintf(stderr, "moonmilter test: no file named ..._spec.lua or ..._test.lua in %s\n", path);
	return EX_NOINPUT;
}

static int run(int count, char **operands)
{
	char luajit[PATH_SIZE], busted[PATH_SIZE], lua_option[PATH_SIZE + 8];
	char *pattern = "--pattern=_[st][pe][es][ct]%.lua$", *default_file = access("spec", R_OK) == 0 ? "spec" : ".";
	if (!find_program("luajit", luajit, sizeof luajit))
		return fail(EX_UNAVAILABLE, "luajit is not installed: apt install luajit");
	if (!find_program("busted", busted, sizeof busted))
		return fail(EX_UNAVAILABLE, "busted is not installed: apt install lua-busted, or luarocks "
			"--lua-version=5.1 install busted");
	if (!set_paths())
		return fail(EX_UNAVAILABLE, "moonmilter.testing is not where this program was built or installed: run "
			"make install again");
	char **argv = calloc((size_t)count + 8, sizeof *argv);
	if (argv == NULL)
		return fail(EX_OSERR, "out of memory");
	int n = 0;
	bool has_file = false, has_pattern = names_pattern(count, operands);
	snprintf(lua_option, sizeof lua_option, "--lua=%s", luajit);
	argv[n++] = busted;
	argv[n++] = lua_option;
	argv[n++] = pattern;
	for (int i = 0; i < count; i++) {
		if (strcmp(operands[i], "--") == 0) {
			while (++i < count)
				argv[n++] = operands[i];
			break;
		}
		if (access(operands[i], R_OK) != 0) {
			fprintf(stderr, "moonmilter test: %s: %s%s\n", operands[i], strerror(errno),
				mm_remedy_of_reading(errno));
			free(argv);
			return EX_NOINPUT;
		}
		if (!has_pattern && !has_specs(operands[i])) {
			free(argv);
			return fail_without_specs(operands[i]);
		}
		argv[n++] = operands[i];
		has_file = true;
	}
	if (!has_file && !has_pattern && !has_specs(default_file)) {
		free(argv);
		return fail_without_specs(strcmp(default_file, ".") == 0 ? "this directory; the tutorial is TESTING.md"
			: default_file);
	}
	if (!has_file)
		argv[n++] = default_file;
	execv(busted, argv);
	free(argv);
	return fail(EX_OSERR, "busted could not be started");
}

int mm_command_test(int argc, char **argv)
{
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return help();
	if (argc > 1 && argv[1][0] == '-' && strcmp(argv[1], "--") != 0) {
		fprintf(stderr, "moonmilter test: there is no option %s; options for busted go after --\n", argv[1]);
		return EX_USAGE;
	}
	return run(argc - 1, argv + 1);
}
