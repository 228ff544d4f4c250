#include "embed/wake.h"

#include "base/watch.h"
#include "embed/parts.h"

#include <errno.h>
#include <ev.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void on_wake(struct mm_watch *watch, int ready)
{
	struct mm_host *h = MM_OWNER_OF(watch, struct mm_host, wake_watch);
	uint64_t count;
	(void)ready;
	while (read(h->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
		;
	if (h->take_signals != NULL)
		h->take_signals(h);
	if (h->options.woken != NULL)
		h->options.woken(h->options.woken_self);
}

bool mm_host_listen_for_wakes(struct mm_host *h)
{
	h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->wake_fd < 0)
		return false;
	mm_watch_init(&h->wake_watch, mm_worker_clock(h->worker), on_wake);
	mm_watch_start(&h->wake_watch, h->wake_fd, MM_READABLE);
	ev_unref(h->loop);
	return true;
}

void mm_host_end_wakes(struct mm_host *h)
{
	if (h->wake_fd < 0)
		return;
	ev_ref(h->loop);
	mm_watch_stop(&h->wake_watch);
	close(h->wake_fd);
	h->wake_fd = -1;
}

void mm_host_wake(const struct mm_host *h)
{
	static const uint64_t one = 1;
	int kept = errno;
	while (write(h->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
		;
	errno = kept;
}

int mm_host_fd(struct mm_host *h)
{
	return h->owns_loop ? mm_clock_look(mm_worker_clock(h->worker)).fd : -1;
}

double mm_host_timeout(struct mm_host *h)
{
	return h->owns_loop ? mm_clock_look(mm_worker_clock(h->worker)).timeout : -1;
}
