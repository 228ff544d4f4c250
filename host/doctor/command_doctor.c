/* doctor/command_doctor.c -- options and the order of the parts; the checks are in host.c, postfix.c and sendmail.c.
 * Nothing here changes the system. */
#include "doctor/command_doctor.h"

#include "base/terminal.h"
#include "doctor/doctor.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define SENDMAIL_CF    "/etc/mail/sendmail.cf"
#define SELF           "/proc/self/exe"
#define LISTEN_MAX     32

struct arguments {
	const char *config_file, *postfix, *sendmail, *control;
	const char *listen[LISTEN_MAX];
	size_t      listen_count;
	bool        is_json;
};

static void print_help(FILE *to)
{
	fprintf(to, "Usage: moonmilter doctor [OPTION]...\n\n"
		"Checks whether the MTA of this machine can open the sockets of the configuration, whether its "
		"settings fit\nours, and whether the host runs. Says what to do about each finding; changes nothing. "
		"Best run as root,\nwhile moonmilter runs.\n\n"
		"  -c, --config FILE        our configuration (default: %s)\n"
		"  -s, --listen SPEC        where we listen, instead of the configuration's listeners; may be "
		"repeated\n"
		"      --control PATH       our control socket, instead of the configuration's\n"
		"      --postfix-config DIR directory of Postfix's main.cf and master.cf (as postconf -c)\n"
		"      --sendmail-cf FILE   Sendmail's configuration (default: %s)\n"
		"      --json               one object: wrong, findings\n"
		"      --color WHEN         auto (the default: on a terminal, unless NO_COLOR is set), always, "
		"never\n\n"
		"With --postfix-config or --sendmail-cf, checks only what they name.\nExit status: 0 nothing is "
		"wrong, 78 something is.\n", MM_CONFIG_DEFAULT_PATH, SENDMAIL_CF);
}

/* False: usage has been printed; *status is the exit status. */
static bool parse(int argc, char **argv, struct arguments *a, int *status)
{
	enum { POSTFIX = 0x100, SENDMAIL, CONTROL, JSON, COLOR };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "listen", required_argument, NULL, 's' },
		{ "control", required_argument, NULL, CONTROL }, { "postfix-config", required_argument, NULL, POSTFIX },
		{ "sendmail-cf", required_argument, NULL, SENDMAIL }, { "json", no_argument, NULL, JSON },
		{ "color", required_argument, NULL, COLOR },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	*a = (struct arguments){ .config_file = NULL };
	optind = 1;
	for (int o; (o = getopt_long(argc, argv, "c:s:h", options, NULL)) != -1;) {
		switch (o) {
		case 'c':      a->config_file = optarg; break;
		case POSTFIX:  a->postfix = optarg; break;
		case SENDMAIL: a->sendmail = optarg; break;
		case CONTROL:  a->control = optarg; break;
		case JSON:     a->is_json = true; break;
		case COLOR:
			if (mm_terminal_set_colour(optarg))
				break;
			fprintf(stderr, "moonmilter doctor: --color: give auto, always or never\n");
			*status = EX_USAGE;
			return false;
		case 's':
			if (a->listen_count < LISTEN_MAX)
				a->listen[a->listen_count++] = optarg;
			break;
		default:
			print_help(o == 'h' ? stdout : stderr);
			*status = o == 'h' ? EX_OK : EX_USAGE;
			return false;
		}
	}
	if (optind == argc) {
		if (a->config_file == NULL && access(MM_CONFIG_DEFAULT_PATH, R_OK) == 0)
			a->config_file = MM_CONFIG_DEFAULT_PATH;
		return true;
	}
	fprintf(stderr, "moonmilter doctor: %s: not understood; see moonmilter doctor --help\n", argv[optind]);
	*status = EX_USAGE;
	return false;
}

static bool load(struct mm_config *c, const struct arguments *a, struct mm_fault *why)
{
	bool ok = a->config_file != NULL ? mm_config_load(c, a->config_file, why) : mm_config_init(c, why);
	for (size_t i = 0; ok && i < a->listen_count; i++)
		ok = mm_config_set(c, "listen", a->listen[i], why);
	if (ok && a->control != NULL)
		ok = mm_config_set(c, "control", a->control, why);
	return ok;
}

/* False: an MTA named on the command line is not there. */
static bool look_at_mtas(struct mm_doctor *d, const struct arguments *a)
{
	bool is_named = a->postfix != NULL || a->sendmail != NULL;
	bool has_postfix = (!is_named || a->postfix != NULL) && mm_doctor_postfix(d, a->postfix);
	bool has_sendmail = (!is_named || a->sendmail != NULL)
		&& mm_doctor_sendmail(d, a->sendmail != NULL ? a->sendmail : SENDMAIL_CF);
	if (a->postfix != NULL && !has_postfix) {
		fprintf(stderr, "moonmilter doctor: postconf -c %s prints nothing; name the directory of main.cf, and "
			"run this where Postfix is installed\n", a->postfix);
		return false;
	}
	if (a->sendmail != NULL && !has_sendmail) {
		fprintf(stderr, "moonmilter doctor: %s cannot be read; name the sendmail.cf that was built from your "
			".mc file\n", a->sendmail);
		return false;
	}
	if (has_postfix || has_sendmail)
		return true;
	mm_findings_begin(&d->findings, "MTA");
	mm_find_note(&d->findings, "found no configuration of Postfix (postconf) or of Sendmail (%s)", SENDMAIL_CF);
	mm_find_remedy(&d->findings, "run moonmilter doctor on the MTA's machine, or name its files: --postfix-config, "
		"--sendmail-cf");
	return true;
}

static int examine(struct mm_doctor *d, const struct arguments *a)
{
	char *const check[] = {
		(char *)SELF, (char *)"check", (char *)"-c", (char *)(uintptr_t)a->config_file, NULL
	};
	mm_doctor_host(d, a->config_file != NULL ? check : NULL);
	if (!look_at_mtas(d, a))
		return EX_NOINPUT;
	mm_doctor_unnamed(d);
	if (a->is_json)
		mm_findings_print_json(&d->findings, stdout);
	else
		mm_findings_print(&d->findings, stdout);
	return mm_findings_count(&d->findings, MM_FINDING_WRONG) == 0 ? EX_OK : EX_CONFIG;
}

int mm_command_doctor(int argc, char **argv)
{
	struct arguments a;
	struct mm_config c;
	struct mm_doctor d;
	struct mm_fault why;
	int status;
	if (!parse(argc, argv, &a, &status))
		return status;
	if (!load(&c, &a, &why) || !mm_doctor_open(&d, &c, a.config_file, &why)) {
		fprintf(stderr, "moonmilter doctor: %s\n", why.text);
		return EX_CONFIG;
	}
	status = examine(&d, &a);
	mm_doctor_close(&d);
	mm_config_free(&c);
	return status;
}
