/* command_doctor.c -- see command_doctor.h.
 * Looks and changes nothing. Permissions are computed from modes and groups rather than tried out, so that root's view is
 * not taken for the MTA's. Postfix is asked through postconf, Sendmail's sendmail.cf is read. */
#include "command_doctor.h"

#include "config.h"
#include "listen_spec.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/moonmilter/moonmilter.conf"
#define SENDMAIL_CF    "/etc/mail/sendmail.cf"
#define GROUPS_MAX     64

static unsigned problems;

static void fine(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fine(const char *format, ...)
{
	va_list args;
	fputs("  ok    ", stdout);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* What is wrong; do_this, on the next line, is what to type or to write. */
static void wrong(const char *do_this, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void wrong(const char *do_this, const char *format, ...)
{
	va_list args;
	problems++;
	fputs("  WRONG ", stdout);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n        -> %s\n", do_this);
}

/* ---- may a user open this? ---- */

struct who {
	const char *name;
	uid_t       uid;
	gid_t       groups[GROUPS_MAX];
	int         group_count;
};

static bool who_is(const char *name, struct who *to)
{
	const struct passwd *p = getpwnam(name);
	if (p == NULL)
		return false;
	*to = (struct who){ .name = name, .uid = p->pw_uid, .group_count = GROUPS_MAX };
	if (getgrouplist(name, p->pw_gid, to->groups, &to->group_count) < 0)
		to->group_count = GROUPS_MAX;
	return true;
}

/* bit: 1 search, 2 write */
static bool may(const struct who *w, const struct stat *s, unsigned bit)
{
	if (w->uid == 0)
		return true;
	if (s->st_uid == w->uid)
		return s->st_mode & bit << 6;
	for (int i = 0; i < w->group_count; i++)
		if (w->groups[i] == s->st_gid)
			return s->st_mode & bit << 3;
	return s->st_mode & bit;
}

static void check_directories(const struct who *w, const char *path, bool for_sendmail)
{
	char part[MM_UNIX_PATH_MAX + 1], do_this[512];
	struct stat s;
	for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
		if (stat(part, &s) != 0)
			return;
		snprintf(do_this, sizeof do_this, "chmod o+x %s, or put the socket elsewhere", part);
		if (!may(w, &s, 1))
			wrong(do_this, "%s: user %s may not enter this directory", part, w->name);
		snprintf(do_this, sizeof do_this, "chmod go-w %s", part);
		if (for_sendmail && s.st_mode & 022 && !(s.st_mode & S_ISVTX))
			wrong(do_this, "%s: others may write here; Sendmail refuses sockets below such a directory, or runs without the filter",
				part);
	}
}

static bool answers(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%.*s", (int)MM_UNIX_PATH_MAX, path);
	bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

static void check_socket(const char *path, const struct who *w, bool for_sendmail)
{
	char do_this[512];
	struct stat s;
	if (stat(path, &s) != 0) {
		wrong("start moonmilter (systemctl start moonmilter), or look into its log", "%s: %s", path, strerror(errno));
		return;
	}
	check_directories(w, path, for_sendmail);
	snprintf(do_this, sizeof do_this, "socket_group = \"%s\" in moonmilter.conf (socket_mode stays \"0660\"), then restart", w->name);
	if (!may(w, &s, 2))
		wrong(do_this, "%s: user %s may not connect (mode %04o, uid %d, gid %d)", path, w->name, (unsigned)s.st_mode & 07777,
			(int)s.st_uid, (int)s.st_gid);
	else
		fine("%s: user %s may connect", path, w->name);
	if (answers(path))
		fine("%s: somebody listens", path);
	else
		wrong("start moonmilter, or look into its log", "%s: nobody answers: %s", path, strerror(errno));
}

/* ---- Postfix ---- */

/* The first line that a command prints; "" for none. The command is one of ours. */
static const char *line_of(const char *command, char *to, size_t size)
{
	FILE *f = popen(command, "re");
	to[0] = '\0';
	if (f != NULL && fgets(to, (int)size, f) == NULL)
		to[0] = '\0';
	if (f != NULL)
		pclose(f);
	to[strcspn(to, "\n")] = '\0';
	return to;
}

static const char *postfix_setting(const char *name, char *to, size_t size)
{
	char command[128];
	snprintf(command, sizeof command, "postconf -hx %s 2>/dev/null", name);
	return line_of(command, to, size);
}

/* "30s" "5m" "1h" "300": seconds. */
static double seconds_of(const char *text)
{
	char *unit;
	double n = strtod(text, &unit);
	return *unit == 'm' ? n * 60 : *unit == 'h' ? n * 3600 : *unit == 'd' ? n * 86400 : n;
}

static void check_time(const char *setting, double ours, const char *key)
{
	char text[64], do_this[160];
	double theirs = seconds_of(postfix_setting(setting, text, sizeof text));
	snprintf(do_this, sizeof do_this, "postconf -e %s=%.0fs, or lower %s", setting, ours + 10, key);
	if (theirs <= ours)
		wrong(do_this, "%s is %s: Postfix gives up before our %s of %.0f s", setting, text, key, ours);
	else
		fine("%s %s is longer than our %s of %.0f s", setting, text, key, ours);
}

/* True when smtpd runs in a chroot; master.cf's fifth field, whose default is n. */
static bool is_chrooted(void)
{
	char line[512], chroot[8] = "";
	line_of("postconf -M smtp/inet 2>/dev/null", line, sizeof line);
	return sscanf(line, "%*s %*s %*s %*s %7s", chroot) == 1 && chroot[0] == 'y';
}

static void check_postfix_unix(const struct mm_listen_spec *spec, const struct who *w)
{
	char queue[256], do_this[768];
	size_t size = strlen(postfix_setting("queue_directory", queue, sizeof queue));
	bool is_inside = size > 0 && strncmp(spec->path, queue, size) == 0 && spec->path[size] == '/';
	if (is_chrooted() && !is_inside) {
		snprintf(do_this, sizeof do_this, "listen = \"unix:%s/moonmilter/milter.sock\" and smtpd_milters = "
			"unix:/moonmilter/milter.sock (or run smtpd without chroot in master.cf)", queue);
		wrong(do_this, "smtpd runs in the chroot %s and cannot see %s", queue, spec->path);
	} else if (is_chrooted()) {
		fine("smtpd runs in the chroot %s and sees the socket as unix:%s", queue, spec->path + size);
	}
	check_socket(spec->path, w, false);
}

static void check_postfix(const struct mm_config *c)
{
	char milters[1024], action[64], version[64];
	struct who w;
	if (postfix_setting("mail_version", version, sizeof version)[0] == '\0')
		return;
	printf("Postfix %s\n", version);
	if (postfix_setting("smtpd_milters", milters, sizeof milters)[0] == '\0')
		wrong("postconf -e smtpd_milters=… (moonmilter run prints the value)", "smtpd_milters is empty: Postfix uses no milter");
	else
		fine("smtpd_milters = %s", milters);
	if (strcmp(postfix_setting("milter_default_action", action, sizeof action), "accept") == 0)
		wrong("postconf -e milter_default_action=tempfail", "milter_default_action is accept: mail passes unfiltered when we are away");
	else
		fine("milter_default_action = %s", action);
	check_time("milter_command_timeout", c->stage_deadline, "stage_deadline");
	check_time("milter_content_timeout", c->eom_deadline, "eom_deadline");
	if (!who_is("postfix", &w))
		return;
	for (size_t i = 0; i < c->milter_count; i++)
		for (size_t j = 0; j < c->milters[i].listen.count; j++) {
			struct mm_listen_spec spec;
			if (mm_listen_spec_parse(c->milters[i].listen.items[j], &spec, NULL) && spec.kind == MM_LISTEN_UNIX)
				check_postfix_unix(&spec, &w);
		}
}

/* ---- Sendmail ---- */

/* "T=C:1m;R:10s;E:5m": the part of a letter, or otherwise. */
static double sendmail_time(const char *line, char letter, double otherwise)
{
	const char *times = strstr(line, "T=");
	char mark[3] = { letter, ':', '\0' };
	const char *at = times != NULL ? strstr(times, mark) : NULL;
	return at != NULL ? seconds_of(at + 2) : otherwise;
}

static void check_sendmail_time(const char *line, char letter, double preset, double ours, const char *key)
{
	double theirs = sendmail_time(line, letter, preset);
	if (theirs > ours)
		fine("T=%c:%.0fs is longer than our %s of %.0f s", letter, theirs, key, ours);
	else
		wrong("the INPUT_MAIL_FILTER line that moonmilter run prints has times that fit", "T=%c: is %.0f s: Sendmail gives up "
			"before our %s of %.0f s", letter, theirs, key, ours);
}

static void check_sendmail_line(const char *line, const struct mm_config *c)
{
	const char *socket = strstr(line, "S=");
	const char *flags = strstr(line, "F=");
	struct who root = { .name = "root", .uid = 0 };
	char path[MM_UNIX_PATH_MAX + 1];
	printf("Sendmail, %.*s\n", (int)strcspn(line, ","), line + 1);
	if (flags != NULL && (flags[2] == 'T' || flags[2] == '4' || flags[2] == 'R'))
		fine("F=%c", flags[2]);
	else
		wrong("add F=T to the INPUT_MAIL_FILTER line", "no F= flag: mail passes unfiltered when we are away");
	check_sendmail_time(line, 'R', 10, c->stage_deadline, "stage_deadline");
	check_sendmail_time(line, 'E', 300, c->eom_deadline, "eom_deadline");
	if (socket != NULL && sscanf(socket, "S=%*[a-z]:%107[^, ]", path) == 1 && path[0] == '/')
		check_socket(path, &root, true);
}

static void check_sendmail(const struct mm_config *c)
{
	char line[1024];
	bool found = false;
	FILE *f = fopen(SENDMAIL_CF, "re");
	if (f == NULL)
		return;
	while (fgets(line, sizeof line, f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] != 'X')
			continue;
		check_sendmail_line(line, c);
		found = true;
	}
	fclose(f);
	if (found)
		return;
	printf("Sendmail\n");
	wrong("put the INPUT_MAIL_FILTER line that moonmilter run prints into sendmail.mc", SENDMAIL_CF ": no milter is configured");
}

/* ---- ours ---- */

static bool is_open_to_others(const struct mm_listen_spec *spec)
{
	if (spec->kind == MM_LISTEN_INET)
		return strncmp(spec->host, "127.", 4) != 0;
	return spec->kind == MM_LISTEN_INET6 && strcmp(spec->host, "::1") != 0;
}

static void check_ours(const struct mm_config *c)
{
	printf("moonmilter\n");
	for (size_t i = 0; i < c->milter_count; i++) {
		const struct mm_config_milter *m = &c->milters[i];
		for (size_t j = 0; j < m->listen.count; j++) {
			struct mm_listen_spec spec;
			if (mm_listen_spec_parse(m->listen.items[j], &spec, NULL) && is_open_to_others(&spec) && m->allow.count == 0)
				wrong("allow = { \"192.0.2.7\" } with the addresses of your MTAs", "%s is open to everybody who can reach it, and shows "
					"them all mail: milters know no passwords", m->listen.items[j]);
		}
		if (m->on_error == MM_VERDICT_accept)
			wrong("on_error = \"tempfail\"", "milter %s: on_error is accept: mail passes unfiltered when a script fails", m->name);
	}
	if (c->workers == 0)
		wrong("workers = \"auto\"", "workers is 0: nobody replaces the process when a script crashes or blocks it");
	if (c->control == NULL)
		wrong("control = \"/run/moonmilter/control.sock\"", "no control socket: moonmilter ctl cannot ask this host");
	if (problems == 0)
		fine("the configuration");
}

static bool load(struct mm_config *c, const char *file, struct mm_fault *why)
{
	if (file == NULL && access(DEFAULT_CONFIG, R_OK) != 0)
		return mm_config_init(c, why);
	return mm_config_load(c, file != NULL ? file : DEFAULT_CONFIG, why);
}

int mm_command_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "listen", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	struct mm_config c;
	struct mm_fault why;
	const char *file = NULL, *listen[MM_CONFIG_MILTERS_MAX];
	size_t listen_count = 0;
	optind = 1;
	for (int o; (o = getopt_long(argc, argv, "c:s:h", options, NULL)) != -1;) {
		if (o == 'c') {
			file = optarg;
		} else if (o == 's' && listen_count < MM_CONFIG_MILTERS_MAX) {
			listen[listen_count++] = optarg;
		} else {
			fprintf(o == 'h' ? stdout : stderr, "Usage: moonmilter doctor [-c FILE] [-s SPEC]...\n\nLooks whether the MTA of this "
				"machine can open the sockets of the configuration, and whether\nits settings go with ours. Changes nothing. Best "
				"run as root, while moonmilter runs.\nExit status: 0 all is well, 78 something is not, and the text says what to do.\n");
			return o == 'h' ? EX_OK : EX_USAGE;
		}
	}
	bool ok = load(&c, file, &why);
	for (size_t i = 0; ok && i < listen_count; i++)
		ok = mm_config_set(&c, "listen", listen[i], &why);
	if (!ok) {
		fprintf(stderr, "moonmilter doctor: %s\n", why.text);
		return EX_CONFIG;
	}
	check_ours(&c);
	check_postfix(&c);
	check_sendmail(&c);
	mm_config_free(&c);
	printf(problems == 0 ? "All is well.\n" : "%u things to do.\n", problems);
	return problems == 0 ? EX_OK : EX_CONFIG;
}
