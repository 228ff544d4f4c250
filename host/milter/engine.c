/* milter/engine.c -- see engine.h.
 *
 * A packet may mean several events: MAIL with a message open is an abort and then a mail; an end-of-message packet with
 * bytes is a body and then an eom; a final verdict is followed by done. They wait in a short queue (`todo`); run()
 * processes it until it is empty or the runtime waits, then takes the next packet, if the turn is not over. */
#include "milter/engine.h"

#include "base/bounds.h"
#include "base/clock.h"
#include "milter/digest.h"
#include "milter/reply.h"

#include <stdio.h>
#include <stdlib.h>

#define TODO_MAX 8
#define HANDLINGS_KEPT 64u       /* that no engine needs now */

#define UNDECLARED_MAX  1024u           /* bytes from the MTA that need not be declared yet ... */
#define DECLARED_LITTLE 8192u           /* ... by a session that has declared fewer than these */
#define GROWTH          4u              /* bytes that a byte of facts may take: arrays and buffers double */
#define SHORT_OF_ROOM   1u              /* the account may hold no more: no fact is kept */
#define SHORT_OF_MACROS 2u              /* the macros of the command that comes next were not kept */

#define NOTE_CONNECT 0x01u
#define NOTE_MACROS  0x02u
#define NOTE_DATA    0x04u
#define NOTE_OFFER   0x08u
#define NOTE_KIND    0x10u
#define NOTE_FOLDS   0x20u

/* What an engine needs while packets are at hand, and not between them: a worker has few of these, so those that are in
 * use stay in the processor's cache, and a session that waits for its MTA is small. */
struct mm_handling {
	struct mm_handling      *next_free;     /* link in the pool */
	struct mm_frame          frame;
	struct mm_command        command;       /* of the packet being handled */
	struct mm_buffer         mail_macros;   /* owned: came for MAIL with a message open; whose they are, the next
	                                         * command tells */
	struct mm_buffer         folded;        /* owned: a header value whose line ends were CRLF */
	struct mm_fault         *why;           /* borrowed during run() */
	struct mm_verdict        held;          /* given where no reply may be sent; waits for the next one that may */
	struct mm_verdict        result;        /* final verdict, for done */
	enum mm_stage            result_stage;
	uint32_t                 result_edits;
	enum mm_mta_kind         result_mta;    /* of the MTA that got them */
	char                     answered_by[sizeof ((struct mm_verdict *)0)->decided_by];      /* the last answer */
	bool                     may_go_further;        /* mm_engine_further() during the event that runs */
	double                   waiting_since; /* mm_clock_now() */
	uint64_t                 turn_ends;     /* when *shared->busy is more */
	uint32_t                 turn_left;     /* packets that this turn may still handle */
};

struct mm_engine {
	struct mm_session        session;
	struct mm_engine_shared *shared;        /* borrowed */
	struct mm_runtime        runtime;
	void                    *runtime_session;       /* owned through runtime.ops->close; NULL
	                                                 * before the first byte */
	const struct mm_engine_owner *owner_ops;       /* borrowed */
	void                    *owner;         /* borrowed */
	struct mm_buffer        *out;           /* borrowed */
	struct mm_handling      *now;           /* owned; NULL: the engine rests */

	uint8_t                  when;          /* one MM_WHEN_ bit: the present point of the dialogue */
	uint8_t                  todo[TODO_MAX];        /* enum mm_stage, events still to run */
	uint8_t                  todo_count;
	bool                     is_waiting;    /* the runtime works on todo[0] */
	bool                     has_left;      /* what it has worked on is over already (mm_engine_further) */
	bool                     skips_body;    /* a handler has said skip where it cannot be sent to the MTA */
	bool                     tells_macros;  /* the runtime wants MM_STAGE_macros */
	uint8_t                  fresh_macros;  /* 1 << enum mm_macro_set: have come, and were not told */
	bool                     has_noted;     /* the facts of the command are stored, before its own event */
	bool                     rcpt_is_refused;       /* the MTA itself refused this recipient */
	bool                     has_mail_macros;
	uint8_t                  noted;         /* NOTE_ bits: what the owner has been told */
	bool                     shuns_message; /* it has killed a worker before: the runtime sees no more of it */
	uint8_t                  shortage;      /* of memory: SHORT_ bits */
	bool                     is_refused;    /* for lack of memory; the answer to the command is tempfail */
	bool                     is_ending;     /* no more packets are read */
	bool                     is_finished;
	bool                     has_more;      /* the turn ended before the packets did */
	bool                     has_last_answer;       /* when the host stopped, the MTA got `result` as its answer */
	uint8_t                  ended_by;      /* enum mm_end, of the message or client that ends */
	uint32_t                 undeclared;    /* bytes from the MTA since the account was told */
};

/* ---- what is needed while packets are at hand ---- */

static uint32_t data_max(const struct mm_engine *e)
{
	return e->session.is_negotiated ? e->session.grants.data_max : MM_PACKET_DATA_MAX;
}

/* False: out of memory. */
static bool take_handling(struct mm_engine *e)
{
	if (e->now != NULL)
		return true;
	struct mm_handling *h = e->shared->handlings;
	if (h != NULL) {
		e->shared->handlings = h->next_free;
		e->shared->handling_count--;
	} else if ((h = calloc(1, sizeof *h)) == NULL) {
		return false;
	}
	h->frame.data_max = data_max(e);
	e->now = h;
	return true;
}

/* Back to the state after calloc(). */
static void clear_handling(struct mm_handling *h)
{
	mm_frame_free(&h->frame);
	mm_buffer_free(&h->mail_macros);
	mm_buffer_free(&h->folded);
	mm_verdict_reset(&h->held);
	mm_verdict_reset(&h->result);
	h->result_stage = (enum mm_stage)0;
	h->result_edits = 0;
	h->result_mta = (enum mm_mta_kind)0;
	h->answered_by[0] = '\0';
}

static void give_handling(struct mm_engine *e)
{
	struct mm_handling *h = e->now;
	if (h == NULL)
		return;
	e->now = NULL;
	clear_handling(h);
	if (e->shared->handling_count >= HANDLINGS_KEPT) {
		free(h);
		return;
	}
	h->next_free = e->shared->handlings;
	e->shared->handlings = h;
	e->shared->handling_count++;
}

void mm_engine_rest(struct mm_engine *e)
{
	const struct mm_handling *h = e->now;
	if (h == NULL || e->is_waiting || e->todo_count > 0 || e->has_mail_macros || mm_frame_pending(&h->frame) > 0
	    || mm_frame_has_packet(&h->frame) || h->held.kind != MM_VERDICT_continue)
		return;
	if (e->session.message == NULL || h->result.kind == MM_VERDICT_continue)
		give_handling(e);
}

void mm_engine_shared_free(struct mm_engine_shared *shared)
{
	mm_message_pool_free(&shared->message_pool);
	for (struct mm_handling *h; (h = shared->handlings) != NULL;) {
		shared->handlings = h->next_free;
		free(h);
	}
	shared->handling_count = 0;
}

/* ---- life ---- */

/* "1a2b3c4d0-1f": the prefix, and the number in hex. */
static void name_client(struct mm_engine *e, unsigned long long number)
{
	char digits[16], *at = digits + sizeof digits;
	size_t n = strlen(e->shared->id_prefix), room = sizeof e->session.id - n - 2;
	do {
		*--at = "0123456789abcdef"[number % 16];
		number /= 16;
	} while (number > 0);
	memcpy(e->session.id, e->shared->id_prefix, n);
	e->session.id[n] = '-';
	size_t size = (size_t)(digits + sizeof digits - at);
	memcpy(e->session.id + n + 1, at, size < room ? size : room);
}

static void begin_client(struct mm_engine *e)
{
	e->session.began_at = mm_clock_now();
	memset(e->session.id, 0, sizeof e->session.id);
	name_client(e, ++e->shared->sessions_begun);
}

struct mm_engine *mm_engine_new(struct mm_engine_shared *shared, struct mm_runtime runtime,
	const struct mm_engine_owner *ops, void *owner, struct mm_buffer *out)
{
	struct mm_engine *e = calloc(1, sizeof *e);
	if (e == NULL)
		return NULL;
	e->shared = shared;
	e->runtime = runtime;
	e->owner_ops = ops;
	e->owner = owner;
	e->out = out;
	e->when = MM_WHEN_START;
	if (shared->poison != NULL && shared->row != NULL)
		e->session.seed = shared->poison->seed;
	e->session.account.sum = &shared->held;
	begin_client(e);
	e->runtime_session = runtime.ops->open(runtime.self, &e->session, e);
	if (e->runtime_session == NULL) {
		free(e);
		return NULL;
	}
	return e;
}

static void end_by(struct mm_engine *e, enum mm_cancel why, bool at_once);

void mm_engine_free(struct mm_engine *e)
{
	if (e == NULL)
		return;
	end_by(e, MM_CANCEL_SHUTDOWN, true);
	e->runtime.ops->close(e->runtime_session);
	mm_session_clear(&e->session, &e->shared->message_pool);
	give_handling(e);
	free(e);
}

static void note(struct mm_engine *e, uint8_t what, const char *text)
{
	if (e->noted & what || e->owner_ops->note == NULL)
		return;
	e->noted |= what;
	e->owner_ops->note(e->owner, text);
}

/* ---- what is at work, for the process that would find us dead ---- */

struct work {
	uint64_t                 digest;
	const struct mm_session *session;
};

static void show_work(struct mm_engine *e, struct work w)
{
	e->shared->working = w.session;
	if (e->shared->row != NULL)
		mm_census_set(e->shared->row->at_work, w.digest);
}

/* Around everything that the engine does for its connection: they may nest. Between two events the one before counts,
 * because it is the last that a retry can be stopped at. */
static struct work begin_work(struct mm_engine *e)
{
	struct work before = { .session = e->shared->working };
	if (e->shared->row != NULL)
		before.digest = mm_census_get(e->shared->row->at_work);
	show_work(e, (struct work){ e->session.event_digest, &e->session });
	return before;
}

static void show_event(struct mm_engine *e, uint64_t digest)
{
	e->session.event_digest = digest;
	show_work(e, (struct work){ digest, &e->session });
}

/* True: this event has killed a worker before, and v is its answer. */
static bool is_poison(struct mm_engine *e, enum mm_stage stage, struct mm_verdict *v)
{
	static const char words[] = "this message cannot be filtered at the moment; try again later";
	static const struct mm_text text = { words, sizeof words - 1 };
	const struct mm_poison *poison = e->shared->poison;
	struct mm_fault ignored;
	bool is_early = stage == MM_STAGE_macros;       /* its command's own event answers */
	stage = is_early ? e->now->command.row->stage : stage;
	if (stage == MM_STAGE_close)
		show_event(e, 0);               /* no retry can be stopped at it */
	if (e->session.seed == 0 || stage == MM_STAGE_negotiate || MM_STAGES_AFTERWARDS & 1u << stage)
		return false;
	uint64_t digest = mm_digest_of_event(&e->session, stage);
	show_event(e, digest);
	if (!mm_poison_is_any(poison) || !mm_poison_has(poison, digest, mm_clock_now()))
		return false;
	if (is_early)
		return true;
	mm_census_add(e->shared->row->refused_unseen, 1);
	e->shuns_message |= (MM_STAGES_OF_MESSAGE & ~MM_STAGE_BIT(rcpt)) & 1u << stage;
	if (!mm_verdict_worded(v, MM_VERDICT_tempfail, 451, (struct mm_text){ "4.3.0", 5 }, &text, 1, &ignored))
		mm_verdict_plain(v, MM_VERDICT_tempfail);
	snprintf(v->decided_by, sizeof v->decided_by, "poison");
	return true;
}

/* ---- for whoever watches ---- */

/* NULL: nobody watches this session. */
static inline const struct mm_observer *observer_of(const struct mm_engine *e)
{
	return e->session.traced != 0 ? e->shared->observer : NULL;
}

/* What was appended to `out` from `start` on is an answer. by: who decided, or "". */
static void show_sent(struct mm_engine *e, size_t start, const char *by)
{
	const struct mm_observer *o = observer_of(e);
	if (o != NULL && e->out->size > start && !e->out->failed)
		o->sent(o->self, &e->session, e->out->bytes + start, e->out->size - start, by);
}

/* ---- the queue of events ---- */

static void fail(struct mm_engine *e);

/* A packet queues three events at most, and the next packet is read only after they have run; a verdict may add one,
 * the end of the connection another. So a full queue is our own fault, which ends the connection as the MTA's do. */
static void push(struct mm_engine *e, enum mm_stage stage)
{
	if (e->todo_count == TODO_MAX) {
		mm_fault_set(e->now->why, MM_FAULT_BUG, "%s after %d events that have not run", mm_stage_name(stage),
			TODO_MAX);
		fail(e);
		return;
	}
	e->todo[e->todo_count++] = (uint8_t)stage;
}

static void pop(struct mm_engine *e)
{
	e->todo_count--;
	for (int i = 0; i < e->todo_count; i++)
		e->todo[i] = e->todo[i + 1];
}

/* ---- turns ---- */

/* No clock is read for them: the runtime counts how long it works anyway, and what the engine itself does for a packet
 * takes no longer than a microsecond. */
static void begin_turn(struct mm_engine *e)
{
	const struct mm_engine_shared *shared = e->shared;
	e->has_more = false;
	e->now->turn_ends = shared->turn_ticks > 0 ? *shared->busy + shared->turn_ticks : 0;
	e->now->turn_left = shared->turn_ticks > 0 ? MM_TURN_PACKETS : UINT32_MAX;
}

static void end_turn(struct mm_engine *e)
{
	if (e->now->turn_ends != 0)
		e->now->turn_left = 0;
}

/* ---- replies ---- */

/* Ends the message's wait time; the next event starts a new one. */
static void forget_message(struct mm_engine *e)
{
	mm_verdict_reset(&e->now->held);
	mm_verdict_reset(&e->now->result);
	e->skips_body = false;
	e->shuns_message = false;
	if (e->session.message == NULL)
		return;
	e->runtime.ops->end_message(e->runtime_session);
	mm_session_end_message(&e->session, &e->shared->message_pool);
	show_event(e, 0);
}

static void write_verdict(struct mm_engine *e, const struct mm_verdict *v)
{
	if (v->kind == MM_VERDICT_skip && !(e->session.grants.steps & SMFIP_SKIP)) {
		mm_reply_bare(e->out, SMFIR_CONTINUE);  /* our handlers skip, the MTA need not know */
		return;
	}
	if (v->reply.size > 0)
		mm_reply_text(e->out, SMFIR_REPLYCODE, (struct mm_text){ (const char *)v->reply.bytes, v->reply.size });
	else
		mm_reply_bare(e->out, mm_verdict_letter(v->kind));
}

/* Does the verdict decide the whole message at this stage? Then the MTA sends no more of it (protocol 3.3). */
static bool is_final(enum mm_stage stage, const struct mm_verdict *v)
{
	if (v->kind == MM_VERDICT_continue || v->kind == MM_VERDICT_skip)
		return stage == MM_STAGE_eom;
	if (stage == MM_STAGE_rcpt)
		return v->kind == MM_VERDICT_accept || v->kind == MM_VERDICT_discard;
	return MM_STAGES_OF_MESSAGE & 1u << stage;
}

static bool lets_through(const struct mm_verdict *v)
{
	return v->kind == MM_VERDICT_continue || v->kind == MM_VERDICT_accept || v->kind == MM_VERDICT_skip;
}

/* An accept before end-of-message would lose the queued edits: the MTA accepts edits only there. So the message goes
 * on, without handlers, until it can take them. */
static bool must_wait_for_eom(const struct mm_engine *e, enum mm_stage stage, const struct mm_verdict *v)
{
	return v->kind == MM_VERDICT_accept && stage != MM_STAGE_eom
		&& e->session.message != NULL && e->session.message->edits.count > 0;
}

static void decide_message(struct mm_engine *e, enum mm_stage stage, struct mm_verdict *v)
{
	e->when = MM_WHEN_DECIDED;
	e->now->result_stage = stage;
	mm_verdict_move(&e->now->result, v);
	if (e->session.message == NULL)
		return;
	e->session.message->decided_at = mm_clock_now();
	push(e, MM_STAGE_done);
}

/* Everything sent for an end-of-message: the edits and the verdict in one piece, or the verdict alone. */
static void write_end_of_message(struct mm_engine *e, struct mm_verdict *v)
{
	struct mm_message *m = e->session.message;
	size_t start = e->out->size;
	e->now->result_edits = 0;
	if (m != NULL && m->edits.count > 0 && lets_through(v)) {
		enum mm_mta_kind mta = e->now->result_mta = mm_session_mta(&e->session);
		if (mta == MM_MTA_UNKNOWN && mm_edits_have_positions(m))
			note(e, NOTE_KIND, "neither Postfix nor Sendmail by its macros (v): inserted fields get the "
				"positions that the protocol gives them");
		if (e->owner_ops->edits != NULL)
			e->owner_ops->edits(e->owner);
		mm_edits_write(m, &e->session.grants, mta, e->out);
		e->now->result_edits = m->edits.count;
	}
	if (e->out->failed) {                   /* half an edit must not be sent: take all of it back */
		e->out->size = start;
		e->out->failed = false;
		e->now->result_edits = 0;
		mm_verdict_plain(v, MM_VERDICT_tempfail);
	}
	if (v->kind == MM_VERDICT_skip)
		v->kind = MM_VERDICT_continue;  /* Sendmail would drop us for a skip here */
	write_verdict(e, v);
}

/* Reports a verdict that decides no message, but that the log needs: a refused recipient, a
 * refused or accepted client. */
static void tell_aside(struct mm_engine *e, enum mm_stage stage, const struct mm_verdict *v)
{
	if (v->kind == MM_VERDICT_continue || v->kind == MM_VERDICT_skip || is_final(stage, v) || e->is_refused)
		return;
	const struct mm_observer *o = observer_of(e);
	struct mm_outcome_report r = {
		.session = &e->session, .verdict = v->kind, .stage = stage,
		.reply = { (const char *)v->reply.bytes, v->reply.size },
		.decided_by = v->decided_by[0] != '\0' ? v->decided_by : NULL, .waited = e->shared->waited,
	};
	if (e->owner_ops->aside != NULL)
		e->owner_ops->aside(e->owner, &r);
	if (o != NULL)
		o->verdict(o->self, &e->session, &r, false);
}

/* Answers the packet with an event's verdict, when the packet wants an answer. */
static void answer(struct mm_engine *e, enum mm_stage stage, struct mm_verdict *v)
{
	bool is_quiet = e->session.grants.quiet & 1u << stage;
	memcpy(e->now->answered_by, v->decided_by, sizeof e->now->answered_by);
	if (stage == MM_STAGE_eom) {
		write_end_of_message(e, v);
		decide_message(e, stage, v);
		end_turn(e);
		return;
	}
	tell_aside(e, stage, v);
	if (must_wait_for_eom(e, stage, v)) {
		mm_verdict_move(&e->now->held, v);
		if (!is_quiet)
			mm_reply_bare(e->out, SMFIR_CONTINUE);
		return;
	}
	if (is_quiet) {
		if (is_final(stage, v) || e->is_refused)
			mm_verdict_move(&e->now->held, v);
		return;
	}
	if (v->kind == MM_VERDICT_skip && stage == MM_STAGE_header)
		v->kind = MM_VERDICT_continue;  /* Sendmail would take a skip of headers as a skip of the body */
	if (v->kind == MM_VERDICT_skip)
		e->skips_body = true;
	if (stage == MM_STAGE_rcpt && (v->kind == MM_VERDICT_reject || v->kind == MM_VERDICT_tempfail)
	    && !e->is_refused && e->session.message != NULL)
		mm_message_refuse_recipient(e->session.message, (uint8_t)v->kind);
	write_verdict(e, v);
	if (is_final(stage, v) && e->session.message != NULL)
		decide_message(e, stage, v);
}

/* ---- events that end something ---- */

static void report(struct mm_engine *e, bool is_aborted, enum mm_stage stage)
{
	const struct mm_message *m = e->session.message;
	const struct mm_observer *o = observer_of(e);
	if (m == NULL)
		return;
	struct mm_outcome_report r = {
		.session = &e->session, .verdict = e->now->result.kind, .is_aborted = is_aborted, .stage = stage,
		.reply = { (const char *)e->now->result.reply.bytes, e->now->result.reply.size },
		.decided_by = e->now->result.decided_by[0] != '\0' ? e->now->result.decided_by : NULL,
		.edits = is_aborted ? 0 : e->now->result_edits, .mta = e->now->result_mta,
		.seconds = (m->decided_at != 0 ? m->decided_at : mm_clock_now()) - m->began_at, .waited = m->waited,
	};
	if (e->owner_ops->report != NULL)
		e->owner_ops->report(e->owner, &r);
	if (o != NULL)
		o->verdict(o->self, &e->session, &r, true);
}

static enum mm_stage stage_now(const struct mm_engine *e)
{
	switch (e->when) {
	case MM_WHEN_ENVELOPE: return e->session.message != NULL && e->session.message->recipient_count > 0
		? MM_STAGE_rcpt : MM_STAGE_mail;
	case MM_WHEN_DATA:    return MM_STAGE_data;
	case MM_WHEN_HEADERS: return MM_STAGE_header;
	case MM_WHEN_BODY:    return MM_STAGE_body;
	default:              return MM_STAGE_helo;
	}
}

static void end_message(struct mm_engine *e, bool is_aborted)
{
	bool has_no_answer = is_aborted && !e->has_last_answer;
	report(e, has_no_answer, has_no_answer ? stage_now(e) : e->now->result_stage);
	e->now->result_edits = 0;
	forget_message(e);
	if (e->when & (MM_WHEN_MESSAGE | MM_WHEN_DECIDED))
		e->when = is_aborted ? MM_WHEN_IDLE : MM_WHEN_DECIDED;
}

static void end_client(struct mm_engine *e)
{
	const struct mm_observer *o = observer_of(e);
	if (o != NULL)
		o->closed(o->self, &e->session, (enum mm_end)e->ended_by);
	e->session.traced = 0;
	e->session.judged = 0;
	e->runtime.ops->end_client(e->runtime_session);
	if (e->is_ending) {
		e->is_finished = true;
		return;
	}
	mm_session_next_client(&e->session, &e->shared->message_pool);
	begin_client(e);
	e->when = MM_WHEN_IDLE;
}

/* ---- running one event ---- */

static bool is_accepted_with_seals(const struct mm_engine *e)
{
	const struct mm_message *m = e->session.message;
	return m != NULL && m->edits.seals > 0 && e->now->held.kind == MM_VERDICT_accept;
}

static bool event_of(struct mm_engine *e, enum mm_stage stage, struct mm_event *event)
{
	*event = (struct mm_event){
		.stage = stage, .command = mm_frame_has_packet(&e->now->frame) ? &e->now->command : NULL,
	};
	switch (stage) {
	case MM_STAGE_abort:
		event->command = NULL;
		event->ended_at = stage_now(e);
		event->ended_by = (enum mm_end)e->ended_by;
		return e->session.message != NULL && !e->shuns_message;
	case MM_STAGE_done:
		event->command = NULL;
		event->result = e->now->result.kind;
		event->result_by = e->now->result.decided_by;
		event->result_edits = e->now->result_edits;
		event->ended_at = e->now->result_stage;
		event->result_reply = (struct mm_text){
			(const char *)e->now->result.reply.bytes, e->now->result.reply.size,
		};
		return e->session.message != NULL && !e->shuns_message;
	case MM_STAGE_close:
		event->command = NULL;
		event->ended_by = (enum mm_end)e->ended_by;
		return true;
	case MM_STAGE_macros:
		event->macros_at = (enum mm_macro_set)mm_macro_set_of(e->now->command.row->letter);
		return !mm_macros_is_empty(&e->session.macros, event->macros_at)
			&& (!e->now->command.row->is_content || e->session.message != NULL)
			&& e->now->held.kind == MM_VERDICT_continue;
	case MM_STAGE_body:
		return !e->skips_body && e->now->held.kind == MM_VERDICT_continue;
	case MM_STAGE_rcpt:
		event->is_refused = e->rcpt_is_refused;
		return e->session.message != NULL && e->now->held.kind == MM_VERDICT_continue;
	case MM_STAGE_eoh:
	case MM_STAGE_eom:
		event->is_accepted = is_accepted_with_seals(e);
		if (event->is_accepted)
			return true;
		/* fall through */
	case MM_STAGE_data:
	case MM_STAGE_header:
		return e->session.message != NULL && e->now->held.kind == MM_VERDICT_continue;
	default:
		return true;
	}
}

/* No later byte can be trusted: ends everything open in the runtime, then the connection closes. */
static void fail(struct mm_engine *e)
{
	e->is_ending = true;
	e->has_noted = false;
	e->ended_by = MM_END_protocol;
	e->todo_count = 0;
	e->now->may_go_further = false;
	mm_frame_done(&e->now->frame);
	if (e->session.message != NULL)
		push(e, e->has_last_answer ? MM_STAGE_done : MM_STAGE_abort);
	push(e, MM_STAGE_close);
}

/* What scripts want and this MTA's offer rules out: they cannot see it from the inside. */
static void note_missing(struct mm_engine *e, const struct mm_wanted *w)
{
	const struct mm_grants *g = &e->session.grants;
	char text[512];
	bool has_lists = g->actions & SMFIF_SETSYMLIST || !mm_wanted_has_lists(w);
	bool has_unknown = !(w->stages & MM_STAGE_BIT(unknown)) || g->offer.version >= MM_UNKNOWN_SINCE;
	bool has_data = !(w->stages & MM_STAGE_BIT(data)) || g->offer.version >= MM_DATA_SINCE;
	bool has_rejected = !w->rejected_recipients || g->steps & SMFIP_RCPT_REJ;
	if (has_lists && has_unknown && has_data && has_rejected)
		return;
	snprintf(text, sizeof text, "milter protocol %u:%s%s%s%s", g->offer.version,
		has_unknown ? "" : " on_unknown never runs, because unknown commands are not sent;",
		has_data ? "" : " on_data runs when the content begins, because DATA is not sent;",
		has_lists ? "" : " macros cannot be asked for: those that scripts name are nil unless the MTA is "
			"configured to send them;",
		has_rejected ? "" : " rejected_recipients has no effect;");
	text[strlen(text) - 1] = '\0';
	note(e, NOTE_OFFER, text);
}

static bool negotiate(struct mm_engine *e, struct mm_fault *why)
{
	const struct mm_wanted *w = e->runtime.ops->wanted(e->runtime_session);
	if (!mm_negotiate(&e->now->command.offer, w, &e->session.grants, e->out, why))
		return false;
	e->session.is_negotiated = true;
	e->now->frame.data_max = data_max(e);
	note_missing(e, w);
	e->tells_macros = w->stages & MM_STAGE_BIT(macros);
	e->when = MM_WHEN_IDLE;
	return true;
}

/* todo[0] has its verdict. */
static void finish_event(struct mm_engine *e, struct mm_verdict *v)
{
	enum mm_stage stage = (enum mm_stage)e->todo[0];
	pop(e);
	switch (stage) {
	case MM_STAGE_abort:
		end_message(e, true);
		break;
	case MM_STAGE_done:
		end_message(e, false);
		break;
	case MM_STAGE_close:
		end_client(e);
		break;
	case MM_STAGE_macros:
		break;
	case MM_STAGE_negotiate:
		if (v->kind != MM_VERDICT_continue) {   /* the protocol refuses by closing */
			mm_fault_set(e->now->why, MM_FAULT_SCRIPT, "on_negotiate refuses this MTA (%s)", v->decided_by);
			fail(e);
		} else if (!negotiate(e, e->now->why))
			fail(e);
		break;
	case MM_STAGE_rcpt:
		if (e->rcpt_is_refused)                 /* our answer is ignored (protocol 4.3) */
			mm_verdict_reset(v);
		answer(e, stage, v);
		break;
	default:
		answer(e, stage, v);
	}
	mm_verdict_reset(v);
}

/* An event without a reply of its own, although its stage has one: the chunk inside an end-of-message packet, and the
 * DATA of an MTA that sends none. */
static bool is_beside(const struct mm_engine *e, enum mm_stage stage)
{
	if (stage == MM_STAGE_body)
		return e->now->command.row->letter == SMFIC_BODYEOB;
	return stage == MM_STAGE_data && e->now->command.row->letter != SMFIC_DATA;
}

/* A final verdict becomes that of the packet. */
static void finish_beside(struct mm_engine *e, struct mm_verdict *v)
{
	pop(e);
	if (v->kind == MM_VERDICT_continue || v->kind == MM_VERDICT_skip)
		mm_verdict_reset(v);
	else
		mm_verdict_move(&e->now->held, v);
}

/* A verdict that could not be sent where it was given is sent at the first stage that answers. */
static void take_held(struct mm_engine *e, enum mm_stage stage, struct mm_verdict *v)
{
	if (e->now->held.kind == MM_VERDICT_continue || !(MM_STAGES_OF_MESSAGE & 1u << stage))
		return;
	if (is_beside(e, stage))
		return;                         /* the packet's own event takes it */
	mm_verdict_move(v, &e->now->held);
}

static void decide_event(struct mm_engine *e, struct mm_verdict *v)
{
	if (v->kind == MM_VERDICT_continue)
		take_held(e, (enum mm_stage)e->todo[0], v);
	if (is_beside(e, (enum mm_stage)e->todo[0]))
		finish_beside(e, v);
	else
		finish_event(e, v);
}

static void event_decided(struct mm_engine *e, struct mm_verdict *v)
{
	if (e->session.traced == 0) {
		decide_event(e, v);
		return;
	}
	size_t start = e->out->size;
	bool is_offer = e->todo[0] == MM_STAGE_negotiate;
	decide_event(e, v);
	show_sent(e, start, is_offer ? "" : e->now->answered_by);
}

/* The runtime has decided, or its wait was cancelled. */
static void end_wait(struct mm_engine *e)
{
	e->is_waiting = false;
	e->shared->waited = mm_clock_now() - e->now->waiting_since;
	if (e->session.message != NULL && e->session.message->decided_at == 0)
		e->session.message->waited += e->shared->waited;
}

/* After a field whose verdict is continue, and with nothing special at hand, there is nothing to be done but to take
 * the next one. Whether somebody watches the session was decided with the packet before it. None of this changes before
 * the event is over. */
static bool may_go_further(const struct mm_engine *e, enum mm_stage stage)
{
	return stage == MM_STAGE_header && e->now->command.row->letter == SMFIC_HEADER && e->todo_count == 1
		&& e->now->why != NULL && e->now->why->class == MM_FAULT_NONE
		&& e->session.message != NULL && e->session.grants.quiet & MM_STAGE_BIT(header)
		&& e->now->held.kind == MM_VERDICT_continue && e->shortage == 0 && !e->has_mail_macros
		&& (e->shared->observer == NULL || e->session.traced == 0);
}

static void run_event(struct mm_engine *e)
{
	enum mm_stage stage = (enum mm_stage)e->todo[0];
	struct mm_event event;
	struct mm_verdict v = { 0 };
	e->shared->waited = 0;
	if (e->is_refused && stage == MM_STAGE_macros) {
		pop(e);                         /* its command is answered without handlers */
		return;
	}
	if (e->is_refused) {
		mm_verdict_plain(&v, MM_VERDICT_tempfail);
		snprintf(v.decided_by, sizeof v.decided_by, "memory_held");
	} else if (!event_of(e, stage, &event)) {
		take_held(e, stage, &v);
	} else if (!is_poison(e, stage, &v)) {
		e->is_waiting = true;
		e->now->may_go_further = may_go_further(e, stage);
		enum mm_outcome outcome = e->runtime.ops->event(e->runtime_session, &event, &v);
		e->now->may_go_further = false;
		if (outcome == MM_WAITING) {
			e->now->waiting_since = mm_clock_now();
			return;
		}
		e->is_waiting = false;
	}
	if (e->has_left) {
		e->has_left = false;
		mm_verdict_reset(&v);
		return;
	}
	event_decided(e, &v);
	e->is_refused = false;
}

/* ---- one packet ---- */

static bool out_of_memory(struct mm_fault *why)
{
	return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the MTA's facts");
}

/* We never switch MAIL off, so it always comes first. A recipient that the MTA has refused is marked
 * by its mailer "error". */
static bool is_refused_by_mta(const struct mm_engine *e)
{
	if (!(e->session.grants.steps & SMFIP_RCPT_REJ))
		return false;
	struct mm_text mailer = mm_session_macro(&e->session, "{rcpt_mailer}");
	return mailer.size == 5 && memcmp(mailer.bytes, "error", 5) == 0;
}

static bool open_message(struct mm_engine *e, struct mm_fault *why)
{
	struct mm_session *s = &e->session;
	const struct mm_wanted *w = e->runtime.ops->wanted(e->runtime_session);
	if (!mm_session_begin_message(s, &e->shared->message_pool))
		return out_of_memory(why);
	s->message->knows_fields = w->stages & MM_STAGE_BIT(header) && !(s->grants.steps & SMFIP_NOHDRS);
	s->message->began_at = mm_clock_now();
	e->when = MM_WHEN_ENVELOPE;
	return true;
}

static bool note_mail(struct mm_engine *e, struct mm_fault *why)
{
	if (!open_message(e, why))
		return false;
	const struct mm_command *c = &e->now->command;
	return mm_message_set_sender(e->session.message, c->text, c->strings) || out_of_memory(why);
}

static inline bool note_header(struct mm_engine *e, struct mm_fault *why)
{
	const struct mm_command *c = &e->now->command;
	e->when = MM_WHEN_HEADERS;
	if (e->session.message->knows_fields
	    && !mm_message_add_field(e->session.message, c->text, c->value, c->has_space))
		return out_of_memory(why);
	return true;
}

/* Commands that bring facts which are kept. */
#define BRING_FACTS (MM_LETTER_BIT(SMFIC_CONNECT) | MM_LETTER_BIT(SMFIC_HELO) | MM_LETTER_BIT(SMFIC_MAIL) \
	| MM_LETTER_BIT(SMFIC_RCPT) | MM_LETTER_BIT(SMFIC_HEADER))

__attribute__((cold)) static bool must_refuse(struct mm_engine *e, uint8_t letter)
{
	bool lacks_macros = e->shortage & SHORT_OF_MACROS;
	e->shortage &= ~SHORT_OF_MACROS;
	if (MM_STAGES_AFTERWARDS & 1u << e->now->command.row->stage)
		return false;
	return lacks_macros || (e->shortage & SHORT_OF_ROOM && mm_letter_is_in(letter, BRING_FACTS));
}

/* There is no memory for what the command brings. A client's facts cannot be left out in silence; those of a message
 * can, because it gets its answer later. False: the connection must close. */
__attribute__((cold)) static bool refuse(struct mm_engine *e, uint8_t letter, struct mm_fault *why)
{
	enum mm_stage stage = e->now->command.row->stage;
	e->shared->held.refusals++;
	if (e->session.grants.quiet & 1u << stage && !(MM_STAGES_OF_MESSAGE & 1u << stage))
		return mm_fault_set(why, MM_FAULT_RESOURCE, "no memory for what %s brings (memory_held)",
			e->now->command.row->name);
	/* a message that is already lost keeps its verdict */
	e->is_refused = e->now->held.kind != MM_VERDICT_reject && e->now->held.kind != MM_VERDICT_tempfail
		&& e->now->held.kind != MM_VERDICT_discard;
	if (letter == SMFIC_MAIL)
		return open_message(e, why);
	if (letter == SMFIC_RCPT) {
		e->rcpt_is_refused = is_refused_by_mta(e);
		e->is_refused &= !e->rcpt_is_refused;   /* the MTA does not want it either */
	}
	if (e->session.message == NULL)
		return true;
	switch (letter) {
	case SMFIC_DATA:   e->when = MM_WHEN_DATA; break;
	case SMFIC_HEADER: e->when = MM_WHEN_HEADERS; break;
	case SMFIC_EOH:
	case SMFIC_BODY:
	case SMFIC_BODYEOB: e->when = MM_WHEN_BODY; break;
	}
	return true;
}

static bool store_facts(struct mm_engine *e, struct mm_fault *why)
{
	struct mm_session *s = &e->session;
	const struct mm_command *c = &e->now->command;
	switch (c->row->letter) {
	case SMFIC_CONNECT:
		if (c->bytes_beyond > 0)
			note(e, NOTE_CONNECT, "connect: bytes after the client's address: passed over");
		return mm_session_set_client(s, c) || out_of_memory(why);
	case SMFIC_HELO: return mm_session_set_helo(s, c->text) || out_of_memory(why);
	case SMFIC_MAIL: return note_mail(e, why);
	case SMFIC_RCPT:
		e->rcpt_is_refused = is_refused_by_mta(e);
		if (s->message == NULL)
			return true;
		return mm_message_add_recipient(s->message, c->text, c->strings, e->rcpt_is_refused)
			|| out_of_memory(why);
	case SMFIC_DATA: e->when = MM_WHEN_DATA; return true;
	case SMFIC_HEADER: return s->message == NULL || note_header(e, why);
	case SMFIC_EOH: e->when = MM_WHEN_BODY; return true;
	case SMFIC_BODY:
	case SMFIC_BODYEOB:
		if (s->message != NULL) {
			e->when = MM_WHEN_BODY;
			mm_message_note_body(s->message, c->text);
		}
		return true;
	default:
		return true;
	}
}

/* Macros of MAIL with a message open are those of the next message, if MAIL follows: they must not reach the open one,
 * whose on_abort and log line would have the queue id of its successor. */
static bool keep_mail_macros(struct mm_engine *e)
{
	mm_buffer_clear(&e->now->mail_macros);
	mm_buffer_append(&e->now->mail_macros, e->now->command.strings.bytes, e->now->command.strings.size);
	e->has_mail_macros = true;
	return !e->now->mail_macros.failed;
}

/* False: out of memory. */
static bool take_mail_macros(struct mm_engine *e)
{
	if (!e->has_mail_macros)
		return true;
	e->has_mail_macros = false;
	struct mm_text strings = { (const char *)e->now->mail_macros.bytes, e->now->mail_macros.size };
	bool ok = mm_macros_set(&e->session.macros, SMFIC_MAIL, strings);
	mm_buffer_free(&e->now->mail_macros);
	return ok;
}

/* Some clients send all their macros at any time (mtasim, Net::Milter). As libmilter does, the message goes on. */
static bool settle_mail_macros(struct mm_engine *e)
{
	const struct mm_command_row *row = e->now->command.row;
	if (!e->has_mail_macros || row->letter == SMFIC_MAIL || row->letter == SMFIC_MACRO)
		return true;
	if (!row->is_content && row->letter != SMFIC_UNKNOWN)
		return true;                    /* the message ends; what comes next is not known yet */
	note(e, NOTE_MACROS, "macros of MAIL inside a message: it goes on");
	return take_mail_macros(e);
}

/* Stores the facts of a command before any handler sees it. */
static bool note_facts(struct mm_engine *e, struct mm_fault *why)
{
	uint8_t letter = e->now->command.row->letter;
	if (letter == SMFIC_MAIL && !take_mail_macros(e))
		return out_of_memory(why);
	mm_session_age_macros(&e->session, letter);
	if (e->shortage != 0 && must_refuse(e, letter))
		return refuse(e, letter, why);
	if (!store_facts(e, why))
		return false;
	mm_digest_note(&e->session, &e->now->command);
	return true;
}

/* on_data has to run, but content begins without DATA: protocol 2 and 3 do not have it, and some clients leave it
 * out. */
static bool lacks_data(const struct mm_engine *e)
{
	return e->when == MM_WHEN_ENVELOPE && e->session.message != NULL
		&& e->runtime.ops->wanted(e->runtime_session)->stages & MM_STAGE_BIT(data);
}

/* Macros that have come for this command are told before its own event. */
__attribute__((cold)) static void push_macros(struct mm_engine *e)
{
	int set = mm_macro_set_of(e->now->command.row->letter);
	uint8_t bit = set >= 0 ? (uint8_t)(1u << set) : 0;
	if (!(e->fresh_macros & bit))
		return;
	e->fresh_macros &= (uint8_t)~bit;
	push(e, MM_STAGE_macros);
}

/* Queues the events of a command. An open message that the command silently ends is aborted first. */
static void queue_events(struct mm_engine *e)
{
	const struct mm_command_row *row = e->now->command.row;
	bool has_message = e->session.message != NULL;
	switch (row->letter) {
	case SMFIC_ABORT:
		e->ended_by = MM_END_abort;
		if (has_message)
			push(e, MM_STAGE_abort);
		else if (e->when == MM_WHEN_DECIDED)
			e->when = MM_WHEN_IDLE;         /* Postfix sends one after every message */
		return;
	case SMFIC_QUIT:
		e->is_ending = true;
		/* fall through */
	case SMFIC_QUIT_NC:
		e->ended_by = MM_END_quit;
		if (has_message)
			push(e, MM_STAGE_abort);
		push(e, MM_STAGE_close);
		return;
	case SMFIC_HELO:
	case SMFIC_MAIL:
		e->ended_by = row->letter == SMFIC_HELO ? MM_END_helo : MM_END_new_message;
		if (has_message)
			push(e, MM_STAGE_abort);
		break;
	case SMFIC_HEADER:
	case SMFIC_EOH:
	case SMFIC_BODY:
	case SMFIC_BODYEOB:
		if (lacks_data(e)) {
			if (e->session.grants.version >= MM_DATA_SINCE)         /* else it is told already */
				note(e, NOTE_DATA, "content without DATA: on_data runs when it begins");
			push(e, MM_STAGE_data);
		}
		if (row->letter == SMFIC_BODYEOB && e->now->command.text.size > 0)
			push(e, MM_STAGE_body);
		break;
	default:
		break;
	}
	if (e->fresh_macros != 0)
		push_macros(e);
	push(e, row->stage);
}

/* Content after our final verdict, or an end-of-message that belongs to no message: answered, but
 * never shown to a handler. */
static bool is_for_nobody(const struct mm_engine *e)
{
	return e->session.message == NULL && e->now->command.row->is_content;
}

static void answer_nobody(struct mm_engine *e)
{
	size_t start = e->out->size;
	if (!(e->session.grants.quiet & 1u << e->now->command.row->stage))
		mm_reply_bare(e->out, SMFIR_CONTINUE);
	if (e->session.traced != 0)
		show_sent(e, start, "");
	if (e->now->command.row->letter == SMFIC_BODYEOB)
		e->when = MM_WHEN_IDLE;
}

/* An MTA that cannot switch a step off sends it even when the filter handles no messages at all (protocol 4.4). */
static bool is_untold(const struct mm_engine *e)
{
	return e->when == MM_WHEN_IDLE && e->session.grants.steps & SMFIP_NOMAIL && e->now->command.row->is_content;
}

static const char *where_text(uint8_t when)
{
	switch (when) {
	case MM_WHEN_START:    return "nothing is negotiated yet";
	case MM_WHEN_IDLE:     return "no message is open";
	case MM_WHEN_ENVELOPE: return "a message is in its envelope";
	case MM_WHEN_DATA:     return "DATA has been received";
	case MM_WHEN_HEADERS:  return "headers have been received";
	case MM_WHEN_BODY:     return "the body has begun";
	default:               return "the message is decided";
	}
}

/* The line ends of a header value are LF (protocol 3.9). Postfix and Sendmail keep to it, so a CR from them is one that
 * the message has; other clients copy the value from the message as it stands. */
static bool end_lines_with_lf(struct mm_engine *e)
{
	struct mm_text *value = &e->now->command.value;
	struct mm_buffer *b = &e->now->folded;
	if (memchr(value->bytes, '\r', value->size) == NULL)   /* memmem takes ten times as long */
		return true;
	if (memmem(value->bytes, value->size, "\r\n", 2) == NULL)
		return true;
	note(e, NOTE_FOLDS, "header: lines that end in CRLF: taken for LF");
	mm_buffer_clear(b);
	for (const char *at = value->bytes, *end = at + value->size, *cr; at < end; at = cr) {
		cr = memmem(at + 1, (size_t)(end - at - 1), "\r\n", 2);
		cr = cr != NULL ? cr : end;
		bool is_end = *at == '\r' && at + 1 < end && at[1] == '\n';
		mm_buffer_append(b, at + is_end, (size_t)(cr - at) - is_end);
	}
	*value = (struct mm_text){ (const char *)b->bytes, b->size };
	return !b->failed;
}

static bool decode(struct mm_engine *e, const struct mm_packet *packet, struct mm_fault *why)
{
	if (!mm_command_decode(packet, e->session.grants.steps, &e->now->command, why))
		return false;
	return e->now->command.row->letter != SMFIC_HEADER || mm_session_mta(&e->session) != MM_MTA_UNKNOWN
		|| end_lines_with_lf(e) || out_of_memory(why);
}

/* As decode(), of a field that comes after another, so that the MTA is known already if it can be. */
static inline bool decode_further(struct mm_engine *e, const struct mm_packet *packet, struct mm_fault *why)
{
	if (!mm_command_decode_field(packet, e->session.grants.steps, &e->now->command, why))
		return false;
	return e->session.mta != MM_MTA_UNKNOWN || end_lines_with_lf(e) || out_of_memory(why);
}

/* Decodes the current packet again after its bytes have moved: its facts are already stored. */
static void decode_again(struct mm_engine *e)
{
	struct mm_packet packet;
	struct mm_fault ignored;
	mm_frame_current(&e->now->frame, &packet);
	decode(e, &packet, &ignored);
}

static bool begin_packet(struct mm_engine *e, const struct mm_packet *packet, struct mm_fault *why)
{
	struct mm_command *c = &e->now->command;
	if (!decode(e, packet, why))
		return false;
	if (e->shared->observer != NULL)
		e->shared->observer->packet(e->shared->observer->self, &e->session, packet, c);
	if (is_untold(e)) {
		answer_nobody(e);
		return true;
	}
	if (!(c->row->when & e->when) || (c->row->letter == SMFIC_CONNECT && e->session.knows_client))
		return mm_fault_set(why, MM_FAULT_PEER, "%s is out of order: %s", c->row->name,
			c->row->letter == SMFIC_CONNECT && e->session.knows_client ? "the client is already known"
			: where_text(e->when));
	if (c->row->letter == SMFIC_MACRO) {
		if (e->shortage & SHORT_OF_ROOM) {
			e->shortage |= SHORT_OF_MACROS;
			return true;
		}
		if (e->tells_macros && mm_macro_set_of(c->macros_of) >= 0)
			e->fresh_macros |= (uint8_t)(1u << mm_macro_set_of(c->macros_of));
		if (c->macros_of == SMFIC_MAIL && e->session.message != NULL)
			return keep_mail_macros(e) || out_of_memory(why);
		return mm_macros_set(&e->session.macros, c->macros_of, c->strings) || out_of_memory(why);
	}
	if (!settle_mail_macros(e))
		return out_of_memory(why);
	if (c->row->letter == SMFIC_OPTNEG) {
		push(e, MM_STAGE_negotiate);
		return true;
	}
	if (is_for_nobody(e)) {
		answer_nobody(e);
		return true;
	}
	queue_events(e);
	return true;
}

/* ---- the machine ---- */

/* The facts of a command are valid from the moment its own event runs: an abort queued before it still
 * sees the old message. */
static bool note_before(struct mm_engine *e, struct mm_fault *why)
{
	enum mm_stage stage = (enum mm_stage)e->todo[0];
	if (stage == MM_STAGE_negotiate) {
		e->session.grants.offer = e->now->command.offer;     /* on_negotiate sees it; the answer follows */
		return true;
	}
	bool has_packet = mm_frame_has_packet(&e->now->frame);
	bool is_early = stage == MM_STAGE_macros;
	if (!has_packet || (e->now->command.row->stage != stage && !is_early))
		return has_packet && stage == MM_STAGE_body ? note_facts(e, why) : true;
	if (e->has_noted) {
		e->has_noted = false;
		return true;
	}
	e->has_noted = is_early;
	if (e->now->command.row->letter == SMFIC_BODYEOB && e->now->command.text.size > 0)
		return true;                    /* stored with its chunk */
	return note_facts(e, why);
}

static bool take_packet(struct mm_engine *e, struct mm_fault *why)
{
	struct mm_packet packet;
	mm_frame_done(&e->now->frame);
	if (e->is_ending)
		return false;
	switch (mm_frame_next(&e->now->frame, &packet, why)) {
	case MM_FRAME_MORE:
		return false;
	case MM_FRAME_BAD:
		fail(e);
		return true;
	case MM_FRAME_PACKET:
		break;
	}
	if (e->now->turn_left == 0) {
		mm_frame_again(&e->now->frame);
		e->has_more = true;
		return false;
	}
	e->now->turn_left--;
	if (!begin_packet(e, &packet, why))
		fail(e);
	return true;
}

/* ---- further fields without leaving the runtime ---- */

/* Is it still this session's turn, and has no worker died meanwhile? */
static bool can_go_further(const struct mm_engine *e)
{
	const struct mm_handling *h = e->now;
	return h != NULL && h->may_go_further && !e->is_ending && h->turn_left >= 2
		&& (h->turn_ends == 0 || *e->shared->busy <= h->turn_ends)
		&& (e->session.seed == 0 || !mm_poison_is_any(e->shared->poison));
}

/* Macros of a field, which nobody keeps (macro.h), of good form. */
static bool are_field_macros(const struct mm_packet *p)
{
	return p->letter == SMFIC_MACRO && p->size > 0 && p->data[0] == SMFIC_HEADER
		&& (p->size == 1 || p->data[p->size - 1] == '\0');
}

bool mm_engine_has_further(const struct mm_engine *e, const void *runtime_session)
{
	const struct mm_handling *h = e->now;
	struct mm_packet next;
	return e->runtime_session == runtime_session && h != NULL && h->may_go_further
		&& mm_frame_peek(&h->frame, h->frame.at + h->frame.packet_size, &next)
		&& (next.letter == SMFIC_HEADER || are_field_macros(&next));
}

/* The next packet when it is a field. Postfix sends macros before each: they are passed over. False: something else
 * comes next, and nothing has changed. */
static inline bool next_field(struct mm_handling *h, struct mm_packet *packet)
{
	size_t at = h->frame.at + h->frame.packet_size;
	unsigned count = 1;
	if (!mm_frame_peek(&h->frame, at, packet))
		return false;
	if (are_field_macros(packet)) {
		at += MM_FRAME_HEAD + packet->size;
		count++;
		if (!mm_frame_peek(&h->frame, at, packet))
			return false;
	}
	if (packet->letter != SMFIC_HEADER)
		return false;
	h->turn_left -= count;
	mm_frame_skip_to(&h->frame, at, packet);
	return true;
}

bool mm_engine_further(struct mm_engine *e, const void *runtime_session)
{
	struct mm_packet packet;
	struct mm_handling *h = e->now;
	if (e->runtime_session != runtime_session || !can_go_further(e) || !next_field(h, &packet))
		return false;
	h->answered_by[0] = '\0';
	if (!decode_further(e, &packet, h->why) || !note_header(e, h->why)) {
		fail(e);
		e->has_left = true;
		return false;
	}
	if (e->session.seed != 0) {
		mm_digest_note(&e->session, &h->command);
		show_event(e, mm_digest_of_event(&e->session, MM_STAGE_header));
	}
	return true;
}

static void run(struct mm_engine *e, struct mm_fault *why)
{
	e->now->why = why;
	if (!mm_account_fits(&e->session.account, GROWTH * mm_frame_pending(&e->now->frame)))
		e->shortage |= SHORT_OF_ROOM;
	while (!e->is_waiting && !e->is_finished) {
		if (e->todo_count == 0 && !take_packet(e, why)) {
			if (!e->is_ending)
				break;
			push(e, MM_STAGE_close);
		}
		if (e->todo_count == 0)
			continue;
		if (!note_before(e, why)) {
			fail(e);
			continue;
		}
		run_event(e);
		if (e->now->turn_ends != 0 && *e->shared->busy > e->now->turn_ends)
			end_turn(e);
	}
	e->shortage &= ~SHORT_OF_ROOM;
	if (why->class != MM_FAULT_NONE && e->owner_ops->fault != NULL)
		e->owner_ops->fault(e->owner, why);
	e->now->why = NULL;
}

static bool is_afterwards(enum mm_stage stage)
{
	return MM_STAGES_AFTERWARDS & 1u << stage;
}

/* The stage whose reply the MTA waits for. */
static enum mm_stage awaited_stage(const struct mm_engine *e)
{
	return e->todo[0] == MM_STAGE_macros ? e->now->command.row->stage : (enum mm_stage)e->todo[0];
}

/* The MTA has given up the message or the session while a handler waits: packets kept before that are void, too. */
static void stop_waiting(struct mm_engine *e, enum mm_cancel why)
{
	uint32_t letters = mm_commands_ending_wait(awaited_stage(e));
	e->runtime.ops->cancel(e->runtime_session, why);
	end_wait(e);
	e->todo_count = 0;
	e->has_noted = false;
	struct mm_packet packet;
	struct mm_fault ignored;
	while (mm_frame_has_packet(&e->now->frame)) {        /* drop up to the abort or quit … */
		mm_frame_done(&e->now->frame);
		if (mm_frame_next(&e->now->frame, &packet, &ignored) == MM_FRAME_PACKET
		    && mm_letter_is_in(packet.letter, letters))
			break;
	}
	mm_frame_again(&e->now->frame);              /* … which run() handles as any other */
}

/* Processes the packets at hand, up to a handler that waits and is still wanted. */
static void go_on(struct mm_engine *e, struct mm_fault *why)
{
	uint8_t letter;
	if (!e->is_waiting)
		run(e, why);
	while (e->is_waiting && mm_frame_find(&e->now->frame, mm_commands_ending_wait(awaited_stage(e)), &letter)) {
		stop_waiting(e, letter == SMFIC_ABORT ? MM_CANCEL_ABORT : MM_CANCEL_DISCONNECT);
		run(e, why);
	}
}

/* Tells the account what the engine keeps, after n bytes from the MTA. Little that has come to a session that has
 * little is left for the next time: most commands are small, and counting costs as much as handling them. */
static void declare(struct mm_engine *e, size_t n)
{
	size_t undeclared = e->undeclared + n;
	bool is_little = undeclared < UNDECLARED_MAX && e->session.declared < DECLARED_LITTLE;
	e->undeclared = is_little ? (uint32_t)undeclared : 0;
	if (is_little)
		return;
	const struct mm_handling *h = e->now;
	mm_session_declare(&e->session, h->frame.held.capacity + h->mail_macros.capacity + h->folded.capacity);
}

static void end(struct mm_engine *e, enum mm_cancel why, enum mm_end by);

static bool feed(struct mm_engine *e, const void *bytes, size_t n, struct mm_fault *why)
{
	mm_fault_clear(why);
	if (e->is_ending)
		return true;
	if (!take_handling(e)) {
		mm_engine_end(e, MM_CANCEL_DISCONNECT);
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for %zu bytes from the MTA", n);
	}
	begin_turn(e);
	if (!mm_frame_feed(&e->now->frame, bytes, n, why)) {
		end(e, MM_CANCEL_DISCONNECT, MM_END_protocol);
		return false;
	}
	go_on(e, why);
	struct mm_fault keep;
	bool has_command = mm_frame_has_packet(&e->now->frame);
	mm_fault_clear(&keep);
	if (!mm_frame_keep(&e->now->frame, &keep)) {
		end(e, MM_CANCEL_DISCONNECT, MM_END_protocol);
		*why = keep;
		return false;
	}
	declare(e, n);
	if (has_command && e->is_waiting)
		decode_again(e);
	return why->class == MM_FAULT_NONE;
}

bool mm_engine_feed(struct mm_engine *e, const void *bytes, size_t n, struct mm_fault *why)
{
	struct work before = begin_work(e);
	bool ok = feed(e, bytes, n, why);
	show_work(e, before);
	return ok;
}

bool mm_engine_go_on(struct mm_engine *e, struct mm_fault *why)
{
	return mm_engine_feed(e, NULL, 0, why);
}

static void end(struct mm_engine *e, enum mm_cancel why, enum mm_end by)
{
	struct mm_fault ignored = { .class = MM_FAULT_NONE };
	if (e->is_finished)
		return;
	if (e->is_waiting) {
		if (is_afterwards((enum mm_stage)e->todo[0])) {
			e->ended_by = by;
			e->is_ending = true;            /* it may end by itself; then only close is left */
			e->todo_count = 1;
			if (e->todo[0] != MM_STAGE_close)
				push(e, MM_STAGE_close);
			return;
		}
		e->runtime.ops->cancel(e->runtime_session, why);
		end_wait(e);
	}
	fail(e);
	e->ended_by = by;
	run(e, &ignored);
}

/* Cancels a waiting handler and runs the events still owed (abort or done, then close): there will be no later call. */
static void end_at_once(struct mm_engine *e, enum mm_cancel why, enum mm_end by)
{
	end(e, why, by);
	while (!e->is_finished && e->is_waiting) {
		struct mm_verdict v = { 0 };
		struct mm_fault ignored = { .class = MM_FAULT_NONE };
		e->runtime.ops->cancel(e->runtime_session, MM_CANCEL_SHUTDOWN);
		e->is_waiting = false;
		event_decided(e, &v);
		run(e, &ignored);
	}
}

/* The same without memory to handle anything in: of what the engine needs, nothing outlives the call. */
static void end_without_memory(struct mm_engine *e, enum mm_cancel why, enum mm_end by)
{
	struct mm_handling now = { .frame.data_max = data_max(e) };
	e->now = &now;
	end_at_once(e, why, by);
	e->now = NULL;
	clear_handling(&now);
}

static void end_by(struct mm_engine *e, enum mm_cancel why, bool at_once)
{
	struct work before = begin_work(e);
	enum mm_end by = why == MM_CANCEL_SHUTDOWN ? MM_END_stop : why == MM_CANCEL_TIMEOUT ? MM_END_timeout
		: MM_END_disconnect;
	why = why == MM_CANCEL_TIMEOUT ? MM_CANCEL_DISCONNECT : why;
	if (!e->is_finished)
		(!take_handling(e) ? end_without_memory : at_once ? end_at_once : end)(e, why, by);
	show_work(e, before);
}

void mm_engine_end(struct mm_engine *e, enum mm_cancel why)
{
	end_by(e, why, false);
}

/* The MTA gets an answer although the handler was cancelled. One that decides the message is its final reply: on_done
 * runs, not on_abort. */
static void note_last_answer(struct mm_engine *e, enum mm_stage stage, struct mm_verdict *v)
{
	snprintf(v->decided_by, sizeof v->decided_by, "stop");
	tell_aside(e, stage, v);
	if (!is_final(stage, v) || e->session.message == NULL)
		return;
	e->has_last_answer = true;
	e->now->result_stage = stage;
	mm_verdict_move(&e->now->result, v);
}

void mm_engine_shut_down(struct mm_engine *e)
{
	if (e->is_waiting && mm_frame_has_packet(&e->now->frame) && !is_afterwards((enum mm_stage)e->todo[0])) {
		enum mm_stage stage = (enum mm_stage)e->todo[0];
		struct mm_verdict v = { 0 };
		e->runtime.ops->cancel(e->runtime_session, MM_CANCEL_SHUTDOWN);
		e->is_waiting = false;
		mm_verdict_plain(&v, MM_VERDICT_tempfail);
		if (is_beside(e, stage) || stage == MM_STAGE_macros)
			stage = e->now->command.row->stage;
		if (stage != MM_STAGE_negotiate && !(e->session.grants.quiet & 1u << stage)) {
			size_t start = e->out->size;
			write_verdict(e, &v);
			note_last_answer(e, stage, &v);
			show_sent(e, start, "stop");
		}
	}
	mm_engine_end(e, MM_CANCEL_SHUTDOWN);
}

void mm_engine_decided(struct mm_engine *e, struct mm_verdict *v)
{
	struct work before = begin_work(e);
	struct mm_fault why;
	mm_fault_clear(&why);
	end_wait(e);
	if (e->runtime.ops->settle != NULL)
		e->runtime.ops->settle(e->runtime_session, v);
	e->now->why = &why;
	begin_turn(e);
	event_decided(e, v);
	go_on(e, &why);
	mm_frame_keep(&e->now->frame, &why);
	declare(e, UNDECLARED_MAX);
	if (e->is_waiting && mm_frame_has_packet(&e->now->frame))
		decode_again(e);
	show_work(e, before);
	e->owner_ops->wake(e->owner);
}

bool mm_engine_progress(struct mm_engine *e)
{
	if (!e->is_waiting || !mm_frame_has_packet(&e->now->frame) || e->now->command.row->letter != SMFIC_BODYEOB
	    || is_afterwards((enum mm_stage)e->todo[0]))
		return false;
	size_t start = e->out->size;
	mm_reply_bare(e->out, SMFIR_PROGRESS);
	show_sent(e, start, "");
	e->owner_ops->wake(e->owner);
	return true;
}

bool mm_engine_wants_input(const struct mm_engine *e)
{
	/* when no handler waits, only one unfinished packet is kept, which has its own bound */
	return !e->is_ending && !e->has_more && (!e->is_waiting || mm_engine_pending(e) < MM_PENDING_MAX);
}

size_t mm_engine_pending(const struct mm_engine *e)
{
	return e->now != NULL ? mm_frame_pending(&e->now->frame) : 0;
}

bool mm_engine_has_more(const struct mm_engine *e)
{
	return e->has_more && !e->is_ending;
}

size_t mm_engine_complete(const struct mm_engine *e, const void *bytes, size_t n)
{
	const struct mm_frame none = { .data_max = data_max(e) };
	return e->is_waiting ? 0 : mm_frame_complete(e->now != NULL ? &e->now->frame : &none, bytes, n);
}

const char *mm_engine_answered_by(const struct mm_engine *e)
{
	return e->now != NULL ? e->now->answered_by : "";
}

bool mm_engine_is_finished(const struct mm_engine *e)
{
	return e->is_finished;
}

bool mm_engine_is_waiting(const struct mm_engine *e)
{
	return e->is_waiting;
}

enum mm_stage mm_engine_waits_at(const struct mm_engine *e, double *since)
{
	bool waits = e->is_waiting && e->todo_count > 0;
	*since = waits ? e->now->waiting_since : 0;
	return waits ? (enum mm_stage)e->todo[0] : MM_STAGE_COUNT;
}

void *mm_engine_runtime_session(struct mm_engine *e)
{
	return e->runtime_session;
}

struct mm_session *mm_engine_session(struct mm_engine *e)
{
	return &e->session;
}

const struct mm_session *mm_engine_facts(const struct mm_engine *e)
{
	return &e->session;
}
