#include "story/tracer.h"

#include "base/clock.h"
#include "story/words.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- traces ---- */

static void watch(struct mm_tracer *t)
{
	t->serial += t->serial == UINT32_MAX ? 2 : 1;           /* 0: no session was asked about yet */
	t->engines->observer = t->count > 0 ? &t->observer : NULL;
	t->log->tap = t->count > 0 ? &t->tap : NULL;
}

static void end(struct mm_tracer *t, unsigned i)
{
	close(t->traces[i].fd);
	t->traces[i] = (struct mm_tracer_trace){ .fd = -1 };
	t->of_messages &= (uint8_t)~(1u << i);
	t->count--;
	watch(t);
}

static void send_to(struct mm_tracer *t, unsigned i, struct mm_trace_line *l)
{
	uint8_t bytes[MM_TRACE_LINE_MAX];
	struct mm_tracer_trace *trace = &t->traces[i];
	l->lost = trace->lost;
	size_t size = mm_trace_write(l, bytes);
	if (send(trace->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size)
		trace->lost = 0;
	else if (errno == EPIPE || errno == ECONNRESET || errno == ECONNREFUSED || errno == ENOTCONN)
		end(t, i);
	else
		trace->lost++;
}

void mm_tracer_end(struct mm_tracer *t)
{
	for (unsigned i = 0; i < MM_TRACES_MAX; i++)
		if (t->traces[i].fd >= 0)
			end(t, i);
}

bool mm_tracer_add(struct mm_tracer *t, const struct mm_trace_filter *filter, enum mm_story_redact redact, int fd)
{
	unsigned i = 0;
	mm_tracer_sweep(t);
	while (i < MM_TRACES_MAX && t->traces[i].fd >= 0)
		i++;
	if (i == MM_TRACES_MAX) {
		close(fd);
		return false;
	}
	t->traces[i] = (struct mm_tracer_trace){ .fd = fd, .filter = *filter };
	t->redact = redact;
	if (filter->from[0] != '\0' || filter->to[0] != '\0')
		t->of_messages |= (uint8_t)(1u << i);
	t->count++;
	watch(t);
	send_to(t, i, &(struct mm_trace_line){ .kind = MM_TRACE_WORKER, .at = mm_clock_wall(),
		.pid = (uint32_t)getpid() });
	return true;
}

void mm_tracer_sweep(struct mm_tracer *t)
{
	for (unsigned i = 0; i < MM_TRACES_MAX; i++) {
		struct pollfd gone = { .fd = t->traces[i].fd };
		if (gone.fd >= 0 && poll(&gone, 1, 0) == 1 && gone.revents & (POLLHUP | POLLERR | POLLNVAL))
			end(t, i);
	}
}

const struct mm_session *mm_tracer_about(struct mm_tracer *t, const struct mm_session *session)
{
	const struct mm_session *before = t != NULL ? t->about : NULL;
	if (t != NULL)
		t->about = session;
	return before;
}

/* ---- lines ---- */

static void say(struct mm_tracer *t, const struct mm_session *s, struct mm_trace_line *l)
{
	if (s->judged != t->serial)             /* what was wanted has changed: it is asked again at its next packet */
		return;
	l->at = mm_clock_wall();
	l->pid = (uint32_t)getpid();
	l->session = mm_text_of(s->id);
	for (unsigned i = 0; i < MM_TRACES_MAX; i++)
		if (s->traced & 1u << i && t->traces[i].fd >= 0)
			send_to(t, i, l);
}

/* ---- which sessions ---- */

/* The address that a command brings, or that is known from before. */
static const char *client_of(const struct mm_session *s, const struct mm_command *c)
{
	return c->row->letter == SMFIC_CONNECT ? c->value.bytes : s->client_address;
}

static bool comes_from(const struct mm_network *network, const char *client)
{
	uint8_t address[16];
	if (client == NULL)
		return false;
	if (inet_pton(AF_INET, client, address) == 1)
		return mm_network_contains(network, address, 4);
	return inet_pton(AF_INET6, client, address) == 1 && mm_network_contains(network, address, 16);
}

static bool has_sender(const struct mm_session *s, const struct mm_command *c, const char *pattern)
{
	if (c->row->letter == SMFIC_MAIL)
		return mm_trace_matches(pattern, c->text);
	return s->message != NULL && mm_trace_matches(pattern, mm_message_text(s->message, s->message->sender));
}

static bool has_recipient(const struct mm_session *s, const struct mm_command *c, const char *pattern)
{
	const struct mm_message *m = c->row->letter == SMFIC_MAIL ? NULL : s->message;
	if (c->row->letter == SMFIC_RCPT && mm_trace_matches(pattern, c->text))
		return true;
	for (uint32_t i = 0; m != NULL && i < m->recipient_count; i++)
		if (mm_trace_matches(pattern, mm_message_text(m, m->recipients[i].address)))
			return true;
	return false;
}

static bool wants(const struct mm_trace_filter *f, const struct mm_session *s, const struct mm_command *c)
{
	return (f->session[0] == '\0' || strcmp(f->session, s->id) == 0)
		&& (!f->has_network || comes_from(&f->network, client_of(s, c)))
		&& (f->from[0] == '\0' || has_sender(s, c, f->from))
		&& (f->to[0] == '\0' || has_recipient(s, c, f->to));
}

static void add_fact(struct mm_words *w, const char *name, struct mm_text value)
{
	if (value.bytes == NULL || value.size == 0)
		return;
	mm_words_add(w, mm_text_of(name));
	mm_words_add(w, value);
}

/* What came before the first line. */
static void introduce(struct mm_tracer *t, const struct mm_session *s)
{
	char number[16];
	struct mm_words w;
	mm_words_begin(&w, t->redact);
	add_fact(&w, "milter", mm_text_of(s->milter));
	add_fact(&w, "mta", mm_text_of(s->peer));
	if (s->is_negotiated) {
		snprintf(number, sizeof number, "%u", s->grants.version);
		add_fact(&w, "protocol", mm_text_of(number));
	}
	add_fact(&w, "client", mm_text_of(s->client_address));
	add_fact(&w, "client_name", mm_text_of(s->client_host));
	add_fact(&w, "helo", mm_text_of(s->helo));
	say(t, s, &(struct mm_trace_line){ .kind = MM_TRACE_SESSION, .words = mm_words_text(&w) });
}

/* Whom the message interests that MAIL begins while another one is open, which is reported first. */
static void judge_next(const struct mm_tracer *t, struct mm_session *s, const struct mm_command *c)
{
	s->traced_next = 0;
	for (unsigned i = 0; i < MM_TRACES_MAX; i++)
		if (t->of_messages & 1u << i && wants(&t->traces[i].filter, s, c))
			s->traced_next |= (uint8_t)(1u << i);
}

static void judge(struct mm_tracer *t, struct mm_session *s, const struct mm_command *c)
{
	bool is_new = s->judged != t->serial;
	uint8_t before = is_new ? 0 : s->traced, found = 0;
	for (unsigned i = 0; i < MM_TRACES_MAX; i++)
		if (t->traces[i].fd >= 0 && !(before & 1u << i) && wants(&t->traces[i].filter, s, c))
			found |= (uint8_t)(1u << i);
	s->judged = t->serial;
	s->traced = found;
	if (found != 0)
		introduce(t, s);
	s->traced = before | found;
}

/* ---- from the engine ---- */

#define JUDGED (MM_LETTER_BIT(SMFIC_CONNECT) | MM_LETTER_BIT(SMFIC_MAIL) | MM_LETTER_BIT(SMFIC_RCPT))

static void on_packet(void *self, struct mm_session *s, const struct mm_packet *packet, const struct mm_command *c)
{
	struct mm_tracer *t = self;
	struct mm_words w;
	if (s->judged != t->serial || (mm_letter_is_in(packet->letter, JUDGED)
	    && (packet->letter == SMFIC_CONNECT || t->of_messages != 0)))
		judge(t, s, c);
	if (packet->letter == SMFIC_MAIL && s->message != NULL)
		judge_next(t, s, c);
	if (s->traced == 0)
		return;
	mm_words_begin(&w, t->redact);
	mm_words_of_command(&w, c);
	say(t, s, &(struct mm_trace_line){ .kind = MM_TRACE_COMMAND, .stage = (uint8_t)c->row->stage,
		.size = (uint32_t)packet->size, .name = mm_text_of(c->row->name), .words = mm_words_text(&w),
		.is_cut = w.is_cut });
}

static void say_reply(struct mm_tracer *t, const struct mm_session *s, const struct mm_packet *p, const char *by)
{
	struct mm_mta_reply reply;
	struct mm_fault ignored;
	struct mm_words w;
	if (!mm_mta_decode(p, &reply, &ignored))
		return;
	mm_words_begin(&w, t->redact);
	mm_words_of_reply(&w, &reply);
	say(t, s, &(struct mm_trace_line){ .kind = MM_TRACE_REPLY, .size = (uint32_t)p->size,
		.name = mm_text_of(mm_mta_reply_word(&reply)), .words = mm_words_text(&w), .is_cut = w.is_cut,
		.by = mm_text_of(reply.row->is_final ? by : "") });
}

static void on_sent(void *self, const struct mm_session *s, const void *bytes, size_t n, const char *by)
{
	struct mm_tracer *t = self;
	struct mm_cursor c = mm_cursor_over(bytes, n);
	while (c.left > 0) {
		uint32_t size = mm_cursor_u32(&c);
		if (c.failed || size == 0 || size > c.left)
			return;
		struct mm_packet p = { .letter = c.at[0], .data = c.at + 1, .size = size - 1 };
		say_reply(t, s, &p, by);
		c.at += size;
		c.left -= size;
	}
}

static void on_verdict(void *self, struct mm_session *s, const struct mm_outcome_report *r, bool is_of_message)
{
	struct mm_tracer *t = self;
	say(t, s, &(struct mm_trace_line){ .kind = is_of_message ? MM_TRACE_MESSAGE : MM_TRACE_ASIDE,
		.stage = (uint8_t)r->stage, .verdict = (uint8_t)r->verdict, .is_open = r->is_aborted,
		.took = r->seconds < 4000 ? (uint32_t)(r->seconds * 1e6) : UINT32_MAX, .size = r->edits,
		.name = mm_session_macro(s, "i"), .words = mm_words_reply_text(t->redact, r->reply),
		.by = mm_text_of(r->decided_by) });
	if (!is_of_message)
		return;
	s->traced = (uint8_t)((s->traced & ~t->of_messages) | s->traced_next);
	s->traced_next = 0;
}

static void on_closed(void *self, struct mm_session *s, enum mm_end end)
{
	say(self, s, &(struct mm_trace_line){ .kind = MM_TRACE_CLOSED, .words = mm_text_of(mm_end_name(end)) });
}

/* ---- from the log ---- */

static const struct mm_session *subject(const struct mm_tracer *t)
{
	return t->about != NULL ? t->about : t->engines->working;
}

static bool wants_log(void *self)
{
	const struct mm_tracer *t = self;
	const struct mm_session *s = subject(t);
	return s != NULL && s->traced != 0 && s->judged == t->serial;
}

/* The lines of the log name senders, recipients, and whatever scripts say. */
static void on_log(void *self, enum mm_level level, const char *event, const char *line, size_t size)
{
	struct mm_tracer *t = self;
	bool hides = t->redact >= MM_STORY_REDACT_ADDRESSES;
	say(t, subject(t), &(struct mm_trace_line){ .kind = MM_TRACE_LOG, .level = (uint8_t)level,
		.words = hides ? mm_text_of(event) : (struct mm_text){ line, size }, .is_cut = hides });
}

void mm_tracer_init(struct mm_tracer *t, struct mm_engine_shared *engines, struct mm_log *log)
{
	*t = (struct mm_tracer){ .engines = engines, .log = log, .serial = 1,
		.observer = { t, on_packet, on_sent, on_verdict, on_closed }, .tap = { t, wants_log, on_log } };
	for (unsigned i = 0; i < MM_TRACES_MAX; i++)
		t->traces[i].fd = -1;
}

/* ---- from scripts ---- */

static uint32_t microseconds(double seconds)
{
	return seconds > 0 && seconds < 4000 ? (uint32_t)(seconds * 1e6) : seconds > 0 ? UINT32_MAX : 0;
}

static struct mm_trace_line line_of(enum mm_trace_kind kind, const struct mm_story_place *place)
{
	return (struct mm_trace_line){ .kind = (uint8_t)kind, .stage = place->stage, .name = place->file,
		.line = place->line > 0 ? (uint32_t)place->line : 0 };
}

void mm_tracer_handler(struct mm_tracer *t, const struct mm_session *s, const struct mm_story_place *place,
	double seconds, bool is_open)
{
	struct mm_trace_line l = line_of(MM_TRACE_HANDLER, place);
	l.took = microseconds(seconds);
	l.is_open = is_open;
	say(t, s, &l);
}

/* Where the question of a task is kept: its place, or any that is free or older. */
static struct mm_tracer_wait *wait_of(struct mm_tracer *t, const void *who, bool is_new)
{
	struct mm_tracer_wait *oldest = t->waits;
	for (unsigned i = 0; i < MM_TRACER_WAITS; i++) {
		if (t->waits[i].who == who)
			return &t->waits[i];
		if (oldest->who != NULL && (t->waits[i].who == NULL || t->waits[i].began < oldest->began))
			oldest = &t->waits[i];
	}
	return is_new ? oldest : NULL;
}

void mm_tracer_ask(struct mm_tracer *t, const struct mm_session *s, const struct mm_story_place *place,
	const void *who, struct mm_text asked)
{
	struct mm_trace_line l = line_of(MM_TRACE_WAIT, place);
	struct mm_tracer_wait *w = wait_of(t, who, true);
	w->who = who;
	w->began = mm_clock_real();
	snprintf(w->asked, sizeof w->asked, "%.*s", (int)asked.size, asked.bytes);
	l.words = asked;
	say(t, s, &l);
}

void mm_tracer_answer(struct mm_tracer *t, const struct mm_session *s, const void *who, struct mm_text answer)
{
	struct mm_tracer_wait *w = wait_of(t, who, false);
	if (w == NULL)
		return;
	w->who = NULL;
	say(t, s, &(struct mm_trace_line){ .kind = MM_TRACE_ANSWER, .words = mm_text_of(w->asked), .by = answer,
		.took = microseconds(mm_clock_real() - w->began) });
}

void mm_tracer_known(struct mm_tracer *t, const struct mm_session *s, const struct mm_story_place *place,
	struct mm_text asked, struct mm_text answer)
{
	struct mm_trace_line l = line_of(MM_TRACE_ANSWER, place);
	l.words = asked;
	l.by = answer;
	say(t, s, &l);
}

void mm_tracer_say(struct mm_tracer *t, const struct mm_session *s, enum mm_story_kind kind,
	const struct mm_story_place *place, struct mm_text text)
{
	struct mm_trace_line l = line_of(kind == MM_STORY_EDIT ? MM_TRACE_EDIT : kind == MM_STORY_ERROR ? MM_TRACE_ERROR
		: MM_TRACE_NOTE, place);
	char shown[MM_WORDS_SIZE];
	l.words = kind == MM_STORY_EDIT ? text : mm_story_said(t->redact, text, shown, sizeof shown);
	say(t, s, &l);
}
