#include "process/control.h"

#include "base/clock.h"
#include "base/list.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sysexits.h>
#include <unistd.h>

#define CLIENTS_MAX 32          /* at the same time; the one that has been silent for longest makes room */
#define ROOT_CLIENTS 8          /* of these for root alone: our own user's programs cannot lock root out */
#define READERS_MAX  12         /* of these, for all who may only look: they cannot lock out the others */
#define GROUPS_MAX   64         /* of a peer, that are looked at */
#define ASK_TIMEOUT 5.0         /* seconds in which a client has to ask */
#define PAUSE_NS   250000000L   /* between tries to accept when descriptors are out */

/* In the order of what they may do. */
enum asker { NOBODY, READER, OWN_USER, ROOT };

struct mm_control_client {
	struct mm_control *control;             /* borrowed */
	int                fd;                  /* owned; -1: the client has hung up */
	bool               has_asked;
	enum asker         who;
	double             since;               /* mm_clock_now() */
	struct mm_control_client *next, *previous;
};

struct mm_control {
	struct mm_control_owner owner;
	int                     listening;      /* borrowed */
	int                     epoll;          /* owned: combines all descriptors into one */
	int                     pause;          /* owned: a timer that ends a pause in accepting */
	struct mm_control_client *clients;      /* owned list */
	unsigned                client_count;
};

const struct mm_request_row mm_request_rows[MM_REQUEST_COUNT] = {
#define X(name, argument, answer, about) { #name, argument, MM_ANSWER_##answer, about },
	MM_REQUESTS(X)
#undef X
};

/* What those who may only look may ask: nothing else, so a new request is not theirs until it has a row here.
 * argument: what it is, or how it begins; NULL: none is taken. */
static const struct { enum mm_request request; const char *argument; bool is_whole; } readable[] = {
	{ MM_REQUEST_status, NULL, true }, { MM_REQUEST_sessions, NULL, true },
	{ MM_REQUEST_generations, NULL, true }, { MM_REQUEST_maps, NULL, true },
	{ MM_REQUEST_metrics, NULL, true }, { MM_REQUEST_history, NULL, true },
	{ MM_REQUEST_profile, MM_PROFILE_LOOK, true },
	{ MM_REQUEST_store, "list", true }, { MM_REQUEST_store, "stat\t", false },
	{ MM_REQUEST_limit, "list", true }, { MM_REQUEST_limit, "show\t", false }, { MM_REQUEST_limit, "top\t", false },
	{ MM_REQUEST_shadow, "show\t", false }, { MM_REQUEST_shadow, "explain\t", false },
};

static bool is_readable(enum mm_request request, const char *argument)
{
	for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
		const char *known = readable[i].argument;
		if (readable[i].request != request)
			continue;
		if (known == NULL || (readable[i].is_whole ? strcmp(known, argument) == 0
		    : strncmp(known, argument, strlen(known)) == 0))
			return true;
	}
	return false;
}

bool mm_profile_request_read(const char *text, struct mm_profile_request *w)
{
	unsigned samples, begins_anew;
	*w = (struct mm_profile_request){ 0 };
	if (sscanf(text, "%u %lf %u %u", &samples, &w->seconds, &begins_anew, &w->worker) != 4)
		return false;
	w->samples = samples;
	w->begins_anew = begins_anew;
	return w->seconds >= 0 && w->seconds <= MM_PROFILE_SECONDS_MAX && (w->seconds > 0 || !w->samples);
}

void mm_profile_request_write(const struct mm_profile_request *w, char *to, size_t size)
{
	snprintf(to, size, "%u %.3f %u %u", w->samples, w->seconds, w->begins_anew, w->worker);
}

/* Closing is not enough: while a newly forked worker holds a copy of the descriptor, the epoll set would still report
 * a client that is gone. */
static void hang_up(struct mm_control_client *client)
{
	if (client->fd < 0)
		return;
	epoll_ctl(client->control->epoll, EPOLL_CTL_DEL, client->fd, NULL);
	close(client->fd);
	client->fd = -1;
}

static void client_free(struct mm_control_client *client)
{
	struct mm_control *c = client->control;
	hang_up(client);
	MM_LIST_REMOVE(c->clients, client);
	c->client_count--;
	free(client);
}

static void send_note(struct mm_control_client *client, const struct mm_note *note, int descriptor)
{
	if (client->fd >= 0 && !mm_channel_send(client->fd, note, descriptor))
		hang_up(client);
}

void mm_control_client_say(struct mm_control_client *client, const char *format, ...)
{
	struct mm_note note = { .kind = MM_NOTE_ANSWER };
	va_list args;
	va_start(args, format);
	vsnprintf(note.text, sizeof note.text, format, args);
	va_end(args);
	send_note(client, &note, -1);
}

void mm_control_client_line(void *self, const char *line)
{
	mm_control_client_say(self, "%s", line);
}

void mm_control_client_say_worker(struct mm_control_client *client, int pid, const char *state,
	const struct mm_census_row *row)
{
	if (state == NULL)
		state = mm_census_state_name((enum mm_census_state)mm_census_get(row->state));
	mm_control_client_say(client, "worker pid=%d state=%s generation=%u sessions=%u older_sessions=%u begun=%llu "
		"messages=%llu script_errors=%llu lua_bytes=%llu held_bytes=%llu held_peak=%llu held_largest=%llu "
		"longest_collection_us=%u log_lost=%llu", pid, state,
		mm_census_get(row->generation), mm_census_get(row->sessions),
		mm_census_get(row->older_sessions), (unsigned long long)mm_census_get(row->sessions_begun),
		(unsigned long long)mm_census_get(row->messages), (unsigned long long)mm_census_get(row->script_errors),
		(unsigned long long)mm_census_get(row->lua_bytes), (unsigned long long)mm_census_get(row->held_bytes),
		(unsigned long long)mm_census_get(row->held_peak), (unsigned long long)mm_census_get(row->held_largest),
		mm_census_get(row->longest_collection_us),
		(unsigned long long)mm_census_get(row->log_lost));
}

void mm_control_client_give(struct mm_control_client *client, int descriptor)
{
	struct mm_note note = { .kind = MM_NOTE_ANSWER };
	send_note(client, &note, descriptor);
}

void mm_control_client_end(struct mm_control_client *client, int status, const char *text)
{
	struct mm_note note = { .kind = MM_NOTE_END, .number = (uint32_t)status };
	snprintf(note.text, sizeof note.text, "%s", text != NULL ? text : "");
	send_note(client, &note, -1);
	client_free(client);
}

bool mm_control_client_has_gone(const struct mm_control_client *client)
{
	return client->fd < 0;
}

static bool is_in_group(int fd, const struct ucred *who, gid_t group)
{
	gid_t groups[GROUPS_MAX];
	socklen_t size = sizeof groups;
	if (who->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) != 0)
		return false;
	for (size_t i = 0; i < size / sizeof *groups; i++)
		if (groups[i] == group)
			return true;
	return false;
}

static enum asker asker_of(const struct mm_control *c, int fd)
{
	struct ucred who;
	socklen_t size = sizeof who;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
		return NOBODY;
	if (who.uid == 0)
		return ROOT;
	if (who.uid == geteuid())
		return OWN_USER;
	return c->owner.readers != 0 && is_in_group(fd, &who, c->owner.readers) ? READER : NOBODY;
}

/* Of those who may do at most as much. */
static unsigned count_clients(const struct mm_control *c, enum asker most)
{
	unsigned count = 0;
	for (const struct mm_control_client *client = c->clients; client != NULL; client = client->next)
		count += client->who <= most;
	return count;
}

static bool is_full(const struct mm_control *c, enum asker who)
{
	return c->client_count >= CLIENTS_MAX
		|| (who < ROOT && count_clients(c, OWN_USER) >= CLIENTS_MAX - ROOT_CLIENTS)
		|| (who == READER && count_clients(c, READER) >= READERS_MAX);
}

/* Frees places: of clients that should have asked long ago, then of the one that has been silent for longest. New
 * clients are at the front of the list. False: all others wait for an answer. */
static bool make_room(struct mm_control *c, enum asker who)
{
	struct mm_control_client *silent = NULL;
	double now = mm_clock_now();
	for (struct mm_control_client *client = c->clients, *next; client != NULL; client = next) {
		next = client->next;
		if (client->has_asked)
			continue;
		if (now - client->since > ASK_TIMEOUT)
			client_free(client);
		else if (client->who <= who)
			silent = client;
	}
	if (!is_full(c, who))
		return true;
	if (silent != NULL)
		client_free(silent);
	return !is_full(c, who);
}

static void listen_for(struct mm_control *c, uint32_t events)
{
	struct epoll_event event = { .events = events, .data = { .ptr = NULL } };
	epoll_ctl(c->epoll, EPOLL_CTL_MOD, c->listening, &event);
}

/* New clients stay in the socket's queue; the socket is ready all the time, so stop watching it for a while. */
static void pause_accepting(struct mm_control *c)
{
	struct itimerspec when = { .it_value.tv_nsec = PAUSE_NS };
	if (timerfd_settime(c->pause, 0, &when, NULL) == 0)
		listen_for(c, 0);
}

static void accept_again(struct mm_control *c)
{
	uint64_t times;
	if (read(c->pause, &times, sizeof times) == (ssize_t)sizeof times)
		listen_for(c, EPOLLIN);
}

static void accept_client(struct mm_control *c)
{
	int fd = accept4(c->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
		pause_accepting(c);
	if (fd < 0)
		return;
	enum asker who = asker_of(c, fd);
	bool is_welcome = who != NOBODY && make_room(c, who);
	if (who != NOBODY && !is_welcome)
		mm_channel_post(fd, MM_NOTE_END, EX_TEMPFAIL, "too many clients wait for an answer");
	struct mm_control_client *client = is_welcome ? calloc(1, sizeof *client) : NULL;
	struct epoll_event event = { .events = EPOLLIN, .data = { .ptr = client } };
	if (client == NULL || epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
		free(client);
		close(fd);
		return;
	}
	client->control = c;
	client->fd = fd;
	client->who = who;
	client->since = mm_clock_now();
	MM_LIST_PUSH(c->clients, client);
	c->client_count++;
}

/* "loglevel debug" */
static void take_request(struct mm_control_client *client, char *line)
{
	char *space = strchr(line, ' ');
	const char *argument = "";
	if (space != NULL) {
		*space = '\0';
		argument = space + 1;
	}
	for (int i = 0; i < MM_REQUEST_COUNT; i++) {
		const struct mm_request_row *row = &mm_request_rows[i];
		if (strcmp(row->name, line) != 0 || (row->argument != NULL) != (argument[0] != '\0'))
			continue;
		if (client->who == READER && !is_readable((enum mm_request)i, argument)) {
			mm_control_client_end(client, EX_NOPERM, "members of control_readers may only look; ask as "
				"root or as the user that the host runs as");
			return;
		}
		client->control->owner.asked(client->control->owner.self, client, (enum mm_request)i, argument);
		return;
	}
	mm_control_client_end(client, EX_USAGE, "unknown request; does moonmilter ctl have the same version "
		"as the host?");
}

static void read_client(struct mm_control_client *client)
{
	struct mm_note note;
	int descriptor;
	enum mm_channel_state got = mm_channel_receive(client->fd, &note, &descriptor);
	if (got == MM_CHANNEL_NOTHING)
		return;
	if (descriptor >= 0)
		close(descriptor);
	if (got == MM_CHANNEL_NOTE && note.kind == MM_NOTE_REQUEST && !client->has_asked) {
		client->has_asked = true;
		take_request(client, note.text);
		return;
	}
	if (!client->has_asked) {
		client_free(client);
		return;
	}
	hang_up(client);                /* its answer is still made, then dropped */
}

static void control_close(struct mm_control *c)
{
	if (c->epoll >= 0)
		close(c->epoll);
	if (c->pause >= 0)
		close(c->pause);
	c->epoll = c->pause = -1;
	/* after closing the set: a worker shares the set with its master and must not change it */
	while (c->clients != NULL)
		client_free(c->clients);
	free(c);
}

struct mm_control *mm_control_new(int listening, struct mm_control_owner owner)
{
	struct mm_control *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	struct epoll_event asked = { .events = EPOLLIN, .data = { .ptr = NULL } };
	struct epoll_event paused = { .events = EPOLLIN, .data = { .ptr = c } };
	c->owner = owner;
	c->listening = listening;
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	c->pause = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (c->epoll >= 0 && c->pause >= 0 && epoll_ctl(c->epoll, EPOLL_CTL_ADD, listening, &asked) == 0
	    && epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->pause, &paused) == 0)
		return c;
	control_close(c);
	return NULL;
}

void mm_control_free(struct mm_control *c)
{
	if (c != NULL)
		control_close(c);
}

int mm_control_descriptor(const struct mm_control *c)
{
	return c->epoll;
}

/* Only one event a turn, because answering it may free any client. */
void mm_control_turn(struct mm_control *c)
{
	struct epoll_event event;
	if (epoll_wait(c->epoll, &event, 1, 0) != 1)
		return;
	if (event.data.ptr == NULL)
		accept_client(c);
	else if (event.data.ptr == c)
		accept_again(c);
	else
		read_client(event.data.ptr);
}
