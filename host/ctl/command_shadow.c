#include "ctl/command_shadow.h"

#include "base/quote.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define EXAMPLES     10u        /* shown when no number is given */
#define EXAMPLES_MAX 64u

static void print_help(FILE *to)
{
	fputs("Usage: moonmilter ctl [-c FILE] [--control PATH] shadow [--json] [--count N]\n"
		"       moonmilter ctl [-c FILE] [--control PATH] shadow on|off [MILTER]\n\n"
		"Shows what the scripts of `shadow` would have done otherwise than those that serve: how many\n"
		"messages were compared, how many differ and in which way, and the last of them.\n\n"
		"off takes shadow and canary (`share`) out of use at once, of all milters or of one, until `on` or a\n"
		"restart: new connections get the scripts that serve, and those open keep theirs until they end.\n\n"
		"  --count N         show the last N messages that differ (default 10, at most 64)\n"
		"  --json            one JSON object\n\n"
		"Exit status: 0 done, 64 wrong words, 69 no host answers, or there is no such milter.\n", to);
}

void mm_shadow_explain(struct mm_ctl_query query, const char *id, bool is_json)
{
	char request[200];
	query.line = mm_ctl_print_line;
	query.listing = mm_ctl_print_listing;
	fflush(stdout);
	snprintf(request, sizeof request, "shadow explain\t%s\t%.100s", is_json ? "json" : "text", id);
	mm_ctl_ask(&query, request);
}

static int ask(struct mm_ctl_query *query, int count, char **words, bool is_json, unsigned examples)
{
	char request[200];
	bool switches = count > 0 && (strcmp(words[0], "on") == 0 || strcmp(words[0], "off") == 0);
	if (count > 2 || (count > 0 && !switches)) {
		fprintf(stderr, "moonmilter ctl: shadow takes on or off, and a milter after it; see moonmilter ctl "
			"shadow --help\n");
		return EX_USAGE;
	}
	if (switches)
		snprintf(request, sizeof request, "shadow %s\t%.100s", words[0], count == 2 ? words[1] : "");
	else
		snprintf(request, sizeof request, "shadow show\t%s\t%u", is_json ? "json" : "text", examples);
	return mm_ctl_ask(query, request);
}

int mm_command_shadow(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "control", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' }, { "count", required_argument, NULL, 'n' },
		{ "color", required_argument, NULL, 'C' }, { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct mm_ctl_query query = { .name = "moonmilter ctl", .line = mm_ctl_print_line,
		.listing = mm_ctl_print_listing };
	bool is_json = false;
	unsigned long examples = EXAMPLES;
	char *end = "";
	optind = 0;
	for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		switch (c) {
		case 'c': query.config = optarg; break;
		case 's': query.path = optarg; break;
		case 'j': is_json = true; break;
		case 'n': examples = strtoul(optarg, &end, 10); break;
		case 'C': break;                /* there is none */
		case 'h': print_help(stdout); return EX_OK;
		default:  fputs("see moonmilter ctl shadow --help\n", stderr); return EX_USAGE;
		}
		if (*end != '\0' || examples > EXAMPLES_MAX) {
			fprintf(stderr, "moonmilter ctl: --count %s: give a number up to %u\n",
				mm_quote(optarg, strlen(optarg)).text, EXAMPLES_MAX);
			return EX_USAGE;
		}
	}
	return ask(&query, argc - optind, argv + optind, is_json, (unsigned)examples);
}
