/* moonmilter_filter.c -- "count recipients, add X-Rcpt-Count" in C on libmoonmilter: a struct mm_filter, no script.
 * usage: moonmilter_filter SPEC WORK...
 *   rcpt_eom       only those two handlers
 *   every_handler  all of them, each touching its arguments
 *   body=BYTES     replaces the body at end of message */
#include <moonmilter.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct message {
	unsigned recipients;
	size_t   seen;          /* bytes of names, values and body */
};

static char  *body;
static size_t body_size;

static struct message *message_of(struct mm_event *e)
{
	struct message *m = mm_event_of_message(e);
	if (m == NULL) {
		m = calloc(1, sizeof *m);
		mm_event_keep_for_message(e, m, free);
	}
	return m;
}

static enum mm_decision on_connect(struct mm_event *e, const char *host, const char *address)
{
	(void)address;
	mm_event_keep_for_client(e, strdup(host), free);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_helo(struct mm_event *e, const char *name)
{
	(void)e;
	return strlen(name) > 0 ? MM_DECISION_CONTINUE : MM_DECISION_TEMPFAIL;
}

static enum mm_decision on_mail(struct mm_event *e, const char *sender)
{
	message_of(e)->seen = strlen(sender);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_rcpt(struct mm_event *e, const char *recipient)
{
	(void)recipient;
	message_of(e)->recipients++;
	return MM_DECISION_CONTINUE;
}

static enum mm_decision nothing(struct mm_event *e)
{
	(void)e;
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_header(struct mm_event *e, const char *name, const char *value)
{
	message_of(e)->seen += strlen(name) + strlen(value);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_body(struct mm_event *e, const void *bytes, size_t size)
{
	(void)bytes;
	message_of(e)->seen += size;
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_eom(struct mm_event *e)
{
	char count[16];
	snprintf(count, sizeof count, "%u", message_of(e)->recipients);
	mm_event_add_header(e, "X-Rcpt-Count", count, NULL);
	if (body_size > 0)
		mm_event_replace_body(e, body, body_size, NULL);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_unknown(struct mm_event *e, const char *command)
{
	(void)e, (void)command;
	return MM_DECISION_CONTINUE;
}

static void on_abort(struct mm_event *e, const char *stage, enum mm_end_reason reason)
{
	(void)e, (void)stage, (void)reason;
}

static void on_close(struct mm_event *e, enum mm_end_reason reason)
{
	(void)e, (void)reason;
}

static struct mm_filter filter = { .size = sizeof filter, .name = "bench", .on_rcpt = on_rcpt, .on_eom = on_eom };

static void take_work(const char *word)
{
	if (strcmp(word, "every_handler") == 0) {
		filter.on_connect = on_connect;
		filter.on_helo = on_helo;
		filter.on_mail = on_mail;
		filter.on_data = filter.on_eoh = nothing;
		filter.on_header = on_header;
		filter.on_body = on_body;
		filter.on_unknown = on_unknown;
		filter.on_abort = on_abort;
		filter.on_close = on_close;
	} else if (strncmp(word, "body=", 5) == 0) {
		body_size = strtoul(word + 5, NULL, 0);
		body = malloc(body_size);
		if (body != NULL)
			memset(body, 'x', body_size);
	}
}

int main(int argc, char **argv)
{
	struct mm_host_options options = MM_HOST_OPTIONS;
	struct mm_error error;
	if (argc < 3) {
		fputs("usage: moonmilter_filter SPEC WORK...\n", stderr);
		return 64;
	}
	for (int i = 2; i < argc; i++)
		take_work(argv[i]);
	options.listen = (const char *[]){ argv[1], NULL };
	options.filters = (const struct mm_filter *[]){ &filter, NULL };
	options.set = (const char *[]){ "log_level=warn", NULL };
	options.handle_signals = true;
	struct mm_host *host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		fprintf(stderr, "moonmilter_filter: %s\n", error.text);
		return mm_error_status(&error);
	}
	mm_host_run(host);
	mm_host_free(host);
	return 0;
}
