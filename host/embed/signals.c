#include "embed/signals.h"

#include "embed/log_target.h"
#include "embed/parts.h"
#include "embed/reload.h"
#include "embed/stop.h"

#include <ev.h>
#include <signal.h>
#include <stdlib.h>

#define SIGNAL_COUNT 4

struct signal_watch {
	ev_signal watchers[SIGNAL_COUNT];
	int       count;
};

static void on_signal(struct ev_loop *loop, ev_signal *s, int events)
{
	struct mm_host *h = s->data;
	struct mm_fault why;
	(void)loop;
	(void)events;
	switch (s->signum) {
	case SIGHUP:
		mm_host_reload_soon(h);
		break;
	case SIGUSR1:
		if (!mm_host_reopen_log(h, &why))
			mm_log_say(&h->log, MM_LEVEL_ERROR, "log", "%s", why.text);
		break;
	default:
		if (h->census == NULL || !h->is_stopping)    /* a worker also gets this order from its master */
			mm_host_stop_as_asked(h);
	}
}

bool mm_host_watch_signals(struct mm_host *h)
{
	static const int numbers[SIGNAL_COUNT] = { SIGTERM, SIGUSR1, SIGHUP, SIGINT };
	h->signals = calloc(1, sizeof *h->signals);
	if (h->signals == NULL)
		return false;
	h->signals->count = h->census == NULL ? SIGNAL_COUNT : 2;   /* follower.c ignores the others */
	for (int i = 0; i < h->signals->count; i++) {
		ev_signal *s = &h->signals->watchers[i];
		ev_signal_init(s, on_signal, numbers[i]);
		s->data = h;
		ev_signal_start(h->loop, s);
		ev_unref(h->loop);
	}
	signal(SIGPIPE, SIG_IGN);
	return true;
}

void mm_host_ignore_signals(struct mm_host *h)
{
	for (int i = 0; h->signals != NULL && i < h->signals->count; i++) {
		ev_ref(h->loop);
		ev_signal_stop(h->loop, &h->signals->watchers[i]);
	}
	free(h->signals);
	h->signals = NULL;
}
