#include "process/events.h"

#include "base/clock.h"
#include "embed/exposed.h"
#include "state/describe.h"
#include "state/event_queue.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

struct request {
	struct mm_host           *host;         /* borrowed */
	struct mm_control_client *client;       /* borrowed */
	unsigned                  count;
};

/* The names of the counters are those of lua/moonmilter/event.lua and state/spool.lua. */
static void say_sink(struct request *r, const char *milter, const char *sink, const struct mm_event_queue *q)
{
	static const char *const results[] = { "put", "sent", "failed", "dropped" };
	char counts[160], oldest[32] = "", error[400] = "";
	size_t used = 0;
	for (size_t i = 0; i < sizeof results / sizeof *results; i++)
		used += (size_t)snprintf(counts + used, sizeof counts - used, " %s=%.0f", results[i],
			mm_host_count_of(r->host, milter, MM_FIGURE_events, sink, results[i]));
	double age = mm_clock_wall() - q->oldest;
	if (q->waiting > 0)
		snprintf(oldest, sizeof oldest, " oldest=%.1f", age > 0 ? age : 0);
	mm_control_client_say(r->client, "sink=%s milter=%s waiting=%llu%s%s set_aside=%llu bytes=%llu", sink, milter,
		(unsigned long long)q->waiting, oldest, counts, (unsigned long long)q->aside,
		(unsigned long long)q->bytes);
	if (q->error.size > 0)
		mm_control_client_say(r->client, "  %s", mm_describe_value(q->error, error, sizeof error));
}

/* file: MILTER+event.SINK */
static void look_at(void *self, const char *file)
{
	struct request *r = self;
	struct mm_fault why;
	struct mm_event_queue q;
	char milter[2 * MM_STORE_NAME_MAX + 2];
	const char *plus = strchr(file, '+');
	if (plus == NULL || strncmp(plus + 1, MM_EVENT_STORE, strlen(MM_EVENT_STORE)) != 0)
		return;
	snprintf(milter, sizeof milter, "%.*s", (int)(plus - file), file);
	struct mm_store *s = mm_host_open_store(r->host, file, &why);
	if (s == NULL) {
		mm_control_client_say(r->client, "%s: %s", file, why.text);
		return;
	}
	enum mm_store_result result = mm_event_queue_read(s, mm_clock_wall(), &q);
	if (result == MM_STORE_DONE)
		say_sink(r, milter, plus + 1 + strlen(MM_EVENT_STORE), &q);
	else
		mm_control_client_say(r->client, "%s: %s", file, mm_store_result_text(s, result));
	mm_store_close(s);
	r->count++;
}

void mm_events_answer(struct mm_host *host, struct mm_control_client *client)
{
	struct request r = { host, client, 0 };
	mm_host_each_store(host, look_at, &r);
	if (r.count == 0)
		mm_control_client_say(client, "no script has opened a sink of events (moonmilter.event)");
	mm_control_client_end(client, EX_OK, NULL);
}
