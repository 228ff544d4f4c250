/* milter/engine.h -- the milter protocol's filter side as a pure machine: bytes in, events to a runtime, bytes out.
 * Knows no socket, no loop and no Lua. One engine is one milter connection.
 *
 * Promises: each command that wants an answer gets exactly one final reply, none other gets any; edits leave only
 * behind end-of-message, in front of the final reply of a message that is let through, all in one append to `out`; of
 * every message opened the runtime sees exactly one of done and abort; of every client exactly one close, last.
 *
 * While the runtime waits, further bytes are kept (bounded: mm_engine_wants_input()); an abort or quit among them ends
 * the wait at once. */
#ifndef MM_MILTER_ENGINE_H
#define MM_MILTER_ENGINE_H

#include "milter/frame.h"
#include "milter/runtime.h"

struct mm_engine;

/* What all engines of a worker share. The creator owns it; it outlives them. */
struct mm_engine_shared {
	struct mm_message *message_pool;        /* owned here; mm_message_pool_free() at the end */
	char               id_prefix[20];       /* of session ids */
	uint64_t           sessions_begun;
	double             waited;              /* seconds, by the event that is being decided */
};

/* What happened to a message, for the one log line it gets; or a verdict on something else. Texts are
 * borrowed for the call. */
struct mm_outcome_report {
	const struct mm_session *session;
	enum mm_verdict_kind     verdict;
	bool                     is_aborted;    /* no final reply: the MTA aborted or went away */
	enum mm_stage            stage;         /* where it ended */
	struct mm_text           reply;
	const char              *decided_by;    /* script file and handler, "stop", NULL when
	                                         * nobody but the defaults did */
	uint32_t                 edits;         /* edits that left */
	double                   seconds;       /* from MAIL to the verdict, or to the abort */
	double                   waited;        /* in which the MTA waited for a handler that itself waited */
};

/* The owner of an engine: connection.c, or an embedder's byte feeder. */
struct mm_engine_owner {
	void *self;
	/* Bytes were appended to out, or the engine is finished, outside of feed and end. */
	void (*wake)(void *self);
	void (*report)(void *self, const struct mm_outcome_report *);   /* a message ended; may be NULL */
	void (*fault)(void *self, const struct mm_fault *);     /* the one line about a connection that
	                                                         * must close; may be NULL */
	/* A verdict that decides no message: on a client (connect, helo), a recipient, an
	 * unknown command; may be NULL */
	void (*aside)(void *self, const struct mm_outcome_report *);
};

/* out is BORROWED: where replies are appended. The engine takes nothing else. NULL: out of memory. */
struct mm_engine *mm_engine_new(struct mm_engine_shared *, struct mm_runtime, struct mm_engine_owner,
	struct mm_buffer *out);
/* Cancels what waits, tells what is still owed (abort or done, then close) without waiting for it, and frees. */
void mm_engine_free(struct mm_engine *);

/* Bytes from the MTA. False: the MTA broke the protocol and why says how; the connection must be closed, after the
 * runtime has seen abort and close (mm_engine_is_finished()). Bytes are not borrowed beyond the call. */
bool mm_engine_feed(struct mm_engine *, const void *bytes, size_t n, struct mm_fault *why);
/* No more bytes will come. */
void mm_engine_end(struct mm_engine *, enum mm_cancel why);
/* The host stops: a command that waits for its verdict is answered with a temporary failure,
 * then as mm_engine_end(). */
void mm_engine_shut_down(struct mm_engine *);
/* From the runtime, after MM_WAITING. Takes the text of the verdict. */
void mm_engine_decided(struct mm_engine *, struct mm_verdict *);
/* Appends a progress packet when an end-of-message handler waits; nothing otherwise. True when it did. */
bool mm_engine_progress(struct mm_engine *);

/* False while enough unread packets are kept: stop reading the socket. */
bool mm_engine_wants_input(const struct mm_engine *);
/* Quit, end or a fault, and the last event has been handled: close the connection and free the engine. */
bool mm_engine_is_finished(const struct mm_engine *);
bool mm_engine_is_waiting(const struct mm_engine *);            /* a handler is suspended */
struct mm_session *mm_engine_session(struct mm_engine *);       /* borrowed */

#endif
