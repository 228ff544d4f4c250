/* threads.c -- hosts on threads of one process, each with scripts, a filter in C and a socket of its own, from the start
 * to the end, all at the same time: threads THREADS ROUNDS DIRECTORY. Each host has a second thread, which is its MTA:
 * it wakes the host, too, and so asks it for reloads and for its end. Prints a line for each. */
#include "raw_mta.h"

#include <moonmilter.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static const char *directory;
static int rounds;

struct mine {
	pthread_t     host_thread, mta_thread;
	int           number;
	unsigned      messages;         /* that the filter has seen; of the host's thread */
	int           passed;           /* of the MTA's thread */
	atomic_uint   reloads, asked_reloads;
	atomic_bool   serves, shall_stop, is_left;
	struct mm_host *host;           /* written before serves */
	char          path[200], failure[1024];
};

static enum mm_decision on_mail(struct mm_event *event, const char *sender)
{
	struct mine *m = mm_event_self(event);
	(void)sender;
	m->messages++;
	return MM_DECISION_CONTINUE;
}

static void on_reloaded(void *self, bool ok, const struct mm_error *error)
{
	struct mine *m = self;
	if (!ok)
		snprintf(m->failure, sizeof m->failure, "%s", error->text);
	m->reloads += ok;
}

static void on_woken(void *self)
{
	struct mine *m = self;
	if (m->asked_reloads > 0) {
		m->asked_reloads = 0;
		mm_host_reload(m->host, on_reloaded, m);
	}
	if (m->shall_stop)
		mm_host_stop(m->host, MM_STOP_DRAIN);
}

static void no_log(void *self, enum mm_level level, const char *line, size_t size)
{
	struct mine *m = self;
	if (level >= MM_LEVEL_ERROR && m->failure[0] == '\0')
		snprintf(m->failure, sizeof m->failure, "%.*s", (int)size, line);
}

static void *serve(void *self)
{
	struct mine *m = self;
	struct mm_filter filter = { .size = sizeof filter, .name = "count", .self = m, .on_mail = on_mail };
	struct mm_host_options options = MM_HOST_OPTIONS;
	struct mm_error error;
	char listen[256], script[256];
	snprintf(listen, sizeof listen, "unix:%s", m->path);
	snprintf(script, sizeof script, "%s/thread.lua", directory);
	options.listen = (const char *[]){ listen, NULL };
	options.scripts = (const char *[]){ script, NULL };
	options.filters = (const struct mm_filter *[]){ &filter, NULL };
	options.guard_scripts = m->number == 0;         /* of one host: the others must not feel it */
	options.woken = on_woken;
	options.woken_self = m;
	options.log = no_log;
	options.log_self = m;
	m->host = mm_host_new(&options, &error);
	if (m->host == NULL || !mm_host_start(m->host, &error)) {
		snprintf(m->failure, sizeof m->failure, "%s", error.text);
		mm_host_free(m->host);
		m->host = NULL;
		m->serves = true;
		return NULL;
	}
	m->serves = true;
	mm_host_run(m->host);
	while (!m->is_left)             /* the MTA may wake it until then */
		usleep(1000);
	mm_host_free(m->host);
	return NULL;
}

static bool pass_one(const struct mine *m)
{
	int fd = raw_dial(m->path);
	bool ok = fd >= 0 && raw_begin(fd) && raw_message(fd) && raw_end(fd) == 2 && raw_message(fd) && raw_end(fd) == 2;
	if (fd >= 0)
		raw_send(fd, 'Q', "", 0);
	close(fd);
	return ok;
}

static void *be_mta(void *self)
{
	struct mine *m = self;
	while (!m->serves)
		usleep(1000);
	if (m->host == NULL)
		return NULL;
	for (int i = 0; i < rounds; i++) {
		m->passed += pass_one(m);
		if (i % 4 == 1)
			m->asked_reloads = 1;
		mm_host_wake(m->host);
	}
	m->shall_stop = true;
	mm_host_wake(m->host);
	m->is_left = true;
	return NULL;
}

int main(int argc, char **argv)
{
	static struct mine all[16];
	int count = argc > 3 ? atoi(argv[1]) : 0;
	rounds = argc > 3 ? atoi(argv[2]) : 0;
	directory = argv[argc - 1];
	if (count < 1 || count > 16)
		return 64;
	for (int i = 0; i < count; i++) {
		all[i].number = i;
		snprintf(all[i].path, sizeof all[i].path, "%s/%d.sock", directory, i);
		pthread_create(&all[i].host_thread, NULL, serve, &all[i]);
		pthread_create(&all[i].mta_thread, NULL, be_mta, &all[i]);
	}
	for (int i = 0; i < count; i++) {
		pthread_join(all[i].mta_thread, NULL);
		pthread_join(all[i].host_thread, NULL);
		printf("host %d: %d of %d connections, filter saw %u messages, %s%s%s\n", i, all[i].passed, rounds,
			all[i].messages, all[i].reloads > 0 ? "reloaded" : "not reloaded",
			all[i].failure[0] != '\0' ? ": " : "", all[i].failure);
	}
	return 0;
}
