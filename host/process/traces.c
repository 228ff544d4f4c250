#include "process/traces.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

void mm_traces_init(struct mm_traces *t, struct mm_workforce *workforce)
{
	t->workforce = workforce;
	for (int i = 0; i < MM_TRACES_MAX; i++)
		t->fds[i] = -1;
}

static void end(struct mm_traces *t, int i)
{
	if (t->fds[i] >= 0)
		close(t->fds[i]);
	t->fds[i] = -1;
}

void mm_traces_end(struct mm_traces *t)
{
	for (int i = 0; i < MM_TRACES_MAX; i++)
		end(t, i);
}

void mm_traces_sweep(struct mm_traces *t)
{
	for (int i = 0; i < MM_TRACES_MAX; i++) {
		struct pollfd gone = { .fd = t->fds[i] };
		if (gone.fd >= 0 && poll(&gone, 1, 0) == 1 && gone.revents & (POLLHUP | POLLERR | POLLNVAL))
			end(t, i);
	}
}

static void tell(const struct mm_worker_process *worker, const char *filter, int fd)
{
	struct mm_note note = { .kind = MM_NOTE_TRACE };
	snprintf(note.text, sizeof note.text, "%s", filter);
	if (worker->channel >= 0 && worker->state != MM_WORKER_TRIAL)
		mm_channel_send(worker->channel, &note, fd);
}

bool mm_traces_begin(struct mm_traces *t, const char *filter, int fd)
{
	mm_traces_sweep(t);
	for (int i = 0; i < MM_TRACES_MAX; i++) {
		if (t->fds[i] >= 0)
			continue;
		t->fds[i] = fd;
		snprintf(t->filters[i], sizeof t->filters[i], "%s", filter);
		for (int w = 0; w < MM_WORKFORCE_MAX; w++)      /* those that leave have sessions, too */
			if (t->workforce->workers[w].state != MM_WORKER_FREE)
				tell(&t->workforce->workers[w], filter, fd);
		return true;
	}
	close(fd);
	return false;
}

void mm_traces_tell(const struct mm_traces *t, struct mm_worker_process *worker)
{
	for (int i = 0; i < MM_TRACES_MAX; i++)
		if (t->fds[i] >= 0)
			tell(worker, t->filters[i], t->fds[i]);
}
