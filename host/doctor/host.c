/* doctor/host.c -- checks our own side: settings that endanger mail, scripts that do not load, a
 * host that does not run. */
#include "doctor/doctor.h"

#include "process/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MS 3000

/* ---- settings ---- */

static bool is_loopback(const struct mm_endpoint *s)
{
	return s->kind == MM_ENDPOINT_INET ? strncmp(s->host, "127.", 4) == 0 : strcmp(s->host, "::1") == 0;
}

static void check_socket(struct mm_doctor *d, const struct mm_doctor_socket *s)
{
	char text[MM_ENDPOINT_TEXT_SIZE];
	mm_endpoint_text(&s->spec, text, sizeof text);
	if (s->spec.kind == MM_ENDPOINT_UNIX) {
		if (s->milter->socket_mode & 2) {
			mm_find_note(&d->findings, "%s: socket_mode %04o lets every user of this machine talk to "
				"the filters", text, s->milter->socket_mode);
			mm_find_remedy(&d->findings, "socket_mode = \"0660\", and the MTA's user in the "
				"socket's group");
		}
		return;
	}
	if (is_loopback(&s->spec) || s->milter->allow.count > 0)
		return;
	mm_find_wrong(&d->findings, "%s: every machine that reaches this port can use the filters and learns their "
		"verdicts, because milters have no passwords", text);
	mm_find_remedy(&d->findings, "allow = { \"192.0.2.7\" }, with the addresses of your MTAs");
}

/* First: every other finding is about what stands there. */
static void say_configuration(struct mm_doctor *d)
{
	if (d->config_file != NULL) {
		mm_find_ok(&d->findings, "reads %s", d->config_file);
		return;
	}
	mm_find_note(&d->findings, "reads no configuration: there is no %s, and none was named; what follows is about "
		"the defaults and the options given", MM_CONFIG_DEFAULT_PATH);
	mm_find_remedy(&d->findings, "moonmilter doctor -c FILE, with the file that moonmilter run gets");
}

static void check_settings(struct mm_doctor *d)
{
	const struct mm_config *c = d->config;
	for (size_t i = 0; i < d->socket_count; i++)
		check_socket(d, &d->sockets[i]);
	if (d->has_unknown) {
		mm_find_note(&d->findings, "the address of a socket passed by systemd or fd:N is in its socket unit, "
			"not in our configuration");
		mm_find_remedy(&d->findings, "to have it checked, name it: moonmilter doctor %s-s "
			"unix:/run/moonmilter/milter.sock", d->ctl_option);
	}
	for (size_t i = 0; i < c->milter_count; i++) {
		if (c->milters[i].on_error != MM_VERDICT_accept)
			continue;
		mm_find_note(&d->findings, "milter %s: on_error is \"accept\": mail passes unfiltered when a "
			"script fails", c->milters[i].name);
		mm_find_remedy(&d->findings, "on_error = \"tempfail\", unless filtering matters less than delay");
	}
	for (size_t i = 0; i < c->milter_count; i++) {
		if (c->milters[i].over != MM_VERDICT_continue)
			continue;
		mm_find_note(&d->findings, "milter %s: over is \"truncate\": a sender can put a field where scripts do "
			"not see it", c->milters[i].name);
		mm_find_remedy(&d->findings, "over = \"reject\", unless every script looks at ctx.headers.truncated");
	}
	for (size_t i = 0; i < c->metrics.count; i++) {
		struct mm_endpoint spec;
		if (!mm_endpoint_parse(c->metrics.items[i], &spec, NULL) || spec.kind == MM_ENDPOINT_UNIX
		    || is_loopback(&spec))
			continue;
		mm_find_note(&d->findings, "metrics: %s: whoever reaches this address reads how much mail there is and "
			"the names of your scripts; nobody is asked for a password", c->metrics.items[i]);
		mm_find_remedy(&d->findings, "metrics = \"inet:9925@127.0.0.1\", or let a firewall admit the "
			"Prometheus alone");
	}
	if (c->workers == 0) {
		mm_find_note(&d->findings, "workers is 0: no master replaces the process when it crashes or a "
			"script blocks it");
		mm_find_remedy(&d->findings, "workers = \"auto\"");
	}
}

/* ---- scripts ---- */

struct reading {
	struct mm_doctor *doctor;
	bool              all_load;
};

/* "/etc/moonmilter/scripts: the members of group staff may write there; chmod g-w /etc/moonmilter/scripts" */
static void note_owners(struct mm_doctor *d, const char *text)
{
	const char *remedy = strstr(text, "; ");
	mm_find_note(&d->findings, "%.*s", remedy != NULL ? (int)(remedy - text) : (int)strlen(text), text);
	mm_find_remedy(&d->findings, "%s", remedy != NULL ? remedy + 2 : "give it to root");
}

/* Several milters add up. */
static void add_names(char **list, const char *names)
{
	char *both;
	if (asprintf(&both, "%s%s%s", *list != NULL ? *list : "", *list != NULL ? " " : "", names) < 0)
		return;
	free(*list);
	*list = both;
}

/* "moonmilter: macros at rcpt: {rcpt_mailer} i" */
static double connections_of_host(const struct mm_config *c, unsigned pool_size)
{
	long workers = c->workers == MM_WORKERS_AUTO ? sysconf(_SC_NPROCESSORS_ONLN) : c->workers;
	return (double)(workers > 0 ? workers : 1) * (double)c->milter_count * pool_size;
}

/* "redis.example:6379 clients=57 maxclients=10000 pool_size=2 hosts=1" */
static void read_redis_room(struct mm_doctor *d, const char *text)
{
	unsigned clients, most, pool_size, hosts;
	const char *numbers = strstr(text, " clients=");
	if (numbers == NULL || sscanf(numbers, " clients=%u maxclients=%u pool_size=%u hosts=%u", &clients, &most,
		&pool_size, &hosts) != 4)
		return;
	int name = (int)(numbers - text);
	/* while a reload lasts, two generations have their connections */
	double here = connections_of_host(d->config, pool_size), all = 2 * here * hosts;
	if (all <= most) {
		mm_find_ok(&d->findings, "redis %.*s takes %u clients and has %u; a host opens up to %.0f, during a "
			"reload %.0f", name, text, most, clients, here, 2 * here);
		return;
	}
	mm_find_wrong(&d->findings, "redis %.*s takes %u clients, but %u hosts open up to %.0f, during a reload: "
		"workers, milters and pool_size make %.0f for each host", name, text, most, hosts, all, 2 * here);
	mm_find_remedy(&d->findings, "raise maxclients in redis.conf, or lower workers, or pool_size in redis = { … }");
}

static void read_redis_line(struct mm_doctor *d, const char *line)
{
	static const char room[] = "moonmilter: redis: ", fails[] = "moonmilter: redis fails: ";
	if (strncmp(line, room, sizeof room - 1) == 0)
		read_redis_room(d, line + sizeof room - 1);
	if (strncmp(line, fails, sizeof fails - 1) == 0) {
		mm_find_wrong(&d->findings, "redis %s", line + sizeof fails - 1);
		mm_find_remedy(&d->findings, "until it answers, limits and stores of all hosts do what their on_down "
			"says; see redis = { … } in the configuration");
	}
}

static void read_check_line(void *self, char *line)
{
	struct reading *r = self;
	static const char doubt[] = "moonmilter: owners: ", named[] = "moonmilter: macros that scripts name: ",
		signs[] = "moonmilter: signs mail: ";
	char stage[16];
	int at = 0;
	read_redis_line(r->doctor, line);
	if (strncmp(line, doubt, sizeof doubt - 1) == 0)
		note_owners(r->doctor, line + sizeof doubt - 1);
	if (strcmp(line, "moonmilter: all scripts load") == 0)
		r->all_load = true;
	if (strncmp(line, named, sizeof named - 1) == 0)
		add_names(&r->doctor->macros_named, line + sizeof named - 1);
	r->doctor->signs |= strncmp(line, signs, sizeof signs - 1) == 0;
	if (sscanf(line, "moonmilter: macros at %15[a-z]: %n", stage, &at) != 1 || at == 0)
		return;
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		if (strcmp(stage, mm_macro_set_name((enum mm_macro_set)set)) == 0)
			add_names(&r->doctor->macros[set], line + at);
}

static void check_scripts(struct mm_doctor *d, char *const argv[])
{
	struct reading r = { .doctor = d };
	if (argv == NULL)
		return;
	setenv("MOONMILTER_DOCTOR", "1", 1);    /* also asks the Redis that the configuration names */
	mm_doctor_run(argv, read_check_line, &r);
	unsetenv("MOONMILTER_DOCTOR");
	if (r.all_load) {
		mm_find_ok(&d->findings, "all scripts load");
		return;
	}
	mm_find_wrong(&d->findings, "the scripts do not load: a restart would fail, a reload changes nothing");
	mm_find_remedy(&d->findings, "moonmilter check%s%s", argv[2] != NULL ? " -c " : "", argv[2] != NULL
		? argv[3] : "");
}

/* ---- the running host ---- */

/* The answer to `ctl status`. */
struct status {
	char first[sizeof ((struct mm_note *)0)->text];         /* "" when there was no answer */
	char failure[sizeof ((struct mm_note *)0)->text];       /* of the last reload; "" when it succeeded */
	bool is_hung;                                           /* a worker is hung */
};

static void read_status_line(struct status *s, const char *line)
{
	if (s->first[0] == '\0')
		snprintf(s->first, sizeof s->first, "%s", line);
	if (strncmp(line, "last failure: ", 14) == 0)
		snprintf(s->failure, sizeof s->failure, "%.*s", (int)strcspn(line + 14, "\n"), line + 14);
	if (strstr(line, " state=hung ") != NULL)
		s->is_hung = true;
}

static void ask_status(int fd, struct status *s)
{
	struct mm_note note = { .kind = MM_NOTE_REQUEST, .text = "status" };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int listing_fd;
	if (!mm_channel_send(fd, &note, -1))
		return;
	while (poll(&p, 1, ANSWER_MS) == 1) {
		enum mm_channel_state got = mm_channel_receive(fd, &note, &listing_fd);
		if (got == MM_CHANNEL_GONE || (got == MM_CHANNEL_NOTE && note.kind == MM_NOTE_END))
			return;
		if (got == MM_CHANNEL_NOTE && listing_fd >= 0)
			close(listing_fd);
		if (got == MM_CHANNEL_NOTE && note.kind == MM_NOTE_ANSWER)
			read_status_line(s, note.text);
	}
}

static void check_answer(struct mm_doctor *d, int fd)
{
	struct status s = { .first = "" };
	ask_status(fd, &s);
	if (s.first[0] == '\0') {
		mm_find_wrong(&d->findings, "%s: the host does not answer", d->config->control);
		mm_find_remedy(&d->findings, "ask as root or as the user that the host runs as; otherwise look "
			"into its log");
		return;
	}
	mm_find_ok(&d->findings, "it runs: %s", s.first);
	if (s.failure[0] != '\0') {
		mm_find_wrong(&d->findings, "the last reload failed, and older scripts serve: %s", s.failure);
		mm_find_remedy(&d->findings, "correct that, then run moonmilter ctl %sreload", d->ctl_option);
	}
	if (s.is_hung) {
		mm_find_wrong(&d->findings, "a worker's loop does not turn: a script blocks it");
		mm_find_remedy(&d->findings, "look for worker_ended and loop_blocked in the log; they name script "
			"and handler");
	}
}

static void check_running(struct mm_doctor *d)
{
	const char *path = d->config->control;
	if (path == NULL) {
		mm_find_note(&d->findings, "no control socket: moonmilter ctl cannot ask this host, and systemctl "
			"reload fails");
		mm_find_remedy(&d->findings, "control = \"/run/moonmilter/control.sock\"");
		return;
	}
	int fd = mm_reach_connect_unix(path);
	if (fd >= 0) {
		check_answer(d, fd);
		close(fd);
	} else if (errno == EACCES) {
		mm_find_note(&d->findings, "%s: %s", path, strerror(errno));
		mm_find_remedy(&d->findings, "run moonmilter doctor as root, or as the user that the host runs as");
	} else {
		mm_find_wrong(&d->findings, "the host does not run: %s: %s", path, strerror(errno));
		mm_find_remedy(&d->findings, "systemctl start moonmilter, or moonmilter run -c %s; then journalctl "
			"-u moonmilter", d->config_file != NULL ? d->config_file : "FILE");
	}
}

void mm_doctor_host(struct mm_doctor *d, char *const check_argv[])
{
	mm_findings_begin(&d->findings, "moonmilter");
	say_configuration(d);
	check_settings(d);
	check_scripts(d, check_argv);
	check_running(d);
}

/* ---- sockets that no MTA of this machine names ---- */

static void check_unnamed(struct mm_doctor *d, const struct mm_doctor_socket *s)
{
	struct mm_endpoint here = mm_endpoint_reachable(&s->spec);
	struct mm_caller caller = { .mta = "the MTA", .is_ours = true };
	char port[8];
	if (s->spec.kind != MM_ENDPOINT_UNIX) {
		snprintf(port, sizeof port, "%u", s->spec.port);
		mm_reach_inet(&d->findings, &caller, here.host, port);
		return;
	}
	int fd = mm_reach_connect_unix(s->spec.path);
	if (fd >= 0) {
		close(fd);
		mm_find_ok(&d->findings, "%s: a process listens", s->spec.path);
	} else if (errno == EACCES) {
		mm_find_note(&d->findings, "%s: %s", s->spec.path, strerror(errno));
		mm_find_remedy(&d->findings, "run moonmilter doctor as root");
	} else {
		mm_find_wrong(&d->findings, "%s: no process answers: %s", s->spec.path, strerror(errno));
		mm_find_remedy(&d->findings, "start moonmilter (systemctl start moonmilter), or look into its log");
	}
}

void mm_doctor_unnamed(struct mm_doctor *d)
{
	bool has_begun = false;
	char text[MM_ENDPOINT_TEXT_SIZE];
	for (size_t i = 0; i < d->socket_count; i++) {
		if (d->sockets[i].is_named)
			continue;
		if (!has_begun)
			mm_findings_begin(&d->findings, "Sockets of ours that no MTA here names");
		has_begun = true;
		mm_find_note(&d->findings, "%s: no MTA here uses it",
			mm_endpoint_text(&d->sockets[i].spec, text, sizeof text));
		mm_find_remedy(&d->findings, "nothing, if an MTA elsewhere uses it; otherwise name it in an MTA, or "
			"remove it from listen");
		check_unnamed(d, &d->sockets[i]);
	}
}
