#include "embed/signals.h"

#include "embed/log_target.h"
#include "embed/parts.h"
#include "embed/reload.h"
#include "embed/stop.h"

#include <ev.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SIGNAL_COUNT 4

static const int numbers[SIGNAL_COUNT] = { SIGTERM, SIGUSR1, SIGHUP, SIGINT };

struct signal_watch {
	int              count;
	ev_signal        watchers[SIGNAL_COUNT];        /* of a loop of our own */
	struct sigaction before[SIGNAL_COUNT];  /* of another's: what ours replaced */
};

/* What our own handlers have caught, and whose it is: one host of a process has its signals, whatever its loop is. */
static struct mm_host *_Atomic catching;
static atomic_uint caught;              /* bits of numbers[] */

static void obey(struct mm_host *h, int number)
{
	struct mm_fault why;
	switch (number) {
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

static void on_signal(struct ev_loop *loop, ev_signal *s, int events)
{
	(void)loop;
	(void)events;
	obey(s->data, s->signum);
}

static void on_caught(int number)
{
	const struct mm_host *h = catching;
	for (unsigned i = 0; i < SIGNAL_COUNT; i++)
		if (numbers[i] == number)
			atomic_fetch_or(&caught, 1u << i);
	if (h != NULL)
		mm_host_wake(h);
}

static void take_signals(struct mm_host *h)
{
	unsigned bits = atomic_exchange(&caught, 0);
	for (unsigned i = 0; i < SIGNAL_COUNT; i++)
		if (bits & 1u << i)
			obey(h, numbers[i]);
}

static void catch_signals(struct mm_host *h)
{
	struct sigaction ours = { .sa_handler = on_caught, .sa_flags = SA_RESTART };
	sigfillset(&ours.sa_mask);
	h->take_signals = take_signals;
	for (int i = 0; i < h->signals->count; i++)
		sigaction(numbers[i], &ours, &h->signals->before[i]);
}

static void release_signals(struct mm_host *h)
{
	for (int i = 0; i < h->signals->count; i++)
		sigaction(numbers[i], &h->signals->before[i], NULL);
	h->take_signals = NULL;
}

bool mm_host_watch_signals(struct mm_host *h, struct mm_fault *why)
{
	struct mm_host *nobody = NULL;
	if (!atomic_compare_exchange_strong(&catching, &nobody, h))
		return mm_fault_because(why, MM_REASON_IS_IN_USE, "handle_signals: another host of this process has "
			"the signals; leave it to that one, and stop this host with mm_host_stop()");
	h->signals = calloc(1, sizeof *h->signals);
	if (h->signals == NULL) {
		catching = NULL;
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for a host");
	}
	h->signals->count = h->census == NULL ? SIGNAL_COUNT : 2;   /* follower.c ignores the others */
	signal(SIGPIPE, SIG_IGN);
	if (!h->owns_loop) {
		catch_signals(h);
		return true;
	}
	for (int i = 0; i < h->signals->count; i++) {
		ev_signal *s = &h->signals->watchers[i];
		ev_signal_init(s, on_signal, numbers[i]);
		s->data = h;
		ev_signal_start(h->loop, s);
		ev_unref(h->loop);
	}
	return true;
}

void mm_host_ignore_signals(struct mm_host *h)
{
	if (h->signals != NULL && !h->owns_loop)
		release_signals(h);
	for (int i = 0; h->signals != NULL && h->owns_loop && i < h->signals->count; i++) {
		ev_ref(h->loop);
		ev_signal_stop(h->loop, &h->signals->watchers[i]);
	}
	if (h->signals != NULL)
		catching = NULL;
	free(h->signals);
	h->signals = NULL;
}
