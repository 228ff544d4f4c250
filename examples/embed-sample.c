/* embed-sample.c -- what the sample filters of libmilter and milter-manager do, on moonmilter.h: prints every event,
 * keeps a copy of each message in a file until its end, refuses some recipients and one kind of text, and adds fields.
 *
 *     cc embed-sample.c $(pkg-config --cflags --libs moonmilter) -o embed-sample
 *     ./embed-sample inet:10025@127.0.0.1
 */
#include <moonmilter.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of one message. */
struct copy {
	FILE    *file;                          /* owned; without a name, so that nothing has to remove it */
	unsigned recipients;
	bool     is_refused;
};

static void free_copy(void *data)
{
	struct copy *c = data;
	fclose(c->file);
	free(c);
}

static enum mm_decision on_connect(struct mm_event *event, const char *host, const char *address)
{
	(void)event;
	printf("connect %s %s\n", host, address != NULL ? address : "-");
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_helo(struct mm_event *event, const char *name)
{
	(void)event;
	printf("helo %s\n", name);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_mail(struct mm_event *event, const char *sender)
{
	struct copy *c = calloc(1, sizeof *c);
	if (c == NULL || (c->file = tmpfile()) == NULL) {
		free(c);
		return MM_DECISION_TEMPFAIL;
	}
	mm_event_keep_for_message(event, c, free_copy);
	printf("mail %s\n", sender);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_rcpt(struct mm_event *event, const char *recipient)
{
	struct copy *c = mm_event_of_message(event);
	printf("rcpt %s\n", recipient);
	if (strncmp(recipient, "nobody@", 7) == 0) {
		mm_event_reply(event, 550, "5.1.1", (const char *[]){ "There is no such user here", NULL }, NULL);
		return MM_DECISION_REJECT;
	}
	c->recipients++;
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_header(struct mm_event *event, const char *name, const char *value)
{
	struct copy *c = mm_event_of_message(event);
	fprintf(c->file, "%s: %s\r\n", name, value);
	printf("header %s\n", name);
	c->is_refused |= strcasecmp(name, "Subject") == 0 && strstr(value, "make money fast") != NULL;
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_eoh(struct mm_event *event)
{
	struct copy *c = mm_event_of_message(event);
	fputs("\r\n", c->file);
	printf("end of header\n");
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_body(struct mm_event *event, const void *bytes, size_t size)
{
	struct copy *c = mm_event_of_message(event);
	fwrite(bytes, 1, size, c->file);
	return MM_DECISION_CONTINUE;
}

static enum mm_decision on_eom(struct mm_event *event)
{
	struct copy *c = mm_event_of_message(event);
	char text[64];
	long size = ftell(c->file);
	printf("end of message: %ld bytes for %u\n", size, c->recipients);
	if (fflush(c->file) != 0 || size < 0)
		return MM_DECISION_TEMPFAIL;
	if (c->is_refused) {
		mm_event_reply(event, 554, "5.7.1", (const char *[]){ "We do not want this,", "100 % sure", NULL },
			NULL);
		return MM_DECISION_REJECT;
	}
	snprintf(text, sizeof text, "%ld bytes", size);
	mm_event_add_header(event, "X-Sample-Size", text, NULL);
	mm_event_change_header(event, "X-Sample-Remove", 1, NULL, NULL);
	mm_event_insert_header(event, 0, "X-Sample", "seen", NULL);
	return MM_DECISION_CONTINUE;
}

static void on_abort(struct mm_event *event, const char *stage, enum mm_end_reason reason)
{
	(void)event;
	(void)stage;
	(void)reason;
	printf("abort\n");
}

static void on_close(struct mm_event *event, enum mm_end_reason reason)
{
	(void)event;
	(void)reason;
	printf("close\n");
}

int main(int argc, char **argv)
{
	static const struct mm_filter filter = {
		.size = sizeof filter, .name = "embed-sample.c", .on_connect = on_connect, .on_helo = on_helo,
		.on_mail = on_mail, .on_rcpt = on_rcpt, .on_header = on_header, .on_eoh = on_eoh, .on_body = on_body,
		.on_eom = on_eom, .on_abort = on_abort, .on_close = on_close,
	};
	struct mm_error error;
	struct mm_host_options options = MM_HOST_OPTIONS;
	options.listen = (const char *[]){ argc > 1 ? argv[1] : "inet:10025@127.0.0.1", NULL };
	options.filters = (const struct mm_filter *[]){ &filter, NULL };
	options.handle_signals = true;
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct mm_host *host = mm_host_new(&options, &error);
	if (host == NULL || !mm_host_start(host, &error)) {
		fprintf(stderr, "%s\n", error.text);
		mm_host_free(host);
		return mm_error_status(&error);
	}
	printf("listening on %s\n", options.listen[0]);
	mm_host_run(host);
	mm_host_free(host);
	return 0;
}
