#include "doctor/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- our sockets ---- */

bool mm_doctor_open(struct mm_doctor *d, const struct mm_config *c, const char *file, struct mm_fault *why)
{
	size_t count = 0;
	*d = (struct mm_doctor){ .config = c, .config_file = file };
	if (file != NULL && strcmp(file, MM_CONFIG_DEFAULT_PATH) != 0)
		snprintf(d->ctl_option, sizeof d->ctl_option, "-c %s ", file);
	for (size_t i = 0; i < c->milter_count; i++)
		count += c->milters[i].listen.count;
	d->sockets = calloc(count + 1, sizeof *d->sockets);
	if (d->sockets == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	for (size_t i = 0; i < c->milter_count; i++) {
		const struct mm_config_milter *m = &c->milters[i];
		for (size_t j = 0; j < m->listen.count; j++) {
			struct mm_doctor_socket *s = &d->sockets[d->socket_count];
			if (!mm_endpoint_parse(m->listen.items[j], &s->spec, why)) {
				mm_doctor_close(d);
				return false;
			}
			s->milter = m;
			if (mm_endpoint_has_address(&s->spec))
				d->socket_count++;
			else
				d->has_unknown = true;
		}
	}
	return true;
}

void mm_doctor_close(struct mm_doctor *d)
{
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		free(d->macros[set]);
	free(d->macros_named);
	free(d->sockets);
	mm_findings_free(&d->findings);
}

struct mm_doctor_socket *mm_doctor_unix(struct mm_doctor *d, const char *path)
{
	for (size_t i = 0; i < d->socket_count; i++) {
		struct mm_doctor_socket *s = &d->sockets[i];
		if (s->spec.kind != MM_ENDPOINT_UNIX || !mm_reach_is_same_socket(s->spec.path, path))
			continue;
		s->is_named = true;
		return s;
	}
	return NULL;
}

struct mm_doctor_socket *mm_doctor_inet(struct mm_doctor *d, const struct mm_endpoint *spec)
{
	for (size_t i = 0; i < d->socket_count; i++) {
		struct mm_doctor_socket *s = &d->sockets[i];
		if (s->spec.kind != spec->kind || s->spec.port != spec->port)
			continue;
		/* a socket that listens on all addresses serves each of them */
		if (strcmp(s->spec.host, spec->host) != 0 && !mm_endpoint_is_everywhere(&s->spec))
			continue;
		s->is_named = true;
		return s;
	}
	return NULL;
}

/* ---- settings ---- */

double mm_doctor_seconds(const char *text)
{
	char *unit;
	double n = strtod(text, &unit);
	switch (*unit) {
	case 'm': return n * 60;
	case 'h': return n * 3600;
	case 'd': return n * 86400;
	case 'w': return n * 604800;
	default:  return n;
	}
}

bool mm_doctor_time(struct mm_doctor *d, const char *theirs, double their_seconds, const char *key, double our_seconds)
{
	if (their_seconds > our_seconds) {
		mm_find_ok(&d->findings, "%s of %g s is longer than our %s of %g s", theirs, their_seconds,
			key, our_seconds);
		return true;
	}
	mm_find_wrong(&d->findings, "%s of %g s is not longer than our %s of %g s: the MTA gives up on "
		"us first", theirs, their_seconds, key, our_seconds);
	return false;
}

bool mm_doctor_away(struct mm_doctor *d, const struct mm_config_milter *m, enum mm_verdict_kind theirs,
	const char *quoted)
{
	bool goes_through = theirs == MM_VERDICT_accept, bounces = theirs == MM_VERDICT_reject;
	if (theirs == m->on_error && goes_through) {
		mm_find_note(&d->findings, "%s: mail passes unfiltered when we are down, as it does when a script "
			"fails (on_error)", quoted);
		return false;
	}
	if (theirs == m->on_error || (!goes_through && !bounces)) {
		mm_find_ok(&d->findings, "%s: %s when we are down", quoted, bounces ? "mail bounces" : "mail waits at "
			"its sender or in the queue here");
		return true;
	}
	mm_find_wrong(&d->findings, "%s: mail %s when we are down, but our on_error is \"%s\"", quoted,
		goes_through ? "passes unfiltered" : "bounces", mm_verdict_name(m->on_error));
	return false;
}

/* ---- asking programs ---- */

static pid_t start(char *const argv[], int *output)
{
	int ends[2];
	pid_t pid = -1;
	posix_spawn_file_actions_t actions;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) != 0)
		pid = -1;
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	*output = ends[0];
	if (pid < 0)
		close(ends[0]);
	return pid;
}

int mm_doctor_run(char *const argv[], void (*line)(void *self, char *line), void *self)
{
	int output, status;
	char *text = NULL;
	size_t size = 0;
	fflush(NULL);
	pid_t pid = start(argv, &output);
	if (pid < 0)
		return -1;
	FILE *f = fdopen(output, "r");
	while (f != NULL && getline(&text, &size, f) > 0) {
		text[strcspn(text, "\n")] = '\0';
		line(self, text);
	}
	free(text);
	if (f != NULL)
		fclose(f);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) != 127 ? WEXITSTATUS(status) : -1;
}
