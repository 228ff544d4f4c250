#include "control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#define ASKERS_MAX 32           /* at a time; more are turned away */

struct mm_asker {
	struct mm_control *control;             /* borrowed */
	int                fd;                  /* owned; -1: has hung up */
	bool               has_asked;
	struct mm_asker   *next, *previous;
};

struct mm_control {
	struct mm_control_owner owner;
	int                     listening;      /* borrowed */
	int                     epoll;          /* owned: makes one descriptor of many */
	struct mm_asker        *askers;         /* owned list */
	unsigned                asker_count;
};

struct request {
	const char *name;
	bool        takes_argument;
};

static const struct request requests[MM_REQUEST_COUNT] = {
#define X(name, text, takes, about) { text, takes != NULL },
	MM_REQUESTS(X)
#undef X
};

bool mm_profile_wish_read(const char *text, struct mm_profile_wish *w)
{
	unsigned samples, begins_anew;
	*w = (struct mm_profile_wish){ 0 };
	if (sscanf(text, "%u %lf %u %u", &samples, &w->seconds, &begins_anew, &w->worker) != 4)
		return false;
	w->samples = samples;
	w->begins_anew = begins_anew;
	return w->seconds >= 0 && w->seconds <= MM_PROFILE_SECONDS_MAX && (w->seconds > 0 || !w->samples);
}

void mm_profile_wish_write(const struct mm_profile_wish *w, char *to, size_t size)
{
	snprintf(to, size, "%u %.3f %u %u", w->samples, w->seconds, w->begins_anew, w->worker);
}

static void asker_free(struct mm_asker *a)
{
	struct mm_control *c = a->control;
	if (a->fd >= 0)
		close(a->fd);
	if (a->previous != NULL)
		a->previous->next = a->next;
	else
		c->askers = a->next;
	if (a->next != NULL)
		a->next->previous = a->previous;
	c->asker_count--;
	free(a);
}

static void send_note(struct mm_asker *a, const struct mm_note *note, int descriptor)
{
	if (a->fd < 0 || mm_link_send(a->fd, note, descriptor))
		return;
	close(a->fd);
	a->fd = -1;
}

void mm_asker_say(struct mm_asker *a, const char *format, ...)
{
	struct mm_note note = { .kind = MM_NOTE_ANSWER };
	va_list args;
	va_start(args, format);
	vsnprintf(note.text, sizeof note.text, format, args);
	va_end(args);
	send_note(a, &note, -1);
}

void mm_asker_hear(void *self, const char *line)
{
	mm_asker_say(self, "%s", line);
}

void mm_asker_give(struct mm_asker *a, int descriptor)
{
	struct mm_note note = { .kind = MM_NOTE_ANSWER };
	send_note(a, &note, descriptor);
}

void mm_asker_end(struct mm_asker *a, int status, const char *text)
{
	struct mm_note note = { .kind = MM_NOTE_END, .number = (uint32_t)status };
	snprintf(note.text, sizeof note.text, "%s", text != NULL ? text : "");
	send_note(a, &note, -1);
	asker_free(a);
}

bool mm_asker_has_gone(const struct mm_asker *a)
{
	return a->fd < 0;
}

static bool may_ask(int fd)
{
	struct ucred who;
	socklen_t size = sizeof who;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && (who.uid == 0 || who.uid == geteuid());
}

static void accept_asker(struct mm_control *c)
{
	int fd = accept4(c->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct mm_asker *a = c->asker_count < ASKERS_MAX && may_ask(fd) ? calloc(1, sizeof *a) : NULL;
	struct epoll_event event = { .events = EPOLLIN, .data = { .ptr = a } };
	if (a == NULL || epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
		free(a);
		close(fd);
		return;
	}
	a->control = c;
	a->fd = fd;
	a->next = c->askers;
	if (a->next != NULL)
		a->next->previous = a;
	c->askers = a;
	c->asker_count++;
}

/* "loglevel debug" */
static void ask(struct mm_asker *a, char *line)
{
	char *space = strchr(line, ' ');
	const char *argument = "";
	if (space != NULL) {
		*space = '\0';
		argument = space + 1;
	}
	for (int i = 0; i < MM_REQUEST_COUNT; i++) {
		if (strcmp(requests[i].name, line) != 0 || requests[i].takes_argument != (argument[0] != '\0'))
			continue;
		a->control->owner.asked(a->control->owner.self, a, (enum mm_request)i, argument);
		return;
	}
	mm_asker_end(a, EX_USAGE, "unknown request; is moonmilter ctl of the same version as the host?");
}

static void read_asker(struct mm_asker *a)
{
	struct mm_note note;
	int descriptor;
	enum mm_link got = mm_link_receive(a->fd, &note, &descriptor);
	if (got == MM_LINK_NOTHING)
		return;
	if (descriptor >= 0)
		close(descriptor);
	if (got == MM_LINK_NOTE && note.kind == MM_NOTE_REQUEST && !a->has_asked) {
		a->has_asked = true;
		ask(a, note.text);
		return;
	}
	if (!a->has_asked) {
		asker_free(a);
		return;
	}
	close(a->fd);                   /* the answer still comes, to nobody */
	a->fd = -1;
}

struct mm_control *mm_control_new(int listening, struct mm_control_owner owner)
{
	struct mm_control *c = calloc(1, sizeof *c);
	struct epoll_event event = { .events = EPOLLIN, .data = { .ptr = NULL } };
	if (c == NULL)
		return NULL;
	c->owner = owner;
	c->listening = listening;
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (c->epoll >= 0 && epoll_ctl(c->epoll, EPOLL_CTL_ADD, listening, &event) == 0)
		return c;
	if (c->epoll >= 0)
		close(c->epoll);
	free(c);
	return NULL;
}

void mm_control_free(struct mm_control *c)
{
	if (c == NULL)
		return;
	while (c->askers != NULL)
		asker_free(c->askers);
	close(c->epoll);
	free(c);
}

int mm_control_descriptor(const struct mm_control *c)
{
	return c->epoll;
}

/* One event a turn: answering it may free any asker. */
void mm_control_turn(struct mm_control *c)
{
	struct epoll_event event;
	if (epoll_wait(c->epoll, &event, 1, 0) != 1)
		return;
	if (event.data.ptr == NULL)
		accept_asker(c);
	else
		read_asker(event.data.ptr);
}
