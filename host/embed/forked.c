/* embed/forked.c -- a host in a process that its program has forked: the copy is given up, and the parent serves on. */
#include "embed/listeners.h"
#include "embed/parts.h"
#include "embed/signals.h"
#include "task/budget.h"

#include <stdio.h>
#include <unistd.h>

/* The kernel tells what our own loop waits for: sockets of MTAs and of scripts, timers, programs. What a watcher has
 * left is there, too, until it is closed: libev removes nothing. */
static void close_watched(int epoll)
{
	char path[48], line[128];
	int fd;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epoll);
	FILE *f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "tfd: %d", &fd) == 1 && fd != fileno(f))
			close(fd);
	if (f != NULL)
		fclose(f);
}

/* No memory is freed, because what is in it would act at its end: handlers would run a second time, TLS and databases
 * would take leave on connections that the parent uses. No call of libev may wait: what it waits with is the
 * parent's. */
void mm_host_after_fork(struct mm_host *h)
{
	if (h == NULL)
		return;
	mm_host_ignore_signals(h);
	if (h->guards)
		mm_budget_close();
	if (h->waits_on >= 0) {
		close_watched(h->waits_on);
		close(h->waits_on);
	}
	mm_worker_close_copies(h->worker);
	mm_host_close_copies(h);
	close(h->wake_fd);
	mm_log_forked(&h->log);
	mm_log_close(&h->log);
}
