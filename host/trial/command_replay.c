#include "trial/command_replay.h"

#include "base/remedy.h"
#include "trial/recorded.h"
#include "trial/rerun.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>

struct replaying {
	struct mm_inside inside;
	struct mm_rerun  rerun;
	bool             shows, is_json;
	unsigned         files;
	int              code;
};

static int fail(int code, const char *file, const char *text)
{
	fprintf(stderr, "moonmilter replay: %s%s%s\n", file != NULL ? file : "", file != NULL ? ": " : "", text);
	return code;
}

/* ---- files ---- */

static bool read_all(const char *path, struct mm_buffer *out, struct mm_fault *why)
{
	FILE *f = fopen(path, "rbe");
	if (f == NULL)
		return mm_fault_set(why, MM_FAULT_CONFIG, "%s%s", strerror(errno), mm_remedy_of_reading(errno));
	bool ok = mm_buffer_read(out, f);
	fclose(f);
	return ok || mm_fault_set(why, MM_FAULT_CONFIG, "cannot be read");
}

static void show(const struct replaying *re, const char *path, const struct mm_replay *record)
{
	struct mm_buffer out = { .size = 0 };
	if (!re->is_json)
		printf("%s== record %s\n", re->files > 0 ? "\n" : "", path);
	mm_recorded_show(record, re->is_json, &out);
	mm_buffer_print(&out, stdout);
	mm_buffer_free(&out);
}

static void replay_file(struct replaying *re, const char *path)
{
	struct mm_buffer bytes = { .size = 0 };
	struct mm_replay record = { .command_count = 0 };
	struct mm_fault why;
	int code = 0;
	if (!read_all(path, &bytes, &why))
		code = EX_NOINPUT;
	else if (!mm_replay_parse(&record, bytes.bytes, bytes.size, &why))
		code = EX_DATAERR;
	else if (re->shows)
		show(re, path, &record);
	else if (!mm_rerun(&re->rerun, path, &record, &why))
		code = why.class == MM_FAULT_CONFIG ? EX_CONFIG : EX_PROTOCOL;
	if (code != 0)
		re->code = fail(code, path, why.text);
	re->files += code == 0 || code == EX_PROTOCOL;
	mm_replay_free(&record);
	mm_buffer_free(&bytes);
}

static int is_record(const struct dirent *e)
{
	size_t size = strlen(e->d_name);
	return e->d_name[0] != '.' && size > 7 && strcmp(e->d_name + size - 7, ".record") == 0;
}

static void replay_path(struct replaying *re, const char *path)
{
	struct dirent **entries;
	struct stat st;
	char *file;
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
		replay_file(re, path);
		return;
	}
	int count = scandir(path, &entries, is_record, alphasort);
	for (int i = 0; i < count; i++) {
		if (asprintf(&file, "%s/%s", path, entries[i]->d_name) >= 0) {
			replay_file(re, file);
			free(file);
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	if (count < 0)
		fprintf(stderr, "moonmilter replay: %s: %s%s\n", path, strerror(errno), mm_remedy_of_reading(errno));
	else if (count == 0)
		fail(0, path, "holds no *.record; name the directory of `record`, or a file");
	if (count <= 0)
		re->code = EX_NOINPUT;
}

/* ---- the command ---- */

static int help(void)
{
	printf("Usage: moonmilter replay [OPTION]... RECORD|DIR [SCRIPT|DIR]...\n"
		"       moonmilter replay --show [--json] RECORD|DIR\n"
		"\n"
		"Runs recorded conversations (record = in the configuration) through scripts in this process and shows "
		"what would be\ndifferent: \"-\" is the recorded answer, \"+\" the new one. moonmilter itself sends "
		"nothing anywhere.\nWithout SCRIPT or DIR it runs the scripts of the configuration file.\n\n"
		MM_INSIDE_HELP
		"  --show\n"
		"        Run nothing: show the packets of the record, as moonmilter ctl trace shows them live.\n"
		"  --json\n"
		"        With --show: one JSON object for each packet.\n"
		"  -q, --quiet\n"
		"        Show the last line only.\n"
		"  -h, --help\n"
		"        Show this text.\n"
		"\n"
		"The exit status is 0 when nothing differs, 1 when something does; 64 for a usage error, 65 when a "
		"file is not a record,\n66 when there is none, 76 when a handler did not answer, and 78 when the "
		"configuration or a script does not load.\n");
	return 0;
}

/* -1: go on. */
static int parse(struct replaying *re, int argc, char **argv)
{
	static const struct option options[] = {
		MM_INSIDE_OPTIONS, { "quiet", no_argument, NULL, 'q' }, { "help", no_argument, NULL, 'h' },
		{ "show", no_argument, NULL, 'S' }, { "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct mm_fault why;
	optind = 0;
	for (int c; (c = getopt_long(argc, argv, "c:m:s:qvh", options, NULL)) != -1;) {
		switch (c) {
		case 'q': re->inside.is_quiet = true; break;
		case 'S': re->shows = true; break;
		case 'j': re->is_json = true; break;
		case 'h': return help();
		case '?': return EX_USAGE;
		default:
			if (!mm_inside_take(&re->inside, c, optarg, &why))
				return fail(EX_USAGE, NULL, why.text);
		}
	}
	if (optind == argc)
		return fail(EX_USAGE, NULL, "no record is given; see --help");
	if (re->is_json && !re->shows)
		return fail(EX_USAGE, NULL, "--json goes with --show; see --help");
	if (re->shows)
		return argc - optind == 1 ? -1 : fail(EX_USAGE, NULL, "--show takes one record or directory");
	if (!mm_inside_has_scripts(&re->inside, argc - optind))
		return fail(EX_USAGE, NULL, "no scripts are given; name them after the record, or a configuration "
			"(-c); see --help");
	return -1;
}

int mm_command_replay(int argc, char **argv)
{
	struct replaying re = { .code = 0 };
	struct mm_error error;
	int code = parse(&re, argc, argv);
	if (code >= 0)
		return code;
	char **operands = argv + optind;
	if (re.shows) {
		replay_path(&re, operands[0]);
		return re.code;
	}
	re.rerun.inside = &re.inside;
	if (!mm_inside_start(&re.inside, operands + 1, false, &error)) {
		mm_inside_stop(&re.inside);
		return fail(EX_CONFIG, NULL, error.text);
	}
	replay_path(&re, operands[0]);
	mm_inside_stop(&re.inside);
	if (re.files == 0)              /* nothing was tried: the error text is enough */
		return re.code;
	printf("%u record%s, %u message%s: %u differ%s\n", re.files, re.files == 1 ? "" : "s", re.rerun.messages,
		re.rerun.messages == 1 ? "" : "s", re.rerun.different,
		re.rerun.shortened > 0 ? "; some go on where the record ends" : "");
	return re.code != 0 ? re.code : re.rerun.different > 0;
}
