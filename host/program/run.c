/* program/run.c -- run, check and help config: turns options into struct mm_host_options, then runs the host. */
#include "program/run.h"

#include "config/config.h"
#include "base/heap.h"
#include "process/master.h"
#include "moonmilter.h"
#include "embed/inherited.h"
#include "process/solo.h"
#include "program/environment.h"
#include "base/suggest.h"

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* A growing NULL-ended list of borrowed strings. */
struct words {
	const char **items;     /* owned */
	size_t       count;
};

static void add_word(struct words *w, const char *word)
{
	const char **grown = realloc(w->items, (w->count + 2) * sizeof *grown);
	if (grown == NULL) {
		perror("moonmilter");
		exit(EX_OSERR);
	}
	w->items = grown;
	w->items[w->count++] = word;
	w->items[w->count] = NULL;
}

struct arguments {
	const char  *config_file;
	struct words listen, scripts;
	struct words set;       /* its strings are owned */
	bool         names_work;        /* scripts or listeners are named besides a configuration */
	bool         is_strict; /* check: warnings fail */
	bool         walks_keys;        /* check: loads every private key */
};

enum { OPTION_STRICT = 0x80, OPTION_KEYS, OPTION_KEY = 0x100 };    /* + row of the configuration's schema */

static void print_run_help(FILE *to, const char *command)
{
	bool checks = strcmp(command, "check") == 0;
	fprintf(to, "Usage: moonmilter %s [-c FILE] [-s SPEC]...%s [--KEY=VALUE]... [SCRIPT|DIR]...\n\n", command,
		checks ? " [--strict] [--keys]" : "");
	if (checks)
		fprintf(to, "Loads the configuration and the scripts as run would, without opening a socket, and shows "
			"which handlers there\nare and what the MTA would be asked for. Warns of what the first mail "
			"would find: unknown members and methods,\nverdicts and edits that their stage does not "
			"allow, handlers without effect, directories without scripts.\nExit status 0: everything "
			"loads. 78: something does not, or with --strict there are warnings; the text\nsays what "
			"and where.\n\n");
	else
		fprintf(to, "Serves milters until SIGTERM or SIGINT, in the foreground without --daemon. SIGHUP "
			"reloads the scripts,\nSIGUSR1 reopens the log. Scripts are files or directories of *.lua, "
			"run in file-name order. When started as root\nit binds the sockets, then becomes the "
			"configured user (default: moonmilter, or nobody).\n\n");
	fprintf(to, "  -c, --config FILE   configuration (default, without -s and scripts: moonmilter.conf here, if\n"
		"                      it is yours alone, else %s)\n"
		"  -s, --listen SPEC   unix:PATH, inet:PORT[@HOST], inet6:PORT[@HOST], fd:N; may be repeated\n"
		"%s  -h, --help          this text\n\n"
		"Every key of the configuration is also an option, which overrides "
		"the file, even after a reload:\n\n", MM_CONFIG_DEFAULT_PATH,
		checks ? "      --strict        warnings fail\n"
			"      --keys          load every private key of auth.keys{…}, also those of large tables\n"
			: "");
	size_t count;
	const struct mm_config_key *keys = mm_config_keys(&count);
	for (size_t i = 0; i < count; i++)
		fprintf(to, "  --%-18s %s\n", keys[i].name, keys[i].about);
	fprintf(to, "\n(Write - or _ between words.) moonmilter help config shows ranges and defaults.\n"
		"MOONMILTER_LOG_LEVEL=debug in the environment is --log-level=debug, and so for every option, with "
		"MOONMILTER_CONFIG\nfor -c; options come before the environment, the environment before the file.\n");
}

static char *key_with_dashes(const char *name)
{
	char *copy = strdup(name);
	for (char *p = copy; p != NULL && *p != '\0'; p++)
		if (*p == '_')
			*p = '-';
	return copy;
}

/* --log-level and --log_level for every key, in addition to our own options. GIVES the rows; free_long_options(). */
static struct option *long_options(size_t *key_count, bool checks)
{
	const struct mm_config_key *keys = mm_config_keys(key_count);
	struct option *options = calloc(2 * *key_count + 6, sizeof *options);
	if (options == NULL)
		exit(EX_OSERR);
	size_t at = 0;
	options[at++] = (struct option){ "config", required_argument, NULL, 'c' };
	options[at++] = (struct option){ "help", no_argument, NULL, 'h' };
	if (checks) {
		options[at++] = (struct option){ "strict", no_argument, NULL, OPTION_STRICT };
		options[at++] = (struct option){ "keys", no_argument, NULL, OPTION_KEYS };
	}
	for (size_t i = 0; i < *key_count; i++) {
		int value = strcmp(keys[i].name, "listen") == 0 ? 's' : OPTION_KEY + (int)i;
		int takes = keys[i].type == MM_CONFIG_BOOLEAN ? optional_argument : required_argument;
		options[at++] = (struct option){ keys[i].name, takes, NULL, value };
		char *spelling = strchr(keys[i].name, '_') != NULL ? key_with_dashes(keys[i].name) : NULL;
		if (spelling != NULL)
			options[at++] = (struct option){ spelling, takes, NULL, value };
	}
	return options;
}

static void free_long_options(struct option *options)
{
	for (struct option *o = options; o->name != NULL; o++)
		if (strchr(o->name, '-') != NULL)       /* the names that key_with_dashes() has made */
			free((char *)(uintptr_t)o->name);
	free(options);
}

static void add_pair(struct words *set, const char *key, const char *value)
{
	char *pair;
	if (asprintf(&pair, "%s=%s", key, value != NULL ? value : "true") < 0)
		exit(EX_OSERR);
	add_word(set, pair);
}

/* Reports the option that getopt_long() rejected; `taken` is the word that it has just read. */
static void refuse_option(const struct option *options, const char *taken, bool lacks_value)
{
	char word[MM_SUGGEST_LENGTH_MAX + 1];
	const char *names[2 * 64 + 4], *meant = NULL;
	size_t count = 0;
	snprintf(word, sizeof word, "%.*s", (int)strcspn(taken, "="), taken);
	for (const struct option *o = options; o->name != NULL && count + 1 < sizeof names / sizeof *names; o++)
		names[count++] = o->name;
	names[count] = NULL;
	if (strncmp(word, "--", 2) == 0)
		meant = mm_suggest(word + 2, names);
	if (lacks_value)
		fprintf(stderr, "moonmilter: option %s needs a value; see moonmilter run --help\n", word);
	else if (meant != NULL && strcmp(meant, word + 2) != 0)
		fprintf(stderr, "moonmilter: there is no option %s; did you mean --%s?\n", word, meant);
	else
		fprintf(stderr, "moonmilter: option %s does not fit; see moonmilter run --help\n", word);
}

static void free_arguments(struct arguments *a)
{
	for (size_t i = 0; i < a->set.count; i++)
		free((char *)(uintptr_t)a->set.items[i]);
	free(a->set.items);
	free(a->listen.items);
	free(a->scripts.items);
}

/* ---- the environment: what no option has set ---- */

static bool is_set(const struct arguments *a, const char *key)
{
	size_t size = strlen(key);
	for (size_t i = 0; i < a->set.count; i++)
		if (strncmp(a->set.items[i], key, size) == 0 && a->set.items[i][size] == '=')
			return true;
	return (strcmp(key, "listen") == 0 && a->listen.count > 0)
		|| (strcmp(key, "scripts") == 0 && a->scripts.count > 0);
}

static void take_variable(void *self, const struct mm_config_key *key, const char *value)
{
	struct arguments *a = self;
	add_pair(&a->set, key->name, value);
	a->names_work |= strcmp(key->name, "listen") == 0 || strcmp(key->name, "scripts") == 0;
}

static bool take_environment(struct arguments *a, int *status)
{
	size_t count;
	const struct mm_config_key *keys = mm_config_keys(&count);
	struct mm_fault why;
	if (!mm_environment_check(&why)) {
		fprintf(stderr, "moonmilter: %s\n", why.text);
		*status = mm_fault_status(&why);
		return false;
	}
	if (a->config_file == NULL)
		a->config_file = mm_environment_config();
	for (size_t i = 0; i < count; i++)
		if (!is_set(a, keys[i].name))
			mm_environment_read(&keys[i], take_variable, a);
	return true;
}

/* ---- options ---- */

/* False: usage has been printed; *status is the exit status. */
static bool parse_options(int argc, char **argv, const struct option *options, struct arguments *a, int *status)
{
	size_t key_count;
	const struct mm_config_key *keys = mm_config_keys(&key_count);
	optind = 1;
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":c:s:h", options, NULL)) != -1;) {
		switch (c) {
		case 'c': a->config_file = optarg; break;
		case 's': add_word(&a->listen, optarg); break;
		case OPTION_STRICT: a->is_strict = true; break;
		case OPTION_KEYS: a->walks_keys = true; break;
		case 'h':
			print_run_help(stdout, strcmp(argv[0], "moonmilter check") == 0 ? "check" : "run");
			*status = EX_OK;
			return false;
		case '?':
		case ':':
			refuse_option(options, argv[optind - 1], c == ':');
			*status = EX_USAGE;
			return false;
		default:
			add_pair(&a->set, keys[c - OPTION_KEY].name, optarg);
		}
	}
	for (int i = optind; i < argc; i++)
		add_word(&a->scripts, argv[i]);
	a->names_work = a->scripts.count > 0 || a->listen.count > 0;
	return true;
}

/* In a project (moonmilter init) its own configuration comes first, if nobody else could have put it there. */
static const char *default_config(void)
{
	static const char here[] = "moonmilter.conf";
	struct stat file, directory;
	bool is_ours = stat(here, &file) == 0 && stat(".", &directory) == 0 && file.st_uid == geteuid()
		&& directory.st_uid == geteuid() && ((file.st_mode | directory.st_mode) & (S_IWGRP | S_IWOTH)) == 0;
	if (is_ours)
		return here;
	return access(MM_CONFIG_DEFAULT_PATH, R_OK) == 0 ? MM_CONFIG_DEFAULT_PATH : NULL;
}

static bool parse(int argc, char **argv, struct arguments *a, int *status)
{
	size_t key_count;
	struct option *options = long_options(&key_count, strcmp(argv[0], "moonmilter check") == 0);
	*a = (struct arguments){ 0 };
	bool goes_on = parse_options(argc, argv, options, a, status) && take_environment(a, status);
	free_long_options(options);
	if (!goes_on)
		free_arguments(a);
	else if (a->config_file == NULL && !a->names_work)
		a->config_file = default_config();
	return goes_on;
}

static struct mm_host_options host_options(const struct arguments *a)
{
	return (struct mm_host_options){
		.size = sizeof(struct mm_host_options), .config_file = a->config_file, .listen = a->listen.items,
		.scripts = a->scripts.items, .set = a->set.items, .drop_rights = true,
	};
}

static int fail(struct mm_host *host, const struct mm_error *error)
{
	fprintf(stderr, "moonmilter: %s\n", error->text);
	mm_host_free(host);
	return mm_error_status(error);
}

static void say_line(void *self, const char *line)
{
	fprintf(self, "moonmilter: %s\n", line);
}

static void say_finding(void *self, const char *line)
{
	fprintf(self, "moonmilter: warning: %s\n", line);
}

static void say_doubt(void *self, const char *line)
{
	fprintf(self, "moonmilter: owners: %s\n", line);
}

static int run(const struct arguments *a)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	struct mm_host_options o = host_options(a);
	o.handle_signals = true;
	o.guard_scripts = true;
	mm_inherited_reset();
	mm_heap_keep();
	if (!a->names_work && a->config_file == NULL) {
		fprintf(stderr, "moonmilter: nothing to serve: give scripts and a socket (moonmilter -s inet:10025 "
			"scripts/), or a configuration (-c); see moonmilter --help\n");
		return EX_USAGE;
	}
	struct mm_host *host = mm_host_bind(&o, true, &why);
	if (host == NULL) {
		fprintf(stderr, "moonmilter: %s\n", why.text);
		return mm_fault_status(&why);
	}
	struct mm_detached detached = { .news = -1 };
	int status = EX_OK;
	enum mm_detach role = mm_host_config(host)->daemon ? mm_detach(&detached, &status) : MM_DETACH_CHILD;
	if (role == MM_DETACH_FAILED)
		mm_host_free(host);
	if (role == MM_DETACH_PARENT)
		_exit(status);
	if (role != MM_DETACH_CHILD)
		return status;
	mm_host_move(host);
	fprintf(stderr, "moonmilter: version %s, pid %d%s%s\n", mm_version(), (int)getpid(),
		a->config_file != NULL ? ", reads " : "", a->config_file != NULL ? a->config_file : "");
	bool is_solo = mm_host_config(host)->workers == 0;
	struct mm_say say = { say_line, stderr };
	status = is_solo ? mm_solo_serve(host, say, &detached) : mm_master_serve(host, say, &detached);
	if (status == EX_OK)
		fprintf(stderr, "moonmilter: stopped\n");
	return status;
}

int mm_command_run(int argc, char **argv)
{
	struct arguments a;
	int status;
	if (!parse(argc, argv, &a, &status))
		return status;
	status = run(&a);
	free_arguments(&a);
	return status;
}

static int check(const struct arguments *a)
{
	struct mm_error error;
	struct mm_fault why;
	if (!a->names_work && a->config_file == NULL) {
		fprintf(stderr, "moonmilter check: give scripts, directories or a configuration (-c FILE)\n");
		return EX_USAGE;
	}
	struct mm_host_options o = host_options(a);
	o.no_sockets = true;
	o.guard_scripts = true;
	o.reads_all_keys = a->walks_keys;
	struct mm_host *host = mm_host_new(&o, &error);
	if (host == NULL)
		return fail(host, &error);
	/* without sockets the host did not check this; a configuration file is to be served, scripts
	 * alone need no listener */
	if (a->config_file != NULL && !mm_config_check(mm_host_config(host), &why)) {
		fprintf(stderr, "moonmilter: %s\n", why.text);
		mm_host_free(host);
		return EX_CONFIG;
	}
	if (!mm_host_start(host, &error))
		return fail(host, &error);
	mm_host_describe(host, say_line, stdout);
	if (!mm_host_describe_shadows(host, (struct mm_say){ say_line, stdout })) {
		printf("moonmilter: the scripts load, but those of a shadow do not\n");
		mm_host_free(host);
		return EX_CONFIG;
	}
	mm_host_describe_doubts(host, (struct mm_say){ say_doubt, stdout });
	unsigned warnings = mm_host_describe_findings(host, (struct mm_say){ say_finding, stdout });
	printf("moonmilter: all scripts load\n");
	if (warnings > 0)
		printf("moonmilter: %u warning%s\n", warnings, warnings == 1 ? "" : "s");
	mm_host_free(host);
	return warnings > 0 && a->is_strict ? EX_CONFIG : EX_OK;
}

int mm_command_check(int argc, char **argv)
{
	struct arguments a;
	int status;
	if (!parse(argc, argv, &a, &status))
		return status;
	status = check(&a);
	free_arguments(&a);
	return status;
}

int mm_command_help_config(void)
{
	struct mm_buffer text = { 0 };
	if (!mm_config_describe(&text)) {
		fprintf(stderr, "moonmilter: out of memory\n");
		return EX_OSERR;
	}
	fwrite(text.bytes, 1, text.size, stdout);
	mm_buffer_free(&text);
	return EX_OK;
}
