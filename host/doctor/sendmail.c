/* doctor/sendmail.c -- Sendmail's settings in sendmail.cf. A milter is an X line that O InputMailFilters names. The
 * daemon connects, as root unless RunAsUser says otherwise, without a chroot. It refuses sockets below directories that
 * others may write to: when it starts it exits, later it goes on without the filter. We negotiate the macros ourselves,
 * so Milter.macros.* do not matter. */
#include "doctor/doctor.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define LINE_SIZE   4096
#define FILTERS_MAX 32

struct filter {
	char line[LINE_SIZE];           /* "Xname, S=local:/path, F=T, T=R:10s" */
	char name[64];
};

struct sendmail {
	struct mm_doctor *doctor;
	const char       *file;
	struct filter     filters[FILTERS_MAX];
	size_t            filter_count;
	char              used[LINE_SIZE];      /* InputMailFilters */
	char              user[64];             /* RunAsUser */
	char              masquerade[256];      /* MASQUERADE_AS: the macro M */
	bool              has_generics, is_seven_bit;
	char              our_name[64];         /* the last filter that is ours */
	bool              names_us;
};

/* ---- reading ---- */

static const char *option_value(const char *line, const char *name)
{
	if (line[0] != 'O' || !isspace((unsigned char)line[1]))
		return NULL;
	line += 1 + strspn(line + 1, " \t");
	size_t n = strlen(name);
	if (strncasecmp(line, name, n) != 0)
		return NULL;
	line += n + strspn(line + n, " \t");
	return *line == '=' ? line + 1 + strspn(line + 1, " \t") : NULL;
}

static void take_line(struct sendmail *sm, const char *line)
{
	const char *value;
	if ((value = option_value(line, "InputMailFilters")) != NULL)
		snprintf(sm->used, sizeof sm->used, "%s", value);
	if ((value = option_value(line, "RunAsUser")) != NULL)
		snprintf(sm->user, sizeof sm->user, "%.*s", (int)strcspn(value, ":. \t"), value);
	if ((value = option_value(line, "SevenBitInput")) != NULL)
		sm->is_seven_bit = toupper((unsigned char)value[0]) == 'T';
	if (line[0] == 'D' && line[1] == 'M')
		snprintf(sm->masquerade, sizeof sm->masquerade, "%s", line + 2);
	sm->has_generics |= strncmp(line, "Kgenerics ", 10) == 0;
	if (line[0] != 'X' || sm->filter_count == FILTERS_MAX)
		return;
	struct filter *x = &sm->filters[sm->filter_count++];
	snprintf(x->line, sizeof x->line, "%s", line);
	snprintf(x->name, sizeof x->name, "%.*s", (int)strcspn(line + 1, ", \t"), line + 1);
}

/* A line that begins with a blank continues the line before it. */
static void read_lines(struct sendmail *sm, FILE *f)
{
	char line[LINE_SIZE], whole[LINE_SIZE] = "";
	while (fgets(line, sizeof line, f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == ' ' || line[0] == '\t') {
			size_t size = strlen(whole);
			snprintf(whole + size, sizeof whole - size, "%s", line);
			continue;
		}
		take_line(sm, whole);
		snprintf(whole, sizeof whole, "%s", line);
	}
	take_line(sm, whole);
}

/* The field with this letter, such as "F=T" in an X line; "" when it is missing. */
static const char *field(const struct filter *x, char letter, char *to, size_t size)
{
	to[0] = '\0';
	for (const char *at = strchr(x->line, ','); at != NULL; at = strchr(at, ',')) {
		at += 1 + strspn(at + 1, " \t");
		const char *equals = at + 1 + strspn(at + (at[0] != '\0'), " \t");
		if (toupper((unsigned char)at[0]) != letter || *equals != '=')
			continue;
		equals += 1 + strspn(equals + 1, " \t");
		snprintf(to, size, "%.*s", (int)strcspn(equals, ", \t"), equals);
		return to;
	}
	return to;
}

/* ---- judging a milter of ours ---- */

static void check_flag(struct sendmail *sm, const struct filter *x, const struct mm_config_milter *ours)
{
	char flag[8], quoted[64];
	enum mm_verdict_kind theirs = MM_VERDICT_accept;
	field(x, 'F', flag, sizeof flag);
	if (flag[0] == 'T' || flag[0] == '4')
		theirs = MM_VERDICT_tempfail;
	else if (flag[0] == 'R')
		theirs = MM_VERDICT_reject;
	snprintf(quoted, sizeof quoted, flag[0] != '\0' ? "filter %s, F=%s" : "filter %s without F=", x->name, flag);
	if (!mm_doctor_away(sm->doctor, ours, theirs, quoted))
		mm_find_remedy(&sm->doctor->findings, "F=T in the INPUT_MAIL_FILTER line, make, restart Sendmail");
}

/* Times of an X line: "C:1m;S:10s;R:10s;E:5m" */
static double time_of(const char *times, char letter, double otherwise)
{
	for (const char *at = times; *at != '\0'; at += *at != '\0') {
		if (toupper((unsigned char)at[0]) == letter && at[1] == ':')
			return mm_doctor_seconds(at + 2);
		at += strcspn(at, ";");
	}
	return otherwise;
}

static void check_times(struct sendmail *sm, const struct filter *x, const struct mm_doctor_socket *socket)
{
	const struct mm_config *c = sm->doctor->config;
	const struct {
		char        letter;
		double      preset;             /* seconds, Sendmail's defaults */
		const char *key;
		double      ours;
	} rows[] = {
		{ 'C', 300, "cpu_slice",      c->cpu_slice },
		{ 'S',  10, "cpu_slice",      c->cpu_slice },
		{ 'R',  10, "stage_deadline", c->stage_deadline },
		{ 'R',  10, "progress_every", c->progress_every },
		{ 'E', 300, "eom_deadline",   c->eom_deadline },
	};
	char times[256], name[32], line[MM_ENDPOINT_LINE_SIZE];
	field(x, 'T', times, sizeof times);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		snprintf(name, sizeof name, "T=%c", rows[i].letter);
		double theirs = time_of(times, rows[i].letter, rows[i].preset);
		if (mm_doctor_time(sm->doctor, name, theirs, rows[i].key, rows[i].ours))
			continue;
		mm_find_remedy(&sm->doctor->findings, "%s, in sendmail.mc; or a lower %s",
			mm_endpoint_sendmail(&socket->spec, x->name, c->stage_deadline, c->eom_deadline, line,
				sizeof line), rows[i].key);
	}
}

static void check_use(struct sendmail *sm, const struct filter *x)
{
	char list[LINE_SIZE], *rest = list;
	snprintf(list, sizeof list, "%s", sm->used);
	for (char *name; (name = strsep(&rest, ", \t")) != NULL;)
		if (strcmp(name, x->name) == 0)
			return;
	mm_find_wrong(&sm->doctor->findings, "filter %s is defined but not used: O InputMailFilters does "
		"not name it", x->name);
	mm_find_remedy(&sm->doctor->findings, "INPUT_MAIL_FILTER in place of MAIL_FILTER, or "
		"define(`confINPUT_MAIL_FILTERS', `%s')", x->name);
}

static void check_ours(struct sendmail *sm, const struct filter *x, const struct mm_doctor_socket *socket)
{
	sm->names_us = true;
	snprintf(sm->our_name, sizeof sm->our_name, "%s", x->name);
	check_use(sm, x);
	mm_find_ok(&sm->doctor->findings, "filter %s: recognized as Sendmail by macro %s", x->name,
		sm->doctor->macros[MM_MACRO_SET_connect] != NULL ? "v, which we ask for" : "if_name");
	check_flag(sm, x, socket->milter);
	check_times(sm, x, socket);
}

/* ---- the socket ---- */

static void check_safety(struct sendmail *sm, const char *path)
{
	char part[MM_UNIX_PATH_MAX + 1];
	struct stat s;
	for (const char *slash = path; (slash = strchr(slash + 1, '/')) != NULL;) {
		snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
		if (stat(part, &s) != 0 || !(s.st_mode & 022))
			continue;
		mm_find_wrong(&sm->doctor->findings, "%s: %s may write here, so Sendmail refuses %s: it does not "
			"start, or runs without the filter", part, s.st_mode & 02 ? "everybody" : "its group", path);
		if (s.st_mode & S_ISVTX)
			mm_find_remedy(&sm->doctor->findings, "let moonmilter listen in a directory of its own, such "
				"as /run/moonmilter");
		else
			mm_find_remedy(&sm->doctor->findings, "chmod go-w %s", part);
	}
	if (lstat(path, &s) == 0 && S_ISLNK(s.st_mode)) {
		mm_find_wrong(&sm->doctor->findings, "%s is a symbolic link: Sendmail refuses it", path);
		mm_find_remedy(&sm->doctor->findings, "name the socket itself in S=");
	}
}

static void say_other(struct sendmail *sm, const struct filter *x, const char *socket, bool answers)
{
	if (answers)
		mm_find_ok(&sm->doctor->findings, "filter %s is %s, which is not ours", x->name, socket);
	else
		mm_find_note(&sm->doctor->findings, "filter %s is %s: we do not listen there", x->name, socket);
}

static void check_unix(struct sendmail *sm, const struct filter *x, const char *path)
{
	struct mm_doctor_socket *ours = mm_doctor_unix(sm->doctor, path);
	struct mm_caller caller = { "Sendmail", sm->user, "", ours != NULL };
	check_safety(sm, path);
	bool answers = mm_reach_unix(&sm->doctor->findings, &caller, path);
	if (ours != NULL)
		check_ours(sm, x, ours);
	else
		say_other(sm, x, path, answers);
}

/* "inet:10025@127.0.0.1" */
static void check_inet(struct sendmail *sm, const struct filter *x, const char *socket)
{
	struct mm_endpoint spec;
	struct mm_doctor_socket *ours = mm_endpoint_parse(socket, &spec, NULL)
		? mm_doctor_inet(sm->doctor, &spec) : NULL;
	struct mm_caller caller = { "Sendmail", sm->user, "", ours != NULL };
	const char *at = strchr(socket, '@'), *first = strchr(socket, ':') + 1;
	char port[16];
	if (at == NULL) {
		mm_find_wrong(&sm->doctor->findings, "filter %s: S=%s does not name a milter: Sendmail writes "
			"inet:PORT@HOST", x->name, socket);
		mm_find_remedy(&sm->doctor->findings, "S=inet:10025@127.0.0.1");
		return;
	}
	snprintf(port, sizeof port, "%.*s", (int)(at - first), first);
	char host[256];
	size_t brackets = at[1] == '[';
	snprintf(host, sizeof host, "%.*s", (int)strcspn(at + 1 + brackets, "]"), at + 1 + brackets);
	bool answers = mm_reach_inet(&sm->doctor->findings, &caller, host, port);
	if (ours != NULL)
		check_ours(sm, x, ours);
	else
		say_other(sm, x, socket, answers);
}

static void check_filter(struct sendmail *sm, const struct filter *x)
{
	char socket[512];
	field(x, 'S', socket, sizeof socket);
	if (strncasecmp(socket, "unix:", 5) == 0)
		check_unix(sm, x, socket + 5);
	else if (strncasecmp(socket, "local:", 6) == 0)
		check_unix(sm, x, socket + 6);
	else if (strncasecmp(socket, "inet:", 5) == 0 || strncasecmp(socket, "inet6:", 6) == 0)
		check_inet(sm, x, socket);
	else {
		mm_find_wrong(&sm->doctor->findings, "filter %s: S=%s does not name a milter", x->name, socket);
		mm_find_remedy(&sm->doctor->findings, "S=unix:PATH or S=inet:PORT@HOST");
	}
}

/* The filter that InputMailFilters names after ours; "" when ours is the last. */
static void later_filter(const struct sendmail *sm, const char *ours, char *to, size_t size)
{
	char list[LINE_SIZE], *rest = list;
	bool is_after = false;
	to[0] = '\0';
	snprintf(list, sizeof list, "%s", sm->used);
	for (char *name; (name = strsep(&rest, ";, \t")) != NULL;) {
		if (is_after && name[0] != '\0') {
			snprintf(to, size, "%s", name);
			return;
		}
		is_after |= strcmp(name, ours) == 0;
	}
}

/* What changes mail after a filter of ours has signed it. */
static void check_signing(struct sendmail *sm)
{
	struct mm_findings *f = &sm->doctor->findings;
	char later[64];
	if (!sm->doctor->signs || !sm->names_us)
		return;
	if (sm->masquerade[0] != '\0') {
		mm_find_note(f, "MASQUERADE_AS is %s: Sendmail replaces addresses in From after we have signed, and "
			"the signature breaks", sm->masquerade);
		mm_find_remedy(f, "MASQUERADE_EXCEPTION for the domains that are signed, or replace From in the script "
			"(field:set) and take MASQUERADE_AS out");
	}
	if (sm->has_generics) {
		mm_find_note(f, "genericstable: Sendmail replaces addresses in From after we have signed, and the "
			"signature breaks");
		mm_find_remedy(f, "keep domains that are signed out of GENERICS_DOMAIN, or replace From in the script");
	}
	if (sm->is_seven_bit) {
		mm_find_note(f, "SevenBitInput is True: Sendmail cuts the eighth bit off, in what it shows us, too");
		mm_find_remedy(f, "confSEVEN_BIT_INPUT out of sendmail.mc");
	}
	later_filter(sm, sm->our_name, later, sizeof later);
	if (later[0] != '\0') {
		mm_find_note(f, "filter %s is asked after ours: what it changes breaks our signatures", later);
		mm_find_remedy(f, "%s last in INPUT_MAIL_FILTER or confINPUT_MAIL_FILTERS", sm->our_name);
	}
}

static void check_named(struct sendmail *sm)
{
	struct mm_doctor *d = sm->doctor;
	char line[MM_ENDPOINT_LINE_SIZE];
	if (sm->names_us || d->has_unknown || d->socket_count == 0)
		return;
	mm_find_wrong(&d->findings, "no X line names a socket of ours: mail passes without our filters");
	mm_find_remedy(&d->findings, "%s, in sendmail.mc, then make and restart Sendmail",
		mm_endpoint_sendmail(&d->sockets[0].spec, "moonmilter", d->config->stage_deadline,
			d->config->eom_deadline, line, sizeof line));
}

bool mm_doctor_sendmail(struct mm_doctor *d, const char *file)
{
	FILE *f = fopen(file, "re");
	struct sendmail *sm = calloc(1, sizeof *sm);
	bool ok = f != NULL && sm != NULL;
	if (ok) {
		*sm = (struct sendmail){ .doctor = d, .file = file, .user = "root" };
		read_lines(sm, f);
		mm_findings_begin(&d->findings, "Sendmail, %s", file);
		for (size_t i = 0; i < sm->filter_count; i++)
			check_filter(sm, &sm->filters[i]);
		check_named(sm);
		check_signing(sm);
	}
	free(sm);
	if (f != NULL)
		fclose(f);
	return ok;
}
