/* embed-filter.c -- a filter in C, alone or before scripts: it counts recipients, refuses one, and answers at end of
 * message when a thread has finished, while the host serves others.
 *
 *     cc embed-filter.c $(pkg-config --cflags --libs moonmilter) -pthread -o embed-filter
 *     ./embed-filter inet:10025@127.0.0.1 [script.lua]
 */
#include <moonmilter.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of one message. The thread looks at `sender` only; `next` is protected by the lock. */
struct work {
	struct mm_event *event;                 /* NULL: the answer is no longer wanted */
	char             sender[256];
	unsigned         recipients;
	bool             has_thread;
	struct work     *next;
};

static struct mm_host *host;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct work *finished;

static enum mm_decision on_mail(struct mm_event *event, const char *sender)
{
	struct work *w = calloc(1, sizeof *w);
	if (w == NULL)
		return MM_DECISION_TEMPFAIL;
	w->event = event;
	snprintf(w->sender, sizeof w->sender, "%s", sender);
	mm_event_keep_for_message(event, w, NULL);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_rcpt(struct mm_event *event, const char *recipient)
{
	struct work *w = mm_event_of_message(event);
	if (strncmp(recipient, "nobody@", 7) == 0) {
		mm_event_reply(event, 550, "5.1.1", (const char *[]){ "no such user", NULL }, NULL);
		return MM_DECISION_REJECT;
	}
	w->recipients++;
	return MM_DECISION_CONTINUE;
}

static void *rate(void *self)
{
	struct work *w = self;                  /* here it would ask a database */
	pthread_mutex_lock(&lock);
	w->next = finished;
	finished = w;
	pthread_mutex_unlock(&lock);
	mm_host_wake(host);
	return NULL;
}

static enum mm_decision on_eom(struct mm_event *event)
{
	struct work *w = mm_event_of_message(event);
	pthread_t thread;
	if (pthread_create(&thread, NULL, rate, w) != 0)
		return MM_DECISION_TEMPFAIL;
	pthread_detach(thread);
	w->has_thread = true;
	return MM_DECISION_LATER;
}

/* In the loop of the host, after mm_host_wake(). */
static void woken(void *self)
{
	(void)self;
	pthread_mutex_lock(&lock);
	struct work *list = finished;
	finished = NULL;
	pthread_mutex_unlock(&lock);
	for (struct work *w = list, *next; w != NULL; w = next) {
		struct mm_event *event = w->event;
		struct mm_error error;
		char count[32];
		next = w->next;
		w->has_thread = false;
		if (event == NULL) {
			free(w);
			continue;
		}
		snprintf(count, sizeof count, "%u", w->recipients);
		if (!mm_event_add_header(event, "X-Rcpt-Count", count, &error))
			printf("%s: %s\n", mm_error_word(error.reason), error.text);
		mm_event_finish(event, strncmp(w->sender, "spam@", 5) == 0 ? MM_DECISION_REJECT
			: MM_DECISION_CONTINUE);
	}
}

static void on_cancel(struct mm_event *event)
{
	struct work *w = mm_event_of_message(event);
	w->event = NULL;                        /* woken() frees it */
}

static void end_message(struct mm_event *event)
{
	struct work *w = mm_event_of_message(event);
	if (w != NULL && !w->has_thread)
		free(w);
}

static void on_done(struct mm_event *event, const struct mm_result *result)
{
	printf("done: %d at %s by %s, %u edits, %u of %u recipients refused\n", (int)result->answer, result->stage,
		result->decided_by, result->edits, result->refused, result->recipients);
	end_message(event);
}

static void on_abort(struct mm_event *event, const char *stage, enum mm_end_reason reason)
{
	printf("abort: at %s, reason %d\n", stage, (int)reason);
	end_message(event);
}

int main(int argc, char **argv)
{
	static const struct mm_filter filter = {
		.size = sizeof filter, .name = "embed-filter.c", .on_mail = on_mail, .on_rcpt = on_rcpt,
		.on_eom = on_eom, .on_done = on_done, .on_abort = on_abort, .on_cancel = on_cancel,
	};
	if (argc < 2) {
		fprintf(stderr, "usage: embed-filter SOCKET [SCRIPT.lua]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct mm_error error;
	struct mm_host_options options = MM_HOST_OPTIONS;
	options.listen = (const char *[]){ argv[1], NULL };
	options.scripts = argc > 2 ? (const char *[]){ argv[2], NULL } : NULL;
	options.filters = (const struct mm_filter *[]){ &filter, NULL };
	options.handle_signals = true;
	options.woken = woken;
	host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		fprintf(stderr, "%s\n", error.text);
		mm_host_free(host);
		return mm_error_status(&error);
	}
	printf("serving\n");
	mm_host_run(host);
	mm_host_free(host);
	return 0;
}
