/* doctor/postfix.c -- Postfix's settings as postconf prints them: main.cf, and the overrides of each service in
 * master.cf. Milters are named in smtpd_milters of each smtpd, and in non_smtpd_milters, which cleanup uses. Each
 * of these services may run in a chroot, and then resolves paths there. A relative path starts at the queue
 * directory in both cases. */
#include "doctor/doctor.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define VALUE_SIZE    4096
#define SERVICES_MAX  64
#define OVERRIDES_MAX 256

/* The settings that we check, with postconf's names. The macro lists follow, in the order of MM_MACRO_SETS. */
#define SETTINGS(X) \
	X(VERSION,           "mail_version") \
	X(CONFIG_DIRECTORY,  "config_directory") \
	X(QUEUE_DIRECTORY,   "queue_directory") \
	X(MAIL_OWNER,        "mail_owner") \
	X(COMPATIBILITY,     "compatibility_level") \
	X(SMTPD_MILTERS,     "smtpd_milters") \
	X(NON_SMTPD_MILTERS, "non_smtpd_milters") \
	X(MILTER_MAPS,       "smtpd_milter_maps") \
	X(DEFAULT_ACTION,    "milter_default_action") \
	X(PROTOCOL,          "milter_protocol") \
	X(CONNECT_TIMEOUT,   "milter_connect_timeout") \
	X(COMMAND_TIMEOUT,   "milter_command_timeout") \
	X(CONTENT_TIMEOUT,   "milter_content_timeout") \
	X(NO_CONVERSION,     "disable_mime_output_conversion") \
	X(LINE_LENGTH,       "smtp_line_length_limit") \
	X(GENERIC_MAPS,      "smtp_generic_maps") \
	X(OUTPUT_CHECKS,     "smtp_header_checks") \
	X(MACRO_V,           "milter_macro_v") \
	X(MACRO_DEFAULTS,    "milter_macro_defaults")

enum setting {
#define X(setting, name) setting,
	SETTINGS(X)
#undef X
	MACROS_OF,
	SETTING_COUNT = MACROS_OF + MM_MACRO_SET_COUNT
};

static const char *const setting_names[SETTING_COUNT] = {
#define X(setting, name) [setting] = name,
	SETTINGS(X)
#undef X
	[MACROS_OF + MM_MACRO_SET_connect] = "milter_connect_macros",
	[MACROS_OF + MM_MACRO_SET_helo]    = "milter_helo_macros",
	[MACROS_OF + MM_MACRO_SET_mail]    = "milter_mail_macros",
	[MACROS_OF + MM_MACRO_SET_rcpt]    = "milter_rcpt_macros",
	[MACROS_OF + MM_MACRO_SET_data]    = "milter_data_macros",
	[MACROS_OF + MM_MACRO_SET_eoh]     = "milter_end_of_header_macros",
	[MACROS_OF + MM_MACRO_SET_eom]     = "milter_end_of_data_macros",
};

/* The macros that Postfix can send (milter_macros.c, smtpd_milter.c, cleanup_milter.c of 3.7 to 3.12). */
static const char *const macros_known[] = {
	"_", "i", "j", "v",
	"auth_authen", "auth_author", "auth_type",
	"cert_issuer", "cert_subject", "cipher", "cipher_bits", "tls_version",
	"client_addr", "client_connections", "client_name", "client_port", "client_ptr", "client_resolve",
	"daemon_addr", "daemon_name", "daemon_port",
	"mail_addr", "mail_host", "mail_mailer",
	"rcpt_addr", "rcpt_host", "rcpt_mailer",
	NULL
};

struct override {
	char         service[64];       /* "submission/inet" */
	enum setting setting;
	char         value[VALUE_SIZE];
};

struct service {
	char name[64];
	bool is_smtpd, is_chrooted;
};

struct postfix {
	struct mm_doctor *doctor;
	char              values[SETTING_COUNT][VALUE_SIZE];
	struct service    services[SERVICES_MAX];
	size_t            service_count;
	struct override  *overrides;    /* owned */
	size_t            override_count;
	bool              names_us;
	char              option[VALUE_SIZE];   /* of postconf, to type after its name: "-c DIRECTORY ", or "" */
};

/* One milter of a list: { inet:host:port, default_action=accept }. */
struct item {
	char endpoint[512];
	char options[512];
};

/* ---- reading ---- */

/* "name = value": cuts the name off and returns the value; NULL: not such a line. */
static char *split(char *line)
{
	char *value = strstr(line, " =");
	if (value == NULL)
		return NULL;
	*value = '\0';
	return value + 2 + strspn(value + 2, " ");
}

static void take_setting(void *self, char *line)
{
	struct postfix *p = self;
	char *value = split(line);
	for (int s = 0; value != NULL && s < SETTING_COUNT; s++)
		if (strcmp(line, setting_names[s]) == 0)
			snprintf(p->values[s], VALUE_SIZE, "%s", value);
}

/* Since Postfix 3.0, "-" in the chroot column means no, unless the configuration declares an older version. */
static bool chroot_by_default(const struct postfix *p)
{
	return atoi(p->values[COMPATIBILITY]) < 1;
}

static void take_service(void *self, char *line)
{
	struct postfix *p = self;
	char name[40], type[16], chroot[8], command[64];
	if (p->service_count == SERVICES_MAX
		|| sscanf(line, "%39s %15s %*s %*s %7s %*s %*s %63s", name, type, chroot, command) != 4)
		return;
	struct service *s = &p->services[p->service_count];
	*s = (struct service){ .is_smtpd = strcmp(command, "smtpd") == 0 };
	if (!s->is_smtpd && strcmp(command, "cleanup") != 0)
		return;
	snprintf(s->name, sizeof s->name, "%s/%s", name, type);
	s->is_chrooted = chroot[0] == 'y' || (chroot[0] == '-' && chroot_by_default(p));
	p->service_count++;
}

/* "submission/inet/milter_default_action = accept" */
static void take_override(void *self, char *line)
{
	struct postfix *p = self;
	char *value = split(line), *slash = strrchr(line, '/');
	if (value == NULL || slash == NULL || p->override_count == OVERRIDES_MAX)
		return;
	*slash = '\0';
	for (int s = 0; s < SETTING_COUNT; s++) {
		if (strcmp(slash + 1, setting_names[s]) != 0)
			continue;
		struct override *o = &p->overrides[p->override_count++];
		o->setting = (enum setting)s;
		snprintf(o->service, sizeof o->service, "%s", line);
		snprintf(o->value, sizeof o->value, "%s", value);
	}
}

static int postconf(const char *directory, const char *option, const char *const *names, void (*line)(void *, char *),
	struct postfix *p)
{
	char *argv[SETTING_COUNT + 8];
	int n = 0;
	argv[n++] = (char *)"postconf";
	if (directory != NULL) {
		argv[n++] = (char *)"-c";
		argv[n++] = (char *)(uintptr_t)directory;
	}
	argv[n++] = (char *)"-x";
	if (option != NULL)
		argv[n++] = (char *)(uintptr_t)option;
	for (int i = 0; names != NULL && i < SETTING_COUNT; i++)
		argv[n++] = (char *)(uintptr_t)names[i];
	argv[n] = NULL;
	return mm_doctor_run(argv, line, p);
}

static bool read_all(struct postfix *p, const char *directory)
{
	return postconf(directory, NULL, setting_names, take_setting, p) == 0 && p->values[VERSION][0] != '\0'
		&& postconf(directory, "-M", NULL, take_service, p) == 0
		&& postconf(directory, "-P", NULL, take_override, p) == 0;
}

static const char *value_of(const struct postfix *p, const struct service *s, enum setting setting)
{
	for (size_t i = 0; i < p->override_count; i++)
		if (p->overrides[i].setting == setting && strcmp(p->overrides[i].service, s->name) == 0)
			return p->overrides[i].value;
	return p->values[setting];
}

/* The next milter of a list; NULL at its end. */
static const char *next_item(const char *at, struct item *item)
{
	size_t n;
	*item = (struct item){ .endpoint = "" };
	at += strspn(at, ", \t\r\n");
	if (*at == '\0')
		return NULL;
	if (*at != '{') {
		n = strcspn(at, ", \t\r\n");
		snprintf(item->endpoint, sizeof item->endpoint, "%.*s", (int)n, at);
		return at + n;
	}
	at += 1 + strspn(at + 1, " \t");
	n = strcspn(at, ", \t}");
	snprintf(item->endpoint, sizeof item->endpoint, "%.*s", (int)n, at);
	at += n;
	n = strcspn(at, "}");
	snprintf(item->options, sizeof item->options, "%.*s", (int)n, at);
	return at + n + (at[n] == '}');
}

/* "default_action=accept" of an item, or the setting of its service. */
static const char *option_of(const struct postfix *p, const struct service *s, const struct item *item,
	enum setting setting, char *to, size_t size)
{
	const char *name = setting_names[setting] + strlen("milter_"), *at = item->options;
	size_t length = strlen(name);
	while (*(at += strspn(at, ", \t")) != '\0') {
		size_t n = strcspn(at, ",");
		if (strncmp(at, name, length) == 0) {
			const char *value = at + length + strspn(at + length, " \t");
			if (*value == '=') {
				value += 1 + strspn(value + 1, " \t");
				snprintf(to, size, "%.*s", (int)strcspn(value, ", \t"), value);
				return to;
			}
		}
		at += n;
	}
	snprintf(to, size, "%.*s", (int)size - 1, value_of(p, s, setting));
	return to;
}

/* ---- judging a milter of ours ---- */

/* How to change a setting in the place where it was set: the list, master.cf or main.cf. */
static void set_remedy(const struct postfix *p, const struct service *s, const struct item *item, enum setting setting,
	const char *value, const char *or_else)
{
	struct mm_findings *f = &p->doctor->findings;
	const char *name = setting_names[setting];
	if (strstr(item->options, name + strlen("milter_")) != NULL)
		mm_find_remedy(f, "%s=%s after %s in smtpd_milters%s", name + strlen("milter_"), value,
			item->endpoint, or_else);
	else if (value_of(p, s, setting) != p->values[setting])
		mm_find_remedy(f, "postconf %s-P '%s/%s=%s'%s", p->option, s->name, name, value, or_else);
	else
		mm_find_remedy(f, "postconf %s-e '%s=%s'%s", p->option, name, value, or_else);
}

static void check_time(const struct postfix *p, const struct service *s, const struct item *item, enum setting setting,
	const char *key, double ours)
{
	char text[64], value[64], or_else[96];
	double theirs = mm_doctor_seconds(option_of(p, s, item, setting, text, sizeof text));
	if (mm_doctor_time(p->doctor, setting_names[setting], theirs, key, ours))
		return;
	snprintf(value, sizeof value, "%.0fs", ours + 20);
	snprintf(or_else, sizeof or_else, ", or a lower %s in moonmilter.conf", key);
	set_remedy(p, s, item, setting, value, or_else);
}

static void check_times(const struct postfix *p, const struct service *s, const struct item *item)
{
	const struct mm_config *c = p->doctor->config;
	check_time(p, s, item, CONNECT_TIMEOUT, "cpu_slice", c->cpu_slice);
	check_time(p, s, item, COMMAND_TIMEOUT, "stage_deadline", c->stage_deadline);
	check_time(p, s, item, CONTENT_TIMEOUT, "stage_deadline", c->stage_deadline);
	/* at end of message our progress restarts Postfix's clock, so eom_deadline need not fit into it */
	check_time(p, s, item, CONTENT_TIMEOUT, "progress_every", c->progress_every);
}

static void check_action(const struct postfix *p, const struct service *s, const struct item *item,
	const struct mm_config_milter *ours)
{
	char action[64], quoted[128];
	enum mm_verdict_kind theirs = MM_VERDICT_tempfail;
	option_of(p, s, item, DEFAULT_ACTION, action, sizeof action);
	if (strcasecmp(action, "accept") == 0)
		theirs = MM_VERDICT_accept;
	else if (strcasecmp(action, "reject") == 0)
		theirs = MM_VERDICT_reject;
	snprintf(quoted, sizeof quoted, "milter_default_action = %s", action);
	if (!mm_doctor_away(p->doctor, ours, theirs, quoted))
		set_remedy(p, s, item, DEFAULT_ACTION, "tempfail", "");
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = list; (at = strstr(at, word)) != NULL; at += n) {
		bool begins = at == list || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
		bool ends = !(isalnum((unsigned char)at[n]) || at[n] == '_');
		if (begins && ends)
			return true;
	}
	return false;
}

static bool is_known(const struct postfix *p, const char *name)
{
	for (int i = 0; macros_known[i] != NULL; i++)
		if (strcmp(macros_known[i], name) == 0)
			return true;
	return has_word(p->values[MACRO_DEFAULTS], name);
}

/* The stage at which Postfix knows a macro. */
static enum mm_macro_set set_of(const char *name)
{
	static const struct {
		const char       *head;
		enum mm_macro_set set;
	} rows[] = {
		{ "auth_", MM_MACRO_SET_mail }, { "mail_", MM_MACRO_SET_mail }, { "rcpt_", MM_MACRO_SET_rcpt },
		{ "tls_", MM_MACRO_SET_helo }, { "cipher", MM_MACRO_SET_helo }, { "cert_", MM_MACRO_SET_helo },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (strncmp(name, rows[i].head, strlen(rows[i].head)) == 0)
			return rows[i].set;
	return strcmp(name, "i") == 0 ? MM_MACRO_SET_mail : MM_MACRO_SET_connect;
}

/* Does it come, by a list of ours or by Postfix's own, which ours replaces? */
static bool is_sent(const struct postfix *p, const struct service *s, const char *name, bool asks)
{
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++) {
		const char *ours = asks ? p->doctor->macros[set] : NULL;
		if (has_word(ours != NULL ? ours : value_of(p, s, (enum setting)(MACROS_OF + set)), name))
			return true;
	}
	return false;
}

static void check_macro(const struct postfix *p, const struct service *s, const char *name, bool asks)
{
	struct mm_findings *f = &p->doctor->findings;
	const char *setting = setting_names[MACROS_OF + set_of(name)], *open = name[1] != '\0' ? "{" : "",
		*close = name[1] != '\0' ? "}" : "";
	if (!is_known(p, name)) {
		mm_find_note(f, "macro %s, which a script names, does not exist in Postfix: it is nil there", name);
		mm_find_remedy(f, "change the script so that it does not need it, or postconf %s-e "
			"'milter_macro_defaults={%s}=VALUE'", p->option, name);
	} else if (!is_sent(p, s, name, asks)) {
		mm_find_wrong(f, "macro %s, which a script names, is not in %s%s", name, setting,
			asks ? "" : ", and with this milter_protocol we cannot ask for it");
		if (asks)
			mm_find_remedy(f, "add %s%s%s to %s", open, name, close, setting);
		else
			mm_find_remedy(f, "postconf %s-e milter_protocol=6, or add %s%s%s to %s", p->option, open, name,
				close, setting);
	}
}

static void check_macros(const struct postfix *p, const struct service *s, bool asks)
{
	char list[1024], *rest = list;
	snprintf(list, sizeof list, "%s", p->doctor->macros_named != NULL ? p->doctor->macros_named : "");
	for (char *name; (name = strsep(&rest, " {}")) != NULL;)
		if (name[0] != '\0')
			check_macro(p, s, name, asks);
}

/* Facts that scripts read without naming a macro: nil when none of theirs comes. */
static void check_facts(const struct postfix *p, const struct service *s, bool asks)
{
	static const struct {
		const char *fact, *macros[6];
	} rows[] = {
		{ "ctx.auth", { "auth_authen", "auth_type" } },
		{ "ctx.tls", { "tls_version", "cipher", "cipher_bits", "cert_subject", "cert_issuer" } },
		{ "ctx.queue_id", { "i" } },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool comes = false;
		for (int at = 0; rows[i].macros[at] != NULL; at++)
			comes |= is_sent(p, s, rows[i].macros[at], asks);
		if (comes)
			continue;
		const char *first = rows[i].macros[0];
		mm_find_note(&p->doctor->findings, "%s is always nil: none of its macros is in a milter_*_macros list",
			rows[i].fact);
		bool is_long = first[1] != '\0';
		mm_find_remedy(&p->doctor->findings, "add %s%s%s to %s, or postconf %s-X %s", is_long ? "{" : "", first,
			is_long ? "}" : "", setting_names[MACROS_OF + set_of(first)], p->option,
			setting_names[MACROS_OF + set_of(first)]);
	}
}

/* Which MTA we take it for, which decides how the positions of inserted fields are counted. */
static void check_kind(const struct postfix *p, const struct service *s, bool asks)
{
	struct mm_findings *f = &p->doctor->findings;
	const char *value = value_of(p, s, MACRO_V);
	bool says_postfix = strncmp(value, "Postfix", 7) == 0 || strncmp(value, "$mail_name", 10) == 0;
	if (!says_postfix) {
		mm_find_wrong(f, "milter_macro_v is \"%s\": we recognize Postfix by it, and take this MTA for %s",
			value, strncmp(value, "8.", 2) == 0 ? "Sendmail" : "an unknown one");
		mm_find_remedy(f, "postconf %s-X milter_macro_v", p->option);
	} else if (!is_sent(p, s, "v", asks)) {
		mm_find_note(f, "v is not in milter_connect_macros: ctx.mta.kind is \"unknown\" here");
		mm_find_remedy(f, "add v to milter_connect_macros, or postconf %s-X milter_connect_macros",
			p->option);
	} else {
		mm_find_ok(f, "%s: recognized as Postfix by macro v", s->name);
	}
}

static void check_protocol(const struct postfix *p, const struct service *s, const struct item *item)
{
	char text[64];
	int protocol = atoi(option_of(p, s, item, PROTOCOL, text, sizeof text));
	if (protocol < 6) {
		mm_find_wrong(&p->doctor->findings, "milter_protocol is %d: no macro lists, no skipped replies, some "
			"edits are missing", protocol);
		set_remedy(p, s, item, PROTOCOL, "6", "");
	}
	check_kind(p, s, protocol >= 6);
	check_facts(p, s, protocol >= 6);
	check_macros(p, s, protocol >= 6);
}

static void check_ours(struct postfix *p, const struct service *s, const struct item *item,
	const struct mm_doctor_socket *socket)
{
	p->names_us = true;
	check_action(p, s, item, socket->milter);
	check_times(p, s, item);
	check_protocol(p, s, item);
}

/* ---- which socket is meant ---- */

static void say_foreign(struct mm_doctor *d, const struct service *s, const struct item *item)
{
	mm_find_ok(&d->findings, "%s also names %s, which is not ours", s->name, item->endpoint);
}

/* Our socket is outside the chroot, and main.cf has its full path. */
static bool is_beyond_chroot(struct postfix *p, const struct service *s, const char *path)
{
	const char *queue = p->values[QUEUE_DIRECTORY];
	if (!s->is_chrooted || mm_doctor_unix(p->doctor, path) == NULL)
		return false;
	size_t size = strlen(queue);
	bool is_inside = strncmp(path, queue, size) == 0 && path[size] == '/';
	mm_find_wrong(&p->doctor->findings, "%s runs in the chroot %s and cannot see %s", s->name, queue, path);
	if (is_inside)
		mm_find_remedy(&p->doctor->findings, "smtpd_milters = unix:%s, without a leading slash",
			path + size + 1);
	else
		mm_find_remedy(&p->doctor->findings, "listen = \"unix:%s/moonmilter/milter.sock\" in moonmilter.conf "
			"and smtpd_milters = unix:moonmilter/milter.sock; or leave the chroot: postconf %s-F "
			"%s/chroot=n",
			queue, p->option, s->name);
	p->names_us = true;
	return true;
}

static void check_unix(struct postfix *p, const struct service *s, const struct item *item, const char *path)
{
	char full[2 * VALUE_SIZE];
	const char *queue = p->values[QUEUE_DIRECTORY];
	bool is_below = s->is_chrooted || path[0] != '/';
	snprintf(full, sizeof full, "%s%s%s", is_below ? queue : "", path[0] != '/' ? "/" : "", path);
	struct mm_doctor_socket *ours = mm_doctor_unix(p->doctor, full);
	struct mm_caller caller = { "Postfix", p->values[MAIL_OWNER], s->is_chrooted ? queue : "", ours != NULL };
	if (ours == NULL && is_beyond_chroot(p, s, path))
		return;
	if (!mm_reach_unix(&p->doctor->findings, &caller, full) && ours == NULL)
		mm_find_note(&p->doctor->findings, "%s names %s, that is %s: we do not listen there", s->name,
			item->endpoint, full);
	else if (ours == NULL)
		say_foreign(p->doctor, s, item);
	if (ours != NULL)
		check_ours(p, s, item, ours);
}

static void check_inet(struct postfix *p, const struct service *s, const struct item *item)
{
	struct mm_endpoint spec;
	struct mm_findings *f = &p->doctor->findings;
	struct mm_caller caller = { "Postfix", p->values[MAIL_OWNER], "", false };
	struct mm_doctor_socket *ours = NULL;
	char host[256];
	const char *rest = item->endpoint + strlen("inet:"), *colon = strrchr(rest, ':');
	if (strchr(rest, '@') != NULL || colon == NULL) {
		mm_find_wrong(f, "%s: %s does not name a milter: Postfix writes inet:HOST:PORT", s->name,
			item->endpoint);
		if (mm_endpoint_parse(item->endpoint, &spec, NULL))
			mm_find_remedy(f, "smtpd_milters = %s", mm_endpoint_postfix(&spec, host, sizeof host));
		return;
	}
	if (mm_endpoint_parse(item->endpoint, &spec, NULL))
		ours = mm_doctor_inet(p->doctor, &spec);
	caller.is_ours = ours != NULL;
	bool is_bracketed = rest[0] == '[' && colon > rest && colon[-1] == ']';
	snprintf(host, sizeof host, "%.*s", (int)(colon - rest) - 2 * is_bracketed, rest + is_bracketed);
	if (!mm_reach_inet(f, &caller, host, colon + 1) && ours == NULL)
		mm_find_note(f, "%s names %s: we do not listen there", s->name, item->endpoint);
	else if (ours == NULL)
		say_foreign(p->doctor, s, item);
	if (ours != NULL)
		check_ours(p, s, item, ours);
}

/* Is it ours? */
static bool check_item(struct postfix *p, const struct service *s, const struct item *item)
{
	const char *endpoint = item->endpoint;
	bool named_before = p->names_us;
	p->names_us = false;
	if (strncasecmp(endpoint, "unix:", 5) == 0)
		check_unix(p, s, item, endpoint + 5);
	else if (strncasecmp(endpoint, "local:", 6) == 0)
		check_unix(p, s, item, endpoint + 6);
	else if (strncasecmp(endpoint, "inet:", 5) == 0)
		check_inet(p, s, item);
	else {
		mm_find_wrong(&p->doctor->findings, "%s: %s does not name a milter", s->name, endpoint);
		mm_find_remedy(&p->doctor->findings, "unix:PATH or inet:HOST:PORT");
	}
	bool is_ours = p->names_us;
	p->names_us |= named_before;
	return is_ours;
}

/* The milters of a service after ours get the message that we have signed. */
static void check_later(struct postfix *p, const struct service *s, const char *after, enum setting setting)
{
	struct item item;
	if (!p->doctor->signs || after == NULL || next_item(after, &item) == NULL)
		return;
	mm_find_note(&p->doctor->findings, "%s asks %s after ours: what it changes breaks our signatures", s->name,
		item.endpoint);
	mm_find_remedy(&p->doctor->findings, "ours last in %s", setting_names[setting]);
}

static void check_service(struct postfix *p, const struct service *s)
{
	struct item item;
	enum setting setting = s->is_smtpd ? SMTPD_MILTERS : NON_SMTPD_MILTERS;
	const char *list = value_of(p, s, setting), *after = NULL;
	for (const char *at = list; (at = next_item(at, &item)) != NULL;)
		if (check_item(p, s, &item))
			after = at;
	check_later(p, s, after, setting);
	if (list[0] != '\0' || !s->is_smtpd)
		return;
	if (p->values[SMTPD_MILTERS][0] == '\0') {
		mm_find_note(&p->doctor->findings, "%s uses no milter: smtpd_milters is empty", s->name);
		mm_find_remedy(&p->doctor->findings, "nothing, if its mail should not be filtered");
	} else {
		mm_find_note(&p->doctor->findings, "%s uses no milter: master.cf has -o smtpd_milters= for it",
			s->name);
		mm_find_remedy(&p->doctor->findings, "nothing, if the mail that comes here is already filtered "
			"(content filters)");
	}
}

/* What changes mail after a filter of ours has signed it. */
static void check_signing(struct postfix *p)
{
	struct mm_findings *f = &p->doctor->findings;
	static const struct {
		enum setting setting;
		const char  *does;
	} rows[] = { { GENERIC_MAPS, "replaces addresses in the header" }, { OUTPUT_CHECKS, "may change the header" } };
	if (!p->doctor->signs || !p->names_us)
		return;
	if (strcasecmp(p->values[NO_CONVERSION], "yes") != 0) {
		mm_find_note(f, "disable_mime_output_conversion is no: for a next hop without 8BITMIME, Postfix "
			"encodes the body again after we have signed, and the signature breaks");
		mm_find_remedy(f, "postconf %s-e disable_mime_output_conversion=yes", p->option);
	}
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (p->values[rows[i].setting][0] == '\0')
			continue;
		mm_find_note(f, "%s = %s: %s after we have signed, so signatures may break",
			setting_names[rows[i].setting], p->values[rows[i].setting], rows[i].does);
		mm_find_remedy(f, "make the change in the script, before the host signs; or let it not touch what is "
			"signed");
	}
	if (atoi(p->values[LINE_LENGTH]) > 0) {
		mm_find_note(f, "smtp_line_length_limit = %s: Postfix breaks longer lines after we have signed, and "
			"the signature breaks; the log warns of each such message", p->values[LINE_LENGTH]);
		mm_find_remedy(f, "ctx:sign(keys, { fold = true }) for the header; clients should encode long lines of "
			"a body");
	}
}

/* Checks whether any service uses our milters. */
static void check_named(struct postfix *p)
{
	struct mm_doctor *d = p->doctor;
	char line[MM_ENDPOINT_TEXT_SIZE];
	if (p->values[MILTER_MAPS][0] != '\0') {
		mm_find_note(&d->findings, "smtpd_milter_maps = %s: clients listed there get other milters, or none",
			p->values[MILTER_MAPS]);
		mm_find_remedy(&d->findings, "postmap -q ADDRESS %s", p->values[MILTER_MAPS]);
	}
	if (p->names_us || d->has_unknown || d->socket_count == 0)
		return;
	mm_find_wrong(&d->findings, "no service names a socket of ours: mail passes without our filters");
	mm_find_remedy(&d->findings, "postconf %s-e 'smtpd_milters=%s', then postfix %sreload", p->option,
		mm_endpoint_postfix(&d->sockets[0].spec, line, sizeof line), p->option);
}

bool mm_doctor_postfix(struct mm_doctor *d, const char *directory)
{
	struct postfix *p = calloc(1, sizeof *p);
	if (p != NULL)
		p->overrides = calloc(OVERRIDES_MAX, sizeof *p->overrides);
	bool ok = p != NULL && p->overrides != NULL;
	if (ok) {
		p->doctor = d;
		if (directory != NULL)
			snprintf(p->option, sizeof p->option, "-c %s ", directory);
		ok = read_all(p, directory);
	}
	if (ok) {
		mm_findings_begin(&d->findings, "Postfix %s, %s", p->values[VERSION], p->values[CONFIG_DIRECTORY]);
		for (size_t i = 0; i < p->service_count; i++)
			check_service(p, &p->services[i]);
		check_named(p);
		check_signing(p);
	}
	if (p != NULL)
		free(p->overrides);
	free(p);
	return ok;
}
