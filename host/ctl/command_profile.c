#include "ctl/command_profile.h"

#include "process/control.h"
#include "ctl/client.h"
#include "ctl/profile_report.h"
#include "ctl/samples_report.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define SAMPLES_SECONDS 10.0

struct profile {
	struct mm_profile_request     request;
	bool                       is_json, is_folded;
	struct mm_profile_report  *handlers;    /* owned; NULL: the user wants samples */
	struct mm_samples_report  *samples;     /* owned; NULL: the user wants handlers */
	int                        worker;      /* which worker wrote the next listing */
	unsigned                   reports;      /* listings that could be read */
	bool                       has_failed;
};

static void print_help(FILE *to)
{
	fprintf(to, "Usage: moonmilter profile [-c FILE] [--control PATH] [OPTIONS]\n"
		"       moonmilter ctl [-c FILE] [--control PATH] profile [OPTIONS]\n\n"
		"Prints what each handler of each script has cost, over all workers: calls, errors, CPU time, time it "
		"was\nbusy (it ran and no other handler could), time it waited, its slowest call. With --samples: the "
		"lines and\nfunctions that take Lua's time. Profiling needs no preparation and stops by itself.\n\n"
		"  --seconds N    measure the next N seconds, instead of all since the start; 10 with --samples\n"
		"  --samples      sample a thousand times a second what the workers are running\n"
		"  --folded       samples, one line for each stack, for flamegraph.pl and similar tools\n"
		"  --worker PID   only this worker; moonmilter ctl status lists them\n"
		"  --json         one JSON object\n"
		"  --reset        reset the counts afterwards\n"
		"  -c, --config FILE, --control PATH\n"
		"                 the host: its control socket, or the configuration that names it\n\n"
		"cpu, busy and waiting are sums; mean and max are for one call; now: calls that wait at this "
		"moment.\nExit status: 0 done, 64 wrong usage, 69 no host answers, 75 not possible now or a worker's "
		"part is missing.\n");
}

/* ---- the answer ---- */

static void on_line(void *self, const char *text)
{
	struct profile *p = self;
	if (sscanf(text, "worker pid=%d", &p->worker) != 1)
		puts(text);
}

static void on_listing(void *self, int descriptor)
{
	struct profile *p = self;
	const char *why = "out of memory";
	int copy = dup(descriptor);
	FILE *from = copy >= 0 ? fdopen(copy, "r") : NULL;
	if (from == NULL) {
		if (copy >= 0)
			close(copy);
		return;
	}
	rewind(from);
	bool ok = p->samples != NULL ? mm_samples_report_take(p->samples, from, &why)
		: mm_profile_report_take(p->handlers, p->worker, from, &why);
	p->reports += ok;
	p->has_failed |= !ok;
	if (!ok)
		fprintf(stderr, "moonmilter profile: worker %d: %s\n", p->worker, why);
	fclose(from);
}

static void print(struct profile *p)
{
	if (p->is_folded)
		mm_samples_report_folded(p->samples, stdout);
	else if (p->samples != NULL)
		(p->is_json ? mm_samples_report_json : mm_samples_report_print)(p->samples, stdout);
	else
		(p->is_json ? mm_profile_report_json : mm_profile_report_print)(p->handlers, stdout);
}

static int ask(struct profile *p, struct mm_ctl_query *client)
{
	char argument[64], request[96];
	if (p->request.samples)
		p->samples = mm_samples_report_new();
	else
		p->handlers = mm_profile_report_new();
	if (p->samples == NULL && p->handlers == NULL)
		return EX_OSERR;
	mm_profile_request_write(&p->request, argument, sizeof argument);
	snprintf(request, sizeof request, "profile %s", argument);
	if (p->request.seconds > 0 && isatty(STDERR_FILENO))
		fprintf(stderr, "looking for %.4g s\n", p->request.seconds);
	int status = mm_ctl_ask(client, request);
	if (p->reports > 0)
		print(p);
	mm_profile_report_free(p->handlers);
	mm_samples_report_free(p->samples);
	return status == EX_OK && p->has_failed ? EX_TEMPFAIL : status;
}

/* ---- options ---- */

static bool read_number(const char *text, double least, double most, double *to)
{
	char *end;
	*to = strtod(text, &end);
	return end != text && *end == '\0' && *to >= least && *to <= most;
}

static int complain(const char *text)
{
	fprintf(stderr, "moonmilter profile: %s\n", text);
	return EX_USAGE;
}

int mm_command_profile(int argc, char **argv)
{
	enum { CONTROL = 256, SECONDS, SAMPLES, FOLDED, WORKER, JSON, RESET };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "control", required_argument, NULL, CONTROL },
		{ "seconds", required_argument, NULL, SECONDS }, { "samples", no_argument, NULL, SAMPLES },
		{ "folded", no_argument, NULL, FOLDED }, { "worker", required_argument, NULL, WORKER },
		{ "json", no_argument, NULL, JSON }, { "reset", no_argument, NULL, RESET },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	struct profile p = { .is_json = false };
	struct mm_ctl_query client = { .name = "moonmilter profile", .line = on_line,
		.listing = on_listing, .self = &p };
	double pid;
	optind = 0;
	for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		switch (c) {
		case 'c':     client.config = optarg; break;
		case CONTROL: client.path = optarg; break;
		case SAMPLES: p.request.samples = true; break;
		case FOLDED:  p.request.samples = p.is_folded = true; break;
		case JSON:    p.is_json = true; break;
		case RESET:   p.request.begins_anew = true; break;
		case 'h':     print_help(stdout); return EX_OK;
		case SECONDS:
			if (!read_number(optarg, 0.01, MM_PROFILE_SECONDS_MAX, &p.request.seconds))
				return complain("--seconds: give a number from 0.01 to 3600");
			break;
		case WORKER:
			if (!read_number(optarg, 1, 1 << 30, &pid))
				return complain("--worker: give a process id from moonmilter ctl status");
			p.request.worker = (unsigned)pid;
			break;
		default:      print_help(stderr); return EX_USAGE;
		}
	}
	if (optind < argc)
		return complain("only options are allowed; see moonmilter profile --help");
	if (p.is_folded && p.is_json)
		return complain("--folded and --json exclude each other; give one of them");
	if (p.request.samples && p.request.seconds == 0)
		p.request.seconds = SAMPLES_SECONDS;
	return ask(&p, &client);
}
