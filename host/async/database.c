/* A. The library may close a connection's descriptor in any step, and the kernel may reuse its number at once. So the
 *    watch is stopped before each step and started again after it.
 * B. Questions that are over wait in a list until the next turn of the loop delivers them: done is then never called
 *    from inside a library, nor from inside mm_database_ask(). Large answers take long to become Lua: a turn delivers
 *    only as many as its time allows.
 * C. A thread that begins a connection may outlive the database, so it has copies of all that it needs. */
#include "async/database.h"

#include "base/bounds.h"
#include "base/list.h"
#include "base/watch.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- answers ---- */

static bool has_room(struct mm_answer *a, size_t more)
{
	if (more > MM_DATABASE_ANSWER_MAX || a->packed.size + more > MM_DATABASE_ANSWER_MAX)
		a->is_too_large = true;
	return !a->is_too_large;
}

bool mm_answer_add_row(struct mm_answer *a, unsigned values)
{
	if (!has_room(a, 4))
		return false;
	mm_buffer_append_u32(&a->packed, values);
	a->rows++;
	return !a->packed.failed;
}

bool mm_answer_add_value(struct mm_answer *a, const void *bytes, size_t size)
{
	if (!has_room(a, size + 4))
		return false;
	mm_buffer_append_u32(&a->packed, bytes != NULL ? (uint32_t)size : MM_NO_VALUE);
	if (bytes != NULL)
		mm_buffer_append(&a->packed, bytes, size);
	return !a->packed.failed;
}

/* Libraries end their texts with line ends, and some have several lines. */
static void set_one_line(struct mm_fault *why, const char *text)
{
	mm_fault_set(why, MM_FAULT_PEER, "%s", text);
	size_t size = strlen(why->text);
	while (size > 0 && isspace((unsigned char)why->text[size - 1]))
		why->text[--size] = '\0';
	for (char *c = why->text; *c != '\0'; c++)
		if (iscntrl((unsigned char)*c))
			*c = ' ';
}

void mm_answer_refuse(struct mm_answer *a, const char *text)
{
	if (!a->is_refused)
		set_one_line(&a->why, text);
	a->is_refused = true;
}

/* ---- beginning a connection (note C) ---- */

struct job {
	const struct mm_database_driver *driver;
	size_t                           size;          /* of all, with the texts that follow */
	struct mm_database_login         login;
	struct mm_database_setting       settings[];
};

const char *mm_database_setting(const struct mm_database_login *login, const char *name)
{
	for (unsigned i = 0; i < login->count; i++)
		if (strcmp(login->settings[i].name, name) == 0)
			return login->settings[i].value;
	return NULL;
}

static const char *put(char **at, const char *text)
{
	char *to = *at;
	*at = stpcpy(to, text) + 1;
	return to;
}

static struct job *new_job(const struct mm_database_driver *driver, const struct mm_database_setting *settings,
	unsigned count, const struct mm_database_server *s)
{
	size_t size = sizeof(struct job) + count * sizeof *settings + strlen(s->address) + strlen(s->name) + 2;
	for (unsigned i = 0; i < count; i++)
		size += strlen(settings[i].name) + strlen(settings[i].value) + 2;
	struct job *job = calloc(1, size);
	if (job == NULL)
		return NULL;
	char *at = (char *)&job->settings[count];
	job->driver = driver;
	job->size = size;
	for (unsigned i = 0; i < count; i++) {
		job->settings[i].name = put(&at, settings[i].name);
		job->settings[i].value = put(&at, settings[i].value);
	}
	job->login = (struct mm_database_login){ { put(&at, s->address), put(&at, s->name), s->port }, count,
		job->settings };
	return job;
}

static void free_job(void *self)
{
	struct job *job = self;
	if (job != NULL)
		explicit_bzero(job, job->size);         /* one setting is the password */
	free(job);
}

static void *run_job(struct mm_handshake *h, void *self, struct mm_fault *why)
{
	struct job *job = self;
	return job->driver->connect(h, &job->login, why);
}

static void close_unwanted(void *self, void *connection)
{
	struct job *job = self;
	job->driver->close(connection);
}

/* ---- what a database consists of ---- */

struct server {
	struct server            *next, *previous;
	struct mm_database_server s;            /* owned texts */
	unsigned                  failures, timeouts;   /* in a row */
	double                    not_before;   /* it is left alone until then */
	bool                      is_kept;      /* while servers are replaced */
};

enum link_stage { CONNECTING, IDLE, BUSY };

struct link {
	struct link        *next, *previous;
	struct mm_database *database;
	struct server      *server;             /* borrowed; NULL: no longer among the servers */
	struct mm_handshake *handshake;         /* owned; of CONNECTING, else NULL */
	void               *handle;             /* owned: of the driver; NULL while it is CONNECTING */
	enum link_stage     stage;
	unsigned            answers;            /* so far */
	struct mm_question *question;           /* of a BUSY link */
	struct mm_watch     watch;
	struct mm_timer     timer;              /* of CONNECTING and IDLE */
};

enum place { QUEUED, ASKED, OVER };

struct mm_question {
	struct mm_question *next, *previous;    /* of the list of its place; ASKED is in none */
	struct mm_database *database;
	enum place          place;
	struct link        *link;               /* ASKED */
	unsigned            attempts;
	struct mm_timer     timer;
	void              (*done)(void *self, enum mm_question_end, const struct mm_answer *);
	void               *self;
	enum mm_question_end end;               /* OVER */
	struct mm_answer    answer;             /* owned */
	unsigned            count;
	struct mm_text      parts[];            /* their bytes follow */
};

struct list {
	struct mm_question *first, *last;
};

struct mm_database {
	struct mm_clock                 *clock;         /* borrowed */
	const struct mm_database_driver *driver;
	struct mm_database_setting      *settings;      /* owned */
	unsigned                         setting_count;
	unsigned                         connections;
	double                           connect_timeout, idle;
	struct server                   *servers, *turn;        /* turn: the last one that was connected to */
	struct link                     *links;
	unsigned                         link_count;
	struct list                      queue, over;
	unsigned                         queue_size;
	struct mm_timer                  deliverer;
	bool                             is_delivering, is_over;
	struct mm_fault                  why;           /* of the last failure */
};

/* ---- lists of questions ---- */

static void append(struct list *list, struct mm_question *q)
{
	q->next = NULL;
	q->previous = list->last;
	if (list->last != NULL)
		list->last->next = q;
	else
		list->first = q;
	list->last = q;
}

static void take(struct list *list, struct mm_question *q)
{
	if (q->next == NULL)
		list->last = q->previous;
	MM_LIST_REMOVE(list->first, q);
	q->next = q->previous = NULL;
}

static void enqueue(struct mm_database *d, struct mm_question *q, bool is_first)
{
	q->place = QUEUED;
	d->queue_size++;
	if (!is_first || d->queue.first == NULL)
		append(&d->queue, q);
	else
		MM_LIST_PUSH(d->queue.first, q);
}

static void dequeue(struct mm_question *q)
{
	take(&q->database->queue, q);
	q->database->queue_size--;
}

static void free_question(struct mm_question *q)
{
	mm_timer_stop(&q->timer);
	mm_buffer_free(&q->answer.packed);
	free(q);
}

/* The question is in no list and on no link. */
static void finish(struct mm_question *q, enum mm_question_end end)
{
	struct mm_database *d = q->database;
	mm_timer_stop(&q->timer);
	q->place = OVER;
	q->end = end;
	append(&d->over, q);
	mm_timer_soon(&d->deliverer);
}

/* ---- servers ---- */

static void free_server(struct server *s)
{
	free((char *)(uintptr_t)s->s.address);
	free((char *)(uintptr_t)s->s.name);
	free(s);
}

/* A quarter more or less, so that the workers of a host do not come together. */
static double spread(double seconds)
{
	return seconds * (0.75 + (double)((mm_clock_ticks() * 0x9e3779b97f4a7c15u) >> 40) / (double)(1 << 25));
}

static void note_failure(struct mm_database *d, struct server *s, const char *text)
{
	if (s == NULL)
		return;
	double delay = MM_DATABASE_DOWN_FIRST * (double)(1u << (s->failures < 6 ? s->failures : 6));
	s->failures++;
	s->timeouts = 0;
	s->not_before = mm_clock_now() + spread(delay < MM_DATABASE_DOWN_MAX ? delay : MM_DATABASE_DOWN_MAX);
	struct mm_fault line;
	set_one_line(&line, text);
	mm_fault_set(&d->why, MM_FAULT_PEER, "%s: %s", s->s.name, line.text);
}

static void note_success(struct server *s)
{
	if (s != NULL) {
		s->failures = s->timeouts = 0;
		s->not_before = 0;
	}
}

static void note_timeout(struct mm_database *d, struct server *s)
{
	if (s != NULL && ++s->timeouts >= MM_DATABASE_TIMEOUTS_MAX)
		note_failure(d, s, "answers no question in time");
}

/* The next one in turn that may be tried. While a server that has failed is tried, it is left alone otherwise. */
static struct server *choose(struct mm_database *d)
{
	double now = mm_clock_now();
	struct server *s = d->turn;
	for (struct server *i = d->servers; i != NULL; i = i->next) {
		s = s != NULL && s->next != NULL ? s->next : d->servers;
		if (s->not_before > now)
			continue;
		if (s->failures > 0)
			s->not_before = now + d->connect_timeout;
		return d->turn = s;
	}
	return NULL;
}

/* ---- connections ---- */

static void serve(struct mm_database *);

static void drop_link(struct link *l)
{
	struct mm_database *d = l->database;
	mm_watch_stop(&l->watch);
	mm_timer_stop(&l->timer);
	if (l->question != NULL)
		l->question->link = NULL;
	MM_LIST_REMOVE(d->links, l);
	d->link_count--;
	mm_handshake_leave(l->handshake);
	if (l->handle != NULL)
		d->driver->close(l->handle);
	free(l);
}

/* Asks again, or gives up. */
static void put_back(struct mm_question *q)
{
	struct mm_database *d = q->database;
	unsigned most = 1;
	for (struct server *s = d->servers; s != NULL; s = s->next)
		most++;
	if (q->attempts < most) {
		mm_buffer_clear(&q->answer.packed);
		q->answer.rows = 0;
		enqueue(d, q, true);
		return;
	}
	mm_fault_set(&q->answer.why, MM_FAULT_PEER, "%s", d->why.text);
	finish(q, MM_QUESTION_DOWN);
}

static void link_failed(struct link *l, const char *text)
{
	struct mm_database *d = l->database;
	struct mm_question *q = l->question;
	/* that an old connection breaks says little about the server; the next connection will */
	if (l->answers == 0)
		note_failure(d, l->server, text);
	else
		set_one_line(&d->why, text);
	drop_link(l);
	if (q != NULL)
		put_back(q);
	serve(d);
}

static void rest(struct link *l)
{
	l->stage = IDLE;
	mm_timer_start(&l->timer, l->database->idle);
}

/* The answer is complete. */
static void link_answered(struct link *l, bool is_spent)
{
	struct mm_database *d = l->database;
	struct mm_question *q = l->question;
	l->question = NULL;
	q->link = NULL;
	l->answers++;
	note_success(l->server);
	if (q->answer.packed.failed)
		mm_answer_refuse(&q->answer, "out of memory");
	finish(q, q->answer.is_too_large ? MM_QUESTION_TOO_LARGE
		: q->answer.is_refused ? MM_QUESTION_REFUSED : MM_QUESTION_ANSWERED);
	if (is_spent || l->server == NULL)
		drop_link(l);
	else
		rest(l);
	serve(d);
}

static void go_on(struct link *l, int ready)
{
	struct mm_database *d = l->database;
	struct mm_link_wants wants = { -1, 0 };
	struct mm_fault why;
	mm_fault_clear(&why);
	mm_watch_stop(&l->watch);
	enum mm_link_state state = d->driver->step(l->handle, ready, &wants, &why);
	if (state == MM_LINK_FAILED || (state == MM_LINK_WAITS && wants.descriptor < 0)) {
		link_failed(l, why.text);
		return;
	}
	if (wants.descriptor >= 0)
		mm_watch_start(&l->watch, wants.descriptor, state == MM_LINK_WAITS ? wants.readiness : MM_READABLE);
	if (state == MM_LINK_WAITS)
		return;
	mm_timer_stop(&l->timer);
	if (l->stage == BUSY) {
		link_answered(l, state == MM_LINK_SPENT);
		return;
	}
	rest(l);
	serve(d);
}

static void on_connected(struct link *l)
{
	struct mm_fault why;
	mm_fault_clear(&why);
	enum mm_handshake_state state = mm_handshake_look(l->handshake, &l->handle, &why);
	if (state == MM_HANDSHAKE_RUNS)
		return;
	mm_watch_stop(&l->watch);
	mm_handshake_leave(l->handshake);
	l->handshake = NULL;
	if (state == MM_HANDSHAKE_FAILED)
		link_failed(l, why.text);
	else
		go_on(l, 0);
}

static void on_ready(struct mm_watch *watch, int ready)
{
	struct link *l = MM_OWNER_OF(watch, struct link, watch);
	if (l->stage == CONNECTING)
		on_connected(l);
	else if (l->stage == IDLE)
		drop_link(l);           /* it is closed, or says something unasked */
	else
		go_on(l, ready);
}

static void on_link_late(struct mm_timer *timer)
{
	struct link *l = MM_OWNER_OF(timer, struct link, timer);
	if (l->stage == IDLE)
		drop_link(l);
	else
		link_failed(l, "no connection in time");
}

static struct mm_handshake *begin(struct mm_database *d, const struct server *s, struct mm_fault *why)
{
	static const struct mm_handshake_work work = { run_job, close_unwanted, free_job };
	struct job *job = new_job(d->driver, d->settings, d->setting_count, &s->s);
	if (job != NULL)
		return mm_handshake_start(&work, job, d->connect_timeout, why);
	mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory");
	return NULL;
}

/* False: no server may be tried now. */
static bool open_link(struct mm_database *d)
{
	struct server *s;
	while ((s = choose(d)) != NULL) {
		struct mm_fault why;
		struct link *l = calloc(1, sizeof *l);
		if (l == NULL)
			return false;
		struct mm_handshake *handshake = begin(d, s, &why);
		if (handshake == NULL) {
			note_failure(d, s, why.text);
			free(l);
			continue;
		}
		*l = (struct link){ .database = d, .server = s, .handshake = handshake, .stage = CONNECTING };
		mm_watch_init(&l->watch, d->clock, on_ready);
		mm_timer_init(&l->timer, d->clock, on_link_late);
		MM_LIST_PUSH(d->links, l);
		d->link_count++;
		mm_timer_start(&l->timer, d->connect_timeout);
		mm_watch_start(&l->watch, mm_handshake_descriptor(handshake), MM_READABLE);
		return true;
	}
	return false;
}

static void ask(struct link *l, struct mm_question *q)
{
	struct mm_fault why;
	struct mm_question_parts parts = { q->parts, q->count };
	dequeue(q);
	q->place = ASKED;
	q->attempts++;
	q->link = l;
	l->question = q;
	l->stage = BUSY;
	mm_timer_stop(&l->timer);
	mm_fault_clear(&why);
	if (l->database->driver->ask(l->handle, &parts, &q->answer, &why))
		go_on(l, 0);
	else
		link_failed(l, why.text);
}

static struct link *find(struct mm_database *d, enum link_stage stage)
{
	struct link *l = d->links;
	while (l != NULL && l->stage != stage)
		l = l->next;
	return l;
}

static unsigned count_links(const struct mm_database *d, enum link_stage stage)
{
	unsigned count = 0;
	for (const struct link *l = d->links; l != NULL; l = l->next)
		count += l->stage == stage;
	return count;
}

static void fail_all(struct mm_database *d)
{
	double now = mm_clock_now(), next = 0;
	for (struct server *s = d->servers; s != NULL; s = s->next)
		if (s->not_before > now && (next == 0 || s->not_before < next))
			next = s->not_before;
	while (d->queue.first != NULL) {
		struct mm_question *q = d->queue.first;
		dequeue(q);
		mm_fault_set(&q->answer.why, MM_FAULT_PEER, "down (%s); the next try is in %.1f s",
			d->why.text[0] != '\0' ? d->why.text : "it has no server", next > now ? next - now : 0.0);
		finish(q, MM_QUESTION_DOWN);
	}
}

/* Gives questions to connections. Steps call it again, at most as deep as there are connections and attempts. */
static void serve(struct mm_database *d)
{
	while (d->queue.first != NULL && !d->is_over) {
		struct link *l = find(d, IDLE);
		if (l != NULL) {
			ask(l, d->queue.first);
		} else if (d->link_count >= d->connections || count_links(d, CONNECTING) >= d->queue_size) {
			return;
		} else if (!open_link(d)) {
			if (d->link_count == 0)
				fail_all(d);
			return;
		}
	}
}

/* All servers have failed, and one is being tried again. */
static bool is_doubtful(const struct mm_database *d)
{
	for (const struct server *s = d->servers; s != NULL; s = s->next)
		if (s->failures == 0)
			return false;
	for (const struct link *l = d->links; l != NULL; l = l->next)
		if (l->stage != CONNECTING)
			return false;
	return d->links != NULL;
}

/* ---- questions ---- */

static void on_question_late(struct mm_timer *timer)
{
	struct mm_question *q = MM_OWNER_OF(timer, struct mm_question, timer);
	struct mm_database *d = q->database;
	struct link *l = q->link;
	if (l != NULL) {
		note_timeout(d, l->server);
		drop_link(l);
	} else {
		dequeue(q);
	}
	mm_buffer_clear(&q->answer.packed);
	finish(q, MM_QUESTION_TIMEOUT);
	serve(d);
}

static void free_now(struct mm_database *d)
{
	while (d->servers != NULL) {
		struct server *s = d->servers;
		d->servers = s->next;
		free_server(s);
	}
	for (unsigned i = 0; i < d->setting_count; i++) {
		char *value = (char *)(uintptr_t)d->settings[i].value;
		free((char *)(uintptr_t)d->settings[i].name);
		if (value != NULL)
			explicit_bzero(value, strlen(value));   /* one is the password */
		free(value);
	}
	free(d->settings);
	free(d);
}

static void on_deliver(struct mm_timer *timer)
{
	struct mm_database *d = MM_OWNER_OF(timer, struct mm_database, deliverer);
	double until = mm_clock_now() + MM_DATABASE_TURN;
	d->is_delivering = true;
	while (d->over.first != NULL && mm_clock_now() < until) {
		struct mm_question *q = d->over.first;
		take(&d->over, q);
		q->done(q->self, q->end, &q->answer);
		free_question(q);
	}
	d->is_delivering = false;
	if (d->is_over)
		free_now(d);
	else if (d->over.first != NULL)
		mm_timer_soon(&d->deliverer);
}

static struct mm_question *new_question(const struct mm_question_parts *parts)
{
	size_t size = 0;
	for (unsigned i = 0; i < parts->count; i++)
		size += parts->parts[i].size + 1;
	struct mm_question *q = calloc(1, sizeof *q + parts->count * sizeof *q->parts + size);
	if (q == NULL)
		return NULL;
	char *to = (char *)&q->parts[parts->count];
	q->count = parts->count;
	for (unsigned i = 0; i < parts->count; i++) {
		size_t n = parts->parts[i].size;
		if (n > 0)
			memcpy(to, parts->parts[i].bytes, n);
		q->parts[i] = (struct mm_text){ to, n };
		to += n + 1;            /* calloc has left a NUL */
	}
	return q;
}

struct mm_question *mm_database_ask(struct mm_database *d, const struct mm_question_parts *parts, double seconds,
	void (*done)(void *self, enum mm_question_end, const struct mm_answer *), void *self)
{
	struct mm_question *q = new_question(parts);
	if (q == NULL)
		return NULL;
	q->database = d;
	q->done = done;
	q->self = self;
	mm_timer_init(&q->timer, d->clock, on_question_late);
	if (d->queue_size >= MM_DATABASE_QUEUE_MAX) {
		mm_fault_set(&q->answer.why, MM_FAULT_RESOURCE, "%u questions wait already", d->queue_size);
		finish(q, MM_QUESTION_DOWN);
		return q;
	}
	if (is_doubtful(d)) {
		mm_fault_set(&q->answer.why, MM_FAULT_PEER, "down (%s); it is being tried again", d->why.text);
		finish(q, MM_QUESTION_DOWN);
		return q;
	}
	mm_timer_start(&q->timer, seconds);
	enqueue(d, q, false);
	serve(d);
	return q;
}

void mm_question_cancel(struct mm_question *q)
{
	struct mm_database *d = q->database;
	if (q->place == OVER)
		take(&d->over, q);
	else if (q->place == QUEUED)
		dequeue(q);
	else
		drop_link(q->link);
	free_question(q);
	serve(d);
}

/* ---- databases ---- */

static bool copy_settings(struct mm_database *d, const struct mm_database_options *o)
{
	d->settings = calloc(o->setting_count + 1, sizeof *d->settings);
	for (; d->settings != NULL && d->setting_count < o->setting_count; d->setting_count++) {
		struct mm_database_setting *to = &d->settings[d->setting_count];
		to->name = strdup(o->settings[d->setting_count].name);
		to->value = strdup(o->settings[d->setting_count].value);
		if (to->name == NULL || to->value == NULL)
			return false;
	}
	return d->settings != NULL;
}

struct mm_database *mm_database_new(struct mm_clock *clock, const struct mm_database_options *o)
{
	struct mm_database *d = calloc(1, sizeof *d);
	if (d == NULL)
		return NULL;
	d->clock = clock;
	d->driver = o->driver;
	d->connections = o->connections;
	d->connect_timeout = o->connect_timeout;
	d->idle = o->idle;
	mm_timer_init(&d->deliverer, clock, on_deliver);
	if (copy_settings(d, o))
		return d;
	free_now(d);
	return NULL;
}

static void close_list(struct list *list)
{
	while (list->first != NULL) {
		struct mm_question *q = list->first;
		take(list, q);
		q->done(q->self, MM_QUESTION_CLOSED, &q->answer);
		free_question(q);
	}
}

void mm_database_free(struct mm_database *d)
{
	if (d == NULL || d->is_over)
		return;
	d->is_over = true;
	mm_timer_stop(&d->deliverer);
	while (d->links != NULL) {
		struct mm_question *q = d->links->question;
		drop_link(d->links);
		if (q != NULL)
			append(&d->over, q);
	}
	close_list(&d->queue);
	close_list(&d->over);
	if (!d->is_delivering)
		free_now(d);
}

static struct server *find_server(struct mm_database *d, const struct mm_database_server *wanted)
{
	struct server *s = d->servers;
	while (s != NULL && (s->s.port != wanted->port || strcmp(s->s.address, wanted->address) != 0
			|| strcmp(s->s.name, wanted->name) != 0))
		s = s->next;
	return s;
}

static struct server *new_server(const struct mm_database_server *from)
{
	struct server *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->s = (struct mm_database_server){ strdup(from->address), strdup(from->name), from->port };
	if (s->s.address != NULL && s->s.name != NULL)
		return s;
	free_server(s);
	return NULL;
}

static void forget_server(struct mm_database *d, struct server *s)
{
	for (struct link *l = d->links, *next; l != NULL; l = next) {
		next = l->next;
		if (l->server != s)
			continue;
		l->server = NULL;
		if (l->stage == IDLE)
			drop_link(l);
	}
	if (d->turn == s)
		d->turn = NULL;
	MM_LIST_REMOVE(d->servers, s);
	free_server(s);
}

bool mm_database_set_servers(struct mm_database *d, const struct mm_database_server *servers, unsigned count)
{
	for (struct server *s = d->servers; s != NULL; s = s->next)
		s->is_kept = false;
	for (unsigned i = count; i-- > 0;) {           /* the first one becomes the first */
		struct server *s = find_server(d, &servers[i]);
		if (s == NULL) {
			s = new_server(&servers[i]);
			if (s == NULL)
				return false;
			MM_LIST_PUSH(d->servers, s);
		}
		s->is_kept = true;
	}
	for (struct server *s = d->servers, *next; s != NULL; s = next) {
		next = s->next;
		if (!s->is_kept)
			forget_server(d, s);
	}
	return true;
}

void mm_database_look(const struct mm_database *d, struct mm_database_state *out)
{
	double now = mm_clock_now();
	*out = (struct mm_database_state){ .connections = d->link_count, .idle = count_links(d, IDLE),
		.waiting = d->queue_size, .why = d->why.text[0] != '\0' ? d->why.text : NULL };
	for (const struct server *s = d->servers; s != NULL; s = s->next) {
		out->servers++;
		out->servers_down += s->not_before > now;
	}
}
