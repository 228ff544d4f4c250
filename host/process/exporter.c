#include "process/exporter.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "embed/exposed.h"

#include <microhttpd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGAIN_AFTER   1.0       /* seconds after its end until it is started again */
#define CLIENTS_MAX   64u       /* at a time, of each listener */
#define CLIENT_WAIT   10u       /* seconds of silence */
#define CLIENT_MEMORY 16384u    /* bytes for a request */
#define FRESH_FOR     0.2       /* seconds that a page may be given again: many clients must not cost a processor */
#define OPEN_TYPE     "application/openmetrics-text"

/* ---- the process ---- */

struct page {
	struct mm_buffer text;          /* owned */
	double           made_at;       /* mm_clock_real(); 0: never */
};

struct serving {
	const struct mm_exporter *e;    /* borrowed */
	struct page               pages[2];     /* of Prometheus' own format, of OpenMetrics */
};

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, const char *bytes,
	size_t size)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes, MHD_RESPMEM_MUST_COPY);
	if (r == NULL)
		return MHD_NO;
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, "Allow", "GET, HEAD");
	enum MHD_Result result = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result say(struct MHD_Connection *c, unsigned status, const char *text)
{
	return answer(c, status, "text/plain; charset=utf-8", text, strlen(text));
}

static const struct mm_buffer *page_of(struct serving *s, bool is_open_metrics)
{
	struct page *p = &s->pages[is_open_metrics];
	double now = mm_clock_real();
	if (p->made_at != 0 && now - p->made_at < FRESH_FOR)
		return &p->text;
	mm_buffer_clear(&p->text);
	p->made_at = now;
	if (mm_host_expose(s->e->host, s->e->census, is_open_metrics, &p->text))
		return &p->text;
	mm_buffer_free(&p->text);
	p->made_at = 0;
	return NULL;
}

static enum MHD_Result show(struct serving *s, struct MHD_Connection *c)
{
	const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	bool is_open_metrics = accept != NULL && strstr(accept, OPEN_TYPE) != NULL;
	const struct mm_buffer *page = page_of(s, is_open_metrics);
	if (page == NULL)
		return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
	return answer(c, MHD_HTTP_OK, is_open_metrics ? OPEN_TYPE "; version=1.0.0; charset=utf-8"
		: "text/plain; version=0.0.4; charset=utf-8", (const char *)page->bytes, page->size);
}

/* A request with a body is no question about metrics: it is hung up on, so nobody can send one without end. */
static enum MHD_Result on_request(void *self, struct MHD_Connection *c, const char *url, const char *method,
	const char *version, const char *upload, size_t *upload_size, void **request)
{
	static char seen;
	(void)version;
	(void)upload;
	if (*upload_size > 0 || MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding") != NULL
	    || MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length") != NULL)
		return MHD_NO;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return say(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
	if (*request == NULL) {
		*request = &seen;       /* MHD closes the connection after an answer at the first call */
		return MHD_YES;
	}
	if (strcmp(url, "/metrics") == 0)
		return show(self, c);
	if (strcmp(url, "/") == 0)
		return say(c, MHD_HTTP_OK, "moonmilter: the metrics are at /metrics\n");
	return say(c, MHD_HTTP_NOT_FOUND, "there is only /metrics\n");
}

/* All but standard error and the sockets of metrics, which are in order. */
static void close_others(const int *keep, unsigned count)
{
	unsigned from = 0;
	for (unsigned i = 0; i < count; i++) {
		unsigned fd = (unsigned)keep[i];
		if (fd > from)
			close_range(from, fd - 1, 0);
		from = fd + 1;
	}
	close_range(from, ~0u, 0);
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void give_up_rights(const struct mm_exporter *e, pid_t parent)
{
	static const int ignored[] = { SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGPIPE };
	sigset_t none;
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)        /* it died before we could ask for a signal */
		_exit(0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	/* mail goes first: a batch process that wakes up does not push aside one that is running */
	setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 10);
	sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 });
	mm_host_protect_counts(e->host, e->census);
}

static void serve(struct MHD_Daemon **daemons, unsigned count)
{
	struct pollfd fds[MM_METRICS_MAX];
	for (;;) {
		unsigned long long wait = 60000, least;
		for (unsigned i = 0; i < count; i++) {
			const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemons[i], MHD_DAEMON_INFO_EPOLL_FD);
			fds[i] = (struct pollfd){ .fd = info != NULL ? info->epoll_fd : -1, .events = POLLIN };
			if (MHD_get_timeout(daemons[i], &least) == MHD_YES && least < wait)
				wait = least;
		}
		poll(fds, count, (int)wait);
		for (unsigned i = 0; i < count; i++)
			MHD_run(daemons[i]);
	}
}

static void be_exporter(const struct mm_exporter *e, pid_t parent)
{
	static struct serving s;
	struct MHD_Daemon *daemons[MM_METRICS_MAX];
	int keep[MM_METRICS_MAX + 1] = { STDERR_FILENO };
	unsigned count = mm_host_metrics(e->host, keep + 1);
	s.e = e;
	give_up_rights(e, parent);
	qsort(keep, count + 1, sizeof *keep, by_number);
	close_others(keep, count + 1);
	unsigned at = 0;
	for (unsigned i = 0; i <= count; i++) {
		if (keep[i] == STDERR_FILENO)
			continue;
		daemons[at] = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, &s,
			MHD_OPTION_LISTEN_SOCKET, keep[i], MHD_OPTION_CONNECTION_LIMIT, CLIENTS_MAX,
			MHD_OPTION_CONNECTION_TIMEOUT, CLIENT_WAIT, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
			(size_t)CLIENT_MEMORY, MHD_OPTION_END);
		if (daemons[at++] == NULL)
			_exit(1);
	}
	serve(daemons, at);
}

/* ---- its parent ---- */

void mm_exporter_keep(struct mm_exporter *e)
{
	int fds[MM_METRICS_MAX];
	pid_t parent = getpid();
	if (e->pid != 0 || mm_clock_real() < e->start_at || mm_host_metrics(e->host, fds) == 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		be_exporter(e, parent);
		_exit(1);
	}
	e->start_at = mm_clock_real() + AGAIN_AFTER;
	if (pid > 0)
		e->pid = pid;
	else
		mm_log_say(mm_host_log(e->host), MM_LEVEL_ERROR, "metrics", "no process can be created to show them");
}

void mm_exporter_ended(struct mm_exporter *e, pid_t pid, int status)
{
	if (e->pid == 0 || pid != e->pid)
		return;
	e->pid = 0;
	e->start_at = mm_clock_real() + AGAIN_AFTER;
	mm_log_say(mm_host_log(e->host), MM_LEVEL_ERROR, "metrics", "pid %d, which shows them, has ended (%s %d); "
		"another takes its place", (int)pid, WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

void mm_exporter_look(struct mm_exporter *e)
{
	int status;
	if (e->pid != 0 && waitpid(e->pid, &status, WNOHANG) == e->pid)
		mm_exporter_ended(e, e->pid, status);
}

void mm_exporter_stop(struct mm_exporter *e)
{
	if (e->pid == 0)
		return;
	kill(e->pid, SIGKILL);
	waitpid(e->pid, NULL, 0);
	e->pid = 0;
}
