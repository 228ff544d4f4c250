/* milter/engine.h -- the milter protocol's filter side as a pure machine: bytes in, events to a runtime, bytes out.
 * Knows no socket, no loop and no Lua. One engine is one milter connection.
 *
 * Promises: each command that wants an answer gets exactly one final reply, and no other command gets one; edits leave
 * only after end-of-message, before the final reply of a message that is let through, all in one append to `out`; for
 * every message opened the runtime sees exactly one of done and abort, for every client exactly one close, last.
 *
 * An event that has killed a worker before is answered with a temporary failure and never reaches the runtime
 * (base/poison.h); nor does the rest of its message, on_done and on_abort included.
 *
 * While the runtime waits, the engine keeps further bytes (bounded: mm_engine_wants_input()); an abort or quit among
 * them ends the wait at once.
 *
 * A peer may send thousands of packets at once. So that other connections are served between them, an engine works in
 * turns: a turn ends after a while or after one end-of-message, and the rest of the packets waits for the next one
 * (mm_engine_has_more()).
 *
 * The session's account (base/account.h) knows what the engine keeps. While it may hold no more, the engine keeps no
 * further fact: a command that brings one is answered with a temporary failure, without its handlers. */
#ifndef MM_MILTER_ENGINE_H
#define MM_MILTER_ENGINE_H

#include "base/census.h"
#include "milter/frame.h"
#include "milter/runtime.h"

struct mm_engine;
struct mm_handling;

struct mm_outcome_report;

/* Who watches what engines do (story/tracer.h); it changes nothing but `traced` and `judged` of the session. All
 * arguments are BORROWED for the call. The last three are called only for sessions with `traced` set. */
struct mm_observer {
	void *self;
	/* A command has come; its facts are not stored yet, and it may be out of order. */
	void (*packet)(void *self, struct mm_session *, const struct mm_packet *, const struct mm_command *);
	/* Whole packets are to be sent. by: "10-auth.lua:12", who decided; "": nobody. */
	void (*sent)(void *self, const struct mm_session *, const void *bytes, size_t n, const char *by);
	/* A message ended, or a verdict decides no message. */
	void (*verdict)(void *self, struct mm_session *, const struct mm_outcome_report *, bool is_of_message);
	void (*closed)(void *self, struct mm_session *, enum mm_end);
};

/* State that all engines of a worker share. The creator owns it; it outlives the engines. */
struct mm_engine_shared {
	struct mm_message *message_pool;        /* owned here; mm_engine_shared_free() at the end */
	struct mm_handling *handlings;          /* the same: those that no engine needs now */
	uint32_t           handling_count;
	struct mm_account_sum held;             /* of the accounts of all sessions, and of whatever else adds one */
	char               id_prefix[20];       /* of session ids */
	uint64_t           sessions_begun;
	double             waited;              /* seconds that the event now being decided has waited */
	const struct mm_observer *observer;     /* borrowed; NULL: nobody watches */

	/* for the process that would find us dead; NULL: there is none */
	struct mm_census_row   *row;            /* borrowed: shows what is at work */
	const struct mm_poison *poison;         /* borrowed: what has killed workers */
	const struct mm_session *working;       /* borrowed: whose bytes or events are at work; NULL: nobody's */
	/* in ticks (mm_clock_ticks()) */
	uint64_t           turn_ticks;          /* how long a turn lasts; 0: until all is done */
	const uint64_t    *busy;                /* borrowed: how long the runtimes have worked so far;
	                                         * set when turn_ticks is */
};

/* After the last engine. */
void mm_engine_shared_free(struct mm_engine_shared *);

/* What happened to a message, for its one log line; or a verdict on something else. Texts are borrowed for the call. */
struct mm_outcome_report {
	const struct mm_session *session;
	enum mm_verdict_kind     verdict;
	bool                     is_aborted;    /* no final reply: the MTA aborted or went away */
	enum mm_stage            stage;         /* where it ended */
	struct mm_text           reply;
	const char              *decided_by;    /* script file and handler, or "stop"; NULL: the defaults decided */
	uint32_t                 edits;         /* edits sent */
	enum mm_mta_kind         mta;           /* when there are edits: as which they were written for */
	double                   seconds;       /* from MAIL to the verdict, or to the abort */
	double                   waited;        /* seconds in which the MTA waited for a handler that itself waited */
};

/* What an engine tells its owner: connection.c, or an embedder's byte feeder. */
struct mm_engine_owner {
	/* Outside of feed and end, bytes were appended to out or the engine has finished. */
	void (*wake)(void *self);
	void (*report)(void *self, const struct mm_outcome_report *);   /* a message ended; may be NULL */
	void (*fault)(void *self, const struct mm_fault *);     /* for the one log line about a connection that
	                                                         * must close; may be NULL */
	/* A verdict that decides no message: on a client (connect, helo), a recipient, an
	 * unknown command; may be NULL */
	void (*aside)(void *self, const struct mm_outcome_report *);
	/* What this MTA does differently from Postfix and Sendmail, or cannot do, and what that means here: for a log
	 * line, once a connection; may be NULL */
	void (*note)(void *self, const char *text);
	/* The edits of the session's message are about to be sent; may be NULL */
	void (*edits)(void *self);
};

/* Replies are appended to out. That, ops and owner, which ops get as self, are BORROWED. NULL: out of memory. */
struct mm_engine *mm_engine_new(struct mm_engine_shared *, struct mm_runtime, const struct mm_engine_owner *ops,
	void *owner, struct mm_buffer *out);
/* Cancels a waiting handler, reports the events still owed (abort or done, then close) without
 * waiting for them, and frees. */
void mm_engine_free(struct mm_engine *);

/* Takes bytes from the MTA. False: the MTA broke the protocol and why says how; close the connection after the runtime
 * has seen abort and close (mm_engine_is_finished()). Bytes are not borrowed beyond the call. */
bool mm_engine_feed(struct mm_engine *, const void *bytes, size_t n, struct mm_fault *why);
/* The turn is over, and whole packets are left: call mm_engine_go_on() when others have had their turn, and feed no
 * more before. Also false while a handler waits: then its verdict begins the next turn. */
bool mm_engine_has_more(const struct mm_engine *);
/* As mm_engine_feed(), with the packets at hand. */
bool mm_engine_go_on(struct mm_engine *, struct mm_fault *why);
/* After all of a call's output has been taken: when nothing is at hand, the engine gives back the memory that it needs
 * only then, and mm_engine_answered_by() is "". Not inside an engine's call. */
void mm_engine_rest(struct mm_engine *);
/* No more bytes will come. TIMEOUT: because the MTA was silent for too long; a handler that waits is told
 * DISCONNECT. */
void mm_engine_end(struct mm_engine *, enum mm_cancel why);
/* The host stops: a command that waits for its verdict is answered with a temporary failure; then the
 * same as mm_engine_end(). */
void mm_engine_shut_down(struct mm_engine *);
/* The runtime calls this after MM_WAITING. TAKES the text of the verdict. */
void mm_engine_decided(struct mm_engine *, struct mm_verdict *);
/* For a runtime inside its event(), when a header has been handled, has the verdict continue and gets no reply: takes
 * the next one, if it has arrived and nothing else is to be done before it. True: the runtime is inside event() for it
 * now, and the event that it was given says the same of the new field: its command has changed. False: the runtime
 * returns from event() with MM_DECIDED. runtime_session: the runtime's own, as the engine calls it; one that another
 * runtime wraps gets false, because that one must see each event. */
bool mm_engine_further(struct mm_engine *, const void *runtime_session);
/* Is another field at hand, as far as the next packet says? */
bool mm_engine_has_further(const struct mm_engine *, const void *runtime_session);
/* Appends a progress packet when an end-of-message handler waits, and returns whether it did. */
bool mm_engine_progress(struct mm_engine *);

/* False while enough unread packets are kept: stop reading the socket. */
bool mm_engine_wants_input(const struct mm_engine *);
/* Bytes fed and not handled yet. */
size_t mm_engine_pending(const struct mm_engine *);
/* How many of the n bytes that come next the engine can handle at once, so that it keeps none of them; 0 while a
 * handler waits. */
size_t mm_engine_complete(const struct mm_engine *, const void *bytes, size_t n);
/* After quit, end or a fault, when the last event has been handled: close the connection and free the engine. */
bool mm_engine_is_finished(const struct mm_engine *);
bool mm_engine_is_waiting(const struct mm_engine *);            /* a handler is suspended */
/* Script and line that decided the last answer, "10-auth.lua:12"; "": nobody's, the message goes on. BORROWED until the
 * next packet. */
const char *mm_engine_answered_by(const struct mm_engine *);
/* The stage whose handler is suspended, and since when (mm_clock_now()); MM_STAGE_COUNT: none is. */
enum mm_stage mm_engine_waits_at(const struct mm_engine *, double *since);
struct mm_session *mm_engine_session(struct mm_engine *);       /* borrowed */
const struct mm_session *mm_engine_facts(const struct mm_engine *);     /* the same, to look at */
void *mm_engine_runtime_session(struct mm_engine *);    /* what runtime.ops->open() has given; borrowed */

#endif
