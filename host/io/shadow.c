#include "io/shadow.h"

#include "base/bounds.h"
#include "base/clock.h"
#include "base/list.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE          0.001    /* seconds for which shadows run at once ... */
#define SLICE_EVERY    0.005    /* ... when the loop always has something else to do */
#define SWEEP_EVERY    1.0      /* seconds */
#define PRELUDE_MAX    16384u   /* bytes that tell a shadow the client again */
#define MESSAGES_AHEAD 32u      /* live messages whose shadows have not ended */

/* A message in the hands of both. */
struct pair {
	uint64_t         number;        /* of the message on this connection, from 0 */
	struct mm_upshot live, shadow;
	struct pair     *next;
};

struct mm_shadow {
	const struct mm_shadow_of *of;          /* borrowed, until `all` ends */
	struct mm_shadows    *all;              /* borrowed */
	struct mm_shadow     *next, *previous;
	struct mm_shadow     *next_run;
	bool                  is_in_run;
	struct mm_generation *generation;       /* holds a reference */
	struct mm_wanted      wanted;           /* owned */
	struct mm_engine     *engine;           /* owned; NULL: none until the next message */
	const struct mm_session *live;          /* borrowed; NULL: the connection is gone */
	char                  id[MM_SESSION_ID_SIZE];   /* of the live session */
	bool                  is_feeding;
	bool                  must_end;         /* it has fallen behind: gives up its message */
	bool                  is_over;          /* a canary decides for this client, or nothing can be followed */
	double                ends_at;          /* when it is given up after its connection; mm_clock_now() */

	/* what the MTA has said */
	struct mm_buffer      held;             /* owned: bytes not handled yet, after `at` */
	size_t                at, declared;
	struct mm_buffer      prelude;          /* owned: offer, client, helo as packets */
	size_t                prelude_offer, prelude_client;    /* bytes of it up to there */
	bool                  has_prelude;      /* all of it fits */
	struct mm_buffer      mail_macros;      /* owned: the packet before MAIL; while there is no engine */

	/* messages */
	struct pair          *pairs;            /* owned list, oldest first */
	unsigned              pair_count;
	uint64_t              live_number, shadow_number;       /* of the next report */
	struct mm_upshot      live_now, shadow_now;     /* edits of the message that ends */
	struct mm_upshot      live_client, shadow_client;       /* a client that is refused; continue: it is not */
	char                  live_client_id[MM_SESSION_ID_SIZE];       /* whom live_client is about */
	uint64_t              began_for;        /* the message for which an engine was last made anew, from 1 */
};

static struct ev_loop *loop_of(const struct mm_shadows *all)
{
	return all->loop;
}

/* ---- comparing ---- */

static const char *result_of(uint32_t kinds)
{
	if (kinds == 0)
		return "agree";
	if (kinds == MM_DIFFERENCE_UNSEEN)
		return "unseen";
	return mm_difference_name((enum mm_difference)__builtin_ctz(kinds));
}

static void log_difference(const struct mm_shadow *s, const struct pair *p, uint32_t kinds)
{
	struct mm_log_line line;
	const struct mm_upshot *known = p->live.has_ended ? &p->live : &p->shadow;
	mm_log_begin(&line, s->all->log, MM_LEVEL_INFO, "shadow");
	mm_log_string(&line, "milter", s->of->milter_in_log);
	mm_log_string(&line, "session", known->session);
	if (known->queue_id[0] != '\0')
		mm_log_string(&line, "queue_id", known->queue_id);
	mm_log_string(&line, "differs", result_of(kinds));
	mm_log_string(&line, "live", p->live.is_aborted ? "none" : mm_verdict_name(p->live.verdict));
	if (p->live.by[0] != '\0')
		mm_log_string(&line, "decided_by", p->live.by);
	mm_log_string(&line, "shadow", p->shadow.is_dropped ? "dropped" : p->shadow.is_aborted ? "none"
		: mm_verdict_name(p->shadow.verdict));
	if (p->shadow.by[0] != '\0')
		mm_log_string(&line, "shadow_by", p->shadow.by);
	mm_log_alike(&line, s->generation->settings.milter_name, strlen(s->generation->settings.milter_name));
	mm_log_end(&line);
}

/* A client that these scripts have refused sends them no message. */
static void apply_client(struct mm_upshot *u, const struct mm_upshot *client)
{
	if (client->verdict == MM_VERDICT_continue || u->is_dropped)
		return;
	u->verdict = client->verdict;
	u->stage = client->stage;
	u->is_aborted = false;
	u->reply_hash = client->reply_hash;
	memcpy(u->reply, client->reply, sizeof u->reply);
	memcpy(u->by, client->by, sizeof u->by);
}

static void note_client(struct mm_upshot *client, const struct mm_outcome_report *r)
{
	bool refuses = r->verdict == MM_VERDICT_reject || r->verdict == MM_VERDICT_tempfail;
	if (refuses && MM_STAGES_OF_CLIENT & 1u << r->stage)
		mm_upshot_decide(client, r);
}

static void compare(struct mm_shadow *s, struct pair *p)
{
	if (mm_upshot_are_void(&p->live, &p->shadow))
		return;
	uint32_t kinds = mm_upshot_compare(&p->live, &p->shadow);
	mm_differences_count(s->all->differences, s->of->row, &p->live, &p->shadow, kinds);
	mm_figures_count(s->of->figures, MM_FIGURE_shadows, result_of(kinds), NULL);
	if (kinds != 0 && kinds != MM_DIFFERENCE_UNSEEN && mm_log_wants(s->all->log, MM_LEVEL_INFO))
		log_difference(s, p, kinds);
}

/* NULL: out of memory; the message is not compared. */
static struct pair *pair_of(struct mm_shadow *s, uint64_t number)
{
	struct pair **at = &s->pairs;
	while (*at != NULL && (*at)->number < number)
		at = &(*at)->next;
	if (*at != NULL && (*at)->number == number)
		return *at;
	struct pair *p = calloc(1, sizeof *p);
	if (p == NULL)
		return NULL;
	p->number = number;
	p->next = *at;
	*at = p;
	s->pair_count++;
	return p;
}

/* Compares those at the head that are complete; all, when nothing more will come. */
static void settle_pairs(struct mm_shadow *s, bool all)
{
	for (struct pair *p; (p = s->pairs) != NULL;) {
		bool is_complete = p->live.has_ended && p->shadow.has_ended;
		if (!is_complete && !all)
			return;
		s->pairs = p->next;
		s->pair_count--;
		if (is_complete)
			compare(s, p);
		free(p);
	}
}

static void put_shadow(struct mm_shadow *s, const struct mm_outcome_report *r, bool is_dropped)
{
	struct pair *p = pair_of(s, s->shadow_number++);
	if (p != NULL) {
		p->shadow = s->shadow_now;
		if (r != NULL)
			mm_upshot_end(&p->shadow, r);
		p->shadow.has_ended = true;
		p->shadow.is_dropped = is_dropped;
		apply_client(&p->shadow, &s->shadow_client);
	}
	memset(&s->shadow_now, 0, sizeof s->shadow_now);
	settle_pairs(s, false);
}

/* A client that was refused sends no message: its verdicts are compared when it is gone. */
static void compare_clients(struct mm_shadow *s)
{
	struct pair p = { .live = s->live_client, .shadow = s->shadow_client };
	bool live_refuses = p.live.verdict != MM_VERDICT_continue, shadow_refuses = p.shadow.verdict
		!= MM_VERDICT_continue;
	if (s->is_over || s->live_number > 0 || s->shadow_number > 0 || (!live_refuses && !shadow_refuses))
		return;
	p.live.has_ended = p.shadow.has_ended = true;
	p.live.is_aborted = !live_refuses;
	p.shadow.is_aborted = !shadow_refuses;
	(live_refuses ? &p.shadow : &p.live)->stage = MM_STAGE_mail;            /* it went on, unless both refuse */
	snprintf(p.live.session, sizeof p.live.session, "%s", s->id);
	compare(s, &p);
}

/* ---- the engine of the shadow ---- */

static void join_run(struct mm_shadow *s)
{
	struct mm_shadows *all = s->all;
	if (s->is_in_run)
		return;
	s->is_in_run = true;
	s->next_run = NULL;
	if (all->run_last != NULL)
		all->run_last->next_run = s;
	else
		all->run_first = s;
	all->run_last = s;
	if (!ev_is_active((ev_idle *)all->idle)) {
		ev_idle_start(loop_of(all), all->idle);
		ev_timer_again(loop_of(all), all->slice);
	}
}

static void on_wake(void *self)
{
	struct mm_shadow *s = self;
	if (!s->is_feeding)
		join_run(s);
}

static void on_report(void *self, const struct mm_outcome_report *r)
{
	struct mm_shadow *s = self;
	if (!s->all->is_ending)
		put_shadow(s, r, s->must_end);
}

static void on_aside(void *self, const struct mm_outcome_report *r)
{
	struct mm_shadow *s = self;
	note_client(&s->shadow_client, r);
}

static void on_edits(void *self)
{
	struct mm_shadow *s = self;
	mm_upshot_edits(&s->shadow_now, mm_engine_session(s->engine), &s->all->scratch);
}

/* A fault of the connection is the live engine's to report. False: out of memory. */
static bool begin_engine(struct mm_shadow *s)
{
	static const struct mm_engine_owner ops = { on_wake, on_report, NULL, on_aside, NULL, on_edits };
	struct mm_joint joint = { .first = mm_generation_runtime(s->generation), .wanted = &s->wanted };
	s->engine = mm_engine_new(&s->all->engines, mm_joint_runtime(&joint), &ops, s, &s->all->out);
	if (s->engine == NULL)
		return false;
	struct mm_session *session = mm_engine_session(s->engine);
	memcpy(session->id, s->id, sizeof session->id);
	session->milter = s->generation->settings.milter_in_log;
	if (s->live != NULL && s->live->peer != NULL)
		session->peer = strdup(s->live->peer);
	memset(&s->shadow_client, 0, sizeof s->shadow_client);
	return true;
}

static void end_work(struct mm_shadow *s)
{
	s->is_feeding = false;
	mm_buffer_clear(&s->all->out);
	mm_buffer_trim(&s->all->out, MM_OUTPUT_KEEP);
	s->all->out.failed = false;
}

static void end_engine(struct mm_shadow *s)
{
	if (s->engine == NULL)
		return;
	s->is_feeding = true;
	mm_engine_free(s->engine);
	s->engine = NULL;
	end_work(s);
}

/* ---- packets ---- */

/* A whole packet at the head of the bytes; 0: there is none yet, SIZE_MAX: none can begin there. */
static size_t packet_at(const struct mm_shadow *s)
{
	const uint8_t *p = s->held.bytes + s->at;
	size_t left = s->held.size - s->at;
	if (left < 5)
		return 0;
	size_t size = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
	if (size == 0 || size > MM_PACKET_DATA_MAX_1M + 2)
		return SIZE_MAX;
	return left >= 4 + size ? 4 + size : 0;
}

static void declare(struct mm_shadow *s)
{
	s->all->held += s->held.capacity - s->declared;
	s->declared = s->held.capacity;
}

static void drop_bytes(struct mm_shadow *s, size_t n)
{
	s->at += n;
	if (s->at == s->held.size) {
		mm_buffer_clear(&s->held);
		mm_buffer_trim(&s->held, MM_OUTPUT_KEEP);
		s->at = 0;
	} else if (s->at > s->held.size / 2) {
		mm_buffer_consume(&s->held, s->at);
		s->at = 0;
	}
	declare(s);
}

/* What tells a new engine the client: the last offer, and the last client and HELO with their macros. */
static void note_prelude(struct mm_shadow *s, const uint8_t *packet, size_t size)
{
	struct mm_buffer *b = &s->prelude;
	uint8_t letter = packet[4], of = letter == SMFIC_MACRO && size > 5 ? packet[5] : letter;
	switch (of) {
	case SMFIC_OPTNEG:
		mm_buffer_clear(b);
		break;
	case SMFIC_CONNECT:
		break;
	case SMFIC_HELO:
		if (b->size > s->prelude_client && letter == SMFIC_MACRO)
			b->size = s->prelude_client;
		else if (letter == SMFIC_HELO && b->size > s->prelude_client && b->bytes[s->prelude_client + 4]
		    == SMFIC_HELO)
			b->size = s->prelude_client;
		break;
	case SMFIC_QUIT_NC:
		b->size = s->prelude_client = s->prelude_offer;
		return;
	default:
		return;
	}
	mm_buffer_append(b, packet, size);
	s->has_prelude = !b->failed && b->size <= PRELUDE_MAX;
	if (of == SMFIC_OPTNEG)
		s->prelude_offer = s->prelude_client = b->size;
	else if (of == SMFIC_CONNECT)
		s->prelude_client = b->size;
}

/* Without an engine, until the next message: then it begins anew, and is told the client first. */
static void pass_over(struct mm_shadow *s, size_t size)
{
	struct mm_buffer again = { 0 };
	const uint8_t *packet = s->held.bytes + s->at;
	if (packet[4] == SMFIC_MACRO && size > 5 && packet[5] == SMFIC_MAIL) {
		mm_buffer_clear(&s->mail_macros);
		mm_buffer_append(&s->mail_macros, packet, size);
	}
	if (packet[4] != SMFIC_MAIL) {
		drop_bytes(s, size);
		return;
	}
	mm_buffer_append(&again, s->prelude.bytes, s->prelude.size);
	mm_buffer_append(&again, s->mail_macros.bytes, s->mail_macros.size);
	mm_buffer_append(&again, s->held.bytes + s->at, s->held.size - s->at);
	mm_buffer_clear(&s->mail_macros);
	bool is_new = s->began_for != s->shadow_number + 1;     /* else its scripts refuse the connection */
	s->began_for = s->shadow_number + 1;
	if (!is_new || !s->has_prelude || again.failed || !begin_engine(s)) {
		mm_buffer_free(&again);
		put_shadow(s, NULL, true);
		drop_bytes(s, size);
		return;
	}
	mm_buffer_free(&s->held);
	s->held = again;
	s->at = 0;
	declare(s);
}

static void feed_packet(struct mm_shadow *s, size_t size)
{
	struct mm_fault why;
	note_prelude(s, s->held.bytes + s->at, size);
	if (s->held.bytes[s->at + 4] == SMFIC_QUIT_NC)
		memset(&s->shadow_client, 0, sizeof s->shadow_client);
	s->is_feeding = true;
	mm_engine_feed(s->engine, s->held.bytes + s->at, size, &why);
	end_work(s);
	drop_bytes(s, size);
	if (mm_engine_is_finished(s->engine))
		end_engine(s);
}

/* Nothing more of this connection can be followed. */
static void give_up(struct mm_shadow *s)
{
	s->is_over = s->must_end = true;
	join_run(s);
}

static void end_message(struct mm_shadow *s)
{
	end_engine(s);
	s->must_end = false;
	if (!s->is_over)
		return;
	mm_buffer_free(&s->held);
	s->at = 0;
	declare(s);
}

/* One packet, if it may be handled now. False: there is nothing to do. */
static bool step(struct mm_shadow *s)
{
	if (s->must_end)
		end_message(s);
	if (s->engine != NULL && mm_engine_is_waiting(s->engine))
		return false;
	size_t size = packet_at(s);
	if (size == SIZE_MAX)
		give_up(s);
	if (size == 0)
		return false;
	if (size == SIZE_MAX)
		return true;
	if (s->engine != NULL) {
		feed_packet(s, size);
	} else {
		note_prelude(s, s->held.bytes + s->at, size);
		pass_over(s, size);
	}
	return true;
}

/* ---- life ---- */

static void shadow_free(struct mm_shadow *s)
{
	struct mm_shadows *all = s->all;
	end_engine(s);
	settle_pairs(s, true);
	if (!all->is_ending)
		compare_clients(s);
	MM_LIST_REMOVE(all->first, s);
	mm_buffer_free(&s->held);
	declare(s);
	mm_buffer_free(&s->prelude);
	mm_buffer_free(&s->mail_macros);
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++)
		free((void *)(uintptr_t)s->wanted.macro_lists[set]);
	mm_generation_release(s->generation);
	free(s);
	if (all->first == NULL)
		ev_timer_stop(loop_of(all), all->sweep);
}

/* The connection is gone, and its shadow has done what was left. */
static bool has_ended(const struct mm_shadow *s)
{
	return s->live == NULL && (s->engine == NULL || !mm_engine_is_waiting(s->engine));
}

static struct mm_shadow *next_to_run(struct mm_shadows *all)
{
	struct mm_shadow *s = all->run_first;
	all->run_first = s->next_run;
	if (all->run_first == NULL)
		all->run_last = NULL;
	s->is_in_run = false;
	return s;
}

static void run_some(struct mm_shadows *all)
{
	double until = mm_clock_real() + SLICE;
	while (all->run_first != NULL) {
		struct mm_shadow *s = next_to_run(all);
		bool is_late = false, has_more = true;
		while (!is_late && (has_more = step(s)))
			is_late = mm_clock_real() >= until;
		if (has_more)
			join_run(s);
		else if (has_ended(s))
			shadow_free(s);
		if (is_late)
			break;
	}
	if (all->run_first != NULL)
		return;
	ev_idle_stop(loop_of(all), all->idle);
	ev_timer_stop(loop_of(all), all->slice);
}

static void on_idle(struct ev_loop *loop, ev_idle *idle, int events)
{
	(void)loop, (void)events;
	run_some(idle->data);
}

static void on_slice(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop, (void)events;
	run_some(timer->data);
}

static void on_sweep(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct mm_shadows *all = timer->data;
	double now = mm_clock_now();
	(void)loop, (void)events;
	for (struct mm_shadow *s = all->first; s != NULL; s = s->next)
		if (s->live == NULL && now >= s->ends_at) {
			s->must_end = true;
			join_run(s);
		}
}

bool mm_shadows_init(struct mm_shadows *all, void *loop)
{
	ev_idle *idle = malloc(sizeof *idle);
	ev_timer *slice = malloc(sizeof *slice), *sweep = malloc(sizeof *sweep);
	all->loop = loop;
	all->idle = idle;
	all->slice = slice;
	all->sweep = sweep;
	if (idle == NULL || slice == NULL || sweep == NULL)
		return false;
	ev_idle_init(idle, on_idle);
	ev_timer_init(slice, on_slice, 0., SLICE_EVERY);
	ev_timer_init(sweep, on_sweep, 0., SWEEP_EVERY);
	idle->data = slice->data = sweep->data = all;
	return true;
}

static void end_all(struct mm_shadows *all)
{
	all->is_ending = true;
	while (all->run_first != NULL)
		next_to_run(all);
	while (all->first != NULL)
		shadow_free(all->first);
	if (all->idle != NULL && all->slice != NULL && all->loop != NULL) {
		ev_idle_stop(loop_of(all), all->idle);
		ev_timer_stop(loop_of(all), all->slice);
	}
	all->is_ending = false;
}

void mm_shadows_free(struct mm_shadows *all)
{
	end_all(all);
	mm_engine_shared_free(&all->engines);
	mm_buffer_free(&all->out);
	mm_buffer_free(&all->scratch);
	free(all->idle);
	free(all->slice);
	free(all->sweep);
	all->idle = all->slice = all->sweep = NULL;
}

static bool keep_wanted(struct mm_shadow *s, const struct mm_wanted *wanted)
{
	bool good = true;
	s->wanted = *wanted;
	for (int set = 0; set < MM_MACRO_SET_COUNT; set++) {
		if (wanted->macro_lists[set] == NULL)
			continue;
		s->wanted.macro_lists[set] = strdup(wanted->macro_lists[set]);
		good = good && s->wanted.macro_lists[set] != NULL;
	}
	return good;
}

struct mm_shadow *mm_shadow_open(const struct mm_shadow_of *of, const struct mm_session *live,
	const struct mm_wanted *wanted)
{
	struct mm_shadow *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->of = of;
	s->all = of->all;
	s->generation = of->generation;
	s->live = live;
	snprintf(s->id, sizeof s->id, "%s", live->id);
	mm_generation_retain(s->generation);
	if (s->all->first == NULL)
		ev_timer_again(loop_of(s->all), s->all->sweep);
	MM_LIST_PUSH(s->all->first, s);
	if (keep_wanted(s, wanted) && begin_engine(s))
		return s;
	shadow_free(s);
	return NULL;
}

/* ---- what the live connection says ---- */

void mm_shadow_feed(struct mm_shadow *s, const void *bytes, size_t n)
{
	if (s == NULL || s->is_over)
		return;
	if (s->live->is_canary) {       /* there is nothing to compare */
		give_up(s);
		return;
	}
	memcpy(s->id, s->live->id, sizeof s->id);
	mm_buffer_append(&s->held, bytes, n);
	declare(s);
	size_t behind = s->held.size - s->at;
	s->must_end |= behind > MM_SHADOW_HELD_MAX;
	if (s->held.failed || behind > 2 * (size_t)MM_SHADOW_HELD_MAX || s->all->held > MM_SHADOW_HELD_ALL)
		give_up(s);
	else
		join_run(s);
}

void mm_shadow_edits(struct mm_shadow *s, struct mm_session *live)
{
	if (s != NULL && !s->is_over)
		mm_upshot_edits(&s->live_now, live, &s->all->scratch);
}

void mm_shadow_report(struct mm_shadow *s, const struct mm_outcome_report *r)
{
	if (s == NULL)
		return;
	if (r->session->is_canary) {
		mm_differences_count_canary(s->all->differences, s->of->row);
		mm_figures_count(s->of->figures, MM_FIGURE_shadows, "canary", NULL);
	}
	if (s->is_over)
		return;
	struct pair *p = pair_of(s, s->live_number++);
	if (p != NULL) {
		p->live = s->live_now;
		mm_upshot_end(&p->live, r);
		if (strcmp(s->live_client_id, r->session->id) == 0)
			apply_client(&p->live, &s->live_client);
	}
	memset(&s->live_now, 0, sizeof s->live_now);
	s->must_end |= s->pair_count > MESSAGES_AHEAD;
	settle_pairs(s, false);
}

void mm_shadow_aside(struct mm_shadow *s, const struct mm_outcome_report *r)
{
	if (s == NULL)
		return;
	if (strcmp(s->live_client_id, r->session->id) != 0)
		memset(&s->live_client, 0, sizeof s->live_client);
	snprintf(s->live_client_id, sizeof s->live_client_id, "%s", r->session->id);
	note_client(&s->live_client, r);
}

void mm_shadow_leave(struct mm_shadow *s)
{
	if (s == NULL)
		return;
	s->live = NULL;
	s->ends_at = mm_clock_now() + MM_SHADOW_LINGER;
	join_run(s);
}
