/* milter/runtime.h -- what the engine asks of the runtime that decides: Lua scripts, or a stub in a test.
 * The engine calls event() once per event and goes on when it has a verdict. A runtime that must wait returns
 * MM_WAITING and later calls mm_engine_decided() (engine.h) exactly once, unless the engine has called cancel() before
 * that: then it must not call it for that event any more.
 * Both sides run on one thread; for the same session, event() and cancel() never run inside each other. */
#ifndef MM_MILTER_RUNTIME_H
#define MM_MILTER_RUNTIME_H

#include "milter/session.h"
#include "milter/verdict.h"

enum mm_outcome { MM_DECIDED, MM_WAITING };

/* Why something that waits ends early: the first four end a handler and come from the engine or its deadline, the
 * others end work that a script has started itself. ORDER CANCEL */
enum mm_cancel {
	MM_CANCEL_ABORT, MM_CANCEL_DISCONNECT, MM_CANCEL_DEADLINE, MM_CANCEL_SHUTDOWN,
	MM_CANCEL_ENDED,                /* the message or client that owned it has ended */
	MM_CANCEL_ASKED,                /* task:cancel() */
	MM_CANCEL_TIMEOUT,              /* milter.timeout() */
	MM_CANCEL_COUNT,
};

/* How a message without a final reply has ended, and every client. ORDER END */
#define MM_ENDS(X) \
	X(none,        "none") \
	X(abort,       "abort")         /* RSET, or the client of the MTA is gone */ \
	X(helo,        "helo")          /* a new HELO */ \
	X(new_message, "new_message")   /* a new MAIL */ \
	X(quit,        "quit") \
	X(disconnect,  "disconnect")    /* the MTA is gone */ \
	X(timeout,     "timeout")       /* the MTA was silent for too long */ \
	X(stop,        "stop")          /* the host stops, or ends the session */ \
	X(protocol,    "protocol")      /* the MTA broke the protocol, or there was no memory for what it sent */

enum mm_end {
#define X(name, word) MM_END_##name,
	MM_ENDS(X)
#undef X
	MM_END_COUNT
};

/* "new_message". Static. */
static inline const char *mm_end_name(enum mm_end end)
{
	static const char *const names[] = {
#define X(name, word) word,
		MM_ENDS(X)
#undef X
	};
	return names[end];
}

struct mm_event {
	uint8_t                  stage;         /* enum mm_stage */
	uint8_t                  macros_at;     /* macros: whose, of the command's stage (enum mm_macro_set): its facts
	                                         * are known, and its own event follows. The verdict is ignored */
	uint8_t                  result;        /* done: the final verdict (enum mm_verdict_kind) */
	uint8_t                  ended_at;      /* done, abort: the stage reached (enum mm_stage) */
	uint8_t                  ended_by;      /* abort, close: enum mm_end */
	bool                     is_refused;    /* rcpt: the MTA has refused this recipient itself (SMFIP_RCPT_REJ) */
	bool                     is_accepted;   /* eoh, eom: an earlier accept is held for edits. No handler runs, but a
	                                         * message with seals needs both; the verdict is continue, or that
	                                         * the seals have failed */
	uint32_t                 result_edits;  /* done: how many edits were sent */
	const struct mm_command *command;       /* borrowed until decided; its texts may move while the runtime waits.
	                                         * NULL for abort, done and close. body: text is the piece, which may
	                                         * come in the end-of-message packet */
	struct mm_text           result_reply;  /* done: its text, or empty */
	const char              *result_by;     /* done: who decided, or "" */
};

struct mm_runtime_ops {
	/* Begins a session. Returns the runtime's own part of it, or NULL when out of memory. */
	void *(*open)(void *runtime, struct mm_session *session, void *engine);
	/* What negotiation asks for. Borrowed until the session ends. */
	const struct mm_wanted *(*wanted)(void *runtime_session);
	/* MM_DECIDED fills out. The event is borrowed for the call. */
	enum mm_outcome (*event)(void *runtime_session, const struct mm_event *, struct mm_verdict *out);
	/* Ends the waiting handler; its verdict is void. */
	void (*cancel)(void *runtime_session, enum mm_cancel why);
	/* The state table of a message (ctx.message) or a client (ctx.session) ends. */
	void (*end_message)(void *runtime_session);
	void (*end_client)(void *runtime_session);
	void (*close)(void *runtime_session);
	/* The verdict that mm_engine_decided() gets, before it counts: a runtime around another one adds its own part.
	 * NULL: none. */
	void (*settle)(void *runtime_session, struct mm_verdict *);
};

struct mm_runtime {
	const struct mm_runtime_ops *ops;
	void                        *self;
};

#endif
